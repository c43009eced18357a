//! A layer's kernels on a GPU, and what they are compared with.

use super::{dash, micros, percent, table};
use crate::precision::Storage;
use crate::profile::Profile;

const HEADER: [&str; 7] = ["stage", "kernel", "runs", "µs", "% of kernels", "GFLOP/s", "GB/s"];

/// One layer: a line per kernel, then the whole by the device's and by the host's clock, then what it is compared with.
#[must_use]
pub fn profile(profile: &Profile) -> String {
    let Profile { workload, batch, layout, precision, activations, backend, .. } = profile;
    let kernels = profile.kernels.iter().map(|kernel| {
        vec![
            kernel.stage.to_string(),
            kernel.kernel.clone(),
            kernel.runs.to_string(),
            micros(kernel.us),
            percent(Some(kernel.share)),
            kernel.gflops.map_or_else(dash, |gflops| format!("{gflops:.1}")),
            format!("{:.1}", kernel.gb_per_s),
        ]
    });
    let whole = |what: &str, us: f64| vec![what.to_string(), String::new(), String::new(), micros(us)];
    let wholes = [
        whole("all kernels", profile.kernel_us),
        whole("call, waited for", profile.call_us),
        whole("with upload and download", profile.end_to_end_us.unwrap_or(f64::NAN)),
        whole("all kernels, in a chain", profile.chained_kernel_us),
        whole("all kernels, static", profile.static_kernel_us),
    ];
    let naive = profile.naive_us.map(|us| whole("one thread per output", us));
    let lines = kernels.chain(wholes).chain(naive).map(|mut line| {
        line.resize(HEADER.len(), String::new());
        line
    });
    let stored = match activations {
        Storage::F32 => String::new(),
        stored => format!(", activations {stored}"),
    };
    let mut text = format!(
        "{workload}, batch {batch}, {layout}, {precision}{stored}, {backend}\n{}\n",
        table(&HEADER, 2, lines)
    );
    text += &format!("in a chain ÷ static: {:.2}\n", profile.chained_to_static);
    text += &format!("static, without Winograd, GFLOP/s: {:.1}\n", profile.direct_gflops);
    if let Some(ratio) = profile.naive_ratio {
        text += &format!("one thread per output ÷ aggregate and convolve: {ratio:.2}\n");
    }
    text
}

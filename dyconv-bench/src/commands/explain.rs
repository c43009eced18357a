//! `dyconv explain`: what a layer costs on paper, and how each backend would run it.

use dyconv_core::{AnyBackend, Backend, Cost, DyConv2d, Error, Prepare, Result, Shape, StageCost};

use super::{Ending, LayoutName, absent_lines};
use crate::data::{SEED, random_layer};
use crate::output::print;
use crate::precision::Storage;
use crate::record::Absent;
use crate::roster::{Candidate, Wanted};
use crate::table::table;
use crate::workloads::{Workload, check_batch, select};

/// Arguments of `dyconv explain`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Layers by name or group, separated by commas
    #[arg(value_name = "WORKLOAD", value_delimiter = ',', required = true)]
    pub workload: Vec<String>,
    /// Backends whose plans to show, separated by commas: all, simd, or the names of `dyconv backends`
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "all")]
    pub backend: Vec<String>,
    /// Samples per call
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub batch: usize,
    /// Layout
    #[arg(long, default_value = "nchw")]
    pub layout: LayoutName,
    /// How experts are stored, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "f32")]
    pub precision: Vec<Storage>,
    /// Threads of the CPU backends; by default what they choose themselves
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// Prints the cost table and the plans of every layer that was asked for.
///
/// # Errors
/// Where a name is wrong, a named backend is absent, or a backend can't prepare the layer.
pub fn run(args: &Args) -> Result<Ending> {
    let workloads = select(&args.workload)?;
    check_batch(args.batch)?;
    let candidates = Wanted::parse(&args.backend)?.open(args.threads)?;
    for workload in workloads {
        print(&explain(workload, args, &candidates)?)?;
    }
    match absent_lines(&Absent::among(&candidates)).trim_end() {
        "" => {}
        lines => print(lines)?,
    }
    Ok(Ending::Well)
}

fn explain(workload: &Workload, args: &Args, candidates: &[Candidate]) -> Result<String> {
    let config = workload.config(args.layout.into())?;
    let shape = workload.input_shape(args.batch)?;
    let cost = Cost::new(&config, shape)?;
    let layer = random_layer(&config, SEED)?;
    let (mut plans, mut refused) = (Vec::new(), String::new());
    for backend in candidates.iter().filter_map(|candidate| candidate.backend.as_ref().ok()) {
        for &storage in &args.precision {
            match planned(backend, &layer, shape, storage) {
                Ok(line) => plans.push(line),
                // Storage that a backend lacks is worth a line: the other plans are still wanted.
                Err(error @ Error::Unsupported { .. }) if storage != Storage::F32 => {
                    refused += &format!("{error}\n");
                }
                Err(error) => return Err(error),
            }
        }
    }
    let header = ["backend", "plan", "experts", "threads", "multiply-adds", "bytes moved", "peak memory"];
    let plans = table(&header, 3, plans);
    Ok(format!(
        "{}: {}\n{}\ninput {shape}\n\ncost\n{}\nresident without tiling: {} (input, output, parameters, one \
         aggregated kernel per sample)\n\nplans\n{plans}\n{refused}",
        workload.name,
        workload.describe(),
        workload.source,
        cost_table(&cost),
        bytes(cost.resident_bytes),
    ))
}

/// A backend's plan for a layer: its name and what it predicts.
fn planned(backend: &AnyBackend, layer: &DyConv2d, shape: Shape, storage: Storage) -> Result<Vec<String>> {
    let prepared = backend.prepare(layer, &Prepare::default().input(shape).precision(storage.into()))?;
    let plan = backend.plan(&prepared, shape)?;
    let info = backend.info();
    Ok(vec![
        info.id.clone(),
        plan.name,
        storage.to_string(),
        info.threads.to_string(),
        count(plan.multiply_adds),
        bytes(plan.bytes),
        bytes(plan.peak_bytes),
    ])
}

fn cost_table(cost: &Cost) -> String {
    let stages = [
        ("pool", cost.pool),
        ("attention", cost.attention),
        ("aggregate", cost.aggregate),
        ("convolve", cost.convolve),
        ("total", cost.total()),
    ];
    let total = cost.total();
    let line = |(name, stage): (&str, StageCost)| {
        vec![
            name.to_string(),
            count(stage.parameters),
            count(stage.multiply_adds),
            share(stage.multiply_adds, total.multiply_adds),
            bytes(stage.bytes),
            share(stage.bytes, total.bytes),
        ]
    };
    let ratio = cost.ratio_to_static();
    let last = vec![
        "÷ static".to_string(),
        format!("{:.2}", ratio.parameters),
        format!("{:.3}", ratio.multiply_adds),
        String::new(),
        format!("{:.2}", ratio.bytes),
        String::new(),
    ];
    let header = ["stage", "parameters", "multiply-adds", "share", "bytes", "share"];
    table(&header, 1, stages.into_iter().map(line).chain([last])).to_string()
}

fn share(part: u64, whole: u64) -> String {
    format!("{:.1} %", 100.0 * part as f64 / whole.max(1) as f64)
}

/// 147456 → `147.5 k`
fn count(number: u64) -> String {
    scaled(number, 1000.0, ["", " k", " M", " G", " T"])
}

/// 147456 → `144.0 KiB`
fn bytes(number: u64) -> String {
    scaled(number, 1024.0, [" B", " KiB", " MiB", " GiB", " TiB"])
}

fn scaled(number: u64, step: f64, units: [&str; 5]) -> String {
    let mut value = number as f64;
    let mut units = units.into_iter();
    let mut unit = units.next().unwrap_or_default();
    if value < step {
        return format!("{number}{unit}");
    }
    for larger in units {
        if value < step {
            break;
        }
        value /= step;
        unit = larger;
    }
    format!("{value:.1}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_scaled() {
        assert_eq!([0, 999, 1000, 147_456].map(count), ["0", "999", "1.0 k", "147.5 k"]);
        assert_eq!([12, 1024, 147_456, 1 << 31].map(bytes), ["12 B", "1.0 KiB", "144.0 KiB", "2.0 GiB"]);
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
    }
}

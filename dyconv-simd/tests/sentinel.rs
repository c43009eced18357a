//! Says which instruction sets this machine's tests ran, and, with `DYCONV_REQUIRE_ALL_ISAS=1`, fails where the CPU
//! reports one that didn't.

use std::io::Write as _;

use dyconv_core::{Backend, DyConv2d, Error, Layout, Options, Params, Shape, Tensor};
use dyconv_simd::{Isa, SimdBackend};

/// A run whose result shows that the backend computed at all.
fn runs(isa: Isa) -> Result<(), Error> {
    let backend = SimdBackend::builder().isa(isa).threads(1).build()?;
    assert_eq!(backend.info().id, format!("simd-{isa}"));
    let params = Params { weight: vec![0.5; 40 * 40], bias: None, attention: None, batch_norm: None };
    let layer = DyConv2d::new(Options::new(40, 40).build()?, params)?;
    let x = Tensor::new(Shape::new(1, 40, 1, 2)?, Layout::Nchw, vec![1.0; 80])?;
    assert_eq!(backend.run(&layer, &x)?.data(), [20.0; 80]);
    Ok(())
}

/// What the operating system says of the CPU, apart from the standard library's detection.
fn reported(isa: Isa) -> Option<bool> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let flags: Vec<&str> = info.lines().find(|line| line.starts_with("flags"))?.split_whitespace().collect();
    let wanted: &[&str] = match isa {
        Isa::Portable => &[],
        Isa::Avx2 => &["avx2", "fma", "f16c"],
        Isa::Avx512 => &["avx512f", "avx512vl"],
    };
    Some(wanted.iter().all(|flag| flags.contains(flag)))
}

#[test]
fn every_isa_that_the_cpu_reports_ran() {
    let required = std::env::var_os("DYCONV_REQUIRE_ALL_ISAS").is_some_and(|value| value == "1");
    for isa in Isa::ALL {
        match runs(isa) {
            Ok(()) => assert!(Isa::available().contains(&isa)),
            Err(error @ Error::Unavailable { .. }) => {
                // Past the test harness, which keeps what passing tests print.
                let _ = writeln!(std::io::stderr(), "SKIPPED simd-{isa}: {error}");
                let reported = reported(isa).unwrap_or(false);
                assert!(!(required && reported), "the CPU reports what simd-{isa} needs, but it didn't run");
            }
            Err(error) => panic!("simd-{isa}: {error}"),
        }
    }
}

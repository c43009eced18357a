//! The conformance suite on every instruction set, every plan forced on its small shapes, experts in 16 bits, and
//! 1 thread against 3.

use dyconv_core::{Precision, Result};
use dyconv_simd::{Isa, Kernel, SimdBackend};

/// `DYCONV_REQUIRE_ALL_ISAS=1` makes skipping what the CPU has a failure; `tests/sentinel.rs` watches the detection.
fn must_run(isa: Isa) -> bool {
    std::env::var_os("DYCONV_REQUIRE_ALL_ISAS").is_some_and(|value| value == "1")
        && Isa::available().contains(&isa)
}

fn on(isa: Isa, kernel: Kernel) -> Result<SimdBackend> {
    SimdBackend::builder().isa(isa).threads(1).force(kernel).build()
}

/// Every run is divided among threads, however small.
fn divided(isa: Isa, kernel: Kernel) -> Result<SimdBackend> {
    SimdBackend::builder().isa(isa).threads(3).serial_below(0).force(kernel).build()
}

/// Modules that take a kernel wherever it fits, and a test that none is left out.
macro_rules! forced {
    ($isa:expr; $($module:ident: $kernel:ident $(, $precision:ident)?;)*) => {
        $(dyconv_core::conformance_tests!(
            $module,
            on($isa, Kernel::$kernel),
            required = must_run($isa),
            $(precision = Precision::$precision,)?
            same_bits_as = divided($isa, Kernel::$kernel),
        );)*

        #[test]
        fn every_kernel_is_forced() {
            for kernel in Kernel::ALL {
                assert!([$(Kernel::$kernel),*].contains(&kernel), "{kernel:?}");
            }
        }
    };
}

macro_rules! every_plan {
    ($($module:ident: $isa:expr;)*) => {$(
        mod $module {
            use super::*;

            dyconv_core::conformance_tests!(
                chosen,
                SimdBackend::builder().isa($isa).threads(1).build(),
                required = must_run($isa),
                same_bits_as = SimdBackend::builder().isa($isa).threads(3).serial_below(0).build(),
            );
            dyconv_core::conformance_tests!(
                bf16,
                SimdBackend::builder().isa($isa).threads(1).build(),
                required = must_run($isa),
                precision = Precision::Bf16,
                same_bits_as = SimdBackend::builder().isa($isa).threads(3).serial_below(0).build(),
            );
            dyconv_core::conformance_tests!(
                f16,
                SimdBackend::builder().isa($isa).threads(1).build(),
                required = must_run($isa),
                precision = Precision::F16,
                same_bits_as = SimdBackend::builder().isa($isa).threads(3).serial_below(0).build(),
            );
            forced! { $isa;
                direct: Direct;
                pointwise: Pointwise;
                across: Across;
                depthwise: Depthwise;
                mixing: Mixing;
                mixing_bf16: Mixing, Bf16;
                mixing_f16: Mixing, F16;
                grouped: Grouped;
                winograd_f2: WinogradF2;
                winograd_f4: WinogradF4;
                winograd_bf16: WinogradF4, Bf16;
                winograd_f16: WinogradF2, F16;
            }
        }
    )*};
}

every_plan! {
    portable: Isa::Portable;
    avx2: Isa::Avx2;
    avx512: Isa::Avx512;
}

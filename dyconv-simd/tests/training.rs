//! The suite of training on every instruction set, with every plan forced for the forward and the input's gradient where it
//! fits, and 1 thread against 3.

use dyconv_core::Result;
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

/// Modules that take a kernel wherever it fits.
macro_rules! forced {
    ($isa:expr; $($module:ident: $kernel:ident;)*) => {
        $(dyconv_core::training_tests!(
            $module,
            on($isa, Kernel::$kernel),
            required = must_run($isa),
            same_bits_as = divided($isa, Kernel::$kernel),
        );)*

        #[test]
        fn every_kernel_is_forced() {
            // Narrow groups are trained one by one, by the other kernels.
            for kernel in Kernel::ALL.into_iter().filter(|kernel| *kernel != Kernel::Grouped) {
                assert!([$(Kernel::$kernel),*].contains(&kernel), "{kernel:?}");
            }
        }
    };
}

macro_rules! every_isa {
    ($($module:ident: $isa:expr;)*) => {$(
        mod $module {
            use super::*;

            dyconv_core::training_tests!(
                chosen,
                SimdBackend::builder().isa($isa).threads(1).build(),
                required = must_run($isa),
                same_bits_as = SimdBackend::builder().isa($isa).threads(3).serial_below(0).build(),
            );
            forced! { $isa;
                direct: Direct;
                pointwise: Pointwise;
                across: Across;
                depthwise: Depthwise;
                mixing: Mixing;
                winograd_f2: WinogradF2;
                winograd_f4: WinogradF4;
            }
        }
    )*};
}

every_isa! {
    portable: Isa::Portable;
    avx2: Isa::Avx2;
    avx512: Isa::Avx512;
}

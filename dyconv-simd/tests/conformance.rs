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
            dyconv_core::conformance_tests!(
                direct,
                on($isa, Kernel::Direct),
                required = must_run($isa),
                same_bits_as = divided($isa, Kernel::Direct),
            );
            dyconv_core::conformance_tests!(
                pointwise,
                on($isa, Kernel::Pointwise),
                required = must_run($isa),
                same_bits_as = divided($isa, Kernel::Pointwise),
            );
            dyconv_core::conformance_tests!(
                across,
                on($isa, Kernel::Across),
                required = must_run($isa),
                same_bits_as = divided($isa, Kernel::Across),
            );
            dyconv_core::conformance_tests!(
                depthwise,
                on($isa, Kernel::Depthwise),
                required = must_run($isa),
                same_bits_as = divided($isa, Kernel::Depthwise),
            );
            dyconv_core::conformance_tests!(
                mixing,
                on($isa, Kernel::Mixing),
                required = must_run($isa),
                same_bits_as = divided($isa, Kernel::Mixing),
            );
            dyconv_core::conformance_tests!(
                mixing_bf16,
                on($isa, Kernel::Mixing),
                required = must_run($isa),
                precision = Precision::Bf16,
                same_bits_as = divided($isa, Kernel::Mixing),
            );
            dyconv_core::conformance_tests!(
                mixing_f16,
                on($isa, Kernel::Mixing),
                required = must_run($isa),
                precision = Precision::F16,
                same_bits_as = divided($isa, Kernel::Mixing),
            );
            dyconv_core::conformance_tests!(
                winograd_f2,
                on($isa, Kernel::WinogradF2),
                required = must_run($isa),
                same_bits_as = divided($isa, Kernel::WinogradF2),
            );
            dyconv_core::conformance_tests!(
                winograd_f4,
                on($isa, Kernel::WinogradF4),
                required = must_run($isa),
                same_bits_as = divided($isa, Kernel::WinogradF4),
            );
            dyconv_core::conformance_tests!(
                winograd_bf16,
                on($isa, Kernel::WinogradF4),
                required = must_run($isa),
                precision = Precision::Bf16,
                same_bits_as = divided($isa, Kernel::WinogradF4),
            );
            dyconv_core::conformance_tests!(
                winograd_f16,
                on($isa, Kernel::WinogradF2),
                required = must_run($isa),
                precision = Precision::F16,
                same_bits_as = divided($isa, Kernel::WinogradF2),
            );
        }
    )*};
}

every_plan! {
    portable: Isa::Portable;
    avx2: Isa::Avx2;
    avx512: Isa::Avx512;
}

//! The conformance suite: on all that the adapter allows, on WebGPU's default limits, and with batches
//! split and dispatches folded.

use dyconv_core::{Precision, Result};
use dyconv_wgpu::{Choice, WgpuBackend};

use crate::support::{backend, is_required};

dyconv_core::conformance_tests!(adapter, backend(), cases = 256, required = is_required());

dyconv_core::conformance_tests!(
    default_limits,
    WgpuBackend::builder().default_limits(true).build(),
    cases = 256,
    required = is_required(),
);

dyconv_core::conformance_tests!(
    split_and_folded,
    WgpuBackend::builder().default_limits(true).max_part_samples(2).max_workgroups(50).build(),
    cases = 256,
    required = is_required(),
);

// As without the feature, but on all else that the adapter allows.
dyconv_core::conformance_tests!(
    without_subgroups,
    WgpuBackend::builder().subgroups(false).build(),
    cases = 64,
    required = is_required(),
);

// Activations in f16: as the device has it, and two to a word.
dyconv_core::conformance_tests!(
    f16_activations,
    WgpuBackend::builder().activations(Precision::F16).build(),
    cases = 64,
    required = is_required(),
);

dyconv_core::conformance_tests!(packed_activations, in_halves(None), cases = 128, required = is_required(),);

dyconv_core::conformance_tests!(
    packed_activations_split_and_folded,
    WgpuBackend::builder()
        .default_limits(true)
        .activations(Precision::F16)
        .max_part_samples(2)
        .max_workgroups(50)
        .build(),
    cases = 64,
    required = is_required(),
);

/// Activations two to a word, with or without a choice.
fn in_halves(choice: Option<Choice>) -> Result<WgpuBackend> {
    let builder = WgpuBackend::builder().default_limits(true).activations(Precision::F16);
    choice.map_or(builder.clone(), |choice| builder.force(choice)).build()
}

/// Modules that make a choice with activations two to a word.
macro_rules! in_halves {
    ($($module:ident: $choice:ident $(, $precision:ident)?;)*) => {
        $(dyconv_core::conformance_tests!(
            $module,
            in_halves(Some(Choice::$choice)),
            cases = 32,
            required = is_required(),
            $(precision = Precision::$precision,)?
        );)*
    };
}

in_halves! {
    packed_activations_product_by_product: Any;
    packed_activations_tap_by_tap: Taps;
    packed_activations_narrow: NarrowQuad;
    packed_activations_narrow_f16: NarrowPanel, F16;
    packed_activations_fused_f16: Fused, F16;
    packed_activations_sliced: Sliced;
    packed_activations_winograd_f2: WinogradF2;
    packed_activations_winograd_f4: WinogradF4;
}

/// In one part, on an adapter of WebGPU's defaults where they are enough.
fn forced(choice: Choice) -> Result<WgpuBackend> {
    let are_enough = !matches!(choice, Choice::Deep | Choice::WinogradDeep);
    WgpuBackend::builder().default_limits(are_enough).force(choice).build()
}

/// Modules that make a choice wherever it fits, and a test that none is left out.
macro_rules! forced {
    ($($module:ident: $choice:ident $(, $precision:ident)?;)*) => {
        $(dyconv_core::conformance_tests!(
            $module,
            forced(Choice::$choice),
            cases = 64,
            required = is_required(),
            $(precision = Precision::$precision,)?
        );)*

        #[test]
        fn every_choice_is_forced() {
            for choice in Choice::ALL {
                assert!([$(Choice::$choice),*].contains(&choice), "{choice:?}");
            }
        }
    };
}

forced! {
    deep: Deep;
    deep_f16: Deep, F16;
    huge: Huge;
    large: Large;
    small: Small;
    narrow_quad: NarrowQuad;
    narrow_quad_bf16: NarrowQuad, Bf16;
    narrow_panel: NarrowPanel;
    narrow_panel_f16: NarrowPanel, F16;
    gathered_product_by_product: Any;
    gathered_tap_by_tap: Taps;
    aggregated: Aggregated;
    aggregated_bf16: Aggregated, Bf16;
    aggregated_f16: Aggregated, F16;
    chunked: Chunked;
    fused: Fused;
    fused_bf16: Fused, Bf16;
    fused_f16: Fused, F16;
    sliced: Sliced;
    sliced_f16: Sliced, F16;
    winograd_f2: WinogradF2;
    winograd_f2_f16: WinogradF2, F16;
    winograd_f4: WinogradF4;
    winograd_in_huge_tiles: WinogradHuge;
    winograd_in_deep_tiles: WinogradDeep;
}

// With the adapter's own f16, where it has that.
dyconv_core::conformance_tests!(
    native_f16,
    backend(),
    cases = 64,
    required = is_required(),
    precision = Precision::F16,
);

//! The kernels' uniforms, field for field as in their WGSL; a test compares names, offsets and sizes
//! through naga's reflection.

pub(crate) mod train;

use dyconv_core::Activation;

/// Declares uniforms of 32-bit fields, with their field names for the comparison with WGSL.
macro_rules! uniforms {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty),* $(,)? })*) => {
        $(
            $(#[$doc])*
            #[repr(C)]
            #[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
            pub(crate) struct $name {
                $(pub(crate) $field: $kind,)*
            }
        )*

        /// Name, size and fields (name, offset, type) of every uniform.
        #[cfg(test)]
        pub(crate) fn layouts() -> Vec<(&'static str, usize, Vec<(&'static str, usize, &'static str)>)> {
            vec![$((
                stringify!($name),
                size_of::<$name>(),
                vec![$((stringify!($field), std::mem::offset_of!($name, $field), stringify!($kind))),*],
            )),*]
        }
    };
}

pub(crate) use uniforms;

uniforms! {
    PoolParams {
        samples: u32,
        channels: u32,
        divisor: u32,
        lanes: u32,
        channels_last: u32,
        blocks: u32,
        squared: u32,
        input_base: u32,
        input_sample: u32,
        input_channel: u32,
        input_pixel: u32,
        output_base: u32,
        first_pixel: u32,
        end_pixel: u32,
        is_last: u32,
    }

    PoolMaxParams {
        count: u32,
        channels: u32,
        input_height: u32,
        input_width: u32,
        output_height: u32,
        output_width: u32,
        window_height: u32,
        window_width: u32,
        stride_height: u32,
        stride_width: u32,
        padding_top: u32,
        padding_left: u32,
        channels_last: u32,
        input_base: u32,
        output_base: u32,
    }

    ConvertParams {
        count: u32,
        input_base: u32,
        output_base: u32,
    }

    RelayoutParams {
        count: u32,
        inner: u32,
        outer: u32,
        input_base: u32,
        output_base: u32,
    }

    AttentionParams {
        samples: u32,
        channels: u32,
        hidden: u32,
        experts: u32,
        hidden_sharers: u32,
        logit_sharers: u32,
        logit_weights: u32,
        is_sigmoid: u32,
        temperature: f32,
    }

    AggregateParams {
        length: u32,
        bias: u32,
        expert_stride: u32,
        expert_bias: u32,
        experts: u32,
        samples: u32,
        blocks: u32,
        first_sample: u32,
        is_static: u32,
    }

    /// Of every kernel that ends in the epilogue.
    ConvolveParams {
        input_height: u32,
        input_width: u32,
        output_width: u32,
        pixels: u32,
        depth: u32,
        rows: u32,
        groups: u32,
        kernel_height: u32,
        kernel_width: u32,
        stride_height: u32,
        stride_width: u32,
        dilation_height: u32,
        dilation_width: u32,
        padding_top: i32,
        padding_left: i32,
        kernels: u32,
        samples: u32,
        row_tiles: u32,
        column_tiles: u32,
        kernel_stride: u32,
        bias_offset: u32,
        experts: u32,
        first_sample: u32,
        input_base: u32,
        input_channel: u32,
        input_pixel: u32,
        output_base: u32,
        output_channel: u32,
        output_pixel: u32,
        residual_base: u32,
        channels_last: u32,
        flags: u32,
        activation: u32,
        slope: f32,
        chunks: u32,
        hop_channel: u32,
        hop_y: u32,
        hop_x: u32,
        first: u32,
        end: u32,
        slices: u32,
        slice_steps: u32,
        slice_stride: u32,
        tiles_across: u32,
        tiles: u32,
        tile_pixels: u32,
        units: u32,
        lanes: u32,
    }

    WinogradKernelsParams {
        length: u32,
        depth: u32,
        expert_stride: u32,
        experts: u32,
        samples: u32,
        blocks: u32,
        first_sample: u32,
        is_static: u32,
    }

    WinogradInputParams {
        samples: u32,
        channels: u32,
        input_height: u32,
        input_width: u32,
        padding_top: i32,
        padding_left: i32,
        tiles_across: u32,
        tiles: u32,
        tile_pixels: u32,
        input_base: u32,
        input_channel: u32,
        input_pixel: u32,
        shares_kernels: u32,
    }

    MomentsParams {
        samples: u32,
        channels: u32,
    }

    NormalizeParams {
        count: u32,
        channels: u32,
        channel_stride: u32,
        input_base: u32,
        output_base: u32,
        residual_base: u32,
        has_residual: u32,
        activation: u32,
        slope: f32,
        epsilon: f32,
    }
}

/// Bits of [`ConvolveParams::flags`].
pub(crate) const HAS_BIAS: u32 = 1;
pub(crate) const HAS_NORM: u32 = 2;
pub(crate) const HAS_RESIDUAL: u32 = 4;
pub(crate) const IS_PART: u32 = 8;
pub(crate) const CONTINUES: u32 = 16;
pub(crate) const EMITS: u32 = 32;

/// The number that WGSL knows an activation by, and its parameter.
pub(crate) fn activation_code(activation: Activation) -> (u32, f32) {
    match activation {
        Activation::None => (0, 0.0),
        Activation::Relu => (1, 0.0),
        Activation::Relu6 => (2, 0.0),
        Activation::LeakyRelu { slope } => (3, slope as f32),
        Activation::Sigmoid => (4, 0.0),
        Activation::Tanh => (5, 0.0),
        Activation::HardSigmoid => (6, 0.0),
        Activation::KerasHardSigmoid => (7, 0.0),
        Activation::HardSwish => (8, 0.0),
        Activation::Silu => (9, 0.0),
        Activation::Gelu => (10, 0.0),
        Activation::Elu => (11, 0.0),
    }
}

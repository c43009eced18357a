// What follows the sum of products, the same for every convolution kernel: bias, batch norm as scale and
// shift, residual, activation. Which of them a layer has, is in `params.flags`.

const HAS_BIAS: u32 = 1u;
const HAS_NORM: u32 = 2u;
const HAS_RESIDUAL: u32 = 4u;

struct ConvolveParams {
    input_height: u32,
    input_width: u32,
    output_width: u32,
    // Output pixels of one sample.
    pixels: u32,
    // Input channels of one group.
    depth: u32,
    // Output channels of one group.
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
    // Kernels, and samples that share one: (N, 1) for a dynamic layer, (1, N) for a static one.
    kernels: u32,
    samples: u32,
    row_tiles: u32,
    column_tiles: u32,
    // Floats from one kernel to the next, and from a kernel's start to its bias.
    kernel_stride: u32,
    bias_offset: u32,
    kernel_base: u32,
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
    // The products that this dispatch adds; those before it lie in the output as bare sums.
    first: u32,
    end: u32,
}

@group(0) @binding(0) var<uniform> params: ConvolveParams;
@group(0) @binding(1) var<storage, read> input: array<f32>;
// Binding 2 is the kernels, which each entry point reads in its own way.
// [scale][shift], one each per output channel.
@group(0) @binding(3) var<storage, read> norm: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

// Writes one output, or its sum so far: `channel` counts through all groups, `index` from the output's start.
fn finish(sum: f32, kernel: u32, channel: u32, index: u32) {
    var value = sum;
    if params.first > 0u {
        value += output[params.output_base + index];
    }
    if params.end < params.kernel_height * params.kernel_width * params.depth {
        output[params.output_base + index] = value;
        return;
    }
    if (params.flags & HAS_BIAS) != 0u {
        value += kernel_element(kernel * params.kernel_stride + params.bias_offset + channel);
    }
    if (params.flags & HAS_NORM) != 0u {
        value = value * norm[channel] + norm[params.groups * params.rows + channel];
    }
    if (params.flags & HAS_RESIDUAL) != 0u {
        value += residual[params.residual_base + index];
    }
    output[params.output_base + index] = activate(params.activation, params.slope, value);
}

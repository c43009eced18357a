// What follows the sum of products, the same for every convolution kernel: bias, batch norm as scale and
// shift, residual, activation. Which of them a layer has, is in `params.flags`.

const HAS_BIAS: u32 = 1u;
const HAS_NORM: u32 = 2u;
const HAS_RESIDUAL: u32 = 4u;
// Only a part of the sum, which goes to `sums` as it is: parts are floats, whatever the output is. `join` finishes them.
const IS_PART: u32 = 8u;
// A part to be added to what the dispatch before this one left there.
const CONTINUES: u32 = 16u;
// Channel sums of the tile's outputs are wanted.
const EMITS: u32 = 32u;

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
    // Tiles of output channels, and of columns. Where outputs are finished unit by unit and summed: blocks of `lanes`
    // channels, and parts of a channel's units.
    row_tiles: u32,
    column_tiles: u32,
    // 32-bit words from one kernel (or expert) to the next, and from its start to its bias.
    kernel_stride: u32,
    bias_offset: u32,
    // Where experts are aggregated as they are loaded: how many, and the first sample's row in π.
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
    // Steps that a tap takes, where a step stays within one; otherwise how far a step goes, in channels and taps.
    chunks: u32,
    hop_channel: u32,
    hop_y: u32,
    hop_x: u32,
    // The steps (of a depthwise kernel: the taps) that this dispatch adds.
    first: u32,
    end: u32,
    // Workgroups that share an output's sum, the steps of each, and elements from one's sums to the next's.
    slices: u32,
    slice_steps: u32,
    slice_stride: u32,
    // Winograd's tiles, of one sample: side by side, all of them, and the pixels that its images have for them.
    tiles_across: u32,
    tiles: u32,
    tile_pixels: u32,
    // Where outputs are finished unit by unit: a channel's units in a sample, and the channels of a workgroup that sums
    // them, a power of two up to 64.
    units: u32,
    lanes: u32,
}

@group(0) @binding(0) var<uniform> params: ConvolveParams;
// Binding 1 is the input, 2 and 3 are the kernels: each is read in several ways.
// [scale][shift], one each per output channel.
@group(0) @binding(4) var<storage, read> norm: array<f32>;
@group(0) @binding(5) var<storage, read> residual: array<Word>;
@group(0) @binding(6) var<storage, read_write> output: array<Written>;
// Parts of sums, by slice and output; of finished outputs, channel sums of what a workgroup computed.
@group(0) @binding(7) var<storage, read_write> sums: array<f32>;

// What all outputs of a channel have in common.
struct Terms {
    bias: f32,
    scale: f32,
    shift: f32,
}

// `channel` counts through all groups.
fn terms_of(kernel: u32, channel: u32) -> Terms {
    var terms = Terms(0.0, 1.0, 0.0);
    if (params.flags & HAS_BIAS) != 0u {
        terms.bias = bias(kernel, channel);
    }
    if (params.flags & HAS_NORM) != 0u {
        terms.scale = norm[channel];
        terms.shift = norm[params.groups * params.rows + channel];
    }
    return terms;
}

// Where an output lies, from the output's start.
fn place_of(sample: u32, channel: u32, pixel: u32) -> u32 {
    return sample * params.groups * params.rows * params.pixels + channel * params.output_channel
        + pixel * params.output_pixel;
}

// Writes and returns one output, as a reader finds it, or a part of its sum; `index` counts from the output's start.
fn finish(sum: f32, terms: Terms, index: u32) -> f32 {
    if (params.flags & IS_PART) != 0u {
        var part = sum;
        if (params.flags & CONTINUES) != 0u {
            part += sums[index];
        }
        sums[index] = part;
        return part;
    }
    var value = (sum + terms.bias) * terms.scale + terms.shift;
    if (params.flags & HAS_RESIDUAL) != 0u {
        let at = params.residual_base + index;
        value += value_of(residual[word_of(at)], at);
    }
    return store(params.output_base + index, activate(params.activation, params.slope, value));
}

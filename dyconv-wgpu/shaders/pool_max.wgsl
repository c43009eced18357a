// The maximum over windows, in the tensor's own layout; one thread per output. Padding counts as −∞, and a
// NaN in a window makes its maximum NaN. WGSL lets a compiler assume that there is no NaN, so that no
// comparison of floats is sure to see one: the maximum is that of integers in the same order.

struct PoolMaxParams {
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

@group(0) @binding(0) var<uniform> params: PoolMaxParams;
@group(0) @binding(1) var<storage, read> input: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<Written>;

@compute @workgroup_size(64)
fn pool_max(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = workgroup_number(id, grid) * 64u + thread;
    if index >= params.count {
        return;
    }
    var rest = index;
    var channel = 0u;
    if params.channels_last != 0u {
        channel = rest % params.channels;
        rest /= params.channels;
    }
    let column = rest % params.output_width;
    rest /= params.output_width;
    let row = rest % params.output_height;
    rest /= params.output_height;
    if params.channels_last == 0u {
        channel = rest % params.channels;
        rest /= params.channels;
    }
    let pixels = params.input_height * params.input_width;
    let sample = params.input_base + rest * params.channels * pixels;
    let start = sample + channel * select(pixels, 1u, params.channels_last != 0u);
    let pixel_stride = select(1u, params.channels, params.channels_last != 0u);

    // The window inside the input: padding is at most half of it, so that it is never empty.
    let top = row * params.stride_height;
    let left = column * params.stride_width;
    let first_row = max(top, params.padding_top) - params.padding_top;
    let first_column = max(left, params.padding_left) - params.padding_left;
    let end_row = min(top + params.window_height - params.padding_top, params.input_height);
    let end_column = min(left + params.window_width - params.padding_left, params.input_width);
    var best = 0u;
    for (var y = first_row; y < end_row; y++) {
        for (var x = first_column; x < end_column; x++) {
            let at = start + (y * params.input_width + x) * pixel_stride;
            best = max(best, rank(bits_of(input[word_of(at)], at)));
        }
    }
    put(params.output_base + index, number(best));
}

const SIGN: u32 = MASK - MASK / 2u;
const NAN_RANK: u32 = MASK;

// Integers in the order of the floats with these bits; NaN, of either sign, is the last.
fn rank(bits: u32) -> u32 {
    let ordered = select(bits | SIGN, ~bits & MASK, bits >= SIGN);
    return select(ordered, NAN_RANK, (bits & ~SIGN) > INFINITY);
}

fn number(rank: u32) -> u32 {
    return select(~rank & MASK, rank & ~SIGN, rank >= SIGN);
}

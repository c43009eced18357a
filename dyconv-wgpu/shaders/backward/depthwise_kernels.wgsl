// Step 4, backwards, for the kernels, where every group has one input channel: a sum over output pixels for each tap
// of each output channel, written as the kernels lie, [tap][output channel].
//
// As in `pool`: a workgroup takes `row_tiles` neighbouring channels of one tap and section, a power of two up to 64,
// and the threads of a channel share its pixels. The sum's tree depends on the shape alone.

@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read> input: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(64)
fn depthwise_kernels_backward(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let taps = params.kernel_height * params.kernel_width;
    let number = workgroup_number(id, grid) / params.column_tiles;
    let part = number / taps;
    let tap = number % taps;
    if part >= params.kernels * params.sections {
        return;
    }
    let lanes = params.row_tiles;
    let lane = lane_of(thread, lanes, params.gradient_channel == 1u);
    let channels = params.groups * params.rows;
    let channel = workgroup_number(id, grid) % params.column_tiles * lanes + lane.number;
    var sum = 0.0;
    if channel < channels {
        sum = products(part, channel, tap, lane.sharer, 64u / lanes);
    }
    var total = tree_sum(thread, sum, lane, lanes);
    if channel < channels && lane.sharer == 0u {
        let index = part * params.kernel_stride + tap * channels + channel;
        if params.first > 0u {
            total += output[index];
        }
        output[index] = total;
    }
}

// Every `sharers`-th product of one tap with one channel's gradients, in a section of a kernel's products.
fn products(part: u32, channel: u32, tap: u32, sharer: u32, sharers: u32) -> f32 {
    let kernel = part / params.sections;
    let start = part % params.sections * params.section;
    let pixels = params.output_height * params.output_width;
    let input_pixels = params.input_height * params.input_width;
    let top = i32(tap / params.kernel_width * params.dilation_height) - params.padding_top;
    let left = i32(tap % params.kernel_width * params.dilation_width) - params.padding_left;
    var sum = 0.0;
    let end = min(start + params.end, params.samples * pixels);
    for (var index = start + params.first + sharer; index < end; index += sharers) {
        let sample = kernel * params.samples + index / pixels;
        let pixel = index % pixels;
        let y = top + i32(pixel / params.output_width * params.stride_height);
        let x = left + i32(pixel % params.output_width * params.stride_width);
        if y < 0 || y >= i32(params.input_height) || x < 0 || x >= i32(params.input_width) {
            continue;
        }
        let source = params.input_base + sample * params.groups * input_pixels
            + channel / params.rows * params.input_channel
            + (u32(y) * params.input_width + u32(x)) * params.input_pixel;
        let at = params.gradient_base + sample * params.groups * params.rows * pixels
            + channel * params.gradient_channel + pixel * params.gradient_pixel;
        sum += gradient[at] * input[source];
    }
    return sum;
}

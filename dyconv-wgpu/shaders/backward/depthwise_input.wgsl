// Step 4, backwards, for the input, where every group has one input channel: one thread per element of dx. Kernels lie
// as [tap][output channel].

const HAS_SHARE: u32 = 1u;
const HAS_OTHER: u32 = 2u;

@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read> kernels: array<f32>;
// dz [N, Cin], by way of the attention.
@group(0) @binding(3) var<storage, read> share: array<f32>;
@group(0) @binding(4) var<storage, read> other: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(64)
fn depthwise_input_backward(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = workgroup_number(id, grid) * 64u + thread;
    let pixels = params.input_height * params.input_width;
    let sample = index / (params.groups * pixels);
    if sample >= params.batch {
        return;
    }
    // Neighbours in memory: channels where those are, pixels otherwise.
    let channel = index / params.input_channel % params.groups;
    let pixel = index / params.input_pixel % pixels;
    let y = i32(pixel / params.input_width) + params.padding_top;
    let x = i32(pixel % params.input_width) + params.padding_left;
    let stride = vec2<i32>(vec2(params.stride_height, params.stride_width));
    let channels = params.groups * params.rows;
    let first = channel * params.rows;
    let weights = sample / params.samples * params.kernel_stride + first;
    let start = params.gradient_base + sample * channels * params.output_height * params.output_width
        + first * params.gradient_channel;
    // A product for each tap and each output channel of the group; dispatches take whole rows of taps.
    let row_products = params.kernel_width * params.rows;
    var sum = 0.0;
    for (var ky = params.first / row_products; ky < params.end / row_products; ky++) {
        let oy = y - i32(ky * params.dilation_height);
        if oy < 0 || oy % stride.x != 0 || oy / stride.x >= i32(params.output_height) {
            continue;
        }
        for (var kx = 0u; kx < params.kernel_width; kx++) {
            let ox = x - i32(kx * params.dilation_width);
            if ox < 0 || ox % stride.y != 0 || ox / stride.y >= i32(params.output_width) {
                continue;
            }
            let at = start + (u32(oy / stride.x) * params.output_width + u32(ox / stride.y)) * params.gradient_pixel;
            let taps = weights + (ky * params.kernel_width + kx) * channels;
            for (var row = 0u; row < params.rows; row++) {
                sum += kernels[taps + row] * gradient[at + row * params.gradient_channel];
            }
        }
    }
    finish(sample, channel, pixel, sum, params.end >= params.kernel_height * row_products);
}

// The convolution as it is written down: one thread per output, one product after the other, nothing shared.
// What engines do with weights of each sample's own; here to be compared with.

struct Params {
    outputs: u32,
    output_channels: u32,
    output_height: u32,
    output_width: u32,
    // Input and output channels of one group.
    depth: u32,
    rows: u32,
    input_height: u32,
    input_width: u32,
    kernel_height: u32,
    kernel_width: u32,
    stride_height: u32,
    stride_width: u32,
    dilation_height: u32,
    dilation_width: u32,
    padding_top: i32,
    padding_left: i32,
    input_sample: u32,
    input_channel: u32,
    input_pixel: u32,
    output_sample: u32,
    output_channel: u32,
    output_pixel: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
// [sample][output channel][channel of the group][tap], then [sample][output channel] of bias.
@group(0) @binding(2) var<storage, read> kernels: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(64)
fn naive(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let number = (id.x + id.y * grid.x) * 64u + thread;
    if number >= params.outputs {
        return;
    }
    let ox = number % params.output_width;
    let oy = number / params.output_width % params.output_height;
    let kernel = number / (params.output_width * params.output_height);
    let channel = kernel % params.output_channels;
    let sample = kernel / params.output_channels;
    let taps = params.kernel_height * params.kernel_width;
    let first = sample * params.input_sample + channel / params.rows * params.depth * params.input_channel;
    var sum = bias[kernel];
    for (var c = 0u; c < params.depth; c++) {
        for (var tap = 0u; tap < taps; tap++) {
            let ky = tap / params.kernel_width;
            let kx = tap % params.kernel_width;
            let y = i32(oy * params.stride_height + ky * params.dilation_height) - params.padding_top;
            let x = i32(ox * params.stride_width + kx * params.dilation_width) - params.padding_left;
            if y >= 0 && y < i32(params.input_height) && x >= 0 && x < i32(params.input_width) {
                let pixel = u32(y) * params.input_width + u32(x);
                let value = input[first + c * params.input_channel + pixel * params.input_pixel];
                sum += kernels[(kernel * params.depth + c) * taps + tap] * value;
            }
        }
    }
    let pixel = oy * params.output_width + ox;
    output[sample * params.output_sample + channel * params.output_channel + pixel * params.output_pixel] = sum;
}

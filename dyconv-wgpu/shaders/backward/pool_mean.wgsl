// A mean over all pixels, backwards: every pixel gets its share, one thread per pixel.

struct PoolMeanBackwardParams {
    count: u32,
    channels: u32,
    channel_stride: u32,
    pixels: u32,
    gradient_base: u32,
    output_base: u32,
}

@group(0) @binding(0) var<uniform> params: PoolMeanBackwardParams;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(64)
fn pool_mean_backward(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = workgroup_number(id, grid) * 64u + thread;
    if index >= params.count {
        return;
    }
    let sample = index / (params.channels * params.pixels);
    let channel = index / params.channel_stride % params.channels;
    let g = gradient[params.gradient_base + sample * params.channels + channel];
    output[params.output_base + index] = g / f32(params.pixels);
}

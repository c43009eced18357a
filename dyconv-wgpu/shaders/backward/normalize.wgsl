// Step 5, backwards: batch norm with running statistics is a scale. With the batch's own, mean and variance depend on
// every value, too: (g − mean(g) − ŷ·mean(g·ŷ))·gamma/sqrt(σ² + ε).

struct NormalizeBackwardParams {
    count: u32,
    channels: u32,
    // Elements between neighbours along the channels.
    channel_stride: u32,
    gradient_base: u32,
    convolved_base: u32,
    output_base: u32,
    // Whether the statistics are the batch's.
    is_batch: u32,
    // Values per channel, N·OH·OW.
    values: f32,
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: NormalizeBackwardParams;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read> convolved: array<f32>;
@group(0) @binding(3) var<storage, read> mean: array<f32>;
@group(0) @binding(4) var<storage, read> variance: array<f32>;
// [gamma][beta]
@group(0) @binding(5) var<storage, read> gamma_beta: array<f32>;
// [Σ g·ŷ][Σ g]
@group(0) @binding(6) var<storage, read> totals: array<f32>;
@group(0) @binding(7) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(64)
fn normalize_backward(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = workgroup_number(id, grid) * 64u + thread;
    if index >= params.count {
        return;
    }
    let channel = index / params.channel_stride % params.channels;
    let deviation = sqrt(variance[channel] + params.epsilon);
    var g = gradient[params.gradient_base + index];
    if params.is_batch != 0u {
        let standard = (convolved[params.convolved_base + index] - mean[channel]) / deviation;
        g -= (totals[params.channels + channel] + standard * totals[channel]) / params.values;
    }
    output[params.output_base + index] = g * gamma_beta[channel] / deviation;
}

// Steps 5 to 7 where batch norm isn't folded: (y − μ)/sqrt(σ² + ε)·gamma + beta, residual, activation.
// (`normalize` alone is a function of WGSL's.)

struct NormalizeParams {
    count: u32,
    channels: u32,
    // Elements between neighbours along the channels.
    channel_stride: u32,
    input_base: u32,
    output_base: u32,
    residual_base: u32,
    has_residual: u32,
    activation: u32,
    slope: f32,
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: NormalizeParams;
// [gamma][beta]
@group(0) @binding(1) var<storage, read> gamma_beta: array<f32>;
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read> variance: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read> input: array<f32>;
@group(0) @binding(6) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(64)
fn normalize_batch(
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
    var value = (input[params.input_base + index] - mean[channel]) / deviation * gamma_beta[channel]
        + gamma_beta[params.channels + channel];
    if params.has_residual != 0u {
        value += residual[params.residual_base + index];
    }
    output[params.output_base + index] = activate(params.activation, params.slope, value);
}

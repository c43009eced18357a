// Kernels that are aggregated as they are loaded, Σ_k π[n,k]·W_k: nothing is written, each tile reads all experts.

@group(0) @binding(2) var<storage, read> experts: array<Quad>;
// The same buffer, for the biases behind the experts, which are floats however these are stored.
@group(0) @binding(3) var<storage, read> expert_floats: array<f32>;
@group(0) @binding(8) var<storage, read> attention_weights: array<f32>;

fn kernel_quad(kernel: u32, quad: u32) -> vec4<f32> {
    let row = (params.first_sample + kernel) * params.experts;
    var sum = vec4(0.0);
    for (var k = 0u; k < params.experts; k++) {
        sum += attention_weights[row + k] * widen(experts[k * params.kernel_stride / QUAD_WORDS + quad]);
    }
    return sum;
}

fn bias(kernel: u32, channel: u32) -> f32 {
    let row = (params.first_sample + kernel) * params.experts;
    var sum = 0.0;
    for (var k = 0u; k < params.experts; k++) {
        sum += attention_weights[row + k] * expert_floats[k * params.kernel_stride + params.bias_offset + channel];
    }
    return sum;
}

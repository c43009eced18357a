// Step 3 of the layer: W~[n] = Σ_k π[n,k]·W_k, biases included, in the order that the convolution reads.
// Aggregation is linear, so that order is nobody's business here: a thread owns one vec4 of the experts
// and four samples, and reads each expert once for all four. What is written is floats, and so are the experts'
// biases behind them, however experts are stored.

struct AggregateParams {
    // vec4s of one kernel, its bias included, and where the bias starts.
    length: u32,
    bias: u32,
    // 32-bit words from one expert to the next, and from its start to its bias.
    expert_stride: u32,
    expert_bias: u32,
    experts: u32,
    samples: u32,
    // Workgroups along `length`.
    blocks: u32,
    // The first sample's row in π: kernels may be made for a part of the batch.
    first_sample: u32,
    // The layer has one expert and no π: it is only widened.
    is_static: u32,
}

@group(0) @binding(0) var<uniform> params: AggregateParams;
@group(0) @binding(1) var<storage, read> experts: array<Quad>;
// The same buffer, for the biases.
@group(0) @binding(2) var<storage, read> expert_floats: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> attention_weights: array<f32>;
@group(0) @binding(4) var<storage, read_write> kernels: array<vec4<f32>>;

const SAMPLES: u32 = 4u;

@compute @workgroup_size(64)
fn aggregate(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let number = workgroup_number(id, grid);
    let element = number % params.blocks * 64u + thread;
    let first = number / params.blocks * SAMPLES;
    if element >= params.length || first >= params.samples {
        return;
    }
    // Samples beyond the last read the last one's weights and are not written.
    let last = params.samples - 1u;
    let rows = (vec4(first, min(first + 1u, last), min(first + 2u, last), min(first + 3u, last))
        + params.first_sample) * params.experts;
    var sum_0 = vec4(0.0);
    var sum_1 = vec4(0.0);
    var sum_2 = vec4(0.0);
    var sum_3 = vec4(0.0);
    for (var k = 0u; k < params.experts; k++) {
        let expert = expert_quad(k, element);
        sum_0 += weight(rows.x + k) * expert;
        sum_1 += weight(rows.y + k) * expert;
        sum_2 += weight(rows.z + k) * expert;
        sum_3 += weight(rows.w + k) * expert;
    }
    let base = first * params.length + element;
    kernels[base] = sum_0;
    if first + 1u < params.samples {
        kernels[base + params.length] = sum_1;
    }
    if first + 2u < params.samples {
        kernels[base + 2u * params.length] = sum_2;
    }
    if first + 3u < params.samples {
        kernels[base + 3u * params.length] = sum_3;
    }
}

fn expert_quad(expert: u32, element: u32) -> vec4<f32> {
    let start = expert * params.expert_stride;
    if element >= params.bias {
        return expert_floats[(start + params.expert_bias) / 4u + element - params.bias];
    }
    return widen(experts[start / QUAD_WORDS + element]);
}

fn weight(index: u32) -> f32 {
    return select(attention_weights[index], 1.0, params.is_static != 0u);
}

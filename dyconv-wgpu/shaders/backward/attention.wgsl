// Step 2, backwards: π → logits → hidden units → the pooled channels, one workgroup per sample. Gradients of units
// and logits go to `units` [N][hidden + K], as the forward's own lie in `scratch`; the matrices' follow in `head`.

struct AttentionBackwardParams {
    samples: u32,
    channels: u32,
    // 0 without an MLP.
    hidden: u32,
    experts: u32,
    // Where A2 starts.
    logit_weights: u32,
    is_sigmoid: u32,
    temperature: f32,
}

@group(0) @binding(0) var<uniform> params: AttentionBackwardParams;
@group(0) @binding(1) var<storage, read> attention_weights: array<f32>;
@group(0) @binding(2) var<storage, read> gradient: array<f32>;
@group(0) @binding(3) var<storage, read> scratch: array<f32>;
@group(0) @binding(4) var<storage, read> head: array<f32>;
@group(0) @binding(5) var<storage, read_write> units: array<f32>;
// dz [N, Cin]
@group(0) @binding(6) var<storage, read_write> pooled: array<f32>;

const THREADS: u32 = 64u;

@compute @workgroup_size(THREADS)
fn attention_backward(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let sample = workgroup_number(id, grid);
    if sample >= params.samples {
        return;
    }
    let hidden = sample * (params.hidden + params.experts);
    let logits = hidden + params.hidden;
    squash_backward(thread, sample * params.experts, logits);
    storageBarrier();
    for (var unit = thread; unit < params.hidden; unit += THREADS) {
        let sum = column(params.logit_weights, params.hidden, unit, logits, params.experts);
        // After its relu a unit is 0 wherever the derivative is.
        units[hidden + unit] = select(sum, 0.0, scratch[hidden + unit] <= 0.0);
    }
    storageBarrier();
    // The matrix that takes the pooled channels is the first one.
    let rows = select(params.experts, params.hidden, params.hidden != 0u);
    for (var channel = thread; channel < params.channels; channel += THREADS) {
        pooled[sample * params.channels + channel] = column(0u, params.channels, channel, hidden, rows);
    }
}

// Softmax π⊙(dπ − <dπ, π>)/T, sigmoid π⊙(1 − π)⊙dπ.
fn squash_backward(thread: u32, row: u32, logits: u32) {
    var sum = 0.0;
    for (var k = thread; k < params.experts; k += THREADS) {
        sum += attention_weights[row + k] * gradient[row + k];
    }
    let total = tree_sum(thread, sum, lane_of(thread, 1u, false), 1u);
    for (var k = thread; k < params.experts; k += THREADS) {
        let weight = attention_weights[row + k];
        if params.is_sigmoid != 0u {
            units[logits + k] = weight * (1.0 - weight) * gradient[row + k];
        } else {
            let slope = weight * (gradient[row + k] - total);
            // A device may flush a tiny temperature to 0: 0 / 0 must not arise.
            units[logits + k] = select(slope / params.temperature, 0.0, slope == 0.0);
        }
    }
}

// One column of a matrix of `depth` columns, times the gradients of its rows.
fn column(matrix: u32, depth: u32, at: u32, first: u32, rows: u32) -> f32 {
    var sum = 0.0;
    for (var row = 0u; row < rows; row++) {
        sum += units[first + row] * head[matrix + row * depth + at];
    }
    return sum;
}

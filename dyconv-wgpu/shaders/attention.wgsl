// Step 2 of the layer: the head and its squash, one workgroup per sample. Hidden units and logits pass
// through `scratch` [N][hidden + K], since there may be more of them than workgroup memory holds.
//
// `head` holds [A1][c1][A2][c2], matrices row-major, absent biases as zeros.

struct AttentionParams {
    samples: u32,
    channels: u32,
    // 0 without an MLP.
    hidden: u32,
    experts: u32,
    // Threads that share one dot product, powers of two up to 64.
    hidden_sharers: u32,
    logit_sharers: u32,
    // Where A2 starts.
    logit_weights: u32,
    is_sigmoid: u32,
    temperature: f32,
}

@group(0) @binding(0) var<uniform> params: AttentionParams;
@group(0) @binding(1) var<storage, read> means: array<f32>;
@group(0) @binding(2) var<storage, read> head: array<f32>;
@group(0) @binding(3) var<storage, read_write> scratch: array<f32>;
@group(0) @binding(4) var<storage, read_write> attention_weights: array<f32>;

const THREADS: u32 = 64u;

@compute @workgroup_size(THREADS)
fn attention(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    place: Place,
) {
    let sample = workgroup_number(id, grid);
    if sample >= params.samples {
        return;
    }
    let hidden = sample * (params.hidden + params.experts);
    let logits = hidden + params.hidden;
    if params.hidden != 0u {
        dense(place, Dense(params.hidden, params.channels, params.hidden_sharers, 0u, hidden), sample, true);
        dense(place, Dense(params.experts, params.hidden, params.logit_sharers, params.logit_weights, logits), hidden, false);
    } else {
        dense(place, Dense(params.experts, params.channels, params.logit_sharers, params.logit_weights, logits), sample, false);
    }
    squash(place, logits, sample * params.experts);
}

struct Dense {
    rows: u32,
    depth: u32,
    sharers: u32,
    weights: u32,
    target_base: u32,
}

// One matrix times one vector into scratch. The source is the sample's means, or its hidden units:
// `source` is then where they start in scratch.
fn dense(place: Place, d: Dense, source: u32, is_hidden: bool) {
    let rows_at_once = THREADS / d.sharers;
    let lane = lane_of(place.thread, rows_at_once, false);
    let from_means = is_hidden || params.hidden == 0u;
    for (var first = 0u; first < d.rows; first += rows_at_once) {
        let row = first + lane.number;
        var sum = 0.0;
        if row < d.rows {
            for (var i = lane.sharer; i < d.depth; i += d.sharers) {
                var value = 0.0;
                if from_means {
                    value = means[source * params.channels + i];
                } else {
                    value = scratch[source + i];
                }
                sum += head[d.weights + row * d.depth + i] * value;
            }
        }
        let total = sum_across(place, sum, lane, rows_at_once);
        if lane.sharer == 0u && row < d.rows {
            let value = total + head[d.weights + d.rows * d.depth + row];
            scratch[d.target_base + row] = select(value, activate(RELU, 0.0, value), is_hidden);
        }
        workgroupBarrier();
    }
    storageBarrier();
}

fn squash(place: Place, logits: u32, target_base: u32) {
    let thread = place.thread;
    if params.is_sigmoid != 0u {
        for (var k = thread; k < params.experts; k += THREADS) {
            attention_weights[target_base + k] = sigmoid(scratch[logits + k]);
        }
        return;
    }
    var largest = scratch[logits];
    for (var k = thread; k < params.experts; k += THREADS) {
        let logit = scratch[logits + k];
        largest = select(largest, logit, logit > largest);
    }
    largest = largest_across(place, largest);
    workgroupBarrier();

    var sum = 0.0;
    for (var k = thread; k < params.experts; k += THREADS) {
        sum += softmax_term(scratch[logits + k] - largest);
    }
    let total = sum_across(place, sum, lane_of(thread, 1u, false), 1u);
    for (var k = thread; k < params.experts; k += THREADS) {
        attention_weights[target_base + k] = softmax_term(scratch[logits + k] - largest) / total;
    }
}

// e^(distance / T). A device may flush a tiny temperature to 0: 0 / 0 must not arise.
fn softmax_term(distance: f32) -> f32 {
    return exponential(select(distance / params.temperature, 0.0, distance == 0.0));
}

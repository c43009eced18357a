// The head's matrices and biases, backwards: sums over the samples, one thread per number. They lie as the head does,
// [A1][c1][A2][c2].

struct HeadBackwardParams {
    count: u32,
    samples: u32,
    channels: u32,
    // 0 without an MLP.
    hidden: u32,
    experts: u32,
    // Where A2 starts.
    logit_weights: u32,
    // Whether gradients are there to be added to.
    add: u32,
}

@group(0) @binding(0) var<uniform> params: HeadBackwardParams;
@group(0) @binding(1) var<storage, read> means: array<f32>;
// Hidden units and logits, [N][hidden + K], and their gradients.
@group(0) @binding(2) var<storage, read> scratch: array<f32>;
@group(0) @binding(3) var<storage, read> units: array<f32>;
@group(0) @binding(4) var<storage, read_write> gradients: array<f32>;

@compute @workgroup_size(64)
fn head_backward(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = workgroup_number(id, grid) * 64u + thread;
    if index >= params.count {
        return;
    }
    var sum = 0.0;
    if index < params.logit_weights {
        sum = over_samples(index, params.hidden, params.channels, 0u, true);
    } else {
        let takes_means = params.hidden == 0u;
        let depth = select(params.hidden, params.channels, takes_means);
        sum = over_samples(index - params.logit_weights, params.experts, depth, params.hidden, takes_means);
    }
    if params.add != 0u {
        sum += gradients[index];
    }
    gradients[index] = sum;
}

// One number of a matrix, or of the bias behind it, whose rows' gradients start at `first` of a sample's units.
fn over_samples(index: u32, rows: u32, depth: u32, first: u32, takes_means: bool) -> f32 {
    let is_bias = index >= rows * depth;
    let row = select(index / depth, index - rows * depth, is_bias);
    let column = index % depth;
    let stride = params.hidden + params.experts;
    var sum = 0.0;
    for (var sample = 0u; sample < params.samples; sample++) {
        let g = units[sample * stride + first + row];
        if is_bias {
            sum += g;
        } else if takes_means {
            sum += g * means[sample * params.channels + column];
        } else {
            sum += g * scratch[sample * stride + column];
        }
    }
    return sum;
}

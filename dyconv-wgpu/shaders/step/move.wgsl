// One step of an optimiser: parameters and moments move in place, one thread per number. `Step` in dyconv-core has the
// arithmetic and its order.

struct MoveParams {
    count: u32,
    // A tensor's numbers lie in runs: so many from `first`, again after `stride`, and so on.
    length: u32,
    stride: u32,
    first: u32,
    is_adam: u32,
    nesterov: u32,
    // Factor of the step's rate.
    rate: f32,
    decay: f32,
    // The penalty l1·|w| + l2·w².
    l1: f32,
    l2: f32,
    // μ of SGD, or β₁ and 1 − β₁.
    momentum: f32,
    taken: f32,
    // β₂ and 1 − β₂.
    momentum_2: f32,
    taken_2: f32,
    epsilon: f32,
}

// What changes from step to step: the rate, 1 − β₁ᵗ and 1 − β₂ᵗ. As uniforms they would be new ones every time.
struct Numbers {
    rate: f32,
    correction: f32,
    correction_2: f32,
}

@group(0) @binding(0) var<uniform> params: MoveParams;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read> numbers: Numbers;
@group(0) @binding(3) var<storage, read_write> parameters: array<f32>;
@group(0) @binding(4) var<storage, read_write> moments: array<f32>;
@group(0) @binding(5) var<storage, read_write> second_moments: array<f32>;

@compute @workgroup_size(64)
fn move_parameters(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let number = workgroup_number(id, grid) * 64u + thread;
    if number >= params.count {
        return;
    }
    let index = params.first + number / params.length * params.stride + number % params.length;
    let w = parameters[index];
    let sign = select(select(0.0, 1.0, w > 0.0), -1.0, w < 0.0);
    let g = gradient[index] + (params.l1 * sign + 2.0 * params.l2 * w);
    if params.is_adam != 0u {
        parameters[index] = adam(index, w, g);
    } else {
        parameters[index] = descend(index, w, g + params.decay * w);
    }
}

fn descend(index: u32, w: f32, g: f32) -> f32 {
    var velocity = g;
    if params.momentum != 0.0 {
        velocity = params.momentum * moments[index] + g;
        moments[index] = velocity;
    }
    if params.nesterov != 0u {
        velocity = g + params.momentum * velocity;
    }
    return w - numbers.rate * params.rate * velocity;
}

fn adam(index: u32, w: f32, g: f32) -> f32 {
    let m = params.momentum * moments[index] + params.taken * g;
    let v = params.momentum_2 * second_moments[index] + params.taken_2 * g * g;
    moments[index] = m;
    second_moments[index] = v;
    let rate = numbers.rate * params.rate;
    let decayed = w - rate * params.decay * w;
    return decayed - rate * (m / numbers.correction) / (sqrt(v / numbers.correction_2) + params.epsilon);
}

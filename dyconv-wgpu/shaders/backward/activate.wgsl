// Step 7, backwards: g and the slope of a penalty on the output, times the activation's derivative; one thread
// per element.

struct ActivateBackwardParams {
    count: u32,
    preactivation_base: u32,
    gradient_base: u32,
    output_base: u32,
    activation: u32,
    slope: f32,
    // The penalty on the output y: l1·|y| + l2·y².
    l1: f32,
    l2: f32,
}

@group(0) @binding(0) var<uniform> params: ActivateBackwardParams;
@group(0) @binding(1) var<storage, read> preactivation: array<f32>;
@group(0) @binding(2) var<storage, read> gradient: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(64)
fn activate_backward(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = workgroup_number(id, grid) * 64u + thread;
    if index >= params.count {
        return;
    }
    let x = preactivation[params.preactivation_base + index];
    var g = gradient[params.gradient_base + index];
    if params.l1 != 0.0 || params.l2 != 0.0 {
        let y = activate(params.activation, params.slope, x);
        let sign = select(select(0.0, 1.0, y > 0.0), -1.0, y < 0.0);
        g += params.l1 * sign + 2.0 * params.l2 * y;
    }
    output[params.output_base + index] = g * derivative(params.activation, params.slope, x);
}

// At kinks: 0 for relu, relu6 and the hard sigmoids, the slope for leaky relu, 0 at −3 and 1 at 3 for hard swish.
fn derivative(kind: u32, slope: f32, x: f32) -> f32 {
    switch kind {
        case RELU: { return within(x, 0.0, 3.4e38, 1.0); }
        case RELU6: { return within(x, 0.0, 6.0, 1.0); }
        case LEAKY_RELU: { return select(1.0, slope, x <= 0.0); }
        case SIGMOID: { return sigmoid(x) * sigmoid(-x); }
        case TANH: { let t = hyperbolic_tangent(x); return 1.0 - t * t; }
        case HARD_SIGMOID: { return within(x, -3.0, 3.0, 1.0 / 6.0); }
        case KERAS_HARD_SIGMOID: { return within(x, -2.5, 2.5, 0.2); }
        case HARD_SWISH: { return select(select((2.0 * x + 3.0) / 6.0, 0.0, x <= -3.0), 1.0, x >= 3.0); }
        // x·σ(−x) and x·φ(x) of a huge |x| are 0, not ∞·0.
        case SILU: { return sigmoid(x) * select(1.0 + x * sigmoid(-x), 1.0, x > 100.0 || x < -1e30); }
        case GELU: { return gelu_derivative(x); }
        case ELU: { return select(1.0, exponential(x), x <= 0.0); }
        default: { return 1.0; }
    }
}

// `slope` between the kinks, 0 elsewhere and at them; NaN is on neither side and stays NaN.
fn within(x: f32, low: f32, high: f32, slope: f32) -> f32 {
    return select(select(x, 0.0, x <= low || x >= high), slope, x > low && x < high);
}

// Φ(x) + x·φ(x).
fn gelu_derivative(x: f32) -> f32 {
    let tail = 0.5 * complementary_error(abs(x) * 0.707106781);
    let below = select(1.0 - tail, tail, x < 0.0);
    let density = 0.398942280 * exponential(-0.5 * x * x);
    return select(below + x * density, select(0.0, 1.0, x > 0.0), x > 14.0 || x < -14.0);
}

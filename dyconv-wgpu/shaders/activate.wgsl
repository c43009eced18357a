// Step 7 of the layer. Which function it is, is a uniform: one pipeline serves all of them.
// NaN passes through each of them: comparisons with it are false, and selects are written so.

const RELU: u32 = 1u;
const RELU6: u32 = 2u;
const LEAKY_RELU: u32 = 3u;
const SIGMOID: u32 = 4u;
const TANH: u32 = 5u;
const HARD_SIGMOID: u32 = 6u;
const KERAS_HARD_SIGMOID: u32 = 7u;
const HARD_SWISH: u32 = 8u;
const SILU: u32 = 9u;
const GELU: u32 = 10u;
const ELU: u32 = 11u;

fn activate(kind: u32, slope: f32, x: f32) -> f32 {
    switch kind {
        case RELU: { return select(x, 0.0, x < 0.0); }
        case RELU6: { return between(x, 0.0, 6.0); }
        case LEAKY_RELU: { return select(x, slope * x, x <= 0.0); }
        case SIGMOID: { return sigmoid(x); }
        case TANH: { return hyperbolic_tangent(x); }
        case HARD_SIGMOID: { return between(x + 3.0, 0.0, 6.0) / 6.0; }
        case KERAS_HARD_SIGMOID: { return between(0.2 * x + 0.5, 0.0, 1.0); }
        case HARD_SWISH: { return x * (between(x + 3.0, 0.0, 6.0) / 6.0); }
        case SILU: { return x * sigmoid(x); }
        case GELU: { return gelu(x); }
        case ELU: { return select(x, exponential_minus_one(x), x <= 0.0); }
        default: { return x; }
    }
}

fn between(x: f32, low: f32, high: f32) -> f32 {
    return select(select(x, low, x < low), high, x > high);
}

// From the side where the exponential is small, so that both tails keep their digits.
fn sigmoid(x: f32) -> f32 {
    let small = exponential(-abs(x));
    return select(1.0, small, x < 0.0) / (1.0 + small);
}

// e^x − 1 for x ≤ 0: the series where the difference would cancel.
fn exponential_minus_one(x: f32) -> f32 {
    let series = x + x * x * (0.5 + x * (1.66666667e-1 + x * (4.16666667e-2 + x * (8.33333333e-3
        + x * (1.38888889e-3 + x * (1.98412698e-4 + x * 2.48015873e-5))))));
    return select(series, exponential(x) - 1.0, x < -0.5);
}

// (1 − e^(−2|x|)) / (1 + e^(−2|x|)) with the sign of x; 1 where e^(2|x|) would overflow.
fn hyperbolic_tangent(x: f32) -> f32 {
    let minus_one = exponential_minus_one(-2.0 * abs(x));
    let magnitude = -minus_one / (2.0 + minus_one);
    return select(magnitude, -magnitude, x < 0.0);
}

// x·Φ(x) through the tail of the normal distribution, which keeps its digits where 1 + erf would cancel.
fn gelu(x: f32) -> f32 {
    let z = abs(x) * 0.707106781;
    let tail = 0.5 * x * complementary_error(z);
    // Beyond z = 10 the tail is 0, also where x is infinite.
    return select(select(x - tail, x, z > 10.0), tail, x < 0.0);
}

// erfc(z) for z ≥ 0 as e^(−z²)·t·P(t), t = 1/(1 + z/2): least squares in the relative error, 1.2e-7.
fn complementary_error(z: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.5 * z);
    let p = 0.28209375 + t * (0.28214779 + t * (0.24583543 + t * (0.18556121 + t * (0.03632988
        + t * (0.13531158 + t * (-0.28524252 + t * (0.11109990 + t * (0.02364937 - t * 0.01678649))))))));
    return p * t * exponential(-z * z);
}

// Brings numbers back into their constraint, one thread per number: by their sign, or by the share of their norm that
// is desired of it.

const NON_NEG: u32 = 0u;
const MAX_NORM: u32 = 1u;
const UNIT_NORM: u32 = 2u;
const MIN_MAX_NORM: u32 = 3u;

// [expert][group]
@group(0) @binding(1) var<storage, read> squares: array<f32>;
@group(0) @binding(2) var<storage, read_write> parameters: array<f32>;

@compute @workgroup_size(64)
fn constrain(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let number = workgroup_number(id, grid) * 64u + thread;
    if number >= params.experts * params.count {
        return;
    }
    let expert = number / params.count;
    var rest = number % params.count;
    let w = rest % params.extent_3;
    rest /= params.extent_3;
    let z = rest % params.extent_2;
    rest /= params.extent_2;
    let place = vec4(rest / params.extent_1, rest % params.extent_1, z, w);
    let at = position(expert, place);
    let value = parameters[at];
    if params.kind == NON_NEG {
        parameters[at] = select(value, 0.0, value < 0.0);
    } else {
        parameters[at] = value * norm_share(sqrt(squares[expert * params.groups + group_of(place)]));
    }
}

// What values of this norm are multiplied by: desired/(norm + 1e-7), as in Keras.
fn norm_share(norm: f32) -> f32 {
    var desired = 1.0;
    switch params.kind {
        case MAX_NORM: { desired = min(norm, params.high); }
        case MIN_MAX_NORM: {
            desired = params.rate * min(max(norm, params.low), params.high) + (1.0 - params.rate) * norm;
        }
        default: {}
    }
    return desired / (norm + 1e-7);
}

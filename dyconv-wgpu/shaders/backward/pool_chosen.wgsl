// Which pixel of its window a maximum was: of equal ones the first, of NaN the last; one thread per window. As in
// `pool_max`, comparisons are those of integers in the same order, since no comparison of floats is sure to see a NaN.

@group(0) @binding(1) var<storage, read> input: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;

@compute @workgroup_size(64)
fn pool_chosen(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = workgroup_number(id, grid) * 64u + thread;
    if index >= params.count {
        return;
    }
    let place = place_of(index, params.output_height, params.output_width);
    let start = start_of(place, params.input_height, params.input_width);
    // The window inside the input: padding is at most half of it, so that it is never empty.
    let top = place.row * params.stride_height;
    let left = place.column * params.stride_width;
    let first_row = max(top, params.padding_top) - params.padding_top;
    let first_column = max(left, params.padding_left) - params.padding_left;
    let end_row = min(top + params.window_height - params.padding_top, params.input_height);
    let end_column = min(left + params.window_width - params.padding_left, params.input_width);
    var best = 0u;
    var chosen = first_row * params.input_width + first_column;
    for (var y = first_row; y < end_row; y++) {
        for (var x = first_column; x < end_column; x++) {
            let pixel = y * params.input_width + x;
            let candidate = rank(input[params.input_base + start.x + pixel * start.y]);
            if candidate > best || candidate == NAN_RANK {
                best = candidate;
                chosen = pixel;
            }
        }
    }
    output[params.output_base + index] = chosen;
}

const SIGN: u32 = 0x80000000u;
const INFINITY: u32 = 0x7f800000u;
const NAN_RANK: u32 = 0xffffffffu;

// Integers in the order of the floats with these bits, where both zeros are one; NaN, of either sign, is the last.
fn rank(bits: u32) -> u32 {
    let number = select(bits, 0u, bits == SIGN);
    let ordered = select(number | SIGN, ~number, number >= SIGN);
    return select(ordered, NAN_RANK, (number & ~SIGN) > INFINITY);
}

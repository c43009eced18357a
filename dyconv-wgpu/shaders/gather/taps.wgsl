// Input for layers of so many channels that a step stays within a tap: where its pixels are, and whether
// they are padding, is asked once per step and four columns, and by tiles without padding not at all.

@group(0) @binding(1) var<storage, read> input: array<f32>;

// Products that one thread gathers per step, four columns each.
const GATHERED: u32 = DEPTH * COLUMN_QUADS / THREADS;

fn first_product(step: u32) -> u32 {
    return step / params.chunks * params.depth + step % params.chunks * DEPTH;
}

fn gather(thread: u32, columns: Columns, is_interior: bool, step: u32) {
    let tap = step / params.chunks;
    let local = thread / COLUMN_QUADS * GATHERED;
    let channel = step % params.chunks * DEPTH + local;
    let y = columns.y + i32(tap / params.kernel_width * params.dilation_height);
    let x = columns.x + i32(tap % params.kernel_width * params.dilation_width);
    let at = columns.start + (vec4<u32>(y) * params.input_width + vec4<u32>(x)) * params.input_pixel;
    let target_quad = local * COLUMN_QUADS + thread % COLUMN_QUADS;
    if is_interior && params.depth % DEPTH == 0u {
        for (var i = 0u; i < GATHERED; i++) {
            let place = at + (channel + i) * params.input_channel;
            input_tile[target_quad + i * COLUMN_QUADS] =
                vec4(input[place.x], input[place.y], input[place.z], input[place.w]);
        }
        return;
    }
    let inside = are_inside(columns, y, x);
    let safe = select(vec4(0u), at, inside);
    for (var i = 0u; i < GATHERED; i++) {
        // Channels beyond the last read it, and count as padding.
        let place = safe + min(channel + i, params.depth - 1u) * params.input_channel;
        let value = vec4(input[place.x], input[place.y], input[place.z], input[place.w]);
        input_tile[target_quad + i * COLUMN_QUADS] =
            select(vec4(0.0), value, inside & vec4(channel + i < params.depth));
    }
}

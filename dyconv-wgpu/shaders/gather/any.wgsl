// Input for any layer: a step's products may belong to several taps.

@group(0) @binding(1) var<storage, read> input: array<f32>;

// Products that one thread gathers per step, four columns each.
const GATHERED: u32 = DEPTH * COLUMN_QUADS / THREADS;

fn first_product(step: u32) -> u32 {
    return step * DEPTH;
}

fn gather(thread: u32, columns: Columns, is_interior: bool, step: u32) {
    let local = thread / COLUMN_QUADS * GATHERED;
    let product = step * DEPTH + local;
    let reduction = params.kernel_height * params.kernel_width * params.depth;
    let tap = product / params.depth;
    var channel = product % params.depth;
    var ky = tap / params.kernel_width;
    var kx = tap % params.kernel_width;
    for (var i = 0u; i < GATHERED; i++) {
        let y = columns.y + i32(ky * params.dilation_height);
        let x = columns.x + i32(kx * params.dilation_width);
        let inside = are_inside(columns, y, x) & vec4(product + i < reduction);
        let at = columns.start + channel * params.input_channel
            + (vec4<u32>(y) * params.input_width + vec4<u32>(x)) * params.input_pixel;
        let safe = select(vec4(0u), at, inside);
        let value = vec4(input[safe.x], input[safe.y], input[safe.z], input[safe.w]);
        input_tile[(local + i) * COLUMN_QUADS + thread % COLUMN_QUADS] = select(vec4(0.0), value, inside);
        channel++;
        if channel == params.depth {
            channel = 0u;
            kx++;
            if kx == params.kernel_width {
                kx = 0u;
                ky++;
            }
        }
    }
}

// Input for any layer: a step's products may belong to several taps.

// Products that one thread gathers per step, four columns each.
const GATHERED: u32 = DEPTH * COLUMN_QUADS / THREADS;

fn start(step: u32, thread: u32) -> Product {
    return product(step * DEPTH, thread / COLUMN_QUADS * GATHERED);
}

fn gather(thread: u32, columns: Columns, is_interior: bool, product: Product) {
    let local = thread / COLUMN_QUADS * GATHERED;
    var channel = product.channel;
    var ky = product.y;
    var kx = product.x;
    for (var i = 0u; i < GATHERED; i++) {
        let y = columns.y + i32(ky * params.dilation_height);
        let x = columns.x + i32(kx * params.dilation_width);
        let inside = are_inside(columns, y, x) & vec4(ky < params.kernel_height);
        let at = columns.start + channel * params.input_channel
            + (vec4<u32>(y) * params.input_width + vec4<u32>(x)) * params.input_pixel;
        let safe = select(vec4(0u), at, inside);
        let value = four_inputs(safe);
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

// Input for layers of so many channels that a step stays within a tap: where its pixels are, and whether
// they are padding, is asked once per step and four columns, and by tiles without padding not at all.

// Products that one thread gathers per step, four columns each.
const GATHERED: u32 = DEPTH * COLUMN_QUADS / THREADS;

// A step's first product: counted from the first of all, its channel, its tap.
struct Product {
    first: u32,
    channel: u32,
    y: u32,
    x: u32,
}

fn start(step: u32, thread: u32) -> Product {
    let tap = step / params.chunks;
    let channel = step % params.chunks * DEPTH;
    return Product(
        tap * params.depth + channel,
        channel,
        tap / params.kernel_width,
        tap % params.kernel_width,
    );
}

// That of the next step: counted on, since a division costs more than an addition's products.
fn next(at: Product) -> Product {
    var to = Product(at.first + DEPTH, at.channel + DEPTH, at.y, at.x);
    if to.channel >= params.depth {
        to.first -= to.channel - params.depth;
        to.channel = 0u;
        to.x++;
    }
    if to.x == params.kernel_width {
        to.x = 0u;
        to.y++;
    }
    return to;
}

fn gather(thread: u32, columns: Columns, is_interior: bool, product: Product) {
    let local = thread / COLUMN_QUADS * GATHERED;
    let channel = product.channel + local;
    let y = columns.y + i32(product.y * params.dilation_height);
    let x = columns.x + i32(product.x * params.dilation_width);
    let at = columns.start + (vec4<u32>(y) * params.input_width + vec4<u32>(x)) * params.input_pixel;
    let target_quad = local * COLUMN_QUADS + thread % COLUMN_QUADS;
    if is_interior && params.depth % DEPTH == 0u {
        for (var i = 0u; i < GATHERED; i++) {
            let place = at + (channel + i) * params.input_channel;
            input_tile[target_quad + i * COLUMN_QUADS] = four_inputs(place);
        }
        return;
    }
    let inside = are_inside(columns, y, x);
    let safe = select(vec4(0u), at, inside);
    for (var i = 0u; i < GATHERED; i++) {
        // Channels beyond the last read it, and count as padding.
        let place = safe + min(channel + i, params.depth - 1u) * params.input_channel;
        let value = four_inputs(place);
        input_tile[target_quad + i * COLUMN_QUADS] =
            select(vec4(0.0), value, inside & vec4(channel + i < params.depth));
    }
}

// Input for 1×1 layers of stride 1, channels first, whose pixels are a multiple of four: rows are contiguous,
// so that four columns are one load, and there is no padding.

@group(0) @binding(1) var<storage, read> input: array<Words>;

// Products that one thread gathers per step, four columns each.
const GATHERED: u32 = DEPTH * COLUMN_QUADS / THREADS;

// Where four neighbouring columns start, in fours.
struct Columns {
    start: u32,
    exist: bool,
}

fn locate(kernel: u32, group: u32, first: u32) -> Columns {
    let sample = first / params.pixels + kernel * params.samples;
    let row = sample * params.groups * params.depth + group * params.depth;
    let exist = first < params.samples * params.pixels;
    let start = (params.input_base + row * params.pixels + first % params.pixels) / 4u;
    return Columns(select(0u, start, exist), exist);
}

fn is_interior(first: u32) -> bool {
    return first + COLUMNS <= params.samples * params.pixels;
}

// A step's first product.
struct Product {
    first: u32,
}

fn start(step: u32, thread: u32) -> Product {
    return Product(step * DEPTH);
}

fn next(at: Product) -> Product {
    return Product(at.first + DEPTH);
}

fn gather(thread: u32, columns: Columns, is_interior: bool, at: Product) {
    let local = thread / COLUMN_QUADS * GATHERED;
    let channel = at.first + local;
    let target_quad = local * COLUMN_QUADS + thread % COLUMN_QUADS;
    let row = params.pixels / 4u;
    if is_interior && params.depth % DEPTH == 0u {
        for (var i = 0u; i < GATHERED; i++) {
            input_tile[target_quad + i * COLUMN_QUADS] = four_values(input[columns.start + (channel + i) * row]);
        }
        return;
    }
    for (var i = 0u; i < GATHERED; i++) {
        let value = four_values(input[columns.start + min(channel + i, params.depth - 1u) * row]);
        input_tile[target_quad + i * COLUMN_QUADS] =
            select(vec4(0.0), value, columns.exist && channel + i < params.depth);
    }
}

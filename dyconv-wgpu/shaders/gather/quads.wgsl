// Input with channels last and a multiple of four of them per group: a load is four channels of a column, and
// a thread turns those of four columns into rows.

@group(0) @binding(1) var<storage, read> input: array<Words>;

// Blocks of four products and four columns; with small tiles some threads have none.
const BLOCKS: u32 = DEPTH / 4u * COLUMN_QUADS;

fn start(step: u32, thread: u32) -> Product {
    return product(step * DEPTH, thread / COLUMN_QUADS * 4u);
}

fn gather(thread: u32, columns: Columns, is_interior: bool, product: Product) {
    if thread >= BLOCKS {
        return;
    }
    let local = thread / COLUMN_QUADS * 4u;
    let y = columns.y + i32(product.y * params.dilation_height);
    let x = columns.x + i32(product.x * params.dilation_width);
    let pixel = vec4<u32>(y) * params.input_width + vec4<u32>(x);
    let at = (columns.start + pixel * params.input_pixel + product.channel) / 4u;
    let exists = product.y < params.kernel_height;
    let target_quad = local * COLUMN_QUADS + thread % COLUMN_QUADS;
    if is_interior && exists {
        store_rows(
            target_quad,
            four_values(input[at.x]),
            four_values(input[at.y]),
            four_values(input[at.z]),
            four_values(input[at.w]),
        );
        return;
    }
    let inside = are_inside(columns, y, x) & vec4(exists);
    let safe = select(vec4(0u), at, inside);
    store_rows(
        target_quad,
        select(vec4(0.0), four_values(input[safe.x]), inside.x),
        select(vec4(0.0), four_values(input[safe.y]), inside.y),
        select(vec4(0.0), four_values(input[safe.z]), inside.z),
        select(vec4(0.0), four_values(input[safe.w]), inside.w),
    );
}

fn store_rows(target_quad: u32, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) {
    input_tile[target_quad] = vec4(a.x, b.x, c.x, d.x);
    input_tile[target_quad + COLUMN_QUADS] = vec4(a.y, b.y, c.y, d.y);
    input_tile[target_quad + 2u * COLUMN_QUADS] = vec4(a.z, b.z, c.z, d.z);
    input_tile[target_quad + 3u * COLUMN_QUADS] = vec4(a.w, b.w, c.w, d.w);
}

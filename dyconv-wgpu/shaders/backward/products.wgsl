// A tile of a product of matrices: 64 rows × 32 columns per workgroup, 16 products at a time through workgroup memory,
// and 8 × 4 sums per thread in registers.

const ROWS: u32 = 64u;
const COLUMNS: u32 = 32u;
const DEPTH: u32 = 16u;
const THREADS: u32 = 64u;
const ROW_QUADS: u32 = ROWS / 4u;
const COLUMN_QUADS: u32 = COLUMNS / 4u;

// [product][row] and [product][column], four neighbours to an element.
var<workgroup> row_tile: array<vec4<f32>, DEPTH * ROW_QUADS>;
var<workgroup> column_tile: array<vec4<f32>, DEPTH * COLUMN_QUADS>;

// A thread's sums: for each of its four columns eight rows.
struct Sums {
    low: mat4x4<f32>,
    high: mat4x4<f32>,
}

fn multiply(thread: u32, sums: ptr<function, Sums>) {
    let row = thread / COLUMN_QUADS * 2u;
    let column = thread % COLUMN_QUADS;
    for (var k = 0u; k < DEPTH; k++) {
        let low = row_tile[k * ROW_QUADS + row];
        let high = row_tile[k * ROW_QUADS + row + 1u];
        let b = column_tile[k * COLUMN_QUADS + column];
        (*sums).low[0] += low * b.x;
        (*sums).low[1] += low * b.y;
        (*sums).low[2] += low * b.z;
        (*sums).low[3] += low * b.w;
        (*sums).high[0] += high * b.x;
        (*sums).high[1] += high * b.y;
        (*sums).high[2] += high * b.z;
        (*sums).high[3] += high * b.w;
    }
}

// Which tile of which group and kernel a workgroup makes.
struct Place {
    kernel: u32,
    group: u32,
    first_row: u32,
    first_column: u32,
}

fn tile_of(workgroup: u32) -> Place {
    let columns = workgroup % params.column_tiles;
    let rows = workgroup / params.column_tiles;
    let groups = rows / params.row_tiles;
    return Place(groups / params.groups, groups % params.groups, rows % params.row_tiles * ROWS, columns * COLUMNS);
}

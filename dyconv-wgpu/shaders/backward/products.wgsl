// A tile of a product of matrices: 64 rows × 64 columns per workgroup, 16 products at a time through workgroup memory,
// and 8 × 8 sums per thread in registers.

const ROWS: u32 = 64u;
const COLUMNS: u32 = 64u;
const DEPTH: u32 = 16u;
const THREADS: u32 = 64u;
const ROW_QUADS: u32 = ROWS / 4u;
const COLUMN_QUADS: u32 = COLUMNS / 4u;
// Threads side by side; each has two quads of columns.
const THREAD_COLUMNS: u32 = COLUMNS / 8u;

// [product][row] and [product][column], four neighbours to an element.
var<workgroup> row_tile: array<vec4<f32>, DEPTH * ROW_QUADS>;
var<workgroup> column_tile: array<vec4<f32>, DEPTH * COLUMN_QUADS>;

// Four columns of eight rows.
struct Columns {
    low: mat4x4<f32>,
    high: mat4x4<f32>,
}

// A thread's sums: eight rows, and two quads of columns that are half a tile apart.
struct Sums {
    left: Columns,
    right: Columns,
}

fn multiply(thread: u32, sums: ptr<function, Sums>) {
    let row = thread / THREAD_COLUMNS * 2u;
    let column = thread % THREAD_COLUMNS;
    for (var k = 0u; k < DEPTH; k++) {
        let low = row_tile[k * ROW_QUADS + row];
        let high = row_tile[k * ROW_QUADS + row + 1u];
        let left = column_tile[k * COLUMN_QUADS + column];
        let right = column_tile[k * COLUMN_QUADS + column + THREAD_COLUMNS];
        (*sums).left.low[0] += low * left.x;
        (*sums).left.low[1] += low * left.y;
        (*sums).left.low[2] += low * left.z;
        (*sums).left.low[3] += low * left.w;
        (*sums).left.high[0] += high * left.x;
        (*sums).left.high[1] += high * left.y;
        (*sums).left.high[2] += high * left.z;
        (*sums).left.high[3] += high * left.w;
        (*sums).right.low[0] += low * right.x;
        (*sums).right.low[1] += low * right.y;
        (*sums).right.low[2] += low * right.z;
        (*sums).right.low[3] += low * right.w;
        (*sums).right.high[0] += high * right.x;
        (*sums).right.high[1] += high * right.y;
        (*sums).right.high[2] += high * right.z;
        (*sums).right.high[3] += high * right.w;
    }
}

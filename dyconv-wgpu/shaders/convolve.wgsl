// Step 4 of the layer: an implicit GEMM per kernel and group. Rows are output channels, columns are output
// pixels (of all samples that share the kernel), the depth is [tap][input channel].
//
// A workgroup makes a ROWS × COLUMNS tile, a step of DEPTH products at a time: kernel panels and gathered
// input pass through workgroup memory, each thread keeps a ROW_BLOCK × COLUMN_BLOCK tile in registers. The
// constants and the unrolled bodies in #-markers come from the host: WGSL can't size register tiles otherwise.
// Where there are few tiles, several workgroups share one, each with a slice of the steps; `join` adds those. Sums too
// long for one dispatch take several, which add to their slices' parts.
//
// Kernels lie as [group][panel][depth][PANEL]: panels of 8 output channels, so that every tile reads them
// in whole vec4s and one packed order serves all tiles.

// #constants
const THREADS: u32 = (ROWS / ROW_BLOCK) * (COLUMNS / COLUMN_BLOCK);
const PANEL: u32 = 8u;
const ROW_QUADS: u32 = ROWS / 4u;
const COLUMN_QUADS: u32 = COLUMNS / 4u;
const THREAD_COLUMNS: u32 = COLUMNS / COLUMN_BLOCK;

var<workgroup> kernel_tile: array<vec4<f32>, DEPTH * ROW_QUADS>;
var<workgroup> input_tile: array<vec4<f32>, DEPTH * COLUMN_QUADS>;

@compute @workgroup_size(THREADS)
fn convolve(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    var number = workgroup_number(id, grid);
    let column_tile = number % params.column_tiles;
    let first_column = column_tile * COLUMNS;
    number /= params.column_tiles;
    let first_row = number % params.row_tiles * ROWS;
    number /= params.row_tiles;
    let slice = number % params.slices;
    number /= params.slices;
    let group = number % params.groups;
    let kernel = number / params.groups;
    if kernel >= params.kernels {
        return;
    }
    let columns = locate(kernel, group, first_column + thread % COLUMN_QUADS * 4u);
    let interior = is_interior(first_column);
    let thread_row = thread / THREAD_COLUMNS * ROW_BLOCK;
    let thread_column = thread % THREAD_COLUMNS;
    let first_step = params.first + slice * params.slice_steps;
    let end_step = min(first_step + params.slice_steps, params.end);
    var at = start(first_step, thread);
    // #declare
    for (var step = first_step; step < end_step; step++) {
        load_kernel(thread, kernel, group, first_row, at.first);
        gather(thread, columns, interior, at);
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) {
            // #multiply
        }
        workgroupBarrier();
        at = next(at);
    }
    var tile: array<vec4<f32>, ROW_BLOCK * COLUMN_BLOCK / 4u>;
    // #collect
    var row_sums: array<vec4<f32>, ROW_BLOCK / 4u>;
    var places: array<u32, COLUMN_BLOCK>;
    for (var c = 0u; c < COLUMN_BLOCK; c++) {
        places[c] = slice * params.slice_stride
            + place(kernel, first_column + column_of(thread_column, c));
    }
    for (var r = 0u; r < ROW_BLOCK; r++) {
        let row = first_row + thread_row + r;
        if row >= params.rows {
            break;
        }
        let channel = group * params.rows + row;
        let terms = terms_of(kernel, channel);
        for (var c = 0u; c < COLUMN_BLOCK; c++) {
            if first_column + column_of(thread_column, c) < params.samples * params.pixels {
                let sum = tile[r * (COLUMN_BLOCK / 4u) + c / 4u][c % 4u];
                row_sums[r / 4u][r % 4u] += finish(sum, terms, places[c] + channel * params.output_channel);
            }
        }
    }
    if (params.flags & EMITS) == 0u {
        return;
    }
    for (var q = 0u; q < ROW_BLOCK / 4u; q++) {
        kernel_tile[(thread_row / 4u + q) * THREAD_COLUMNS + thread_column] = row_sums[q];
    }
    workgroupBarrier();
    emit(thread, kernel, group, first_row, column_tile);
}

fn load_kernel(thread: u32, kernel: u32, group: u32, first_row: u32, first: u32) {
    let reduction = params.kernel_height * params.kernel_width * params.depth;
    let panels = (params.rows + PANEL - 1u) / PANEL;
    for (var i = thread; i < DEPTH * ROW_QUADS; i += THREADS) {
        let half = i % 2u;
        let k = i / 2u % DEPTH;
        let local_panel = i / (2u * DEPTH);
        let panel = first_row / PANEL + local_panel;
        var value = vec4(0.0);
        if panel < panels && first + k < reduction {
            value = kernel_quad(kernel, ((group * panels + panel) * reduction + first + k) * 2u + half);
        }
        kernel_tile[k * ROW_QUADS + local_panel * 2u + half] = value;
    }
}

// A tile's column, of those that a thread has.
fn column_of(thread_column: u32, c: u32) -> u32 {
    return (c / 4u * THREAD_COLUMNS + thread_column) * 4u + c % 4u;
}

// Where a column's outputs lie, from the output's start: that of channel 0.
fn place(kernel: u32, column: u32) -> u32 {
    return place_of(column / params.pixels + kernel * params.samples, 0u, column % params.pixels);
}

// Writes the tile's channel sums, [kernel][channel][column tile], from what the threads of a row summed:
// it lies in kernel_tile as [row quad][thread column].
fn emit(thread: u32, kernel: u32, group: u32, first_row: u32, column_tile: u32) {
    if thread >= ROW_QUADS {
        return;
    }
    var sum = vec4(0.0);
    for (var c = 0u; c < THREAD_COLUMNS; c++) {
        sum += kernel_tile[thread * THREAD_COLUMNS + c];
    }
    for (var r = 0u; r < 4u; r++) {
        let row = first_row + thread * 4u + r;
        if row < params.rows {
            let channel = kernel * params.groups * params.rows + group * params.rows + row;
            sums[channel * params.column_tiles + column_tile] = sum[r];
        }
    }
}

// Step 4 of the layer: an implicit GEMM per kernel and group. Rows are output channels, columns are output
// pixels (of all samples that share the kernel), the depth is [tap][input channel].
//
// A workgroup makes a ROWS × COLUMNS tile, DEPTH products at a time: kernel panels and gathered input pass
// through workgroup memory, each thread keeps a ROW_BLOCK × COLUMN_BLOCK tile in registers. The constants
// and the unrolled bodies in #-markers come from the host: WGSL can't size register tiles otherwise.
//
// Kernels lie as [group][panel][depth][PANEL]: panels of 8 output channels, so that every tile reads them
// in whole vec4s and one packed order serves all tiles.

const THREADS: u32 = (ROWS / ROW_BLOCK) * (COLUMNS / COLUMN_BLOCK);
const PANEL: u32 = 8u;
const ROW_QUADS: u32 = ROWS / 4u;
const COLUMN_QUADS: u32 = COLUMNS / 4u;
const THREAD_COLUMNS: u32 = COLUMNS / COLUMN_BLOCK;
// Products that one thread gathers per step, four columns each.
const GATHERED: u32 = DEPTH * COLUMN_QUADS / THREADS;

@group(0) @binding(2) var<storage, read> kernels: array<vec4<f32>>;

var<workgroup> kernel_tile: array<vec4<f32>, DEPTH * ROW_QUADS>;
var<workgroup> input_tile: array<vec4<f32>, DEPTH * COLUMN_QUADS>;

// Four neighbouring columns: where their samples start, and the input pixel of the first tap.
struct Columns {
    start: vec4<u32>,
    y: vec4<i32>,
    x: vec4<i32>,
    inside: vec4<bool>,
}

@compute @workgroup_size(THREADS)
fn convolve(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    var number = workgroup_number(id, grid);
    let first_column = number % params.column_tiles * COLUMNS;
    number /= params.column_tiles;
    let first_row = number % params.row_tiles * ROWS;
    number /= params.row_tiles;
    let group = number % params.groups;
    let kernel = number / params.groups;
    if kernel >= params.kernels {
        return;
    }
    let reduction = params.kernel_height * params.kernel_width * params.depth;
    let columns = locate(kernel, group, first_column + thread % COLUMN_QUADS * 4u);
    let thread_row = thread / THREAD_COLUMNS * ROW_BLOCK;
    let thread_column = thread % THREAD_COLUMNS;
    // #declare
    for (var done = params.first; done < params.end; done += DEPTH) {
        load_kernel(thread, kernel, group, first_row, done, reduction);
        gather_input(thread, columns, done, reduction);
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) {
            // #multiply
        }
        workgroupBarrier();
    }
    var tile: array<vec4<f32>, ROW_BLOCK * COLUMN_BLOCK / 4u>;
    // #collect
    for (var r = 0u; r < ROW_BLOCK; r++) {
        let row = first_row + thread_row + r;
        if row >= params.rows {
            break;
        }
        for (var c = 0u; c < COLUMN_BLOCK; c++) {
            let column = first_column + (c / 4u * THREAD_COLUMNS + thread_column) * 4u + c % 4u;
            if column < params.samples * params.pixels {
                store(tile[r * (COLUMN_BLOCK / 4u) + c / 4u][c % 4u], kernel, group * params.rows + row, column);
            }
        }
    }
}

fn locate(kernel: u32, group: u32, first: u32) -> Columns {
    let column = vec4(first, first + 1u, first + 2u, first + 3u);
    let sample = column / params.pixels + kernel * params.samples;
    let pixel = column % params.pixels;
    let sample_stride = params.groups * params.depth * params.input_height * params.input_width;
    let start = params.input_base + group * params.depth * params.input_channel;
    return Columns(
        start + sample * sample_stride,
        vec4<i32>(pixel / params.output_width * params.stride_height) - params.padding_top,
        vec4<i32>(pixel % params.output_width * params.stride_width) - params.padding_left,
        column < vec4(params.samples * params.pixels),
    );
}

fn load_kernel(thread: u32, kernel: u32, group: u32, first_row: u32, done: u32, reduction: u32) {
    let panels = (params.rows + PANEL - 1u) / PANEL;
    let base = (params.kernel_base + kernel * params.kernel_stride) / 4u + group * panels * reduction * 2u;
    for (var i = thread; i < DEPTH * ROW_QUADS; i += THREADS) {
        let half = i % 2u;
        let k = i / 2u % DEPTH;
        let local_panel = i / (2u * DEPTH);
        let panel = first_row / PANEL + local_panel;
        var value = vec4(0.0);
        if panel < panels && done + k < reduction {
            value = kernels[base + (panel * reduction + done + k) * 2u + half];
        }
        kernel_tile[k * ROW_QUADS + local_panel * 2u + half] = value;
    }
}

fn gather_input(thread: u32, columns: Columns, done: u32, reduction: u32) {
    let local = thread / COLUMN_QUADS * GATHERED;
    let tap = (done + local) / params.depth;
    var channel = (done + local) % params.depth;
    var ky = tap / params.kernel_width;
    var kx = tap % params.kernel_width;
    for (var i = 0u; i < GATHERED; i++) {
        let y = columns.y + i32(ky * params.dilation_height);
        let x = columns.x + i32(kx * params.dilation_width);
        let inside = columns.inside & (y >= vec4(0)) & (y < vec4(i32(params.input_height)))
            & (x >= vec4(0)) & (x < vec4(i32(params.input_width)))
            & vec4(done + local + i < reduction);
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

fn store(sum: f32, kernel: u32, channel: u32, column: u32) {
    let sample = column / params.pixels + kernel * params.samples;
    let channels = params.groups * params.rows;
    let index = sample * channels * params.pixels + channel * params.output_channel
        + column % params.pixels * params.output_pixel;
    finish(sum, kernel, channel, index);
}

fn kernel_element(index: u32) -> f32 {
    let at = params.kernel_base + index;
    return kernels[at / 4u][at % 4u];
}

// Step 4, backwards, for the kernels: dW~ = g · im2col(x)ᵀ, an implicit GEMM per kernel and group. Rows are output
// channels, columns are [tap][input channel], and the products run over the output pixels of all samples that share
// the kernel.
//
// What is written lies as the kernels do, [group][panel][tap][input channel][PANEL]; rows beyond a group's last are 0.

const PANEL: u32 = 8u;

@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read> input: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<vec4<f32>>;

// Four neighbouring columns: where their channels start, and the input pixel that output pixel 0 takes.
struct Columns {
    channel: vec4<u32>,
    y: vec4<i32>,
    x: vec4<i32>,
    inside: vec4<bool>,
}

@compute @workgroup_size(THREADS)
fn convolve_kernels_backward(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let place = tile_of(workgroup_number(id, grid));
    if place.kernel >= params.kernels {
        return;
    }
    let columns = locate(place, place.first_column + thread % COLUMN_QUADS * 4u);
    var sums: Sums;
    for (var done = params.first; done < params.end; done += DEPTH) {
        load_gradient(thread, place, done);
        gather_input(thread, place, columns, done);
        workgroupBarrier();
        multiply(thread, &sums);
        workgroupBarrier();
    }
    let panel = place.first_row / PANEL + thread / COLUMN_QUADS;
    let column = place.first_column + thread % COLUMN_QUADS * 4u;
    for (var c = 0u; c < 4u; c++) {
        store(place, panel, column + c, sums.low[c], sums.high[c]);
    }
}

fn reduction() -> u32 {
    return params.kernel_height * params.kernel_width * params.depth;
}

fn locate(place: Place, first: u32) -> Columns {
    let column = vec4(first, first + 1u, first + 2u, first + 3u);
    let channel = place.group * params.depth + column % params.depth;
    let tap = column / params.depth;
    return Columns(
        channel * params.input_channel,
        vec4<i32>(tap / params.kernel_width * params.dilation_height) - params.padding_top,
        vec4<i32>(tap % params.kernel_width * params.dilation_width) - params.padding_left,
        column < vec4(reduction()),
    );
}

// The sample and output pixel of a product; the sample may be beyond the last.
fn product(place: Place, index: u32) -> vec2<u32> {
    let pixels = params.output_height * params.output_width;
    return vec2(place.kernel * params.samples + index / pixels, index % pixels);
}

// Whether there is such a product: the last kernel may have fewer samples.
fn exists(index: u32, at: vec2<u32>) -> bool {
    return index < params.end && at.x < params.batch;
}

fn load_gradient(thread: u32, place: Place, done: u32) {
    let sample_stride = params.groups * params.rows * params.output_height * params.output_width;
    for (var i = thread; i < DEPTH * ROW_QUADS; i += THREADS) {
        let index = done + i % DEPTH;
        let at = product(place, index);
        let row = vec4(place.first_row + i / DEPTH * 4u) + vec4(0u, 1u, 2u, 3u);
        let inside = (row < vec4(params.rows)) & vec4(exists(index, at));
        let start = params.gradient_base + at.x * sample_stride + at.y * params.gradient_pixel;
        let safe = select(vec4(0u), start + (place.group * params.rows + row) * params.gradient_channel, inside);
        let value = vec4(gradient[safe.x], gradient[safe.y], gradient[safe.z], gradient[safe.w]);
        row_tile[i % DEPTH * ROW_QUADS + i / DEPTH] = select(vec4(0.0), value, inside);
    }
}

fn gather_input(thread: u32, place: Place, columns: Columns, done: u32) {
    let sample_stride = params.groups * params.depth * params.input_height * params.input_width;
    for (var local = thread / COLUMN_QUADS; local < DEPTH; local += THREADS / COLUMN_QUADS) {
        let at = product(place, done + local);
        let y = columns.y + i32(at.y / params.output_width * params.stride_height);
        let x = columns.x + i32(at.y % params.output_width * params.stride_width);
        let inside = columns.inside & (y >= vec4(0)) & (y < vec4(i32(params.input_height)))
            & (x >= vec4(0)) & (x < vec4(i32(params.input_width))) & vec4(exists(done + local, at));
        let pixel = vec4<u32>(y) * params.input_width + vec4<u32>(x);
        let start = params.input_base + at.x * sample_stride;
        let safe = select(vec4(0u), start + columns.channel + pixel * params.input_pixel, inside);
        let value = vec4(input[safe.x], input[safe.y], input[safe.z], input[safe.w]);
        column_tile[local * COLUMN_QUADS + thread % COLUMN_QUADS] = select(vec4(0.0), value, inside);
    }
}

fn store(place: Place, panel: u32, column: u32, low: vec4<f32>, high: vec4<f32>) {
    let panels = (params.rows + PANEL - 1u) / PANEL;
    if panel >= panels || column >= reduction() {
        return;
    }
    let at = place.kernel * params.kernel_stride / 4u
        + ((place.group * panels + panel) * reduction() + column) * 2u;
    if params.first > 0u {
        output[at] += low;
        output[at + 1u] += high;
    } else {
        output[at] = low;
        output[at + 1u] = high;
    }
}

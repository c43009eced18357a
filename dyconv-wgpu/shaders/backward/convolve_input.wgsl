// Step 4, backwards, for the input: dx = W~ᵀ ⋆ g, an implicit GEMM per kernel and group, and then the pool's share and
// what reaches the input by other ways. Rows are input channels, columns are input pixels (of all samples that share
// the kernel), and the products run over [tap][output channel], whole panels of them.
//
// Kernels lie as the forward reads them, [group][panel][tap][input channel][PANEL]: eight output channels, products
// here, are neighbours.

const HAS_SHARE: u32 = 1u;
const HAS_OTHER: u32 = 2u;
const PANEL: u32 = 8u;

@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read> kernels: array<f32>;
// dz [N, Cin], by way of the attention.
@group(0) @binding(3) var<storage, read> share: array<f32>;
@group(0) @binding(4) var<storage, read> other: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

// Four neighbouring columns: where their samples' gradients start, and their pixels in the padded input.
struct Columns {
    start: vec4<u32>,
    y: vec4<i32>,
    x: vec4<i32>,
    inside: vec4<bool>,
}

@compute @workgroup_size(THREADS)
fn convolve_input_backward(
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
        load_kernel(thread, place, done);
        load_gradient(thread, place, columns, done);
        workgroupBarrier();
        multiply(thread, &sums);
        workgroupBarrier();
    }
    let row = place.first_row + thread / COLUMN_QUADS * PANEL;
    let column = place.first_column + thread % COLUMN_QUADS * 4u;
    for (var c = 0u; c < 4u; c++) {
        for (var r = 0u; r < PANEL; r++) {
            let sum = select(sums.low[c][r % 4u], sums.high[c][r % 4u], r >= 4u);
            store(place, row + r, column + c, sum);
        }
    }
}

fn padded_rows() -> u32 {
    return (params.rows + PANEL - 1u) / PANEL * PANEL;
}

fn locate(place: Place, first: u32) -> Columns {
    let pixels = params.input_height * params.input_width;
    let column = vec4(first, first + 1u, first + 2u, first + 3u);
    let sample = column / pixels + place.kernel * params.samples;
    let pixel = column % pixels;
    let sample_stride = params.groups * params.rows * params.output_height * params.output_width;
    return Columns(
        params.gradient_base + place.group * params.rows * params.gradient_channel + sample * sample_stride,
        vec4<i32>(pixel / params.input_width) + params.padding_top,
        vec4<i32>(pixel % params.input_width) + params.padding_left,
        column < vec4(params.samples * pixels),
    );
}

fn load_kernel(thread: u32, place: Place, done: u32) {
    let taps = params.kernel_height * params.kernel_width;
    let rows = padded_rows();
    let base = place.kernel * params.kernel_stride + place.group * rows * taps * params.depth;
    for (var i = thread; i < DEPTH * ROW_QUADS; i += THREADS) {
        let product = done + i % DEPTH;
        let quad = i / DEPTH;
        let channel = place.first_row + quad * 4u;
        let tap = product / rows;
        let row = product % rows;
        let at = base + ((row / PANEL * taps + tap) * params.depth + channel) * PANEL + row % PANEL;
        let inside = (vec4(channel) + vec4(0u, 1u, 2u, 3u) < vec4(params.depth)) & vec4(tap < taps);
        let safe = select(vec4(0u), vec4(at) + vec4(0u, 1u, 2u, 3u) * PANEL, inside);
        let value = vec4(kernels[safe.x], kernels[safe.y], kernels[safe.z], kernels[safe.w]);
        row_tile[i % DEPTH * ROW_QUADS + quad] = select(vec4(0.0), value, inside);
    }
}

fn load_gradient(thread: u32, place: Place, columns: Columns, done: u32) {
    let rows = padded_rows();
    let stride = vec2<i32>(vec2(params.stride_height, params.stride_width));
    for (var local = thread / COLUMN_QUADS; local < DEPTH; local += THREADS / COLUMN_QUADS) {
        let tap = (done + local) / rows;
        let row = (done + local) % rows;
        // The output whose tap this pixel is: stride · output = pixel − dilation · tap.
        let y = columns.y - i32(tap / params.kernel_width * params.dilation_height);
        let x = columns.x - i32(tap % params.kernel_width * params.dilation_width);
        let inside = columns.inside & (y >= vec4(0)) & (x >= vec4(0))
            & (y % stride.x == vec4(0)) & (x % stride.y == vec4(0))
            & (y / stride.x < vec4(i32(params.output_height))) & (x / stride.y < vec4(i32(params.output_width)))
            & vec4(row < params.rows) & vec4(tap < params.kernel_height * params.kernel_width);
        let pixel = vec4<u32>(y / stride.x) * params.output_width + vec4<u32>(x / stride.y);
        let at = columns.start + row * params.gradient_channel + pixel * params.gradient_pixel;
        let safe = select(vec4(0u), at, inside);
        let value = vec4(gradient[safe.x], gradient[safe.y], gradient[safe.z], gradient[safe.w]);
        column_tile[local * COLUMN_QUADS + thread % COLUMN_QUADS] = select(vec4(0.0), value, inside);
    }
}

fn store(place: Place, row: u32, column: u32, sum: f32) {
    let pixels = params.input_height * params.input_width;
    if row >= params.depth || column >= params.samples * pixels {
        return;
    }
    let channel = place.group * params.depth + row;
    let sample = column / pixels + place.kernel * params.samples;
    let last = params.kernel_height * params.kernel_width * padded_rows();
    finish(sample, channel, column % pixels, sum, params.end >= last);
}

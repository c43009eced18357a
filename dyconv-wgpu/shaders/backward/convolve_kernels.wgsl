// Step 4, backwards, for the kernels: dW~ = g · im2col(x)ᵀ, an implicit GEMM per section, kernel and group. Rows are
// output channels, columns are [tap][input channel], and the products run over the output pixels of all samples that
// share the kernel, a section of them at a time.
//
// What is written lies as the kernels do, [kernel][section] of [group][panel][tap][input channel][PANEL]; rows beyond
// a group's last are 0.

const PANEL: u32 = 8u;

@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read> input: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<vec4<f32>>;

// Which tile of which group, section and kernel a workgroup makes.
struct Place {
    kernel: u32,
    section: u32,
    group: u32,
    first_row: u32,
    first_column: u32,
}

// A product: an output pixel of a sample, and its number, by which it is beyond the last or not.
struct Product {
    number: u32,
    sample: u32,
    y: u32,
    x: u32,
}

// Four neighbouring columns: where their channels start, and the input pixel that output pixel 0 takes.
struct Weights {
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
    let weights = locate(place, place.first_column + thread % COLUMN_QUADS * 4u);
    let start = place.section * params.section;
    let products = params.samples * params.output_height * params.output_width;
    let end = min(start + params.end, products);
    // Of those that this thread loads: one gradient's, and the first of four inputs'.
    var of_gradient = product(start + params.first + thread % DEPTH);
    var of_input = product(start + params.first + thread / COLUMN_QUADS);
    let hop = product(THREADS / COLUMN_QUADS);
    let step = product(DEPTH);
    var sums: Sums;
    for (var done = start + params.first; done < end; done += DEPTH) {
        load_gradient(thread, place, of_gradient, end);
        gather_input(thread, place, weights, of_input, hop, end);
        workgroupBarrier();
        multiply(thread, &sums);
        workgroupBarrier();
        of_gradient = plus(of_gradient, step);
        of_input = plus(of_input, step);
    }
    let panel = place.first_row / PANEL + thread / THREAD_COLUMNS;
    let column = place.first_column + thread % THREAD_COLUMNS * 4u;
    store_quad(place, panel, column, sums.left);
    store_quad(place, panel, column + COLUMNS / 2u, sums.right);
}

fn tile_of(workgroup: u32) -> Place {
    var rest = workgroup;
    let column = rest % params.column_tiles * COLUMNS;
    rest /= params.column_tiles;
    let row = rest % params.row_tiles * ROWS;
    rest /= params.row_tiles;
    let group = rest % params.groups;
    rest /= params.groups;
    return Place(rest / params.sections, rest % params.sections, group, row, column);
}

fn reduction() -> u32 {
    return params.kernel_height * params.kernel_width * params.depth;
}

fn product(number: u32) -> Product {
    let pixels = params.output_height * params.output_width;
    let pixel = number % pixels;
    return Product(number, number / pixels, pixel / params.output_width, pixel % params.output_width);
}

// The product so many further on: counted on, since a division costs more than its products.
fn plus(at: Product, step: Product) -> Product {
    var to = Product(at.number + step.number, at.sample + step.sample, at.y + step.y, at.x + step.x);
    if to.x >= params.output_width {
        to.x -= params.output_width;
        to.y++;
    }
    if to.y >= params.output_height {
        to.y -= params.output_height;
        to.sample++;
    }
    return to;
}

fn locate(place: Place, first: u32) -> Weights {
    let column = vec4(first, first + 1u, first + 2u, first + 3u);
    let channel = place.group * params.depth + column % params.depth;
    let tap = column / params.depth;
    return Weights(
        channel * params.input_channel,
        vec4<i32>(tap / params.kernel_width * params.dilation_height) - params.padding_top,
        vec4<i32>(tap % params.kernel_width * params.dilation_width) - params.padding_left,
        column < vec4(reduction()),
    );
}

fn load_gradient(thread: u32, place: Place, at: Product, end: u32) {
    let sample_stride = params.groups * params.rows * params.output_height * params.output_width;
    let sample = place.kernel * params.samples + at.sample;
    let pixel = at.y * params.output_width + at.x;
    let start = params.gradient_base + sample * sample_stride + pixel * params.gradient_pixel;
    let exists = vec4(at.number < end);
    for (var quad = thread / DEPTH; quad < ROW_QUADS; quad += THREADS / DEPTH) {
        let row = vec4(place.first_row + quad * 4u) + vec4(0u, 1u, 2u, 3u);
        let inside = (row < vec4(params.rows)) & exists;
        let safe = select(vec4(0u), start + (place.group * params.rows + row) * params.gradient_channel, inside);
        let value = vec4(gradient[safe.x], gradient[safe.y], gradient[safe.z], gradient[safe.w]);
        row_tile[thread % DEPTH * ROW_QUADS + quad] = select(vec4(0.0), value, inside);
    }
}

fn gather_input(thread: u32, place: Place, weights: Weights, first: Product, hop: Product, end: u32) {
    let sample_stride = params.groups * params.depth * params.input_height * params.input_width;
    var at = first;
    for (var local = thread / COLUMN_QUADS; local < DEPTH; local += THREADS / COLUMN_QUADS) {
        let y = weights.y + i32(at.y * params.stride_height);
        let x = weights.x + i32(at.x * params.stride_width);
        let inside = weights.inside & vec4(at.number < end)
            & (y >= vec4(0)) & (y < vec4(i32(params.input_height)))
            & (x >= vec4(0)) & (x < vec4(i32(params.input_width)));
        let pixel = vec4<u32>(y) * params.input_width + vec4<u32>(x);
        let start = params.input_base + (place.kernel * params.samples + at.sample) * sample_stride;
        let safe = select(vec4(0u), start + weights.channel + pixel * params.input_pixel, inside);
        let value = vec4(input[safe.x], input[safe.y], input[safe.z], input[safe.w]);
        column_tile[local * COLUMN_QUADS + thread % COLUMN_QUADS] = select(vec4(0.0), value, inside);
        at = plus(at, hop);
    }
}

fn store_quad(place: Place, panel: u32, first: u32, columns: Columns) {
    let panels = (params.rows + PANEL - 1u) / PANEL;
    let start = (place.kernel * params.sections + place.section) * params.kernel_stride / 4u
        + (place.group * panels + panel) * reduction() * 2u;
    var low = columns.low;
    var high = columns.high;
    for (var c = 0u; c < 4u; c++) {
        if panel >= panels || first + c >= reduction() {
            return;
        }
        let at = start + (first + c) * 2u;
        if params.first > 0u {
            output[at] += low[c];
            output[at + 1u] += high[c];
        } else {
            output[at] = low[c];
            output[at + 1u] = high[c];
        }
    }
}

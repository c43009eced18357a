// Step 4, backwards, for the input: dx = W~ᵀ ⋆ g, an implicit GEMM per kernel and group, and then the pool's share and
// what reaches the input by other ways. Rows are input channels, columns are input pixels (of all samples that share
// the kernel), and the products run over taps and output channels.
//
// With a stride only some taps reach a pixel, the same ones for every stride-th: pixels are taken phase by phase,
// and a tile has pixels of one phase. Nothing is multiplied by the zeros in between.
//
// Kernels lie as the forward reads them, [group][panel][tap][input channel][PANEL]: eight output channels, products
// here, are neighbours. A step of 16 products is two *units* of a tap and a panel.

const HAS_SHARE: u32 = 1u;
const HAS_OTHER: u32 = 2u;
const PANEL: u32 = 8u;

@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read> kernels: array<f32>;
// dz [N, Cin], by way of the attention.
@group(0) @binding(3) var<storage, read> share: array<f32>;
@group(0) @binding(4) var<storage, read> other: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

// Which tile of which phase, group and kernel a workgroup makes.
struct Place {
    kernel: u32,
    group: u32,
    phase: vec2<u32>,
    first_row: u32,
    first_column: u32,
}

// The taps that reach a phase, vertically and horizontally: the first, how many there are, and the output pixel that
// the phase's first pixel is of by way of the first.
struct Taps {
    first: vec2<u32>,
    count: vec2<u32>,
    output: vec2<i32>,
}

// Eight output channels of one tap, which counts through the phase's own.
struct Unit {
    panel: u32,
    tap: vec2<u32>,
    inside: bool,
}

// Four neighbouring columns: where their samples' gradients start, and their places among the phase's pixels.
struct Pixels {
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
    let taps = taps_of(place.phase);
    let pixels = locate(place, place.first_column + thread % COLUMN_QUADS * 4u);
    let units = taps.count.x * taps.count.y * panels();
    let end = min(params.end / PANEL, units);
    var unit = unit_of(params.first / PANEL, taps);
    var sums: Sums;
    for (var done = params.first / PANEL; done < end; done += 2u) {
        var second = next(unit, taps);
        second.inside = done + 1u < end;
        // Each thread loads of one unit, or of one and then of the other.
        load_kernel(thread, place, taps, unit, second);
        load_gradient(thread, place, taps, pixels, unit, second);
        workgroupBarrier();
        multiply(thread, &sums);
        workgroupBarrier();
        unit = next(second, taps);
    }
    let column = thread % THREAD_COLUMNS * 4u;
    store_quad(thread, place, column, sums.left);
    store_quad(thread, place, column + COLUMNS / 2u, sums.right);
}

fn panels() -> u32 {
    return (params.rows + PANEL - 1u) / PANEL;
}

fn tile_of(workgroup: u32) -> Place {
    var rest = workgroup;
    let column = rest % params.column_tiles * COLUMNS;
    rest /= params.column_tiles;
    let row = rest % params.row_tiles * ROWS;
    rest /= params.row_tiles;
    let x = rest % params.phases_width;
    rest /= params.phases_width;
    let y = rest % params.phases_height;
    rest /= params.phases_height;
    return Place(rest / params.groups, rest % params.groups, vec2(y, x), row, column);
}

fn taps_of(phase: vec2<u32>) -> Taps {
    let kernel = vec2(params.kernel_height, params.kernel_width);
    let stride = vec2(params.stride_height, params.stride_width);
    let dilation = vec2(params.dilation_height, params.dilation_width);
    let padded = vec2<i32>(phase) + vec2(params.padding_top, params.padding_left);
    let hop = vec2(params.tap_step_height, params.tap_step_width);
    var taps: Taps;
    for (var axis = 0u; axis < 2u; axis++) {
        for (var tap = 0u; tap < min(hop[axis], kernel[axis]); tap++) {
            let distance = padded[axis] - i32(tap * dilation[axis]);
            if distance % i32(stride[axis]) == 0 {
                taps.first[axis] = tap;
                taps.count[axis] = (kernel[axis] - tap + hop[axis] - 1u) / hop[axis];
                taps.output[axis] = distance / i32(stride[axis]);
                break;
            }
        }
    }
    return taps;
}

fn unit_of(index: u32, taps: Taps) -> Unit {
    let tap = index / panels();
    let width = max(taps.count.y, 1u);
    return Unit(index % panels(), vec2(tap / width, tap % width), true);
}

fn next(unit: Unit, taps: Taps) -> Unit {
    var following = Unit(unit.panel + 1u, unit.tap, true);
    if following.panel == panels() {
        following.panel = 0u;
        following.tap.y++;
        if following.tap.y == taps.count.y {
            following.tap = vec2(following.tap.x + 1u, 0u);
        }
    }
    return following;
}

fn chosen(unit: Unit, second: Unit, is_second: bool) -> Unit {
    return Unit(
        select(unit.panel, second.panel, is_second),
        select(unit.tap, second.tap, vec2(is_second)),
        select(unit.inside, second.inside, is_second),
    );
}

// The pixels of one sample that a phase may have: the last may be beyond the image.
fn extents() -> vec2<u32> {
    let phases = vec2(params.phases_height, params.phases_width);
    return (vec2(params.input_height, params.input_width) + phases - 1u) / phases;
}

fn locate(place: Place, first: u32) -> Pixels {
    let extent = extents();
    let column = vec4(first, first + 1u, first + 2u, first + 3u);
    let sample = column / (extent.x * extent.y);
    let pixel = column % (extent.x * extent.y);
    let sample_stride = params.groups * params.rows * params.output_height * params.output_width;
    let start = params.gradient_base + place.group * params.rows * params.gradient_channel;
    return Pixels(
        start + (sample + place.kernel * params.samples) * sample_stride,
        vec4<i32>(pixel / extent.y),
        vec4<i32>(pixel % extent.y),
        sample < vec4(params.samples),
    );
}

fn load_kernel(thread: u32, place: Place, taps: Taps, first: Unit, second: Unit) {
    let local = thread % DEPTH;
    let unit = chosen(first, second, local >= PANEL);
    let all_taps = params.kernel_height * params.kernel_width;
    let tap = taps.first + unit.tap * vec2(params.tap_step_height, params.tap_step_width);
    let panel = place.group * panels() + unit.panel;
    let start = place.kernel * params.kernel_stride + local % PANEL
        + (panel * all_taps + tap.x * params.kernel_width + tap.y) * params.depth * PANEL;
    for (var quad = thread / DEPTH; quad < ROW_QUADS; quad += THREADS / DEPTH) {
        let channel = vec4(place.first_row + quad * 4u) + vec4(0u, 1u, 2u, 3u);
        let inside = (channel < vec4(params.depth)) & vec4(unit.inside);
        let safe = select(vec4(0u), start + channel * PANEL, inside);
        let value = vec4(kernels[safe.x], kernels[safe.y], kernels[safe.z], kernels[safe.w]);
        row_tile[local * ROW_QUADS + quad] = select(vec4(0.0), value, inside);
    }
}

fn load_gradient(thread: u32, place: Place, taps: Taps, pixels: Pixels, first: Unit, second: Unit) {
    let step = vec2<i32>(vec2(params.output_step_height, params.output_step_width));
    for (var local = thread / COLUMN_QUADS; local < DEPTH; local += THREADS / COLUMN_QUADS) {
        let unit = chosen(first, second, local >= PANEL);
        let row = unit.panel * PANEL + local % PANEL;
        let output = taps.output - vec2<i32>(unit.tap) * step;
        let y = pixels.y + output.x;
        let x = pixels.x + output.y;
        let inside = pixels.inside & vec4(unit.inside && row < params.rows)
            & (y >= vec4(0)) & (y < vec4(i32(params.output_height)))
            & (x >= vec4(0)) & (x < vec4(i32(params.output_width)));
        let pixel = vec4<u32>(y) * params.output_width + vec4<u32>(x);
        let at = pixels.start + row * params.gradient_channel + pixel * params.gradient_pixel;
        let safe = select(vec4(0u), at, inside);
        let value = vec4(gradient[safe.x], gradient[safe.y], gradient[safe.z], gradient[safe.w]);
        column_tile[local * COLUMN_QUADS + thread % COLUMN_QUADS] = select(vec4(0.0), value, inside);
    }
}

fn store_quad(thread: u32, place: Place, first: u32, columns: Columns) {
    let extent = extents();
    let products = params.kernel_height * params.kernel_width * panels() * PANEL;
    var low = columns.low;
    var high = columns.high;
    for (var c = 0u; c < 4u; c++) {
        let column = place.first_column + first + c;
        let sample = column / (extent.x * extent.y);
        let pixel = column % (extent.x * extent.y);
        let y = pixel / extent.y * params.phases_height + place.phase.x;
        let x = pixel % extent.y * params.phases_width + place.phase.y;
        if sample >= params.samples || y >= params.input_height || x >= params.input_width {
            continue;
        }
        for (var r = 0u; r < 8u; r++) {
            let row = place.first_row + thread / THREAD_COLUMNS * 8u + r;
            if row < params.depth {
                let sum = select(low[c][r % 4u], high[c][r % 4u], r >= 4u);
                let channel = place.group * params.depth + row;
                let number = sample + place.kernel * params.samples;
                finish(number, channel, y * params.input_width + x, sum, params.end >= products);
            }
        }
    }
}

// Where columns, output pixels counted through all samples that share a kernel, read their input.

// Four neighbouring columns: where their samples' groups start, and the input pixel of the first tap.
struct Columns {
    start: vec4<u32>,
    y: vec4<i32>,
    x: vec4<i32>,
    exists: vec4<bool>,
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

// Which of four columns read a pixel of the input by a tap, and not padding.
fn are_inside(columns: Columns, y: vec4<i32>, x: vec4<i32>) -> vec4<bool> {
    return columns.exists & (y >= vec4(0)) & (y < vec4(i32(params.input_height)))
        & (x >= vec4(0)) & (x < vec4(i32(params.input_width)));
}

// Whether every column of a tile exists and reads no padding by any tap: the same answer for a whole workgroup.
fn is_interior(first: u32) -> bool {
    let last = first + COLUMNS - 1u;
    if last >= params.samples * params.pixels || first / params.pixels != last / params.pixels {
        return false;
    }
    let begin = vec2(first % params.pixels / params.output_width, first % params.pixels % params.output_width);
    let stop = vec2(last % params.pixels / params.output_width, last % params.pixels % params.output_width);
    let is_one_row = begin.x == stop.x;
    let left = select(0u, begin.y, is_one_row);
    let right = select(params.output_width - 1u, stop.y, is_one_row);
    let top = i32(begin.x * params.stride_height) - params.padding_top;
    let bottom = i32(stop.x * params.stride_height + (params.kernel_height - 1u) * params.dilation_height)
        - params.padding_top;
    let start = i32(left * params.stride_width) - params.padding_left;
    let end = i32(right * params.stride_width + (params.kernel_width - 1u) * params.dilation_width)
        - params.padding_left;
    return top >= 0 && bottom < i32(params.input_height) && start >= 0 && end < i32(params.input_width);
}

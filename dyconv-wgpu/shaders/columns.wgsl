// Where columns, output pixels counted through all samples that share a kernel, read their input.

// Four columns: where their samples' groups start, and the input pixel of the first tap.
struct Columns {
    start: vec4<u32>,
    y: vec4<i32>,
    x: vec4<i32>,
    exists: vec4<bool>,
}

fn four_columns(kernel: u32, group: u32, column: vec4<u32>) -> Columns {
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

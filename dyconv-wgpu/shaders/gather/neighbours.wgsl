// A tile's columns: a thread gathers the input of four neighbours.

fn locate(kernel: u32, group: u32, first: u32) -> Columns {
    return four_columns(kernel, group, first + vec4(0u, 1u, 2u, 3u));
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

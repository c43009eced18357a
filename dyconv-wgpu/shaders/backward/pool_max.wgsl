// A maximum over windows, backwards: a pixel gets the gradients of the windows whose maximum it was, row by row; one
// thread per pixel.

@group(0) @binding(1) var<storage, read> chosen: array<u32>;
@group(0) @binding(2) var<storage, read> gradient: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(64)
fn pool_max_backward(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = workgroup_number(id, grid) * 64u + thread;
    if index >= params.count {
        return;
    }
    let place = place_of(index, params.input_height, params.input_width);
    let start = start_of(place, params.output_height, params.output_width);
    let pixel = place.row * params.input_width + place.column;
    // The windows that cover it.
    let bottom = place.row + params.padding_top;
    let right = place.column + params.padding_left;
    let first_row = first_window(bottom, params.window_height, params.stride_height);
    let first_column = first_window(right, params.window_width, params.stride_width);
    let end_row = min(bottom / params.stride_height + 1u, params.output_height);
    let end_column = min(right / params.stride_width + 1u, params.output_width);
    var sum = 0.0;
    for (var y = first_row; y < end_row; y++) {
        for (var x = first_column; x < end_column; x++) {
            let at = start.x + (y * params.output_width + x) * start.y;
            if chosen[params.input_base + at] == pixel {
                sum += gradient[params.gradient_base + at];
            }
        }
    }
    output[params.output_base + index] = sum;
}

fn first_window(position: u32, window: u32, stride: u32) -> u32 {
    return (max(position + 1u, window) - window + stride - 1u) / stride;
}

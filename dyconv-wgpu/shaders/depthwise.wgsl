// Step 4 where every group has one input channel: a unit is one output pixel of a channel.
// Kernels lie as [tap][channel], so that channels-last neighbours read neighbours.

@group(0) @binding(1) var<storage, read> input: array<Word>;

@compute @workgroup_size(64)
fn depthwise(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    place: Place,
) {
    finish_outputs(workgroup_number(id, grid), place);
}

fn finish_unit(sample: u32, channel: u32, pixel: u32, terms: Terms) -> f32 {
    let channels = params.groups * params.rows;
    let taps = sample / params.samples * params.kernel_stride + channel;
    let input_pixels = params.input_height * params.input_width;
    let start = params.input_base + sample * params.groups * input_pixels
        + channel / params.rows * params.input_channel;
    let top = i32(pixel / params.output_width * params.stride_height) - params.padding_top;
    let left = i32(pixel % params.output_width * params.stride_width) - params.padding_left;
    var sum = 0.0;
    for (var ky = params.first / params.kernel_width; ky < params.end / params.kernel_width; ky++) {
        let y = top + i32(ky * params.dilation_height);
        if y < 0 || y >= i32(params.input_height) {
            continue;
        }
        for (var kx = 0u; kx < params.kernel_width; kx++) {
            let x = left + i32(kx * params.dilation_width);
            if x >= 0 && x < i32(params.input_width) {
                let at = start + (u32(y) * params.input_width + u32(x)) * params.input_pixel;
                sum += kernel_floats[taps + (ky * params.kernel_width + kx) * channels]
                    * value_of(input[word_of(at)], at);
            }
        }
    }
    return finish(sum, terms, place_of(sample, channel, pixel));
}

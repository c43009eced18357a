// What the kernels of step 4, backwards, are told: the forward's geometry, and where everything lies.

struct ConvolveBackwardParams {
    input_height: u32,
    input_width: u32,
    output_height: u32,
    output_width: u32,
    // Input channels and output channels of one group.
    depth: u32,
    rows: u32,
    groups: u32,
    kernel_height: u32,
    kernel_width: u32,
    stride_height: u32,
    stride_width: u32,
    dilation_height: u32,
    dilation_width: u32,
    padding_top: i32,
    padding_left: i32,
    // Samples in all, kernels, samples that share one, and sections in which a kernel's gradient is summed.
    batch: u32,
    kernels: u32,
    samples: u32,
    sections: u32,
    // Products of a section.
    section: u32,
    // Phases of the input's pixels, the distance between taps that reach one, and that between the output pixels that
    // such taps are of.
    phases_height: u32,
    phases_width: u32,
    tap_step_height: u32,
    tap_step_width: u32,
    output_step_height: u32,
    output_step_width: u32,
    // The grid of tiles.
    row_tiles: u32,
    column_tiles: u32,
    // Floats from one kernel to the next.
    kernel_stride: u32,
    // Where a tensor starts, and its distances between channels and pixels: of the input or its gradient, and of the
    // output's gradient.
    input_base: u32,
    input_channel: u32,
    input_pixel: u32,
    gradient_base: u32,
    gradient_channel: u32,
    gradient_pixel: u32,
    // What else is added to the input's gradient.
    share_base: u32,
    other_base: u32,
    flags: u32,
    // The products that this dispatch adds; the sum of those before lies in the output.
    first: u32,
    end: u32,
}

@group(0) @binding(0) var<uniform> params: ConvolveBackwardParams;

// Step 4 where every group has one input channel, by windows. A block is one output channel.
// Kernels lie as [tap][channel], so that channels-last neighbours read neighbours.

const ROWS: u32 = 1u;

@compute @workgroup_size(64)
fn depthwise(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    place: Place,
) {
    finish_outputs(workgroup_number(id, grid), place);
}

// Where a block's weights start in a kernel.
fn first_weight(channel: u32) -> u32 {
    return channel;
}

fn add_tap(
    sums: ptr<function, Sums>,
    kernel: u32,
    weights: u32,
    tap: u32,
    at: vec4<u32>,
    inside: vec4<bool>,
) {
    let channels = params.groups * params.rows;
    let weight = kernel_floats[kernel * params.kernel_stride + weights + tap * channels];
    (*sums)[0] += weight * select(vec4(0.0), four_inputs(at), inside);
}

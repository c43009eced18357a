// Step 4 where groups have few output channels (or all of the layer are one such group), by windows. A block is QUADS
// vec4s of a group's output channels: every input is loaded once for all of them, every weight once for four pixels.
// Kernels lie as for tiles, [group][panel][tap][input channel][PANEL].

const PANEL: u32 = 8u;
const ROWS: u32 = 4u * QUADS;

@compute @workgroup_size(64)
fn narrow(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    place: Place,
) {
    finish_outputs(workgroup_number(id, grid), place);
}

// Where a block's weights start in a kernel, in vec4s.
fn first_weight(block: u32) -> u32 {
    let row = block % blocks_of_group() * ROWS;
    let panel = block / blocks_of_group() * ((params.rows + PANEL - 1u) / PANEL) + row / PANEL;
    let reduction = params.kernel_height * params.kernel_width * params.depth;
    return (panel * reduction * PANEL + row % PANEL) / 4u;
}

fn add_tap(
    sums: ptr<function, Sums>,
    kernel: u32,
    weights: u32,
    tap: u32,
    at: vec4<u32>,
    inside: vec4<bool>,
) {
    let first = weights + tap * params.depth * (PANEL / 4u);
    for (var channel = 0u; channel < params.depth; channel++) {
        let inputs = select(vec4(0.0), four_inputs(at + channel * params.input_channel), inside);
        for (var q = 0u; q < QUADS; q++) {
            let quad = kernel_quad(kernel, first + channel * (PANEL / 4u) + q);
            (*sums)[4u * q] += quad.x * inputs;
            (*sums)[4u * q + 1u] += quad.y * inputs;
            (*sums)[4u * q + 2u] += quad.z * inputs;
            (*sums)[4u * q + 3u] += quad.w * inputs;
        }
    }
}

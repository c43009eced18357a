// Step 4, second half, where the kernel before this one left parts: adds the slices of every output's sum in a fixed
// order, and finishes it. A unit is one output pixel of a channel.

const ROWS: u32 = 1u;

@group(0) @binding(1) var<storage, read> slices: array<f32>;

@compute @workgroup_size(64)
fn join(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    place: Place,
) {
    finish_outputs(workgroup_number(id, grid), place);
}

fn finish_unit(sample: u32, channel: u32, pixel: u32) -> array<f32, ROWS> {
    let place = place_of(sample, channel, pixel);
    var sum = 0.0;
    for (var slice = 0u; slice < params.slices; slice++) {
        sum += slices[slice * params.slice_stride + place];
    }
    return array<f32, ROWS>(finish(sum, terms_of(sample / params.samples, channel), place));
}

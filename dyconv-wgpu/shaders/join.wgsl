// Step 4, second half, where several workgroups shared each tile: adds their slices of every output's sum in
// a fixed order, and finishes it. One thread per output, in the output's own order.

@group(0) @binding(1) var<storage, read> slices: array<f32>;

@compute @workgroup_size(64)
fn join(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let channels = params.groups * params.rows;
    let index = workgroup_number(id, grid) * 64u + thread;
    let sample = index / (channels * params.pixels);
    if sample >= params.kernels * params.samples {
        return;
    }
    var sum = 0.0;
    for (var slice = 0u; slice < params.slices; slice++) {
        sum += slices[slice * params.slice_stride + index];
    }
    let channel = index / params.output_channel % channels;
    finish(sum, terms_of(sample / params.samples, channel), index);
}

// Step 7 on its own, where a backward will need what the activation took: one thread per element.

struct ApplyParams {
    count: u32,
    input_base: u32,
    output_base: u32,
    activation: u32,
    slope: f32,
}

@group(0) @binding(0) var<uniform> params: ApplyParams;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(64)
fn apply(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = workgroup_number(id, grid) * 64u + thread;
    if index >= params.count {
        return;
    }
    let value = activate(params.activation, params.slope, input[params.input_base + index]);
    output[params.output_base + index] = value;
}

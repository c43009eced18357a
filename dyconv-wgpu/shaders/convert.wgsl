// The same values stored otherwise: activations that a kernel takes in another form than they have.

struct ConvertParams {
    count: u32,
    input_base: u32,
    output_base: u32,
}

@group(0) @binding(0) var<uniform> params: ConvertParams;
@group(0) @binding(1) var<storage, read> input: array<Word>;
@group(0) @binding(2) var<storage, read_write> output: array<Written>;

@compute @workgroup_size(64)
fn convert(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = workgroup_number(id, grid) * 64u + thread;
    if index < params.count {
        let i = params.input_base + index;
        store(params.output_base + index, value_of(input[word_of(i)], i));
    }
}

// The same tensor in the other layout; one thread per element, in the order of what is written.
// Elements are moved as bits.

struct RelayoutParams {
    count: u32,
    // Extents of what is written, fastest first; samples are the rest.
    inner: u32,
    outer: u32,
    input_base: u32,
    output_base: u32,
}

@group(0) @binding(0) var<uniform> params: RelayoutParams;
@group(0) @binding(1) var<storage, read> input: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<Written>;

@compute @workgroup_size(64)
fn relayout(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = workgroup_number(id, grid) * 64u + thread;
    if index >= params.count {
        return;
    }
    let inner = index % params.inner;
    let outer = index / params.inner % params.outer;
    let sample = index - outer * params.inner - inner;
    let place = params.input_base + sample + inner * params.outer + outer;
    put(params.output_base + index, bits_of(input[word_of(place)], place));
}

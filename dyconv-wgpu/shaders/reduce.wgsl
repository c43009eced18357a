// Sums over the rows of a matrix, one for each column; perhaps onto what is there.
//
// A workgroup takes `lanes` neighbouring columns, and the threads of a column share its rows. The sum's tree
// depends on the extents alone.

struct ReduceParams {
    columns: u32,
    // Columns per workgroup, a power of two up to 64.
    lanes: u32,
    rows: u32,
    input_base: u32,
    output_base: u32,
    add: u32,
}

@group(0) @binding(0) var<uniform> params: ReduceParams;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(64)
fn reduce(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let lane = lane_of(thread, params.lanes, true);
    let column = workgroup_number(id, grid) * params.lanes + lane.number;
    let inside = column < params.columns;
    var sum = 0.0;
    if inside {
        for (var row = lane.sharer; row < params.rows; row += 64u / params.lanes) {
            sum += input[params.input_base + row * params.columns + column];
        }
    }
    var total = tree_sum(thread, sum, lane, params.lanes);
    if inside && lane.sharer == 0u {
        let index = params.output_base + column;
        if params.add != 0u {
            total += output[index];
        }
        output[index] = total;
    }
}

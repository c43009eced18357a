// Sums of squares of the numbers that share a norm, [section][expert][group]. A workgroup takes as many groups as its
// threads can share out.

@group(0) @binding(1) var<storage, read> parameters: array<f32>;
@group(0) @binding(2) var<storage, read_write> squares: array<f32>;

const SECTION: u32 = 4096u;

@compute @workgroup_size(64)
fn sum_squares(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let columns = params.experts * params.groups;
    let lanes = 64u / params.sharers;
    let blocks = (columns + lanes - 1u) / lanes;
    let number = workgroup_number(id, grid);
    let lane = lane_of(thread, lanes, false);
    let column = number % blocks * lanes + lane.number;
    let section = number / blocks;
    let inside = column < columns && section < params.sections;
    var sum = 0.0;
    if inside {
        let end = min((section + 1u) * SECTION, params.members);
        for (var member = section * SECTION + lane.sharer; member < end; member += params.sharers) {
            let w = parameters[position(column / params.groups, coordinates(column % params.groups, member))];
            sum += w * w;
        }
    }
    let total = tree_sum(thread, sum, lane, lanes);
    if inside && lane.sharer == 0u {
        squares[section * columns + column] = total;
    }
}

// Sums of squares of the numbers that share a norm, [section][expert][group]. A workgroup takes as many groups as its
// threads can share out.

@group(0) @binding(1) var<storage, read> parameters: array<f32>;
@group(0) @binding(2) var<storage, read_write> squares: array<f32>;

const SECTION: u32 = 4096u;
var<workgroup> partial: array<f32, 64>;

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
    let column = number % blocks * lanes + thread / params.sharers;
    let section = number / blocks;
    let sharer = thread % params.sharers;
    let inside = column < columns && section < params.sections;
    var sum = 0.0;
    if inside {
        let end = min((section + 1u) * SECTION, params.members);
        for (var member = section * SECTION + sharer; member < end; member += params.sharers) {
            let w = parameters[position(column / params.groups, coordinates(column % params.groups, member))];
            sum += w * w;
        }
    }
    partial[thread] = sum;
    workgroupBarrier();
    for (var step = params.sharers / 2u; step > 0u; step /= 2u) {
        if sharer < step {
            partial[thread] += partial[thread + step];
        }
        workgroupBarrier();
    }
    if inside && sharer == 0u {
        squares[section * columns + column] = partial[thread];
    }
}

// How the threads of a workgroup add and compare what each has: on any device, in workgroup memory.

// Which thread this is.
struct Place {
    @builtin(local_invocation_index) thread: u32,
}

fn sum_across(place: Place, value: f32, lane: Lane, lanes: u32) -> f32 {
    return tree_sum(place.thread, value, lane, lanes);
}

// The largest value of all threads, for all of them.
fn largest_across(place: Place, value: f32) -> f32 {
    let thread = place.thread;
    partial[thread] = value;
    workgroupBarrier();
    for (var step = 32u; step > 0u; step /= 2u) {
        if thread < step && partial[thread + step] > partial[thread] {
            partial[thread] = partial[thread + step];
        }
        workgroupBarrier();
    }
    return partial[0];
}

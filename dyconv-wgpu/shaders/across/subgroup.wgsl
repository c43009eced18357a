// How the threads of a workgroup add and compare what each has: by subgroups, where the device has them. What subgroups
// found goes through workgroup memory in their order, so that there is one barrier instead of seven.
//
// Nothing is assumed of a subgroup's size, nor of which threads are in it: so only values of all 64 threads go this way,
// and those of several lanes by the tree.

// Which thread this is.
struct Place {
    @builtin(local_invocation_index) thread: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
}

fn sum_across(place: Place, value: f32, lane: Lane, lanes: u32) -> f32 {
    if lanes > 1u {
        return tree_sum(place.thread, value, lane, lanes);
    }
    share(place, subgroupAdd(value));
    var sum = partial[0];
    for (var i = 1u; i < place.subgroups; i++) {
        sum += partial[i];
    }
    return sum;
}

// The largest value of all threads, for all of them.
fn largest_across(place: Place, value: f32) -> f32 {
    share(place, subgroupMax(value));
    var largest = partial[0];
    for (var i = 1u; i < place.subgroups; i++) {
        largest = select(largest, partial[i], partial[i] > largest);
    }
    return largest;
}

// What a subgroup found, for all threads.
fn share(place: Place, found: f32) {
    if subgroupBroadcastFirst(place.thread) == place.thread {
        partial[place.subgroup] = found;
    }
    workgroupBarrier();
}

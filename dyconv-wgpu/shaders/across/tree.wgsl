// Values of 64 threads meet in workgroup memory, halving by halving. `lanes`, a power of two, is how many sums there
// are; the 64 / lanes threads of a lane share one. Who comes again has a barrier in between.

var<workgroup> partial: array<f32, 64>;

// A thread's lane, and which of its sharers the thread is.
struct Lane {
    number: u32,
    sharer: u32,
}

// Neighbouring threads take neighbours in memory: lanes, or what the sharers of a lane add.
fn lane_of(thread: u32, lanes: u32, lanes_are_neighbours: bool) -> Lane {
    let sharers = 64u / lanes;
    if lanes_are_neighbours {
        return Lane(thread % lanes, thread / lanes);
    }
    return Lane(thread / sharers, thread % sharers);
}

// The sum over the sharers of a lane, for all of them. Its tree depends on `lanes` alone.
fn tree_sum(thread: u32, value: f32, lane: Lane, lanes: u32) -> f32 {
    partial[lane.sharer * lanes + lane.number] = value;
    workgroupBarrier();
    for (var step = 32u; step >= lanes; step /= 2u) {
        if thread < step {
            partial[thread] += partial[thread + step];
        }
        workgroupBarrier();
    }
    return partial[lane.number];
}

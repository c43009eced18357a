// Values of 64 threads meet in workgroup memory, halving by halving. `lanes`, a power of two, is how many sums there
// are; the 64 / lanes threads of a lane share one. Who comes again has a barrier in between.

var<workgroup> partial: array<f32, 64>;

// The sum over the sharers of a lane, for all of them. Its tree depends on `lanes` alone.
fn tree_sum(thread: u32, value: f32, lane: u32, sharer: u32, lanes: u32) -> f32 {
    partial[sharer * lanes + lane] = value;
    workgroupBarrier();
    for (var step = 32u; step >= lanes; step /= 2u) {
        if thread < step {
            partial[thread] += partial[thread + step];
        }
        workgroupBarrier();
    }
    return partial[lane];
}

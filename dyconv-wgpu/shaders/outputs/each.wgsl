// Who finishes which outputs, where nobody asks for their sums: one thread per unit, in the order of neighbours.

// Which thread this is.
struct Place {
    @builtin(local_invocation_index) thread: u32,
}

fn finish_outputs(number: u32, place: Place) {
    let blocks = params.groups * blocks_of_group();
    let channels_first = params.channels_last == 0u;
    let inner = select(blocks, params.units, channels_first);
    let outer = select(params.units, blocks, channels_first);
    let index = number * 64u + place.thread;
    let rest = index / inner;
    let sample = rest / outer;
    if sample >= params.kernels * params.samples {
        return;
    }
    let block = select(index % inner, rest % outer, channels_first);
    let unit = select(rest % outer, index % inner, channels_first);
    finish_unit(sample, block, unit);
}

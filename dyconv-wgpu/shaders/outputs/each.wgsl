// Who finishes which outputs, where nobody asks for their sums: one thread per unit (a pixel of a channel, or a tile
// of Winograd's), in the order of neighbours.

// Which thread this is.
struct Place {
    @builtin(local_invocation_index) thread: u32,
}

fn finish_outputs(number: u32, place: Place) {
    let channels = params.groups * params.rows;
    let channels_first = params.channels_last == 0u;
    let inner = select(channels, params.units, channels_first);
    let outer = select(params.units, channels, channels_first);
    let index = number * 64u + place.thread;
    let rest = index / inner;
    let sample = rest / outer;
    if sample >= params.kernels * params.samples {
        return;
    }
    let channel = select(index % inner, rest % outer, channels_first);
    let unit = select(rest % outer, index % inner, channels_first);
    finish_unit(sample, channel, unit, terms_of(sample / params.samples, channel));
}

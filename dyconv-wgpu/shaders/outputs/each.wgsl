// Who finishes which outputs, where nobody asks for their sums: one thread per unit (a pixel of a channel, or a tile
// of Winograd's), in the order of neighbours.

// Which thread this is.
struct Place {
    @builtin(local_invocation_index) thread: u32,
}

fn finish_outputs(number: u32, place: Place) {
    let channels = params.groups * params.rows;
    let index = number * 64u + place.thread;
    let sample = index / (channels * params.units);
    if sample >= params.kernels * params.samples {
        return;
    }
    var channel = index % channels;
    var unit = index / channels % params.units;
    if params.channels_last == 0u {
        channel = index / params.units % channels;
        unit = index % params.units;
    }
    finish_unit(sample, channel, unit, terms_of(sample / params.samples, channel));
}

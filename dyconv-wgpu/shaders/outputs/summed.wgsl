// Who finishes which outputs, where the next layer's pool wants their channel sums, [sample][channel][part].
//
// As in `pool`: a workgroup takes `lanes` neighbouring channels of one sample and a part of their units, which the
// threads of a channel share. The sum's tree depends on the shape alone.

fn finish_outputs(number: u32, place: Place) {
    let part = number % params.column_tiles;
    let block = number / params.column_tiles % params.row_tiles;
    let sample = number / (params.column_tiles * params.row_tiles);
    if sample >= params.kernels * params.samples {
        return;
    }
    let lane = lane_of(place.thread, params.lanes, params.channels_last != 0u);
    let channels = params.groups * params.rows;
    let channel = block * params.lanes + lane.number;
    let inside = channel < channels;
    let length = (params.units + params.column_tiles - 1u) / params.column_tiles;
    let end = min((part + 1u) * length, params.units);
    var sum = 0.0;
    if inside {
        let terms = terms_of(sample / params.samples, channel);
        for (var unit = part * length + lane.sharer; unit < end; unit += 64u / params.lanes) {
            sum += finish_unit(sample, channel, unit, terms);
        }
    }
    let total = sum_across(place, sum, lane, params.lanes);
    if inside && lane.sharer == 0u {
        sums[(sample * channels + channel) * params.column_tiles + part] = total;
    }
}

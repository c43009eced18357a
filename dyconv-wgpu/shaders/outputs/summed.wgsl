// Who finishes which outputs, where the next layer's pool wants their channel sums, [sample][channel][part].
//
// As in `pool`: a workgroup takes `lanes` neighbouring blocks of channels of one sample and a part of their units, which
// the threads of a block share. The sum's tree depends on the shape alone.

fn finish_outputs(number: u32, place: Place) {
    let part = number % params.column_tiles;
    let first_block = number / params.column_tiles % params.row_tiles * params.lanes;
    let sample = number / (params.column_tiles * params.row_tiles);
    if sample >= params.kernels * params.samples {
        return;
    }
    let lane = lane_of(place.thread, params.lanes, params.channels_last != 0u);
    let block = first_block + lane.number;
    let inside = block < params.groups * blocks_of_group();
    let length = (params.units + params.column_tiles - 1u) / params.column_tiles;
    let end = min((part + 1u) * length, params.units);
    var found: array<f32, ROWS>;
    if inside {
        for (var unit = part * length + lane.sharer; unit < end; unit += 64u / params.lanes) {
            let finished = finish_unit(sample, block, unit);
            for (var r = 0u; r < ROWS; r++) {
                found[r] += finished[r];
            }
        }
    }
    let channel = sample * params.groups * params.rows + first_channel(block);
    for (var r = 0u; r < ROWS; r++) {
        if r > 0u {
            workgroupBarrier();
        }
        let total = sum_across(place, found[r], lane, params.lanes);
        if inside && lane.sharer == 0u && r < rows_of(block) {
            sums[(channel + r) * params.column_tiles + part] = total;
        }
    }
}

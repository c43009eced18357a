// Step 4 by Winograd, last part: transforms the products back and finishes the outputs. A unit is one tile of a
// channel.

const ROWS: u32 = 1u;

@group(0) @binding(1) var<storage, read> products: array<f32>;

@compute @workgroup_size(64)
fn winograd_output(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    place: Place,
) {
    finish_outputs(workgroup_number(id, grid), place);
}

// Gives the sum of the tile's outputs.
fn finish_unit(sample: u32, channel: u32, tile: u32) -> array<f32, ROWS> {
    let channels = params.groups * params.rows;
    var columns: array<array<f32, TILE>, POINTS>;
    for (var x = 0u; x < POINTS; x++) {
        var points: array<f32, POINTS>;
        for (var y = 0u; y < POINTS; y++) {
            let point = y * POINTS + x;
            let image = select(
                sample * POINTS * POINTS + point,
                point * params.samples + sample,
                params.samples > 1u,
            );
            points[y] = products[(image * channels + channel) * params.tile_pixels + tile];
        }
        columns[x] = outputs(points);
    }
    let height = params.pixels / params.output_width;
    let top = tile / params.tiles_across * TILE;
    let left = tile % params.tiles_across * TILE;
    let terms = terms_of(sample / params.samples, channel);
    let start = place_of(sample, channel, 0u);
    var sum = 0.0;
    for (var y = 0u; y < TILE; y++) {
        var row: array<f32, POINTS>;
        for (var x = 0u; x < POINTS; x++) {
            row[x] = columns[x][y];
        }
        let values = outputs(row);
        for (var x = 0u; x < TILE; x++) {
            if top + y < height && left + x < params.output_width {
                let pixel = (top + y) * params.output_width + left + x;
                sum += finish(values[x], terms, start + pixel * params.output_pixel);
            }
        }
    }
    return array<f32, ROWS>(sum);
}

// Step 4 by Winograd, last part: transforms the products back and finishes the outputs, one thread per tile,
// channel and sample.

@group(0) @binding(1) var<storage, read> products: array<f32>;

@compute @workgroup_size(64)
fn winograd_output(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let channels = params.groups * params.rows;
    let index = workgroup_number(id, grid) * 64u + thread;
    let tile = index % params.tile_pixels;
    let channel = index / params.tile_pixels % channels;
    let sample = index / (params.tile_pixels * channels);
    if sample >= params.kernels * params.samples || tile >= params.tiles {
        return;
    }
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
    let terms = terms_of(sample / params.samples, channel);
    let height = params.pixels / params.output_width;
    let top = tile / params.tiles_across * TILE;
    let left = tile % params.tiles_across * TILE;
    for (var y = 0u; y < TILE; y++) {
        var row: array<f32, POINTS>;
        for (var x = 0u; x < POINTS; x++) {
            row[x] = columns[x][y];
        }
        let values = outputs(row);
        for (var x = 0u; x < TILE; x++) {
            if top + y < height && left + x < params.output_width {
                let pixel = (top + y) * params.output_width + left + x;
                let place = sample * channels * params.pixels + channel * params.output_channel
                    + pixel * params.output_pixel;
                finish(values[x], terms, place);
            }
        }
    }
}

// Step 4 by Winograd, second part: transforms the input, one thread per tile, channel and sample. What results is
// POINTS² images of one pixel per tile, by point and sample as kernels come: the point first where samples share them.

struct WinogradInputParams {
    samples: u32,
    channels: u32,
    input_height: u32,
    input_width: u32,
    padding_top: i32,
    padding_left: i32,
    // Tiles side by side, all of them, and the pixels of a transformed image: a multiple of four.
    tiles_across: u32,
    tiles: u32,
    tile_pixels: u32,
    input_base: u32,
    input_channel: u32,
    input_pixel: u32,
    shares_kernels: u32,
}

@group(0) @binding(0) var<uniform> params: WinogradInputParams;
@group(0) @binding(1) var<storage, read> input: array<Word>;
@group(0) @binding(2) var<storage, read_write> transformed: array<f32>;

@compute @workgroup_size(64)
fn winograd_input(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = workgroup_number(id, grid) * 64u + thread;
    let tile = index % params.tile_pixels;
    let channel = index / params.tile_pixels % params.channels;
    let sample = index / (params.tile_pixels * params.channels);
    // The pixels beyond the last tile are nobody's.
    if sample >= params.samples || tile >= params.tiles {
        return;
    }
    let top = i32(tile / params.tiles_across * TILE) - params.padding_top;
    let left = i32(tile % params.tiles_across * TILE) - params.padding_left;
    let start = params.input_base + sample * params.channels * params.input_height * params.input_width
        + channel * params.input_channel;
    var columns: array<array<f32, POINTS>, POINTS>;
    for (var x = 0u; x < POINTS; x++) {
        var pixels: array<f32, POINTS>;
        for (var y = 0u; y < POINTS; y++) {
            pixels[y] = pixel(start, top + i32(y), left + i32(x));
        }
        columns[x] = input_points(pixels);
    }
    for (var y = 0u; y < POINTS; y++) {
        var row: array<f32, POINTS>;
        for (var x = 0u; x < POINTS; x++) {
            row[x] = columns[x][y];
        }
        let points = input_points(row);
        for (var x = 0u; x < POINTS; x++) {
            let point = y * POINTS + x;
            let image = select(
                sample * POINTS * POINTS + point,
                point * params.samples + sample,
                params.shares_kernels != 0u,
            );
            transformed[(image * params.channels + channel) * params.tile_pixels + tile] = points[x];
        }
    }
}

// One pixel, 0 outside the input.
fn pixel(start: u32, y: i32, x: i32) -> f32 {
    if y < 0 || y >= i32(params.input_height) || x < 0 || x >= i32(params.input_width) {
        return 0.0;
    }
    let at = start + (u32(y) * params.input_width + u32(x)) * params.input_pixel;
    return value_of(input[word_of(at)], at);
}

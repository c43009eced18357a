// Step 4 for groups that would leave a tile mostly empty: a thread computes a unit by itself, ROWS output channels of one
// group at four pixels, whose sums stay in registers. It walks over the windows that the pixels see; what a tap adds to the
// sums is the business of `depthwise` and `narrow`.
//
// A unit's pixels are a quarter of the plane apart, so that neighbouring threads read neighbouring pixels.

// Of each channel of the block, the sums of four pixels.
alias Sums = array<vec4<f32>, ROWS>;

fn finish_unit(sample: u32, block: u32, unit: u32) -> array<f32, ROWS> {
    let kernel = sample / params.samples;
    let pixels = unit + vec4(0u, 1u, 2u, 3u) * params.units;
    let columns = four_columns(kernel, block / blocks_of_group(), sample % params.samples * params.pixels + pixels);
    let weights = first_weight(block);
    var sums: Sums;
    for (var ky = params.first / params.kernel_width; ky < params.end / params.kernel_width; ky++) {
        let y = columns.y + i32(ky * params.dilation_height);
        for (var kx = 0u; kx < params.kernel_width; kx++) {
            let x = columns.x + i32(kx * params.dilation_width);
            let inside = are_inside(columns, y, x);
            let at = columns.start + (vec4<u32>(y) * params.input_width + vec4<u32>(x)) * params.input_pixel;
            let tap = ky * params.kernel_width + kx;
            add_tap(&sums, kernel, weights, tap, select(vec4(0u), at, inside), inside);
        }
    }
    // What a variable index reaches isn't in registers: only this copy.
    var finished = sums;
    var found: array<f32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        if r >= rows_of(block) {
            break;
        }
        let channel = first_channel(block) + r;
        let terms = terms_of(kernel, channel);
        for (var p = 0u; p < 4u; p++) {
            if pixels[p] < params.pixels {
                found[r] += finish(finished[r][p], terms, place_of(sample, channel, pixels[p]));
            }
        }
    }
    return found;
}

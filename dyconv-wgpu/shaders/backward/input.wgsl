// Writes one element of the input's gradient, or its sum so far: the same for every kernel.

fn finish(sample: u32, channel: u32, pixel: u32, sum: f32, is_last: bool) {
    let channels = params.groups * params.depth;
    let pixels = params.input_height * params.input_width;
    let index = sample * channels * pixels + channel * params.input_channel + pixel * params.input_pixel;
    var value = sum;
    if params.first > 0u {
        value += output[params.input_base + index];
    }
    if is_last && (params.flags & HAS_SHARE) != 0u {
        value += share[params.share_base + sample * channels + channel] / f32(pixels);
    }
    if is_last && (params.flags & HAS_OTHER) != 0u {
        value += other[params.other_base + index];
    }
    output[params.input_base + index] = value;
}

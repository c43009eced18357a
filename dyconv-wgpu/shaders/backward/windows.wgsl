// What both halves of a maximum's backward are told.

struct PoolMaxBackwardParams {
    count: u32,
    channels: u32,
    input_height: u32,
    input_width: u32,
    output_height: u32,
    output_width: u32,
    window_height: u32,
    window_width: u32,
    stride_height: u32,
    stride_width: u32,
    padding_top: u32,
    padding_left: u32,
    channels_last: u32,
    input_base: u32,
    gradient_base: u32,
    output_base: u32,
}

@group(0) @binding(0) var<uniform> params: PoolMaxBackwardParams;

// Where an element of a tensor of this size is.
struct Place {
    sample: u32,
    channel: u32,
    row: u32,
    column: u32,
}

fn place_of(index: u32, height: u32, width: u32) -> Place {
    var rest = index;
    var channel = 0u;
    if params.channels_last != 0u {
        channel = rest % params.channels;
        rest /= params.channels;
    }
    let column = rest % width;
    rest /= width;
    let row = rest % height;
    rest /= height;
    if params.channels_last == 0u {
        channel = rest % params.channels;
        rest /= params.channels;
    }
    return Place(rest, channel, row, column);
}

// The first pixel of its sample and channel, and the distance between pixels.
fn start_of(place: Place, height: u32, width: u32) -> vec2<u32> {
    let sample = place.sample * params.channels * height * width;
    if params.channels_last != 0u {
        return vec2(sample + place.channel, params.channels);
    }
    return vec2(sample + place.channel * height * width, 1u);
}

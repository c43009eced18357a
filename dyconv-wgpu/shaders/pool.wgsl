// Step 1 of the layer: the mean over the pixels of each channel of each sample, [N, C]; or, for batch
// statistics, the mean of the squared distance from a centre per channel.
//
// A workgroup takes `lanes` neighbouring channels of one sample, and the threads of a channel share its
// pixels. The sum's tree depends on the shape alone.

struct PoolParams {
    samples: u32,
    channels: u32,
    // What the last dispatch divides the sum by.
    divisor: u32,
    // Channels per workgroup, a power of two up to 64.
    lanes: u32,
    channels_last: u32,
    blocks: u32,
    squared: u32,
    input_base: u32,
    input_sample: u32,
    input_channel: u32,
    input_pixel: u32,
    output_base: u32,
    // The pixels that this dispatch adds; the sum of those before lies in the output.
    first_pixel: u32,
    end_pixel: u32,
    is_last: u32,
}

@group(0) @binding(0) var<uniform> params: PoolParams;
@group(0) @binding(1) var<storage, read> input: array<Word>;
@group(0) @binding(2) var<storage, read> center: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(64)
fn pool(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    place: Place,
) {
    let number = workgroup_number(id, grid);
    let sample = number / params.blocks;
    if sample >= params.samples {
        return;
    }
    let lane = lane_of(place.thread, params.lanes, params.channels_last != 0u);
    let channel = (number % params.blocks) * params.lanes + lane.number;
    let inside = channel < params.channels;
    var sum = 0.0;
    if inside {
        let start = params.input_base + sample * params.input_sample + channel * params.input_channel;
        let middle = select(0.0, center[min(channel, arrayLength(&center) - 1u)], params.squared != 0u);
        for (var pixel = params.first_pixel + lane.sharer; pixel < params.end_pixel; pixel += 64u / params.lanes) {
            let at = start + pixel * params.input_pixel;
            let value = value_of(input[word_of(at)], at);
            let distance = value - middle;
            sum += select(value, distance * distance, params.squared != 0u);
        }
    }
    var total = sum_across(place, sum, lane, params.lanes);
    if inside && lane.sharer == 0u {
        let index = params.output_base + sample * params.channels + channel;
        if params.first_pixel > 0u {
            total += output[index];
        }
        output[index] = select(total, total / f32(params.divisor), params.is_last != 0u);
    }
}

// What a channel's gradient sums to: Σ g over a sample's pixels, which is a bias's gradient; and with
// batch norm Σ g·ŷ beside it, ŷ = (y − μ)/sqrt(σ² + ε).
//
// As in `pool`: a workgroup takes `lanes` neighbouring channels of one sample, and the threads of a channel share its
// pixels. The sum's tree depends on the shape alone.

struct SumsParams {
    samples: u32,
    channels: u32,
    // Channels that are written: those beyond the last get 0.
    padded: u32,
    pixels: u32,
    lanes: u32,
    blocks: u32,
    channels_last: u32,
    channel_stride: u32,
    pixel_stride: u32,
    gradient_base: u32,
    convolved_base: u32,
    output_base: u32,
    output_row: u32,
    // The pixels that this dispatch adds; the sum of those before lies in the output.
    first_pixel: u32,
    end_pixel: u32,
    has_norm: u32,
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: SumsParams;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read> convolved: array<f32>;
@group(0) @binding(3) var<storage, read> mean: array<f32>;
@group(0) @binding(4) var<storage, read> variance: array<f32>;
// Rows of [Σ g], or of [Σ g·ŷ][Σ g].
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(64)
fn sums(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let number = workgroup_number(id, grid);
    let sample = number / params.blocks;
    if sample >= params.samples {
        return;
    }
    let lane = lane_of(thread, params.lanes, params.channels_last != 0u);
    let channel = number % params.blocks * params.lanes + lane.number;
    let normed = params.has_norm != 0u && channel < params.channels;
    var middle = 0.0;
    var deviation = 1.0;
    if normed {
        middle = mean[channel];
        deviation = sqrt(variance[channel] + params.epsilon);
    }
    var sum = vec2(0.0);
    if channel < params.channels {
        let start = sample * params.channels * params.pixels + channel * params.channel_stride;
        for (var pixel = params.first_pixel + lane.sharer; pixel < params.end_pixel; pixel += 64u / params.lanes) {
            let at = start + pixel * params.pixel_stride;
            let g = gradient[params.gradient_base + at];
            sum.x += g;
            if normed {
                sum.y += g * (convolved[params.convolved_base + at] - middle);
            }
        }
    }
    var total = vec2(tree_sum(thread, sum.x, lane, params.lanes), 0.0);
    if params.has_norm != 0u {
        workgroupBarrier();
        total.y = tree_sum(thread, sum.y, lane, params.lanes);
    }
    if channel >= params.padded || lane.sharer != 0u {
        return;
    }
    let index = params.output_base + sample * params.output_row + channel;
    if params.has_norm == 0u {
        write(index, total.x);
    } else {
        write(index, total.y / deviation);
        write(index + params.channels, total.x);
    }
}

fn write(index: u32, sum: f32) {
    var total = sum;
    if params.first_pixel > 0u {
        total += output[index];
    }
    output[index] = total;
}

// Batch statistics, second half: the mean over the samples of what `pool` found per sample and channel,
// one thread per channel.

struct MomentsParams {
    samples: u32,
    channels: u32,
}

@group(0) @binding(0) var<uniform> params: MomentsParams;
@group(0) @binding(1) var<storage, read> per_sample: array<f32>;
@group(0) @binding(2) var<storage, read_write> moment: array<f32>;

@compute @workgroup_size(64)
fn moments(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let channel = workgroup_number(id, grid) * 64u + thread;
    if channel >= params.channels {
        return;
    }
    var sum = 0.0;
    for (var sample = 0u; sample < params.samples; sample++) {
        sum += per_sample[sample * params.channels + channel];
    }
    moment[channel] = sum / f32(params.samples);
}

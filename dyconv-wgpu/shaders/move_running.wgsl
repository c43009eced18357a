// Running statistics move towards a batch's: keep · running + taken · batch. They are written anew, so that
// tapes that were recorded with the old ones keep them.

struct MoveRunningParams {
    channels: u32,
    keep: f32,
    // 1 − keep, and that times what makes the variance unbiased.
    taken_mean: f32,
    taken_variance: f32,
}

@group(0) @binding(0) var<uniform> params: MoveRunningParams;
@group(0) @binding(1) var<storage, read> batch_mean: array<f32>;
@group(0) @binding(2) var<storage, read> batch_variance: array<f32>;
@group(0) @binding(3) var<storage, read> old_mean: array<f32>;
@group(0) @binding(4) var<storage, read> old_variance: array<f32>;
@group(0) @binding(5) var<storage, read_write> new_mean: array<f32>;
@group(0) @binding(6) var<storage, read_write> new_variance: array<f32>;

@compute @workgroup_size(64)
fn move_running(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let channel = workgroup_number(id, grid) * 64u + thread;
    if channel >= params.channels {
        return;
    }
    new_mean[channel] = params.keep * old_mean[channel] + params.taken_mean * batch_mean[channel];
    new_variance[channel] = params.keep * old_variance[channel] + params.taken_variance * batch_variance[channel];
}

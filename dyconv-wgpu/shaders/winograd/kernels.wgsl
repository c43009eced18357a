// Steps 3 and 4 of the layer by Winograd, first part: aggregates the 3×3 experts of a sample and transforms them in
// the same thread. A thread owns four output channels of one input channel; each of the POINTS² results is a
// kernel of its own, [panel][input channel][8], which a 1×1 convolution reads.

struct WinogradKernelsParams {
    // vec4s of one result, and the input channels of a panel.
    length: u32,
    depth: u32,
    // 32-bit words from one expert to the next.
    expert_stride: u32,
    experts: u32,
    samples: u32,
    // Workgroups along `length`.
    blocks: u32,
    first_sample: u32,
    // The layer has one expert and no π.
    is_static: u32,
}

@group(0) @binding(0) var<uniform> params: WinogradKernelsParams;
@group(0) @binding(1) var<storage, read> experts: array<Quad>;
@group(0) @binding(2) var<storage, read> attention_weights: array<f32>;
@group(0) @binding(3) var<storage, read_write> kernels: array<vec4<f32>>;

@compute @workgroup_size(64)
fn winograd_kernels(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let number = workgroup_number(id, grid);
    let element = number % params.blocks * 64u + thread;
    let sample = number / params.blocks;
    if element >= params.length || sample >= params.samples {
        return;
    }
    // Experts lie as [panel][tap][input channel][8].
    let row = 2u * params.depth;
    let first = element / row * 9u * row + element % row;
    var columns: array<array<vec4<f32>, POINTS>, 3>;
    for (var x = 0u; x < 3u; x++) {
        var taps: array<vec4<f32>, 3>;
        for (var y = 0u; y < 3u; y++) {
            taps[y] = aggregated(sample, first + (3u * y + x) * row);
        }
        columns[x] = kernel_points(taps);
    }
    for (var y = 0u; y < POINTS; y++) {
        let points = kernel_points(array(columns[0][y], columns[1][y], columns[2][y]));
        for (var x = 0u; x < POINTS; x++) {
            let point = (sample * POINTS + y) * POINTS + x;
            kernels[point * params.length + element] = points[x];
        }
    }
}

fn aggregated(sample: u32, quad: u32) -> vec4<f32> {
    if params.is_static != 0u {
        return widen(experts[quad]);
    }
    let row = (params.first_sample + sample) * params.experts;
    var sum = vec4(0.0);
    for (var k = 0u; k < params.experts; k++) {
        sum += attention_weights[row + k] * widen(experts[k * params.expert_stride / QUAD_WORDS + quad]);
    }
    return sum;
}

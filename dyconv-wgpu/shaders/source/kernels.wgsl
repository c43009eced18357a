// Kernels as they lie: aggregated before, or a static layer's one expert.

@group(0) @binding(2) var<storage, read> kernels: array<Quad>;
// The same buffer, for the biases behind the kernels, which are floats however these are stored.
@group(0) @binding(3) var<storage, read> kernel_floats: array<f32>;

fn kernel_quad(kernel: u32, quad: u32) -> vec4<f32> {
    return widen(kernels[kernel * params.kernel_stride / QUAD_WORDS + quad]);
}

fn bias(kernel: u32, channel: u32) -> f32 {
    return kernel_floats[kernel * params.kernel_stride + params.bias_offset + channel];
}

// Step 3, backwards, in one pass over dW~: a sample's dW~ goes to every expert's gradient by its share,
// dW_k += π[n,k]·dW~[n], and to π's by each expert, <dW~[n], W_k>. Biases are part of both, in the kernels' order.
//
// A thread owns one vec4 of four experts, and visits the samples; a workgroup's scalar products go to
// `partials` [block][sample][expert], whose rows `reduce` adds.

struct AggregateBackwardParams {
    // vec4s per expert.
    length: u32,
    experts: u32,
    // Kernels in `sums`, and sections of each.
    samples: u32,
    sections: u32,
    // Workgroups along `length`.
    blocks: u32,
    // The first kernel's row in π.
    first_sample: u32,
    // Whether gradients are there to be added to.
    add: u32,
    // A static layer has none: its π is 1.
    has_weights: u32,
}

@group(0) @binding(0) var<uniform> params: AggregateBackwardParams;
// dW~
@group(0) @binding(1) var<storage, read> sums: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> experts: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> attention_weights: array<f32>;
@group(0) @binding(4) var<storage, read_write> gradients: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> partials: array<f32>;

// Samples and experts whose scalar products are added together.
const SAMPLES: u32 = 4u;
const EXPERTS: u32 = 4u;
const THREADS: u32 = 64u;

// [sample][expert][thread]
var<workgroup> products: array<f32, SAMPLES * EXPERTS * THREADS>;
var<workgroup> quarters: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn aggregate_backward(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let number = workgroup_number(id, grid);
    let block = number % params.blocks;
    let first_expert = number / params.blocks * EXPERTS;
    if first_expert >= params.experts {
        return;
    }
    let element = block * THREADS + thread;
    let inside = element < params.length;
    let w_0 = expert(first_expert, element);
    let w_1 = expert(first_expert + 1u, element);
    let w_2 = expert(first_expert + 2u, element);
    let w_3 = expert(first_expert + 3u, element);
    var g_0 = vec4(0.0);
    var g_1 = vec4(0.0);
    var g_2 = vec4(0.0);
    var g_3 = vec4(0.0);
    for (var first = 0u; first < params.samples; first += SAMPLES) {
        for (var s = 0u; s < SAMPLES; s++) {
            var sum = vec4(0.0);
            var weights = vec4(0.0);
            if inside && first + s < params.samples {
                for (var section = 0u; section < params.sections; section++) {
                    sum += sums[((first + s) * params.sections + section) * params.length + element];
                }
                weights = attention(first + s, first_expert);
            }
            g_0 += weights.x * sum;
            g_1 += weights.y * sum;
            g_2 += weights.z * sum;
            g_3 += weights.w * sum;
            let base = s * EXPERTS * THREADS + thread;
            products[base] = dot(sum, w_0);
            products[base + THREADS] = dot(sum, w_1);
            products[base + 2u * THREADS] = dot(sum, w_2);
            products[base + 3u * THREADS] = dot(sum, w_3);
        }
        workgroupBarrier();
        add_up(thread, block, first, first_expert);
    }
    add(first_expert, element, g_0);
    add(first_expert + 1u, element, g_1);
    add(first_expert + 2u, element, g_2);
    add(first_expert + 3u, element, g_3);
}

fn expert(k: u32, element: u32) -> vec4<f32> {
    if k < params.experts && element < params.length {
        return experts[k * params.length + element];
    }
    return vec4(0.0);
}

// π of four experts; 0 beyond the last.
fn attention(sample: u32, first: u32) -> vec4<f32> {
    if params.has_weights == 0u {
        return vec4(1.0, 0.0, 0.0, 0.0);
    }
    let row = (params.first_sample + sample) * params.experts;
    let k = vec4(first, first + 1u, first + 2u, first + 3u);
    let at = row + min(k, vec4(params.experts - 1u));
    let weights =
        vec4(attention_weights[at.x], attention_weights[at.y], attention_weights[at.z], attention_weights[at.w]);
    return select(vec4(0.0), weights, k < vec4(params.experts));
}

// The 16 scalar products of all threads, in two steps; ends with a barrier.
fn add_up(thread: u32, block: u32, first: u32, first_expert: u32) {
    var part = 0.0;
    for (var i = thread % 4u; i < THREADS; i += 4u) {
        part += products[thread / 4u * THREADS + i];
    }
    quarters[thread] = part;
    workgroupBarrier();
    let sample = first + thread / EXPERTS;
    let k = first_expert + thread % EXPERTS;
    if thread < SAMPLES * EXPERTS && sample < params.samples && k < params.experts && params.has_weights != 0u {
        let quarter = thread * 4u;
        let total = (quarters[quarter] + quarters[quarter + 1u]) + (quarters[quarter + 2u] + quarters[quarter + 3u]);
        partials[(block * params.samples + sample) * params.experts + k] = total;
    }
    workgroupBarrier();
}

fn add(k: u32, element: u32, gradient: vec4<f32>) {
    if k >= params.experts || element >= params.length {
        return;
    }
    let at = k * params.length + element;
    if params.add != 0u {
        gradients[at] += gradient;
    } else {
        gradients[at] = gradient;
    }
}

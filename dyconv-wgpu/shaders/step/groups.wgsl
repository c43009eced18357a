// Constraints: which numbers share a norm, and where they lie. Axes are those of one expert, [Cout, Cin/G, kh, kw], of
// which other tensors have fewer.

struct ConstrainParams {
    // Elements of one expert, and experts.
    count: u32,
    experts: u32,
    // Where the first expert's numbers start, and the distance between experts.
    first: u32,
    stride: u32,
    extent_0: u32,
    extent_1: u32,
    extent_2: u32,
    extent_3: u32,
    // Bit i: a norm is over axis i.
    axes: u32,
    // Groups that share a norm in one expert, numbers in each, sections of at most 4096 of them, and threads that
    // share a section, a power of two up to 64.
    groups: u32,
    members: u32,
    sections: u32,
    sharers: u32,
    // How numbers lie: row-major, in panels, or as depthwise kernels.
    order: u32,
    // Output channels of a group of the convolution, for panels.
    rows: u32,
    kind: u32,
    low: f32,
    high: f32,
    // How far towards the range.
    rate: f32,
}

@group(0) @binding(0) var<uniform> params: ConstrainParams;

const PANELS: u32 = 1u;
const DEPTHWISE: u32 = 2u;
const PANEL: u32 = 8u;

fn extents() -> vec4<u32> {
    return vec4(params.extent_0, params.extent_1, params.extent_2, params.extent_3);
}

fn is_member_axis(axis: u32) -> bool {
    return ((params.axes >> axis) & 1u) == 1u;
}

// Coordinates of a group's member.
fn coordinates(group: u32, member: u32) -> vec4<u32> {
    let extent = extents();
    var place = vec4(0u);
    var groups = group;
    var members = member;
    for (var i = 0u; i < 4u; i++) {
        let axis = 3u - i;
        if is_member_axis(axis) {
            place[axis] = members % extent[axis];
            members /= extent[axis];
        } else {
            place[axis] = groups % extent[axis];
            groups /= extent[axis];
        }
    }
    return place;
}

fn group_of(place: vec4<u32>) -> u32 {
    let extent = extents();
    var group = 0u;
    for (var axis = 0u; axis < 4u; axis++) {
        if !is_member_axis(axis) {
            group = group * extent[axis] + place[axis];
        }
    }
    return group;
}

// Where an expert's number is.
fn position(expert: u32, place: vec4<u32>) -> u32 {
    let taps = params.extent_2 * params.extent_3;
    let tap = place.z * params.extent_3 + place.w;
    var at = (place.x * params.extent_1 + place.y) * taps + tap;
    if params.order == PANELS {
        let panels = (params.rows + PANEL - 1u) / PANEL;
        let row = place.x % params.rows;
        let panel = place.x / params.rows * panels + row / PANEL;
        at = ((panel * taps + tap) * params.extent_1 + place.y) * PANEL + row % PANEL;
    } else if params.order == DEPTHWISE {
        at = tap * params.extent_0 + place.x;
    }
    return params.first + expert * params.stride + at;
}

// Four weights as bfloat16, the upper half of a 32-bit float, two to a word: needs no feature of the device.

alias Quad = vec2<u32>;
const QUAD_WORDS: u32 = 2u;

fn widen(quad: Quad) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4(quad.x << 16u, quad.x & 0xffff0000u, quad.y << 16u, quad.y & 0xffff0000u));
}

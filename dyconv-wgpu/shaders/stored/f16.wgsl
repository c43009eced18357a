// Four weights in half precision, two to a word: needs no feature of the device.

alias Quad = vec2<u32>;
const QUAD_WORDS: u32 = 2u;

fn widen(quad: Quad) -> vec4<f32> {
    return vec4(unpack2x16float(quad.x), unpack2x16float(quad.y));
}

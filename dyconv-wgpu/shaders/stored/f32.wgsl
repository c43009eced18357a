// Four weights as 32-bit floats.

alias Quad = vec4<f32>;
const QUAD_WORDS: u32 = 4u;

fn widen(quad: Quad) -> vec4<f32> {
    return quad;
}

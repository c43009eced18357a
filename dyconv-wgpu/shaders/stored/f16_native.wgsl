// Four weights in half precision, as devices with shader-f16 read them.

enable f16;

alias Quad = vec4<f16>;
const QUAD_WORDS: u32 = 2u;

fn widen(quad: Quad) -> vec4<f32> {
    return vec4<f32>(quad);
}

// Activations in half precision, as devices with shader-f16 write them: the conversion rounds nothing any more.

enable f16;

alias Written = f16;

fn store(i: u32, value: f32) -> f32 {
    let nearest = unpack2x16float(half(value)).x;
    output[i] = f16(nearest);
    return nearest;
}

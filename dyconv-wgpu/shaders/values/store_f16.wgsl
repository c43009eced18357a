// Activations in half precision, two to a word.

fn store(i: u32, value: f32) -> f32 {
    let bits = half(value);
    put(i, bits);
    return unpack2x16float(bits).x;
}

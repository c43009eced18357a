// Activations as 32-bit floats: how one is written.

alias Written = f32;

// Writes the i-th value; gives what a reader finds.
fn store(i: u32, value: f32) -> f32 {
    output[i] = value;
    return value;
}

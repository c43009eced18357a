// Activations as 32-bit floats that are moved and compared as they lie, in bits.

const MASK: u32 = 0xffffffffu;
const INFINITY: u32 = 0x7f800000u;

alias Written = u32;

fn word_of(i: u32) -> u32 {
    return i;
}

fn bits_of(word: u32, i: u32) -> u32 {
    return word;
}

fn put(i: u32, bits: u32) {
    output[i] = bits;
}

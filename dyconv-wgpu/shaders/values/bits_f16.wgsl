// Activations in half precision that are moved and compared as they lie, in bits, two to a word.

const MASK: u32 = 0xffffu;
const INFINITY: u32 = 0x7c00u;

fn word_of(i: u32) -> u32 {
    return i / 2u;
}

fn bits_of(word: u32, i: u32) -> u32 {
    return (word >> (i % 2u * 16u)) & 0xffffu;
}

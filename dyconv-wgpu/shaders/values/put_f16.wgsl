// Writes 16 bits of a word. Another thread, or an earlier dispatch, has the other half: bits that nobody else touches
// are cleared, then set, so that the order doesn't matter.

alias Written = atomic<u32>;

fn put(i: u32, bits: u32) {
    let shift = i % 2u * 16u;
    atomicAnd(&output[i / 2u], 0xffff0000u >> shift);
    atomicOr(&output[i / 2u], bits << shift);
}

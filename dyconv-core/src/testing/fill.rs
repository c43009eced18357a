//! Deterministic numbers: every tensor has its own stream, so that changing one option of a problem
//! leaves the other tensors' data alone.

/// `SplitMix64`: tiny, seedable, the same on every machine.
#[derive(Clone, Debug)]
pub(super) struct Fill(u64);

impl Fill {
    /// The stream of one tensor of one problem.
    pub(super) fn new(seed: u64, name: &str) -> Self {
        let start = name.bytes().fold(seed ^ 0x9e37_79b9_7f4a_7c15, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23)
        });
        Self(start)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// An index below `n`, which must not be 0.
    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// An integer from −`most` to `most`.
    pub(super) fn integer(&mut self, most: usize) -> f32 {
        self.below(2 * most + 1) as f32 - most as f32
    }

    /// A multiple of ¼ from −1 to 1.
    pub(super) fn quarter(&mut self) -> f32 {
        self.integer(4) / 4.0
    }

    /// A number between −1 and 1 with all 24 bits of mantissa in use.
    pub(super) fn real(&mut self) -> f32 {
        let unit = (self.next() >> 40) as f32 / (1u64 << 24) as f32;
        2.0 * unit - 1.0
    }
}

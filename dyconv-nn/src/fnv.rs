//! FNV-1a in 64 bits: checksums of files, fingerprints of data, seeds of layers. Each byte changes the state
//! one to one, so no change of a single byte goes unnoticed. It guards against accidents, not against forgery.

pub(crate) struct Fnv(u64);

impl Fnv {
    pub(crate) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn bytes(&mut self, bytes: impl IntoIterator<Item = u8>) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    pub(crate) fn number(&mut self, number: usize) {
        self.bytes((number as u64).to_le_bytes());
    }

    /// Its length first, so that two texts never run into each other.
    pub(crate) fn text(&mut self, text: &str) {
        self.number(text.len());
        self.bytes(text.bytes());
    }

    pub(crate) fn floats(&mut self, floats: &[f32]) {
        self.number(floats.len());
        self.bytes(floats.iter().flat_map(|value| value.to_le_bytes()));
    }

    pub(crate) fn value(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values that the algorithm's authors publish.
    #[test]
    fn published_values() {
        let of = |text: &str| {
            let mut fnv = Fnv::new();
            fnv.bytes(text.bytes());
            fnv.value()
        };
        assert_eq!(of(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(of("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(of("foobar"), 0x8594_4171_f739_67e8);
    }
}

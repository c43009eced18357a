//! Where a layer's experts lie: words that start on a cache line, in huge pages where there are many.
//!
//! A run reads all experts once, in order. With pages of 4 KiB that is a walk of the page tables every 64 cache lines,
//! and a prefetch has to wait for it as a load does: in pages of 2 MiB, 38 MB of experts are read a sixth faster.

use bytemuck::Zeroable;

use crate::buffer::Line;

/// A page of the larger kind on x86-64 and aarch64.
const HUGE_PAGE: usize = 2 << 20;

/// Words of fixed number, zero at first.
#[derive(Debug)]
pub(crate) struct Store {
    memory: Memory,
    len: usize,
}

#[derive(Debug)]
enum Memory {
    Lines(Vec<Line>),
    #[cfg(target_os = "linux")]
    Pages(memmap2::MmapMut),
}

impl Store {
    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let bytes = len * size_of::<u32>();
        let memory = huge_pages(bytes)
            .unwrap_or_else(|| Memory::Lines(vec![Line::zeroed(); bytes.div_ceil(size_of::<Line>())]));
        Self { memory, len }
    }

    pub(crate) fn words(&self) -> &[u32] {
        let words: &[u32] = match &self.memory {
            Memory::Lines(lines) => bytemuck::cast_slice(lines),
            #[cfg(target_os = "linux")]
            Memory::Pages(pages) => bytemuck::cast_slice(pages),
        };
        &words[..self.len]
    }

    pub(crate) fn words_mut(&mut self) -> &mut [u32] {
        let words: &mut [u32] = match &mut self.memory {
            Memory::Lines(lines) => bytemuck::cast_slice_mut(lines),
            #[cfg(target_os = "linux")]
            Memory::Pages(pages) => bytemuck::cast_slice_mut(pages),
        };
        &mut words[..self.len]
    }

    /// The words as floats.
    pub(crate) fn floats(&self) -> &[f32] {
        bytemuck::cast_slice(self.words())
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        match &self.memory {
            Memory::Lines(lines) => size_of_val(lines.as_slice()),
            #[cfg(target_os = "linux")]
            Memory::Pages(pages) => pages.len(),
        }
    }
}

/// Memory of its own for what fills huge pages, where the system gives any; a system without them gives small ones.
#[cfg(target_os = "linux")]
fn huge_pages(bytes: usize) -> Option<Memory> {
    if bytes < HUGE_PAGE {
        return None;
    }
    let pages = memmap2::MmapMut::map_anon(bytes.next_multiple_of(size_of::<Line>())).ok()?;
    // Only advice: what it's not taken for is a matter of speed.
    let _ = pages.advise(memmap2::Advice::HugePage);
    Some(Memory::Pages(pages))
}

#[cfg(not(target_os = "linux"))]
fn huge_pages(_bytes: usize) -> Option<Memory> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_zero_on_a_line_and_kept_whatever_memory_holds_them() {
        for len in [0, 1, 17, HUGE_PAGE / 4 - 1, HUGE_PAGE / 4, HUGE_PAGE / 2 + 5] {
            let mut store = Store::zeros(len);
            assert!(store.words().iter().all(|&word| word == 0));
            assert_eq!(store.words().as_ptr().align_offset(64), 0);
            for (i, word) in store.words_mut().iter_mut().enumerate() {
                *word = (i as f32).to_bits();
            }
            assert_eq!(store.floats().len(), len);
            assert!(store.floats().iter().enumerate().all(|(i, &x)| x == i as f32));
            assert_eq!(store.bytes(), (len * 4).next_multiple_of(64));
        }
    }
}

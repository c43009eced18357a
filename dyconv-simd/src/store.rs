//! Where a layer's experts lie: on cache lines, in huge pages where there are many.
//!
//! A run reads all experts once, in order. With pages of 4 KiB that is a walk of the page tables every 64 cache lines,
//! and a prefetch has to wait for it as a load does: in pages of 2 MiB, 38 MB of experts are read a sixth faster.

use bytemuck::{Pod, Zeroable};

use crate::buffer::Line;

/// A page of the larger kind on x86-64 and aarch64.
const HUGE_PAGE: usize = 2 << 20;

/// Numbers of a kind that its user knows, zero at first.
#[derive(Debug)]
pub(crate) struct Store {
    memory: Memory,
    /// What is used of it.
    bytes: usize,
}

#[derive(Debug)]
enum Memory {
    Lines(Vec<Line>),
    #[cfg(target_os = "linux")]
    Pages(memmap2::MmapMut),
}

impl Store {
    /// `len` zeros.
    pub(crate) fn zeros<T: Pod>(len: usize) -> Self {
        let bytes = len * size_of::<T>();
        let lines = || Memory::Lines(vec![Line::zeroed(); bytes.div_ceil(size_of::<Line>())]);
        Self { memory: huge_pages(bytes).unwrap_or_else(lines), bytes }
    }

    pub(crate) fn get<T: Pod>(&self) -> &[T] {
        let bytes: &[u8] = match &self.memory {
            Memory::Lines(lines) => bytemuck::cast_slice(lines),
            #[cfg(target_os = "linux")]
            Memory::Pages(pages) => pages,
        };
        bytemuck::cast_slice(&bytes[..self.bytes])
    }

    pub(crate) fn get_mut<T: Pod>(&mut self) -> &mut [T] {
        let bytes: &mut [u8] = match &mut self.memory {
            Memory::Lines(lines) => bytemuck::cast_slice_mut(lines),
            #[cfg(target_os = "linux")]
            Memory::Pages(pages) => pages,
        };
        bytemuck::cast_slice_mut(&mut bytes[..self.bytes])
    }

    /// All of it as whole cache lines of floats, for asking for them.
    pub(crate) fn lines(&self) -> &[f32] {
        let bytes: &[u8] = self.get();
        bytemuck::cast_slice(&bytes[..bytes.len() / size_of::<Line>() * size_of::<Line>()])
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
    fn numbers_are_zero_on_a_line_and_kept_whatever_memory_holds_them() {
        for len in [0, 1, 17, HUGE_PAGE / 2 - 1, HUGE_PAGE / 2, HUGE_PAGE + 5] {
            let mut store = Store::zeros::<u16>(len);
            assert!(store.get::<u16>().len() == len && store.get::<u16>().iter().all(|&half| half == 0));
            assert_eq!(store.get::<u8>().as_ptr().align_offset(64), 0);
            for (i, half) in store.get_mut::<u16>().iter_mut().enumerate() {
                *half = i as u16;
            }
            assert!(store.get::<u16>().iter().enumerate().all(|(i, &half)| half == i as u16));
            assert_eq!(store.bytes(), (len * 2).next_multiple_of(64));
            assert_eq!(store.lines().len(), len / 32 * 16);
        }
    }
}

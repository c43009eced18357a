//! What the device allows, as far as kernels meet it: binding sizes, dispatch extents, alignments; and how
//! work is split to stay within.

use std::ops::Range;

use dyconv_core::{Error, Result};

use crate::choice::Choice;
use crate::kernel::Across;

/// Bytes of an element.
pub(crate) const ELEMENT: u64 = 4;

/// Kernels aggregated at once stay below this, so that a large batch's kernels don't dominate memory.
const AGGREGATED_BYTES: u64 = 256 << 20;

/// Kernels index elements with signed 32 bits in bytes at most: one binding is never larger.
const INDEXABLE_BYTES: u64 = (i32::MAX as u64) & !255;

/// The limits that the backend plans by: the device's, or smaller ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Limits {
    pub(crate) binding_bytes: u64,
    pub(crate) buffer_bytes: u64,
    pub(crate) workgroups: u32,
    /// Invocations of one workgroup, and bytes of the memory that they share.
    pub(crate) invocations: u32,
    pub(crate) workgroup_bytes: u32,
    pub(crate) storage_alignment: u64,
    /// Samples that one part of a batch may have, whatever fits.
    pub(crate) part_samples: usize,
    /// Steps that the loops of one invocation may take together.
    pub(crate) loop_steps: u64,
    /// Bytes of kernels that are aggregated at once.
    pub(crate) aggregated_bytes: u64,
    /// Threads that keep the device busy.
    pub(crate) busy_threads: u32,
    /// How the threads of a workgroup add what each has.
    pub(crate) across: Across,
    /// What plans are weighed by.
    pub(crate) rates: Rates,
    /// What a test wants to see chosen.
    pub(crate) forced: Option<Choice>,
}

/// What a device does while a byte comes from its memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rates {
    /// Multiply-adds of a convolution.
    pub(crate) products: f64,
    /// Bytes that come from its cache.
    pub(crate) cached: f64,
}

impl Rates {
    /// 33 · 10¹² multiply-adds and 3.3 · 10¹² bytes a second: of an H100's data sheet, not measured.
    pub(crate) const GPU: Self = Self { products: 10.0, cached: 3.0 };
    /// Mesa's llvmpipe, measured: it waits for instructions, those that load and those that transform among them, and
    /// hardly for memory.
    pub(crate) const SOFTWARE: Self = Self { products: 4.5, cached: 1.0 };
}

/// Threads that keep a GPU busy: 64 thousand are 512 for each of 128 multiprocessors. WebGPU doesn't say how
/// many there are.
const BUSY_THREADS: u32 = 1 << 16;

/// Steps that the loops of one invocation take in one dispatch; longer sums continue in a further one. Mesa's
/// software driver ends loops, without a word, when those of an invocation have taken 65535 together.
pub(crate) const LOOP_STEPS: u32 = 1 << 15;

impl Limits {
    pub(crate) fn new(device: &wgpu::Limits) -> Self {
        Self {
            binding_bytes: device.max_storage_buffer_binding_size.min(INDEXABLE_BYTES),
            buffer_bytes: device.max_buffer_size,
            workgroups: device.max_compute_workgroups_per_dimension,
            invocations: device
                .max_compute_invocations_per_workgroup
                .min(device.max_compute_workgroup_size_x),
            workgroup_bytes: device.max_compute_workgroup_storage_size,
            storage_alignment: u64::from(device.min_storage_buffer_offset_alignment),
            part_samples: usize::MAX,
            loop_steps: u64::MAX,
            aggregated_bytes: AGGREGATED_BYTES,
            busy_threads: BUSY_THREADS,
            across: Across::Workgroup,
            rates: Rates::GPU,
            forced: None,
        }
    }

    /// The dispatch `[x, y]` that holds `workgroups`, folded where they exceed one dimension.
    pub(crate) fn fold(&self, workgroups: u64) -> Result<[u32; 2]> {
        let row = u64::from(self.workgroups).min(workgroups).max(1);
        let rows = workgroups.div_ceil(row);
        if rows > u64::from(self.workgroups) || rows * row > u64::from(u32::MAX) {
            let max = u64::from(self.workgroups).pow(2).min(u64::from(u32::MAX));
            return Err(exceeded("workgroups of one dispatch", workgroups, max));
        }
        Ok([row as u32, rows as u32])
    }

    /// Splits a batch so that each part of each tensor fits one binding. `sample_lens` are elements per
    /// sample of tensors that are bound at the part's offset.
    pub(crate) fn split(&self, batch: usize, sample_lens: &[(&'static str, usize)]) -> Result<Split> {
        let mut size = batch.min(self.part_samples).max(1);
        for &(name, len) in sample_lens {
            size = size.min(self.samples_per_binding(batch, name, len)?);
        }
        Ok(Split { batch, size })
    }

    fn samples_per_binding(&self, batch: usize, name: &str, len: usize) -> Result<usize> {
        let bytes = len as u64 * ELEMENT;
        if (batch as u64).saturating_mul(bytes) <= self.binding_bytes {
            return Ok(batch.max(1));
        }
        // An offset that isn't aligned is bound from the aligned one before it.
        let is_aligned = batch <= 1 || bytes.is_multiple_of(self.storage_alignment);
        let lead = if is_aligned { 0 } else { self.storage_alignment - ELEMENT };
        let fit = self.binding_bytes.saturating_sub(lead) / bytes;
        if fit == 0 {
            return Err(exceeded(
                format!("bytes of one sample of the {name}"),
                bytes + lead,
                self.binding_bytes,
            ));
        }
        Ok(fit as usize)
    }

    /// As [`Limits::split`], but also for kernels of `kernel_len` elements, made for one part at a time.
    pub(crate) fn split_with_kernels(
        &self,
        batch: usize,
        sample_lens: &[(&'static str, usize)],
        kernel_len: usize,
    ) -> Result<Split> {
        let bytes = kernel_len as u64 * ELEMENT;
        self.check_binding("bytes of one aggregated kernel", bytes)?;
        let kernels = (self.binding_bytes.min(self.aggregated_bytes) / bytes).max(1);
        let split = self.split(batch, sample_lens)?;
        Ok(Split { batch, size: split.size.min(usize::try_from(kernels).unwrap_or(usize::MAX)) })
    }

    pub(crate) fn check_loop_steps(&self, name: &str, steps: u64) -> Result<()> {
        if steps <= self.loop_steps {
            return Ok(());
        }
        Err(exceeded(name, steps, self.loop_steps))
    }

    pub(crate) fn check_binding(&self, name: &str, bytes: u64) -> Result<()> {
        if bytes <= self.binding_bytes {
            return Ok(());
        }
        Err(exceeded(name, bytes, self.binding_bytes))
    }
}

/// `0..count` in parts of at most `size`.
pub(crate) fn steps(count: u32, size: u32) -> impl Iterator<Item = Range<u32>> {
    (0..count.div_ceil(size)).map(move |part| part * size..count.min((part * size).saturating_add(size)))
}

/// [`Error::LimitExceeded`] by name.
pub(crate) fn exceeded(limit: impl Into<String>, value: u64, max: u64) -> Error {
    Error::LimitExceeded { limit: limit.into(), value, max }
}

/// An extent as kernels take it.
pub(crate) fn index(name: &str, value: usize) -> Result<u32> {
    match u32::try_from(value) {
        Ok(index) if index <= i32::MAX as u32 => Ok(index),
        _ => Err(exceeded(name, value as u64, i32::MAX as u64)),
    }
}

/// A batch in parts of at most `size` samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    pub(crate) batch: usize,
    pub(crate) size: usize,
}

impl Split {
    pub(crate) fn parts(self) -> impl Iterator<Item = Range<usize>> {
        (0..self.batch).step_by(self.size).map(move |start| start..(start + self.size).min(self.batch))
    }

    /// Samples of the largest part.
    pub(crate) fn largest(self) -> usize {
        self.size.min(self.batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        binding_bytes: 4096,
        buffer_bytes: 1 << 20,
        workgroups: 10,
        invocations: 256,
        workgroup_bytes: 16384,
        storage_alignment: 256,
        part_samples: usize::MAX,
        loop_steps: u64::MAX,
        aggregated_bytes: AGGREGATED_BYTES,
        busy_threads: BUSY_THREADS,
        across: Across::Workgroup,
        rates: Rates::GPU,
        forced: None,
    };

    #[test]
    fn steps_end_where_the_count_does() {
        assert_eq!(steps(7, 3).collect::<Vec<_>>(), [0..3, 3..6, 6..7]);
        assert_eq!(steps(6, 3).collect::<Vec<_>>(), [0..3, 3..6]);
        assert_eq!(steps(2, u32::MAX).next(), Some(0..2));
    }

    #[test]
    fn dispatches_fold_into_rows() {
        assert_eq!(LIMITS.fold(7), Ok([7, 1]));
        assert_eq!(LIMITS.fold(10), Ok([10, 1]));
        assert_eq!(LIMITS.fold(11), Ok([10, 2]));
        assert_eq!(LIMITS.fold(100), Ok([10, 10]));
        assert_eq!(LIMITS.fold(101), Err(exceeded("workgroups of one dispatch", 101, 100)));
    }

    #[test]
    fn batches_split_by_the_largest_sample() {
        let parts =
            |batch, lens: &[_]| LIMITS.split(batch, lens).map(|s| s.parts().map(|p| p.len()).collect());
        assert_eq!(parts(4, &[("input", 256)]), Ok(vec![4]));
        assert_eq!(parts(5, &[("input", 256)]), Ok(vec![4, 1]));
        // 1028 bytes aren't aligned: three samples and the lead fit.
        assert_eq!(parts(5, &[("input", 257), ("output", 1)]), Ok(vec![3, 2]));
        assert_eq!(parts(0, &[("input", 256)]), Ok(vec![]));
        let error = exceeded("bytes of one sample of the input", 8192, 4096);
        assert_eq!(parts(2, &[("input", 2048)]), Err(error));
    }
}

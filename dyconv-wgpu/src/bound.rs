//! What dispatches bind, found again: parameters by their content, bind groups by what is in them. Layers that
//! run a second time on the same buffers so write no parameters and make no bind group.
//!
//! Parameters are small buffers that nobody writes after they were made: any recording may share them. A bind
//! group keeps its buffers alive, so those of a buffer that is let go must go first.

use std::collections::HashMap;
use std::hash::Hash;

use crate::kernel::Kernel;

/// Parameters and bind groups kept: some hundred layers' worth.
const KEPT: usize = 4096;

/// Bytes of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Range {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// What a bind group is made of: parameters at binding 0, storage buffers behind them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Group {
    pub(crate) kernel: Kernel,
    pub(crate) params: wgpu::Buffer,
    pub(crate) storage: Vec<(wgpu::Buffer, Range)>,
}

impl Group {
    pub(crate) fn create(&self, device: &wgpu::Device, layout: &wgpu::BindGroupLayout) -> wgpu::BindGroup {
        let storage = self.storage.iter().map(|(buffer, Range { offset, bytes })| wgpu::BufferBinding {
            buffer,
            offset: *offset,
            size: std::num::NonZeroU64::new(*bytes),
        });
        let entries: Vec<_> = (0..)
            .zip(std::iter::once(self.params.as_entire_buffer_binding()).chain(storage))
            .map(|(binding, part)| wgpu::BindGroupEntry {
                binding,
                resource: wgpu::BindingResource::Buffer(part),
            })
            .collect();
        let label = Some(self.kernel.entry_point());
        device.create_bind_group(&wgpu::BindGroupDescriptor { label, layout, entries: &entries })
    }

    /// Bytes that the kernel reads or writes if it takes each once: a buffer that stands in for an unused binding
    /// is bound twice and counts once.
    pub(crate) fn bytes(&self) -> u64 {
        let seen = |i: usize| self.storage[..i].contains(&self.storage[i]);
        (0..self.storage.len()).filter(|&i| !seen(i)).map(|i| self.storage[i].1.bytes).sum()
    }
}

/// The parameters and bind groups of a device.
#[derive(Debug)]
pub(crate) struct Bound {
    params: Recent<Box<[u8]>, wgpu::Buffer>,
    groups: Recent<Group, wgpu::BindGroup>,
    /// Bind groups made so far.
    pub(crate) groups_made: u64,
}

impl Default for Bound {
    fn default() -> Self {
        Self { params: Recent::new(KEPT), groups: Recent::new(KEPT), groups_made: 0 }
    }
}

impl Bound {
    pub(crate) fn params(&mut self, content: &[u8]) -> Option<wgpu::Buffer> {
        self.params.get(content).cloned()
    }

    /// Keeps new parameters; the buffers that had to make way for them.
    pub(crate) fn keep_params(&mut self, content: &[u8], buffer: wgpu::Buffer) -> Vec<wgpu::Buffer> {
        let gone = self.params.insert(content.into(), buffer);
        self.forget(&gone);
        gone
    }

    /// Lets go of everything; recordings keep what they need. The parameters' buffers.
    pub(crate) fn release(&mut self) -> Vec<wgpu::Buffer> {
        self.groups.entries.clear();
        self.params.entries.drain().map(|(_, (buffer, _))| buffer).collect()
    }

    pub(crate) fn group(&mut self, group: &Group) -> Option<wgpu::BindGroup> {
        self.groups.get(group).cloned()
    }

    pub(crate) fn keep_group(&mut self, group: Group, made: wgpu::BindGroup) {
        self.groups_made += 1;
        self.groups.insert(group, made);
    }

    /// Drops the bind groups that hold one of these buffers.
    pub(crate) fn forget(&mut self, buffers: &[wgpu::Buffer]) {
        if !buffers.is_empty() {
            self.groups.entries.retain(|group, _| {
                let mut held = std::iter::once(&group.params).chain(group.storage.iter().map(|(b, _)| b));
                !held.any(|buffer| buffers.contains(buffer))
            });
        }
    }
}

/// A map of bounded size: when it is full, the half that wasn't used for longest goes.
#[derive(Debug)]
struct Recent<K, V> {
    capacity: usize,
    /// Counts uses; an entry has the number of its last one.
    clock: u64,
    entries: HashMap<K, (V, u64)>,
}

impl<K: Hash + Eq, V> Recent<K, V> {
    fn new(capacity: usize) -> Self {
        Self { capacity, clock: 0, entries: HashMap::new() }
    }

    fn get<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.clock += 1;
        let (value, used) = self.entries.get_mut(key)?;
        *used = self.clock;
        Some(value)
    }

    /// Adds an entry; what was replaced or had to make way for it.
    fn insert(&mut self, key: K, value: V) -> Vec<V> {
        let mut gone = Vec::new();
        if self.entries.len() >= self.capacity {
            let mut uses: Vec<u64> = self.entries.values().map(|(_, used)| *used).collect();
            let (_, &mut median, _) = uses.select_nth_unstable(self.capacity / 2);
            gone.extend(self.entries.extract_if(|_, (_, used)| *used < median).map(|(_, (value, _))| value));
        }
        self.clock += 1;
        gone.extend(self.entries.insert(key, (value, self.clock)).map(|(value, _)| value));
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_makes_way() {
        let mut recent = Recent::new(4);
        for key in 0..4 {
            assert!(recent.insert(key, 10 * key).is_empty());
        }
        assert_eq!(recent.get(&0), Some(&0));
        let mut gone = recent.insert(4, 40);
        gone.sort_unstable();
        assert_eq!(gone, [10, 20]);
        assert_eq!(
            [0, 1, 2, 3, 4].map(|key| recent.get(&key).copied()),
            [Some(0), None, None, Some(30), Some(40)]
        );
        assert_eq!(recent.insert(4, 41), [40], "the same key again");
    }

    #[test]
    fn a_recent_map_stays_bounded() {
        let mut recent = Recent::new(8);
        for key in 0..1000 {
            recent.insert(key, ());
            assert!(recent.entries.len() <= 8);
        }
    }
}

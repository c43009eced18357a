//! A safetensors file of a stated format whose every bit is under a checksum.

use std::collections::{BTreeMap, BTreeSet};
#[cfg(not(target_family = "wasm"))]
use std::path::Path;

use dyconv_core::container::{self, Container, printable};
use dyconv_core::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::fnv::Fnv;

const VERSION: &str = "1";
/// Architecture and history are a few kilobytes; this leaves room for tens of thousands of epochs.
const MAX_HEADER: usize = 16 << 20;

/// What is wrong with a file, in words.
pub(super) type Read<T> = std::result::Result<T, String>;
/// A tensor to be written.
pub(super) type Named<'a> = (String, Vec<usize>, &'a [f32]);

/// The bytes of a file of this format.
pub(super) fn write(
    format: &str,
    mut metadata: BTreeMap<&str, String>,
    tensors: &[Named<'_>],
) -> Result<Vec<u8>> {
    metadata.insert("format", format.to_owned());
    metadata.insert("version", VERSION.to_owned());
    let mut seal = Fnv::new();
    metadata.iter().for_each(|(key, value)| seal_entry(&mut seal, key, value));
    let by_name: BTreeMap<&str, &Named<'_>> =
        tensors.iter().map(|tensor| (tensor.0.as_str(), tensor)).collect();
    by_name.iter().for_each(|(name, (_, shape, data))| seal_tensor(&mut seal, name, shape, data));
    metadata.insert("checksum", format!("{:016x}", seal.value()));
    container::write(&metadata, tensors).map_err(|e| Error::file(format, e))
}

/// Writes a file under another name, then renames it.
#[cfg(not(target_family = "wasm"))]
pub(super) fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    container::replace_file(path, bytes).map_err(|e| Error::file(path.display(), e))
}

/// A JSON text for the metadata.
pub(super) fn json<T: Serialize>(what: &str, value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::file(what, e))
}

/// A file of this format on disk, taken apart by `take`.
#[cfg(not(target_family = "wasm"))]
pub(super) fn open<T>(path: &Path, format: &str, take: impl FnOnce(&mut Sealed<'_>) -> Read<T>) -> Result<T> {
    let bytes = container::read_file(path, MAX_HEADER, |header| check_format(header, format));
    let found = bytes.and_then(|bytes| Sealed::read(&bytes, format, take));
    found.map_err(|reason| Error::file(path.display(), printable(&reason)))
}

/// The bytes of a file of this format, taken apart by `take`.
pub(super) fn from_bytes<T>(
    bytes: &[u8],
    format: &str,
    take: impl FnOnce(&mut Sealed<'_>) -> Read<T>,
) -> Result<T> {
    let found = Sealed::read(bytes, format, take);
    found.map_err(|reason| Error::file(format!("{format} file"), printable(&reason)))
}

/// A file whose checksum holds.
pub(super) struct Sealed<'a> {
    file: Container<'a>,
    /// Tensors that nobody has taken yet.
    left: BTreeSet<String>,
}

impl<'a> Sealed<'a> {
    fn read<T>(bytes: &'a [u8], format: &str, take: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        let file = Container::new(bytes, MAX_HEADER)?;
        check_format(file.header(), format)?;
        check_seal(&file)?;
        let left = file.header().names().map(str::to_owned).collect();
        let mut sealed = Self { file, left };
        let taken = take(&mut sealed)?;
        match sealed.left.first() {
            Some(name) => Err(format!("tensor `{name}` is of no layer of this network")),
            None => Ok(taken),
        }
    }

    /// A metadata entry.
    pub(super) fn text(&self, key: &str) -> Read<&str> {
        self.file.header().metadata(key).ok_or_else(|| format!("metadata `{key}` is missing"))
    }

    /// A metadata entry that is JSON.
    pub(super) fn json<T: DeserializeOwned>(&self, key: &str) -> Read<T> {
        serde_json::from_str(self.text(key)?).map_err(|e| format!("metadata `{key}`: {e}"))
    }

    /// A tensor of this shape; `None` where there is none of this name.
    pub(super) fn tensor(&mut self, name: &str, shape: &[usize]) -> Read<Option<Vec<f32>>> {
        let Some(found) = self.file.header().shape(name) else { return Ok(None) };
        if found != shape {
            return Err(format!("tensor `{name}` is {found:?}; expected {shape:?}"));
        }
        self.left.remove(name);
        self.file.tensor(name)
    }
}

fn check_format(header: &container::Header, format: &str) -> Read<()> {
    for (key, expected) in [("format", format), ("version", VERSION)] {
        match header.metadata(key) {
            Some(found) if found == expected => {}
            Some(found) => return Err(format!("{key} is `{found}`; expected `{expected}`")),
            None => return Err(format!("metadata `{key}` is missing; expected `{expected}`")),
        }
    }
    Ok(())
}

fn check_seal(file: &Container<'_>) -> Read<()> {
    let header = file.header();
    let mut seal = Fnv::new();
    let entries = header.entries();
    entries
        .iter()
        .filter(|(key, _)| **key != "checksum")
        .for_each(|(key, value)| seal_entry(&mut seal, key, value));
    for name in header.names() {
        let data = file.tensor(name)?.unwrap_or_default();
        seal_tensor(&mut seal, name, header.shape(name).unwrap_or_default(), &data);
    }
    let found = format!("{:016x}", seal.value());
    match header.metadata("checksum") {
        Some(stated) if stated == found => Ok(()),
        Some(stated) => Err(format!("damaged: the checksum is {found}, the file says `{stated}`")),
        None => Err("metadata `checksum` is missing".to_owned()),
    }
}

fn seal_entry(seal: &mut Fnv, key: &str, value: &str) {
    seal.text(key);
    seal.text(value);
}

fn seal_tensor(seal: &mut Fnv, name: &str, shape: &[usize], data: &[f32]) {
    seal.text(name);
    shape.iter().for_each(|&extent| seal.number(extent));
    seal.floats(data);
}

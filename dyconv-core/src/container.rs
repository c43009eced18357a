//! The safetensors container, read strictly: named f32 tensors and string metadata over borrowed bytes.
//!
//! The `safetensors` crate proves that offsets are in order, without holes or overlaps, that they
//! agree with shapes, and that they end where the bytes end, and it allocates nothing for the
//! tensors. Two things it lets pass are refused here: names that occur twice (it keeps the last)
//! and headers of up to 100 MB.
//!
//! What case files, weights of other frameworks and networks lie in. Its errors are reasons, in words: the caller
//! knows the file, and puts both into an [`Error::File`](crate::Error::File).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

/// Bytes before the header: its length as a little-endian u64.
const LENGTH_BYTES: usize = size_of::<u64>();

const METADATA: &str = "__metadata__";

type Result<T> = std::result::Result<T, String>;

/// What a container says of itself. Its errors are reasons; the caller knows the file.
#[derive(Debug)]
pub struct Header {
    names: BTreeSet<String>,
    entries: Metadata,
}

impl Header {
    /// Reads a header's JSON, in which the tensors must take up `data_len` bytes.
    fn parse(json: &[u8], data_len: u64) -> Result<Self> {
        let Object::<Object<de::IgnoredAny>> { keys: mut names, .. } =
            serde_json::from_slice(json).map_err(|e| format!("header: {e}"))?;
        let entries: Metadata =
            serde_json::from_slice(json).map_err(|e| format!("header: {}", blame(json, &e)))?;
        let needed = entries.data_len();
        if needed as u64 != data_len {
            return Err(format!("the tensors take {needed} bytes, but {data_len} follow the header"));
        }
        names.remove(METADATA);
        Ok(Self { names, entries })
    }

    /// A metadata entry.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.entries.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// All metadata, in the order of its keys.
    pub fn entries(&self) -> BTreeMap<&str, &str> {
        let entries = self.entries.metadata().iter().flatten();
        entries.map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }

    /// The names of the tensors, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.info(name).map(|info| info.shape.as_slice())
    }

    /// Refuses what isn't f32.
    ///
    /// # Errors
    /// Where the tensor has another type.
    pub fn check_f32(&self, name: &str) -> Result<()> {
        match self.entries.info(name).map(|info| info.dtype) {
            Some(Dtype::F32) | None => Ok(()),
            Some(dtype) => Err(format!("tensor `{name}` is {dtype}; expected F32")),
        }
    }
}

/// A header and the tensors' bytes.
#[derive(Debug)]
pub struct Container<'a> {
    header: Header,
    data: &'a [u8],
}

impl<'a> Container<'a> {
    /// Splits a container's bytes, whose header may have up to `max_header`.
    ///
    /// # Errors
    /// What is wrong with the header, or that the tensors don't take up what follows it.
    pub fn new(bytes: &'a [u8], max_header: usize) -> Result<Self> {
        let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
            return Err(format!("{} bytes; expected a safetensors file", bytes.len()));
        };
        let length = header_len(*length, rest.len() as u64, max_header)?;
        let (json, data) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        Ok(Self { header: Header::parse(json, data.len() as u64)?, data })
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// A tensor's elements; `None` where there is none of this name. Allocates as much as the bytes hold.
    ///
    /// # Errors
    /// Where the tensor isn't f32.
    pub fn tensor(&self, name: &str) -> Result<Option<Vec<f32>>> {
        self.header.check_f32(name)?;
        let range = self.header.entries.info(name).map(|info| info.data_offsets.0..info.data_offsets.1);
        let bytes = range.and_then(|range| self.data.get(range));
        Ok(bytes.map(|bytes| {
            let (words, _) = bytes.as_chunks::<4>();
            words.iter().map(|&word| f32::from_le_bytes(word)).collect()
        }))
    }
}

/// Why a header is refused: the first tensor whose entry is wrong by itself, which the `safetensors` crate doesn't name,
/// or else its own `error`.
fn blame(json: &[u8], error: &serde_json::Error) -> String {
    let entries: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(json).unwrap_or_default();
    let mut tensors = entries.into_iter().filter(|(name, _)| name != METADATA);
    let wrong = tensors.find_map(|(name, entry)| misfit(entry).map(|why| format!("tensor `{name}`: {why}")));
    wrong.unwrap_or_else(|| error.to_string())
}

/// What is wrong with a tensor's entry by itself.
fn misfit(entry: serde_json::Value) -> Option<String> {
    let TensorInfo { dtype, shape, data_offsets: (start, end) } = match serde_json::from_value(entry) {
        Ok(info) => info,
        Err(error) => return Some(error.to_string()),
    };
    let elements = shape.iter().try_fold(1usize, |elements, &extent| elements.checked_mul(extent));
    let Some(bits) = elements.and_then(|elements| elements.checked_mul(dtype.bitsize())) else {
        return Some(format!("shape is {shape:?}; expected one that fits the address space"));
    };
    let bytes = bits.div_ceil(8);
    (end.checked_sub(start) != Some(bytes)).then(|| {
        format!("data_offsets is [{start}, {end}]; expected {bytes} bytes, as {shape:?} of {dtype} takes")
    })
}

/// The header's length, held against the `rest` of the bytes.
fn header_len(length: [u8; LENGTH_BYTES], rest: u64, max_header: usize) -> Result<usize> {
    let length = u64::from_le_bytes(length);
    match usize::try_from(length) {
        Ok(len) if len <= max_header && length <= rest => Ok(len),
        Ok(len) if len <= max_header => {
            Err(format!("the header has {length} bytes, but only {rest} follow its length"))
        }
        _ => Err(format!("the header has {length} bytes; expected at most {max_header}")),
    }
}

/// The bytes of a regular file whose header is sound, by its own account and by `check`: a device, or a
/// huge file of something else, must not be read to its end.
///
/// # Errors
/// Where it can't be read, isn't a regular file, or its header isn't sound.
#[cfg(not(target_family = "wasm"))]
pub fn read_file(
    path: &std::path::Path,
    max_header: usize,
    check: impl FnOnce(&Header) -> Result<()>,
) -> Result<Vec<u8>> {
    use std::io::Read as _;

    let append = |file: &mut std::fs::File, bytes: &mut Vec<u8>, count: usize| {
        bytes.try_reserve_exact(count).map_err(|e| e.to_string())?;
        file.take(count as u64).read_to_end(bytes).map(drop).map_err(|e| e.to_string())
    };
    // Before it is opened, which waits where the path is a pipe.
    let meta = std::fs::metadata(path).map_err(|e| e.to_string())?;
    if !meta.is_file() {
        return Err("not a regular file".to_owned());
    }
    let Some(rest) = meta.len().checked_sub(LENGTH_BYTES as u64) else {
        return Err(format!("{} bytes; expected a safetensors file", meta.len()));
    };
    let mut file = std::fs::File::open(path).map_err(|e| e.to_string())?;
    let mut length = [0; LENGTH_BYTES];
    file.read_exact(&mut length).map_err(|e| e.to_string())?;
    let header = header_len(length, rest, max_header)?;
    let mut bytes = length.to_vec();
    append(&mut file, &mut bytes, header)?;
    let data = rest - header as u64;
    check(&Header::parse(&bytes[LENGTH_BYTES..], data)?)?;
    append(&mut file, &mut bytes, usize::try_from(data).map_err(|e| e.to_string())?)?;
    Ok(bytes)
}

/// Puts a container together; tensors lie in the order given, metadata in that of their keys. The same parts give
/// the same bytes.
///
/// # Errors
/// Where the header can't be written as JSON.
pub fn write(
    metadata: &BTreeMap<&str, String>,
    tensors: &[(String, Vec<usize>, &[f32])],
) -> std::result::Result<Vec<u8>, serde_json::Error> {
    let mut header = serde_json::Map::new();
    header.insert(METADATA.to_owned(), serde_json::to_value(metadata)?);
    let mut offset = 0;
    for (name, shape, data) in tensors {
        let end = offset + size_of_val(*data);
        let entry = serde_json::json!({ "dtype": "F32", "shape": shape, "data_offsets": [offset, end] });
        header.insert(name.clone(), entry);
        offset = end;
    }
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(LENGTH_BYTES), b' ');
    let mut bytes = Vec::with_capacity(LENGTH_BYTES + header.len() + offset);
    bytes.extend((header.len() as u64).to_le_bytes());
    bytes.extend(header);
    for (_, _, data) in tensors {
        bytes.extend(data.iter().flat_map(|value| value.to_le_bytes()));
    }
    Ok(bytes)
}

/// Writes a file under a temporary name in the same folder, then renames it, so that no reader ever sees half of it,
/// and what was there before stays where this fails.
///
/// # Errors
/// Where the folder or the file can't be written.
#[cfg(not(target_family = "wasm"))]
pub fn replace_file(path: &std::path::Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;

    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => std::path::Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".dyconv-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // As for any new file; the umask takes away what the user doesn't want.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

/// A reason made fit to be shown: it may quote names out of the file, which may be long or steer a terminal.
#[must_use]
pub fn printable(reason: &str) -> String {
    const LONGEST: usize = 400;
    let mut text: String = reason
        .chars()
        .take(LONGEST)
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect();
    if reason.chars().nth(LONGEST).is_some() {
        text.push('…');
    }
    text
}

/// The keys of a JSON object, each of which occurs once, as do those of what its values are.
struct Object<V> {
    keys: BTreeSet<String>,
    values: PhantomData<V>,
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Object<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(Keys(PhantomData))
    }
}

struct Keys<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for Keys<V> {
    type Value = Object<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Object<V>, A::Error> {
        let mut keys = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            map.next_value::<V>().map_err(|e| de::Error::custom(format_args!("`{key}`: {e}")))?;
            if keys.contains(&key) {
                return Err(de::Error::custom(format_args!("`{key}` occurs twice")));
            }
            keys.insert(key);
        }
        Ok(Object { keys, values: PhantomData })
    }
}

//! How large this machine's last-level cache is, found once: data for the choice of plans, which looks for nothing itself.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

/// Taken where the system doesn't say: a desktop processor's.
const USUAL: usize = 16 << 20;

/// Bytes of the last-level cache, as Linux reports it for the first processor.
pub(crate) fn last_level() -> usize {
    static FOUND: OnceLock<usize> = OnceLock::new();
    *FOUND.get_or_init(|| largest(Path::new("/sys/devices/system/cpu/cpu0/cache")).unwrap_or(USUAL))
}

/// Of the caches that a directory describes, a folder each, the one of the highest level.
fn largest(caches: &Path) -> Option<usize> {
    let caches = fs::read_dir(caches).ok()?;
    let (_, bytes) = caches.filter_map(|folder| level_and_bytes(&folder.ok()?.path())).max()?;
    Some(bytes)
}

fn level_and_bytes(cache: &Path) -> Option<(u32, usize)> {
    let read = |name: &str| fs::read_to_string(cache.join(name)).ok();
    let level = read("level")?.trim().parse().ok()?;
    Some((level, parse(read("size")?.trim())?))
}

/// `32768K`, `32M`
fn parse(size: &str) -> Option<usize> {
    let (number, unit) = match size.strip_suffix('K') {
        Some(number) => (number, 1 << 10),
        None => (size.strip_suffix('M')?, 1 << 20),
    };
    number.parse::<usize>().ok()?.checked_mul(unit).filter(|&bytes| bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_linux_writes_them() {
        for (text, want) in [("32768K", Some(32 << 20)), ("2M", Some(2 << 20)), ("0K", None), ("K", None)] {
            assert_eq!(parse(text), want, "{text}");
        }
    }

    #[test]
    fn the_highest_level_counts_and_what_cannot_be_read_does_not() {
        let folder = std::env::temp_dir().join(format!("dyconv-caches-{}", std::process::id()));
        let caches =
            [("index0", "1", "48K"), ("index3", "3", "8192K"), ("index2", "2", "64M"), ("index4", "4", "?")];
        for (name, level, size) in caches {
            let cache = folder.join(name);
            fs::create_dir_all(&cache).unwrap();
            fs::write(cache.join("level"), format!("{level}\n")).unwrap();
            fs::write(cache.join("size"), format!("{size}\n")).unwrap();
        }
        let found = largest(&folder);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found, Some(8 << 20));
        assert_eq!(largest(&folder), None);
    }
}

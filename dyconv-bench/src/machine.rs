//! The machine that figures come from.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZero;

use dyconv_core::Result;
use dyconv_simd::Isa;
use serde::Serialize;

use crate::peak::peak;

/// What a reader must know to compare figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Machine {
    /// The processor's model name.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Instruction sets that the SIMD backend can run here.
    pub isa: Vec<String>,
    /// Sizes by name, in bytes: `L1d`, `L2`, `L3`. Empty where the system doesn't say.
    pub cache_bytes: BTreeMap<String, u64>,
    /// Multiply-add peak of one thread by instruction set, in GFLOP/s, measured in this process at its start.
    pub fma_peak_gflops: BTreeMap<String, f64>,
    /// Operating system and architecture.
    pub os: String,
    /// The compiler that built this program.
    pub rustc: String,
}

fn peaks() -> Result<BTreeMap<String, f64>> {
    Isa::available().into_iter().map(|isa| Ok((isa.to_string(), peak(isa, 1)?))).collect()
}

fn cpu_model() -> String {
    let unknown = || std::env::consts::ARCH.to_string();
    let Ok(text) = fs::read_to_string("/proc/cpuinfo") else { return unknown() };
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let Some((_, name)) = model else { return unknown() };
    let field = |key: &str| {
        let line = text.lines().find(|line| line.split(':').next().is_some_and(|k| k.trim() == key))?;
        line.split_once(':').map(|(_, value)| value.trim().to_string())
    };
    // Virtual machines hide the model behind one name; family and model number still tell.
    match (field("cpu family"), field("model")) {
        (Some(family), Some(number)) => format!("{} (family {family}, model {number})", name.trim()),
        _ => name.trim().to_string(),
    }
}

fn caches() -> BTreeMap<String, u64> {
    let mut sizes = BTreeMap::new();
    for index in 0..8 {
        let read = |file: &str| {
            let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{file}");
            fs::read_to_string(path).map(|text| text.trim().to_string()).ok()
        };
        let (Some(level), Some(kind), Some(size)) = (read("level"), read("type"), read("size")) else {
            break;
        };
        let Some(bytes) = bytes(&size) else { continue };
        match kind.as_str() {
            "Instruction" => {}
            "Data" => drop(sizes.insert(format!("L{level}d"), bytes)),
            _ => drop(sizes.insert(format!("L{level}"), bytes)),
        }
    }
    sizes
}

/// `32K` → 32768
fn bytes(size: &str) -> Option<u64> {
    let (digits, unit) = match size.strip_suffix(['K', 'M']) {
        Some(digits) => (digits, if size.ends_with('K') { 1 << 10 } else { 1 << 20 }),
        None => (size, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

fn os() -> String {
    let name = fs::read_to_string("/etc/os-release").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?.to_string();
        Some(line.trim_matches('"').to_string())
    });
    format!("{} {}", name.unwrap_or_else(|| std::env::consts::OS.to_string()), std::env::consts::ARCH)
}

impl Machine {
    /// Looks at this machine.
    ///
    /// # Errors
    /// Where the multiply-add peak can't be measured.
    pub fn look() -> Result<Self> {
        Ok(Self {
            cpu: cpu_model(),
            cores: std::thread::available_parallelism().map_or(1, NonZero::get),
            isa: Isa::available().iter().map(ToString::to_string).collect(),
            cache_bytes: caches(),
            fma_peak_gflops: peaks()?,
            os: os(),
            rustc: env!("DYCONV_RUSTC").to_string(),
        })
    }

    /// The largest cache's size; 32 MiB where the system doesn't say.
    #[must_use]
    pub fn last_level_cache(&self) -> u64 {
        self.cache_bytes.values().copied().max().unwrap_or(32 << 20)
    }

    /// One line: processor and cores.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{}, {} cores, {}", self.cpu, self.cores, self.os)
    }

    /// What figures below should be read against.
    #[must_use]
    pub fn describe(&self) -> String {
        let peaks: Vec<_> =
            self.fma_peak_gflops.iter().map(|(isa, peak)| format!("{isa} {peak:.0}")).collect();
        let caches: Vec<_> =
            self.cache_bytes.iter().map(|(name, bytes)| format!("{name} {} KiB", bytes >> 10)).collect();
        let mut text = format!("machine: {}", self.title());
        if !caches.is_empty() {
            text += &format!("; {}", caches.join(", "));
        }
        if !peaks.is_empty() {
            text += &format!("\nmultiply-add peak of one thread, GFLOP/s: {}", peaks.join(", "));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_sizes_are_read_with_their_units() {
        assert_eq!(["32K", "1M", "512"].map(bytes), [Some(32 << 10), Some(1 << 20), Some(512)]);
        assert_eq!(["", "K", "x1K"].map(bytes), [None; 3]);
    }

    #[test]
    fn a_machine_says_what_it_is() {
        let machine = Machine::look().unwrap();
        assert!(machine.cores >= 1 && !machine.cpu.is_empty() && machine.rustc.contains("rustc"));
        assert!(machine.describe().contains(&machine.cpu));
        assert!(machine.isa.iter().all(|isa| machine.fma_peak_gflops[isa] > 0.0));
    }
}

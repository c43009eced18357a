//! The backends by the names that users type, and why one is absent.

use dyconv_core::{AnyBackend, Error, Info, Reference, Result};
use dyconv_simd::{Isa, Kernel, SimdBackend};
use dyconv_wgpu::WgpuBackend;

use crate::peak::isa_of;
use crate::precision::Storage;

/// The names of single backends, the reference first.
pub const NAMES: [&str; 5] = ["reference", "simd-portable", "simd-avx2", "simd-avx512", "wgpu"];

/// A backend that was looked for.
#[derive(Debug)]
pub struct Candidate {
    /// The name that was asked for.
    pub name: &'static str,
    /// The backend, or why this machine hasn't got it.
    pub backend: Result<AnyBackend>,
}

/// What `--backend` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Names of [`NAMES`], each once.
    pub names: Vec<&'static str>,
    /// Whether each was named, so that an absent one is an error and not only worth a line.
    pub named: bool,
}

impl Wanted {
    /// Every backend, present or not.
    #[must_use]
    pub fn all() -> Self {
        Self { names: NAMES.to_vec(), named: false }
    }

    /// Reads names: `all`, `simd` (what `DYCONV_ISA` says, or else the best ISA of this machine) or any of [`NAMES`].
    ///
    /// # Errors
    /// Where a name is none of these: the message lists them.
    pub fn parse(texts: &[String]) -> Result<Self> {
        if texts.iter().any(|text| text == "all") {
            return Ok(Self::all());
        }
        let mut names = Vec::new();
        for text in texts {
            let name = if text == "simd" {
                SimdBackend::builder().threads(1).build()?.isa().id()
            } else {
                text.clone()
            };
            let Some(name) = NAMES.into_iter().find(|known| *known == name) else {
                let expected = format!("one of all, simd, {}", NAMES.join(", "));
                return Err(Error::invalid("backend", format!("`{text}`"), expected));
            };
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(Self { names, named: true })
    }

    /// Looks for each backend, with this many threads where it uses threads (`None`: its own choice).
    ///
    /// # Errors
    /// Where a backend that was named is absent, or the number of threads or an environment variable can't be used.
    pub fn open(&self, threads: Option<usize>) -> Result<Vec<Candidate>> {
        self.open_storing(threads, Storage::F32)
    }

    /// The same, and activations are stored so by those that have a choice.
    ///
    /// # Errors
    /// As [`Wanted::open`]; where nothing stores activations so.
    pub fn open_storing(&self, threads: Option<usize>, activations: Storage) -> Result<Vec<Candidate>> {
        check_environment()?;
        let mut candidates = Vec::with_capacity(self.names.len());
        for &name in &self.names {
            let backend = open(name, threads, activations);
            match backend {
                Err(error) if self.named || !matches!(error, Error::Unavailable { .. }) => return Err(error),
                backend => candidates.push(Candidate { name, backend }),
            }
        }
        Ok(candidates)
    }
}

/// Refuses a `DYCONV_ISA` that nobody can mean, also where every backend is asked for by its name.
fn check_environment() -> Result<()> {
    match SimdBackend::builder().threads(1).build() {
        Err(error) if !matches!(error, Error::Unavailable { .. }) => Err(error),
        _ => Ok(()),
    }
}

fn open(name: &str, threads: Option<usize>, activations: Storage) -> Result<AnyBackend> {
    let isa = name.strip_prefix("simd-").map(str::parse::<Isa>).transpose()?;
    match isa {
        Some(isa) => {
            let builder = SimdBackend::builder().isa(isa);
            let builder = match threads {
                Some(count) => builder.threads(count),
                None => builder,
            };
            builder.build().map(AnyBackend::trainable)
        }
        None if name == "wgpu" => {
            WgpuBackend::builder().activations(activations.into()).build().map(AnyBackend::trainable)
        }
        None => Ok(AnyBackend::trainable(Reference::default())),
    }
}

/// A CPU backend like this one that takes the direct kernel wherever it would choose another: its share of the
/// multiply-add peak says how good the kernels are, whatever Winograd saves.
///
/// # Errors
/// Where threads can't be started.
pub fn direct_like(info: &Info) -> Result<Option<AnyBackend>> {
    let direct = |isa| SimdBackend::builder().isa(isa).threads(info.threads).force(Kernel::Direct).build();
    Ok(isa_of(&info.id).map(direct).transpose()?.map(AnyBackend::new))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(names: &[&str]) -> Result<Wanted> {
        Wanted::parse(&names.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn names_are_read_once_each_and_in_order() {
        let wanted = parse(&["simd-avx2", "reference", "simd-avx2"]).unwrap();
        assert_eq!((wanted.names, wanted.named), (vec!["simd-avx2", "reference"], true));
        assert_eq!(parse(&["reference", "all"]).unwrap(), Wanted::all());
        assert!(parse(&["simd"]).unwrap().names[0].starts_with("simd-"));
    }

    #[test]
    fn a_wrong_name_gets_the_right_ones() {
        let error = parse(&["avx2"]).unwrap_err().to_string();
        assert_eq!(
            error,
            "backend is `avx2`; expected one of all, simd, reference, simd-portable, simd-avx2, simd-avx512, wgpu"
        );
    }

    #[test]
    fn every_isa_has_its_name_here() {
        for isa in Isa::ALL {
            assert!(NAMES.contains(&isa.id().as_str()), "{isa}");
        }
    }

    #[test]
    fn a_number_of_threads_that_cannot_be_used_is_an_error_even_for_all() {
        let error = Wanted::all().open(Some(0)).unwrap_err().to_string();
        assert!(error.starts_with("threads is 0"), "{error}");
    }
}

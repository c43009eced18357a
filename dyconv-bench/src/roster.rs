//! The backends by the names that users type, and why one is absent.

use dyconv_core::{AnyBackend, Error, Reference, Result};

/// The names of single backends, the reference first.
pub const NAMES: [&str; 1] = ["reference"];

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
    /// Reads names: `all` or any of [`NAMES`].
    ///
    /// # Errors
    /// Where a name is none of these: the message lists them.
    pub fn parse(texts: &[String]) -> Result<Self> {
        let mut wanted = Self { names: Vec::new(), named: !texts.iter().any(|text| text == "all") };
        for text in texts {
            let names: &[&'static str] = match text.as_str() {
                "all" => &NAMES,
                other => match NAMES.iter().find(|name| **name == other) {
                    Some(name) => std::slice::from_ref(name),
                    None => {
                        let expected = format!("one of all, {}", NAMES.join(", "));
                        return Err(Error::invalid("backend", format!("`{text}`"), expected));
                    }
                },
            };
            for name in names {
                if !wanted.names.contains(name) {
                    wanted.names.push(name);
                }
            }
        }
        Ok(wanted)
    }

    /// Looks for each backend, with this many threads where it uses threads (`None`: its own choice).
    ///
    /// # Errors
    /// Where a backend that was named is absent.
    pub fn open(&self, threads: Option<usize>) -> Result<Vec<Candidate>> {
        let candidates: Vec<_> = self.names.iter().map(|name| open(name, threads)).collect();
        if self.named
            && let Some(error) = candidates.iter().find_map(|candidate| candidate.backend.as_ref().err())
        {
            return Err(error.clone());
        }
        Ok(candidates)
    }
}

/// Looks for one backend.
fn open(name: &'static str, _threads: Option<usize>) -> Candidate {
    Candidate { name, backend: Ok(AnyBackend::new(Reference::default())) }
}

//! Which vector instructions to compute with: detected once, chosen by the builder or the environment.

use std::fmt;
use std::str::FromStr;

use dyconv_core::{Error, Result};

use crate::cache;
#[cfg(target_arch = "x86_64")]
use crate::lanes::{Avx2, Avx512};
use crate::lanes::{Lanes, Portable};

/// Vector instructions to compute with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// What every machine has: `wide` vectors, chosen when this crate was built.
    Portable,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// AVX-512.
    Avx512,
}

impl Isa {
    /// Every one, the least first.
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];

    /// Those that this machine can run, the least first; never empty.
    #[must_use]
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|isa| isa.token().is_some()).collect()
    }

    /// The best that this machine can run.
    #[must_use]
    pub fn best() -> Self {
        Self::available().pop().unwrap_or(Self::Portable)
    }

    /// The name in `DYCONV_ISA`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// The id of a backend that computes with it: `simd-portable`, `simd-avx2`, `simd-avx512`.
    #[must_use]
    pub fn id(self) -> String {
        format!("simd-{self}")
    }

    /// Proof that the machine has it.
    pub(crate) fn token(self) -> Option<Token> {
        match self {
            Self::Portable => Some(Token::Portable(Portable)),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Avx2::detect().map(Token::Avx2),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Avx512::detect().map(Token::Avx512),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => None,
        }
    }

    /// Proof, or what the user should know.
    pub(crate) fn require(self) -> Result<Token> {
        self.token().ok_or_else(|| {
            let names: Vec<_> = Self::available().into_iter().map(Self::name).collect();
            Error::Unavailable {
                backend: self.id(),
                reason: format!("this CPU doesn't have {}", self.instructions()),
                hint: format!("it can run: {}", names.join(", ")),
            }
        })
    }

    /// In words.
    pub(crate) fn instructions(self) -> &'static str {
        match self {
            Self::Portable => "portable vectors",
            Self::Avx2 => "AVX2, FMA and F16C",
            Self::Avx512 => "AVX-512F and VL",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Isa {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|isa| isa.name() == name)
            .ok_or_else(|| Error::invalid("ISA", format!("{name:?}"), "portable, avx2 or avx512"))
    }
}

/// An instruction set that is there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Token {
    Portable(Portable),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

/// Work that is generic over the instruction set, chosen once per run; the kernels inside enter
/// [`Lanes::vectorize`] themselves.
pub(crate) trait OnLanes {
    type Output;
    fn run<L: Lanes>(self, lanes: L) -> Self::Output;
}

impl Token {
    pub(crate) fn dispatch<W: OnLanes>(self, work: W) -> W::Output {
        match self {
            Self::Portable(lanes) => work.run(lanes),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(lanes) => work.run(lanes),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(lanes) => work.run(lanes),
        }
    }

    /// The register tile and vector width that kernels of this instruction set use, on this machine.
    pub(crate) fn traits(self) -> Traits {
        struct Read;
        impl OnLanes for Read {
            type Output = Traits;
            fn run<L: Lanes>(self, _: L) -> Traits {
                let across = [L::CHANNELS, L::PIXEL_VECTORS];
                let last_level = cache::last_level();
                Traits {
                    width: L::WIDTH,
                    rows: L::ROWS,
                    vectors: L::VECTORS,
                    across,
                    pick: L::PICK,
                    last_level,
                }
            }
        }
        self.dispatch(Read)
    }
}

/// What plans and packing need to know of an instruction set, and of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traits {
    /// Floats in a vector.
    pub(crate) width: usize,
    /// Pixels of a register tile.
    pub(crate) rows: usize,
    /// Vectors of output channels of a register tile.
    pub(crate) vectors: usize,
    /// Channels and vectors of pixels of a register tile whose vector runs over pixels.
    pub(crate) across: [usize; 2],
    /// Bytes of the last-level cache.
    pub(crate) last_level: usize,
    /// What it takes to pick lanes from a vector, in multiply-adds.
    pub(crate) pick: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_a_wrong_one_lists_the_right_ones() {
        for isa in Isa::ALL {
            assert_eq!(isa.name().parse(), Ok(isa));
        }
        let error = "sse9".parse::<Isa>().unwrap_err();
        assert_eq!(error.to_string(), "ISA is \"sse9\"; expected portable, avx2 or avx512");
    }

    #[test]
    fn portable_is_always_available_and_a_missing_one_says_what_is() {
        assert_eq!(Isa::available()[0], Isa::Portable);
        for isa in Isa::ALL {
            match isa.require() {
                Ok(_) => assert!(Isa::available().contains(&isa)),
                Err(error) => {
                    assert!(matches!(error, Error::Unavailable { .. }));
                    assert!(error.to_string().contains("portable"), "{error}");
                }
            }
        }
    }
}

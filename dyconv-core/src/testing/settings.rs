//! The environment variables of the suite, all read here.

use std::hash::{BuildHasher, Hasher, RandomState};

use super::Problem;

/// How a law is tried.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// Random problems, after the named ones. `DYCONV_CASES` overrides it.
    pub cases: u32,
    /// Where randomness starts. `DYCONV_SEED` sets it (decimal, or hexadecimal with `0x`); it is
    /// new in every run otherwise.
    pub seed: u64,
    /// Attempts at making a problem that breaks a law smaller.
    pub shrinks: u32,
    /// `DYCONV_PROBLEM`: try this problem and no other.
    pub problem: Option<Problem>,
}

impl Settings {
    /// So many cases from a seed, whatever the environment says, and as they come: nothing is shrunk.
    #[must_use]
    pub fn fixed(cases: u32, seed: u64) -> Self {
        Self { cases, seed, shrinks: 0, problem: None }
    }

    /// `cases`, unless the environment says otherwise.
    ///
    /// # Panics
    /// Where a variable is set but can't be read: a repro line with a typing error must not pass.
    #[must_use]
    pub fn from_environment(cases: u32) -> Self {
        let cases = variable("DYCONV_CASES", |text| text.parse().ok()).unwrap_or(cases);
        let seed = variable("DYCONV_SEED", parse_seed);
        let problem = variable("DYCONV_PROBLEM", |text| serde_json::from_str(text).ok());
        let seed = seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        Self { cases, seed, shrinks: 400, problem }
    }
}

fn parse_seed(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn variable<T>(name: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    let text = std::env::var(name).ok()?;
    match parse(&text) {
        Some(value) => Some(value),
        None => panic!("{name} is {text:?}, which can't be read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_decimal_or_hexadecimal() {
        assert_eq!(parse_seed("17"), Some(17));
        assert_eq!(parse_seed("0x11"), Some(17));
        assert_eq!(parse_seed("eleven"), None);
    }
}

//! The environment variables, all of them: `DYCONV_ISA` and `DYCONV_THREADS`, for what a builder leaves open.

use std::env::{VarError, var};

use dyconv_core::{Error, Result};

use crate::Isa;

/// `DYCONV_ISA`: portable, avx2 or avx512.
pub(crate) fn isa() -> Result<Option<Isa>> {
    read("DYCONV_ISA").and_then(|value| value.as_deref().map(parse_isa).transpose())
}

/// `DYCONV_THREADS`: a number of threads.
pub(crate) fn threads() -> Result<Option<usize>> {
    read("DYCONV_THREADS").and_then(|value| value.as_deref().map(parse_threads).transpose())
}

fn read(name: &str) -> Result<Option<String>> {
    match var(name) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(value)) => {
            Err(Error::invalid(name, format!("{}", value.display()), "readable text"))
        }
    }
}

fn parse_isa(value: &str) -> Result<Isa> {
    value.parse().map_err(|_| Error::invalid("DYCONV_ISA", format!("{value:?}"), "portable, avx2 or avx512"))
}

fn parse_threads(value: &str) -> Result<usize> {
    let number = value.parse().ok().filter(|&threads| crate::threads::is_allowed(threads));
    number.ok_or_else(|| Error::invalid("DYCONV_THREADS", format!("{value:?}"), crate::threads::EXPECTED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_values_name_the_accepted_ones() {
        assert_eq!(parse_isa("avx2"), Ok(Isa::Avx2));
        assert_eq!(
            parse_isa("AVX").unwrap_err().to_string(),
            "DYCONV_ISA is \"AVX\"; expected portable, avx2 or avx512"
        );
        assert_eq!(parse_threads("3"), Ok(3));
        for bad in ["", "0", "-1", "many", "100000"] {
            let error = parse_threads(bad).unwrap_err().to_string();
            assert!(error.starts_with("DYCONV_THREADS is "), "{error}");
            assert!(error.ends_with("expected a whole number from 1 to 1024"), "{error}");
        }
    }
}

//! Errors say which layer they are about.

use dyconv_core::Error;

/// Puts a layer's name before what an error names.
pub(crate) fn in_layer(name: &str) -> impl Fn(Error) -> Error {
    let of = format!("layer `{name}`: ");
    move |error| match error {
        Error::Invalid { parameter, value, expected } => {
            Error::Invalid { parameter: of.clone() + &parameter, value, expected }
        }
        Error::Unsupported { backend, what } => Error::Unsupported { backend, what: of.clone() + &what },
        Error::LimitExceeded { limit, value, max } => {
            Error::LimitExceeded { limit: of.clone() + &limit, value, max }
        }
        Error::Device { what, reason } => Error::Device { what: of.clone() + &what, reason },
        other => other,
    }
}

//! One error type for every crate: what was wrong, with which value, and what was expected.

use std::fmt::Display;

/// The result of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong. Messages name the parameter, the value and the expectation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration, parameter, tensor or argument that can't be used.
    #[error("{parameter} is {value}; expected {expected}")]
    Invalid {
        /// What was set, by the name that its owner uses: `stride`, `input`, `attention.fc1.weight`.
        parameter: String,
        /// What it was set to.
        value: String,
        /// What would have been accepted.
        expected: String,
    },
    /// A request that is legal, but that this backend doesn't serve.
    #[error("{backend} doesn't support {what}")]
    Unsupported {
        /// The backend's id.
        backend: String,
        /// The option and its value.
        what: String,
    },
    /// A backend that this machine can't run.
    #[error("{backend} isn't available: {reason}; {hint}")]
    Unavailable {
        /// The backend's id.
        backend: String,
        /// What is missing.
        reason: String,
        /// How to get it.
        hint: String,
    },
    /// A file that can't be read, written or understood.
    #[error("{path}: {reason}")]
    File {
        /// The file, or a word for bytes that came from elsewhere.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The device went away; everything on it is gone. Make a new backend and prepare again.
    #[error("the device was lost: {reason}")]
    DeviceLost {
        /// What the driver said.
        reason: String,
    },
    /// An allocation beyond the byte budget, or one that the device refused.
    #[error("out of device memory: {requested} bytes asked for, {in_use} in use, budget {budget}")]
    OutOfMemory {
        /// Bytes asked for.
        requested: u64,
        /// Bytes in use before.
        in_use: u64,
        /// Bytes allowed.
        budget: u64,
    },
    /// A size beyond what the device allows.
    #[error("{limit} is {value}; this device allows {max}")]
    LimitExceeded {
        /// The limit's name.
        limit: String,
        /// What the request needs.
        value: u64,
        /// What the device allows.
        max: u64,
    },
    /// Work that didn't end in the time that was allowed.
    #[error("{what} didn't end within {seconds} s")]
    Timeout {
        /// What was waited for.
        what: String,
        /// The time allowed.
        seconds: u64,
    },
    /// The device or its driver refused something that should have been legal.
    #[error("device error in {what}: {reason}")]
    Device {
        /// What was being done.
        what: String,
        /// What the driver said.
        reason: String,
    },
}

impl Error {
    /// [`Error::Invalid`] from anything printable.
    pub fn invalid(parameter: impl Into<String>, value: impl Display, expected: impl Into<String>) -> Self {
        Self::Invalid { parameter: parameter.into(), value: value.to_string(), expected: expected.into() }
    }

    /// [`Error::File`] from a path and anything printable.
    pub fn file(path: impl Display, reason: impl Display) -> Self {
        Self::File { path: path.to_string(), reason: reason.to_string() }
    }
}

//! Parameters: what a layer accepts, and where they start.

mod check;
mod init;

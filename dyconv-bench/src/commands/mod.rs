//! The program's commands: each takes its parsed arguments and says how it went.

pub mod backends;
pub mod bench;
pub mod explain;
pub mod run;
pub mod serve;
pub mod show;
pub mod train;
mod train_compare;
pub mod verify;
pub mod workloads;

use std::path::Path;

use dyconv_core::{AnyBackend, Backend, Layout};

use crate::record::Absent;
use crate::roster::Candidate;

/// How a command ended, if not with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All is well: exit code 0.
    Well,
    /// Something that was checked is wrong: exit code 1.
    ChecksFailed,
    /// Something that was handed in can't be used, and was reported: exit code 2, as for every error.
    BadInput,
    /// Ctrl-C ended it, and what there was is saved: exit code 130, as shells have it.
    Interrupted,
}

/// A layout as users type it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LayoutName {
    /// Channels first.
    Nchw,
    /// Channels last.
    Nhwc,
}

impl From<LayoutName> for Layout {
    fn from(name: LayoutName) -> Self {
        match name {
            LayoutName::Nchw => Self::Nchw,
            LayoutName::Nhwc => Self::Nhwc,
        }
    }
}

/// The backends that are there.
fn present(candidates: &[Candidate]) -> Vec<AnyBackend> {
    candidates.iter().filter_map(|candidate| candidate.backend.as_ref().ok().cloned()).collect()
}

/// One line for each backend that is there.
fn present_lines(backends: &[AnyBackend]) -> String {
    let line = |backend: &AnyBackend| {
        let info = backend.info();
        let threads = if info.threads == 1 { String::new() } else { format!(", {} threads", info.threads) };
        format!("backend: {} ({}{threads})\n", info.id, info.device)
    };
    backends.iter().map(line).collect()
}

/// One line for each backend that isn't there.
fn absent_lines(absent: &[Absent]) -> String {
    let line = |absent: &Absent| format!("absent: {} ({})\n", absent.backend, absent.reason);
    absent.iter().map(line).collect()
}

/// A path for messages.
fn shown(path: &Path) -> String {
    path.display().to_string()
}

//! `dyconv backends`: who is here, and why others aren't.

use dyconv_core::{Backend, Error, Result};

use super::Ending;
use crate::output::print;
use crate::roster::{Candidate, Wanted};
use crate::table::table;

/// Arguments of `dyconv backends`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Threads of the CPU backends; by default what they choose themselves
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// Lists every backend.
///
/// # Errors
/// Where standard output can't be written to.
pub fn run(args: &Args) -> Result<Ending> {
    let candidates = Wanted::all().open(args.threads)?;
    let header = ["name", "id", "threads", "device", "limits"];
    let mut table = table(&header, 2, candidates.iter().map(line));
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(comfy_table::CellAlignment::Left);
    }
    print(&table.to_string())?;
    Ok(Ending::Well)
}

fn line(candidate: &Candidate) -> Vec<String> {
    let name = candidate.name.to_string();
    match &candidate.backend {
        Ok(backend) => {
            let info = backend.info();
            let limits: Vec<_> = info.limits.iter().map(|(name, value)| format!("{name} {value}")).collect();
            vec![name, info.id.clone(), info.threads.to_string(), info.device.clone(), limits.join("\n")]
        }
        Err(Error::Unavailable { reason, hint, .. }) => {
            vec![name, "absent".into(), "–".into(), format!("{reason}\n{hint}"), String::new()]
        }
        Err(error) => vec![name, "absent".into(), "–".into(), error.to_string(), String::new()],
    }
}

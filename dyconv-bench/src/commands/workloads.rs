//! `dyconv workloads`: the layers that can be asked for.

use dyconv_core::Result;
use serde::Serialize;

use super::Ending;
use crate::output::{json, print};
use crate::table::table;
use crate::workloads::{WORKLOADS, Workload};

/// Arguments of `dyconv workloads`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Print JSON: what another program needs to build the same layers
    #[arg(long)]
    pub json: bool,
}

/// A workload and what follows from it.
#[derive(Clone, Debug, Serialize)]
struct Listed {
    #[serde(flatten)]
    workload: &'static Workload,
    hidden: usize,
}

/// Lists every workload.
///
/// # Errors
/// Where standard output can't be written to.
pub fn run(args: &Args) -> Result<Ending> {
    if args.json {
        let listed = |workload| Listed { workload, hidden: workload.hidden() };
        let all: Vec<Listed> = WORKLOADS.iter().map(listed).collect();
        print(json(&all)?.trim_end())?;
        return Ok(Ending::Well);
    }
    let line = |workload: &Workload| {
        let batches: Vec<_> = workload.batches.iter().map(ToString::to_string).collect();
        vec![workload.name.into(), workload.describe(), workload.source.into(), batches.join(", ")]
    };
    print(&table(&["name", "layer", "source", "batches"], 3, WORKLOADS.iter().map(line)).to_string())?;
    Ok(Ending::Well)
}

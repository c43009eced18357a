//! `dyconv workloads`: the layers that can be asked for.

use dyconv_core::Result;
use serde::Serialize;

use super::Ending;
use crate::output::{json, print};
use crate::table::table;
use crate::workloads::{Workload, select};

/// Arguments of `dyconv workloads`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Layers by name or group (all, paper, extras, resnet18, mbv2-dw, resnext50, gpu …), separated by commas
    #[arg(value_name = "NAMES", value_delimiter = ',', default_value = "all")]
    pub names: Vec<String>,
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

/// Lists workloads.
///
/// # Errors
/// Where a name is wrong, or standard output can't be written to.
pub fn run(args: &Args) -> Result<Ending> {
    let workloads = select(&args.names)?;
    if args.json {
        let listed = |workload| Listed { workload, hidden: workload.hidden() };
        let listed: Vec<Listed> = workloads.into_iter().map(listed).collect();
        print(json(&listed)?.trim_end())?;
        return Ok(Ending::Well);
    }
    let line = |workload: &Workload| {
        let batches: Vec<_> = workload.batches.iter().map(ToString::to_string).collect();
        vec![workload.name.into(), workload.describe(), workload.source.into(), batches.join(", ")]
    };
    print(&table(&["name", "layer", "source", "batches"], 3, workloads.into_iter().map(line)).to_string())?;
    Ok(Ending::Well)
}

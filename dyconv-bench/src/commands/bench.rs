//! `dyconv bench`: the comparison, as asked for.

use std::path::PathBuf;
use std::time::Duration;

use dyconv_core::{AnyBackend, Backend, Error, Result};

use super::{Ending, LayoutName, absent_lines, present, present_lines, shown};
use crate::compare::Plan;
use crate::draw::comparison_plot;
use crate::machine::Machine;
use crate::measure::Budget;
use crate::output::{check_writable, print, write_json, write_png};
use crate::progress::Progress;
use crate::record::{Absent, Record};
use crate::roster::Wanted;
use crate::{table, workloads};

/// Arguments of `dyconv bench`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Layers by name or group (all, paper, extras, resnet18, mbv2-dw …), separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "paper")]
    pub workload: Vec<String>,
    /// Backends, separated by commas: all, simd (the best here), or the names of `dyconv backends`
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "all")]
    pub backend: Vec<String>,
    /// Thread counts of the CPU backends, separated by commas; by default what they choose themselves
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub threads: Vec<usize>,
    /// Layouts, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "nchw")]
    pub layout: Vec<LayoutName>,
    /// Batch sizes, separated by commas; by default each layer's own
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub batch: Vec<usize>,
    /// Time for the calls of one row, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 500)]
    pub time: u64,
    /// Rows that would take longer than this many seconds are left out, and said so
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub limit: u64,
    /// Write the record as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the plot as PNG
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
}

/// The largest batch: its tensors are really made.
const MOST_SAMPLES: usize = 1024;

/// Measures, prints the table, and writes what was asked for.
///
/// # Errors
/// Where a name is wrong, a named backend is absent, a file can't be written, or a backend fails.
pub fn run(args: &Args) -> Result<Ending> {
    for path in args.json.iter().chain(&args.plot) {
        check_writable(path)?;
    }
    if let Some(batch) = args.batch.iter().find(|batch| !(1..=MOST_SAMPLES).contains(*batch)) {
        return Err(Error::invalid("batch", batch, format!("1 to {MOST_SAMPLES} samples")));
    }
    let wanted = Wanted::parse(&args.backend)?;
    let plan = Plan {
        workloads: workloads::select(&args.workload)?,
        batches: (!args.batch.is_empty()).then(|| args.batch.clone()),
        layouts: args.layout.iter().map(|&name| name.into()).collect(),
        budget: Budget { time: Duration::from_millis(args.time), ..Budget::BENCH },
        longest_row: Duration::from_secs(args.limit),
        longest_backend: Duration::MAX,
    };
    let (backends, absent) = open(&wanted, &args.threads)?;
    let machine = Machine::look()?;
    print(&format!("{}\n{}{}", machine.describe(), present_lines(&backends), absent_lines(&absent)))?;
    let progress = Progress::new("measuring", plan.rows_per_backend() * backends.len());
    let outcome = plan.run(&backends, &progress)?;
    drop(progress);
    let record = Record::new(machine, &backends, outcome, absent);
    print(&report(&record))?;
    if let Some(path) = &args.json {
        write_json(path, &record)?;
        print(&format!("record: {}", shown(path)))?;
    }
    if let Some(path) = &args.plot {
        write_png(path, &comparison_plot(&record))?;
        print(&format!("plot: {}", shown(path)))?;
    }
    Ok(Ending::Well)
}

/// The table, what is missing from it, and how to read it.
#[must_use]
pub fn report(record: &Record) -> String {
    let mut text = table::comparison(&record.rows, &record.machine.fma_peak_gflops);
    text += "\n÷ static: over the same layer with one kernel and no attention, called in turn. runs: pairs of calls timed; 1 \
             is a single measurement. worst error: largest \
             |got − reference| over the first sample; of tolerance: over what case files allow.\n";
    text += &table::skipped(&record.skipped);
    text
}

/// The backends once per thread count; those without threads of their own only once.
fn open(wanted: &Wanted, threads: &[usize]) -> Result<(Vec<AnyBackend>, Vec<Absent>)> {
    let counts = if threads.is_empty() { vec![None] } else { threads.iter().copied().map(Some).collect() };
    let (mut backends, mut absent): (Vec<AnyBackend>, Vec<Absent>) = Default::default();
    for count in counts {
        let candidates = wanted.open(count)?;
        absent = Absent::among(&candidates);
        for backend in present(&candidates) {
            let same = |other: &AnyBackend| {
                (&other.info().id, other.info().threads) == (&backend.info().id, backend.info().threads)
            };
            if !backends.iter().any(same) {
                backends.push(backend);
            }
        }
    }
    Ok((backends, absent))
}

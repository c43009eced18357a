//! `dyconv bench`: the comparison, as asked for.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use std::time::Duration;

use dyconv_core::{AnyBackend, Backend, Error, Layout, Result};

use super::{Ending, LayoutName, absent_lines, present, present_lines, shown};
use crate::against::{Peers, compare};
use crate::compare::Plan;
use crate::draw::{comparison_plot, ratio_plot};
use crate::machine::Machine;
use crate::output::{check_writable, print, write_file, write_json, write_png};
use crate::precision::Storage;
use crate::problem::Problem;
use crate::profile::{Profile, Profiler};
use crate::progress::Progress;
use crate::ready::Pass;
use crate::record::{Absent, Against, Record, Row};
use crate::roster::Wanted;
use crate::table;
use crate::timing::Budget;
use crate::workloads::{by_name, check_batch, select};

/// Arguments of `dyconv bench`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Layers by name or group (all, paper, extras, resnet18, mbv2-dw, resnext50 …), separated by commas; by default
    /// paper, with --against all
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub workload: Vec<String>,
    /// Backends, separated by commas: all, simd (the best here), or the names of `dyconv backends`; by default all, with
    /// --against simd
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub backend: Vec<String>,
    /// Thread counts of the CPU backends, separated by commas; by default what they choose themselves, with --against
    /// as many as the peers had
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub threads: Vec<usize>,
    /// Layouts, separated by commas; by default nchw, with --against both
    #[arg(long, value_delimiter = ',')]
    pub layout: Vec<LayoutName>,
    /// Batch sizes, separated by commas; by default each layer's own
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub batch: Vec<usize>,
    /// How experts are stored, separated by commas; rows of a backend that can't are left out, and said so
    #[arg(long, value_delimiter = ',', default_value = "f32")]
    pub precision: Vec<Storage>,
    /// How activations are stored, separated by commas: f32, or f16 on a GPU; rows of other backends are left out, and
    /// said so
    #[arg(long, value_delimiter = ',', default_value = "f32", conflicts_with_all = ["against", "training"])]
    pub activations: Vec<Storage>,
    /// Also time calls whose experts no cache holds: copies of the layer that exceed the last-level cache take turns
    #[arg(long)]
    pub cold: bool,
    /// Time training, a recorded forward and its backward, instead of a forward
    #[arg(long, conflicts_with_all = ["against", "precision"])]
    pub training: bool,
    /// Compare with other engines: a file that dyconv-bench/peers has written on this machine
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// Also each kernel of the GPU's rows, by the device's own clock
    #[arg(long)]
    pub profile: bool,
    /// Also a simple GPU kernel beside ours, checked against it; with --profile's figures
    #[arg(long, value_name = "KERNEL")]
    pub baseline: Option<Baseline>,
    /// Time for the calls of one row, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 500)]
    pub time: u64,
    /// Go through all rows so many times and keep the middle of what each took: what disturbs the machine for some seconds
    /// then spoils no row of three passes
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub passes: u32,
    /// Rows that would take longer than this many seconds are left out, and said so
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub limit: u64,
    /// Write the record as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the plot as PNG: times, with --against ratios to the best peers
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// Write the comparison with peers as Markdown
    #[arg(long, value_name = "FILE", requires = "against")]
    pub markdown: Option<PathBuf>,
}

/// What ours is compared with on a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Baseline {
    /// One thread per output, nothing shared.
    Naive,
}

/// Measures, prints the tables, and writes what was asked for.
///
/// # Errors
/// Where a name is wrong, a named backend is absent, a file can't be read or written, or a backend fails.
pub fn run(args: &Args) -> Result<Ending> {
    for path in args.json.iter().chain(&args.plot).chain(&args.markdown) {
        check_writable(path)?;
    }
    args.batch.iter().try_for_each(|&batch| check_batch(batch))?;
    let peers = args.against.as_deref().map(Peers::read).transpose()?;
    let asked = Asked::new(args, peers.as_ref());
    let wanted = Wanted::parse(&asked.backends)?;
    let machine = Machine::look()?;
    let plan = Plan {
        workloads: select(&asked.workloads)?,
        batches: (!args.batch.is_empty()).then(|| args.batch.clone()),
        layouts: asked.layouts,
        storages: args.precision.clone(),
        activations: args.activations.clone(),
        pass: if args.training { Pass::Training } else { Pass::Forward },
        cold: args.cold.then(|| machine.last_level_cache()),
        direct: peers.is_some(),
        budget: Budget { time: Duration::from_millis(args.time), ..Budget::BENCH },
        passes: args.passes as usize,
        longest_row: Duration::from_secs(args.limit),
        longest_backend: Duration::MAX,
    };
    let (backends, absent) = open(&wanted, &asked.threads, &args.activations)?;
    print(&format!("{}\n{}{}", machine.describe(), present_lines(&backends), absent_lines(&absent)))?;
    let progress = Progress::new("measuring", plan.rows_per_backend() * backends.len() * plan.passes);
    let outcome = plan.run(&backends, &progress)?;
    drop(progress);
    let mut record = Record::new(machine, &backends, outcome, absent);
    if args.profile || args.baseline.is_some() {
        record.profiles = profile_rows(&record.rows, plan.budget, args.baseline.is_some())?;
    }
    record.against = peers.map(|peers| compare(&peers, &record.machine, &record.rows, &plan.asked()));
    print(&report(&record))?;
    write(args, &record)?;
    Ok(Ending::Well)
}

/// What was left open, decided.
struct Asked {
    workloads: Vec<String>,
    backends: Vec<String>,
    threads: Vec<usize>,
    layouts: Vec<Layout>,
}

impl Asked {
    fn new(args: &Args, peers: Option<&Peers>) -> Self {
        let or = |given: &[String], default: &str| match given {
            [] => vec![default.to_string()],
            given => given.to_vec(),
        };
        let layouts: Vec<Layout> = args.layout.iter().map(|&name| name.into()).collect();
        match peers {
            Some(peers) => Self {
                workloads: or(&args.workload, "all"),
                backends: or(&args.backend, "simd"),
                threads: if args.threads.is_empty() { vec![peers.threads] } else { args.threads.clone() },
                layouts: if layouts.is_empty() { Layout::ALL.to_vec() } else { layouts },
            },
            None => Self {
                workloads: or(&args.workload, "paper"),
                backends: or(&args.backend, "all"),
                threads: args.threads.clone(),
                layouts: if layouts.is_empty() { vec![Layout::Nchw] } else { layouts },
            },
        }
    }
}

/// The kernels of every row that a GPU ran.
fn profile_rows(rows: &[Row], budget: Budget, baseline: bool) -> Result<Vec<Profile>> {
    let rows: Vec<_> = rows.iter().filter(|row| row.backend.starts_with("wgpu")).collect();
    if rows.is_empty() {
        let wanted = "wgpu among the backends, and layers within --limit";
        return Err(Error::invalid("profile", "asked for, and no row ran on a GPU", wanted));
    }
    let mut profilers = BTreeMap::new();
    for row in &rows {
        if let Entry::Vacant(place) = profilers.entry(row.activations) {
            place.insert(Profiler::new(budget, baseline, row.activations)?);
        }
    }
    let progress = Progress::new("profiling", rows.len());
    let profiled = rows.into_iter().map(|row| {
        progress.say(&format!("{} batch {} {}", row.workload, row.batch, row.layout));
        let problem = Problem::new(by_name(row.workload)?, row.batch, row.layout)?;
        let profiled = profilers[&row.activations].profile(&problem, row);
        progress.step();
        profiled
    });
    profiled.collect()
}

fn write(args: &Args, record: &Record) -> Result<()> {
    if let Some(path) = &args.json {
        write_json(path, record)?;
        print(&format!("record: {}", shown(path)))?;
    }
    if let Some(path) = &args.plot {
        let plot = match &record.against {
            Some(against) => ratio_plot(against, &record.machine),
            None => comparison_plot(record),
        };
        write_png(path, &plot)?;
        print(&format!("plot: {}", shown(path)))?;
    }
    if let (Some(path), Some(against)) = (&args.markdown, &record.against) {
        write_file(path, table::markdown(against).as_bytes())?;
        print(&format!("tables: {}", shown(path)))?;
    }
    Ok(())
}

/// The tables, what is missing from them, and how to read them.
#[must_use]
pub fn report(record: &Record) -> String {
    let mut text = table::comparison(&record.rows);
    text += "÷ static: over the same layer with one kernel and no attention, called in turn. runs: calls timed; 1 is a \
             single measurement. GFLOP/s and % peak: 2 · multiply-adds of the convolution, as the mathematics states \
             it, over the median time; Winograd needs fewer. of tolerance: the largest |got − reference| over the \
             first sample, as a share of what is allowed.\n";
    if record.rows.iter().any(|row| row.pass == Pass::Training) {
        text += "a call: a recorded forward and its backward, which gives the gradients of input, π and parameters; the \
                 convolution's multiply-adds count three times, and what is checked are the forward's outputs.\n";
    }
    text += &table::skipped(&record.skipped);
    if !record.skipped.is_empty() {
        text.push('\n');
    }
    if let Some(cold) = table::cold(&record.rows) {
        text += &format!("\nexperts that no cache holds\n{cold}\n");
    }
    if let Some(threads) = table::threads(&record.rows) {
        text += &format!("\nmore threads\n{threads}\n");
    }
    if !record.profiles.is_empty() {
        text += PROFILES;
    }
    for profile in &record.profiles {
        text += &format!("\n{}", table::profile(profile));
    }
    if let Some(against) = &record.against {
        text += &against_peers(against);
    }
    text
}

const PROFILES: &str = "\nkernels, each alone and timed by the device; GFLOP/s: 2 · multiply-adds of the stage over all \
    its kernels; GB/s: bytes bound, each buffer once. In a chain: the input brings its channel sums and the output's are \
    emitted.\n";

fn against_peers(against: &Against) -> String {
    let Against { made, threads, versions, .. } = against;
    let versions: Vec<_> = versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let made = made.as_ref().map_or_else(String::new, |made| format!(" made {made},"));
    let mut text = format!("\nagainst peers:{made} {threads} thread(s); {}\n", versions.join(", "));
    for warning in &against.warnings {
        text += &format!("warning: {warning}\n");
    }
    text += &format!("{}\n", table::peers(against));
    if let Some(prototypes) = table::prototypes(&against.prototypes) {
        text += &format!("against the prototypes, % of peak\n{prototypes}\n\n");
    }
    text + &format!("{}\n", table::goals(&against.targets))
}

/// The backends once per thread count and storage of activations; those without threads of their own only once.
fn open(
    wanted: &Wanted,
    threads: &[usize],
    activations: &[Storage],
) -> Result<(Vec<AnyBackend>, Vec<Absent>)> {
    let counts = if threads.is_empty() { vec![None] } else { threads.iter().copied().map(Some).collect() };
    let (mut backends, mut absent): (Vec<AnyBackend>, Vec<Absent>) = Default::default();
    let asked = counts.into_iter().flat_map(|count| activations.iter().map(move |&stored| (count, stored)));
    for (count, stored) in asked {
        let candidates = wanted.open_storing(count, stored)?;
        absent = Absent::among(&candidates);
        for backend in present(&candidates) {
            let same = |other: &AnyBackend| {
                let key = |backend: &AnyBackend| (backend.info().id.clone(), backend.info().threads);
                (key(other), other.info().activations) == (key(&backend), backend.info().activations)
            };
            if !backends.iter().any(same) {
                backends.push(backend);
            }
        }
    }
    Ok((backends, absent))
}

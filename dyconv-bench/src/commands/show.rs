//! `dyconv` without a command: what the layer is, on a photograph, and what it costs, on the paper's layers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dyconv_core::{AnyBackend, Backend, Error, Layout, Reference, Result};

use super::bench::report;
use super::{Ending, absent_lines, present, shown};
use crate::compare::Plan;
use crate::data::SEED;
use crate::demo::{Demo, PHOTOGRAPH, TEMPERATURES, sheet};
use crate::draw::comparison_plot;
use crate::machine::Machine;
use crate::measure::Budget;
use crate::output::{make_folder, print, write_json, write_png};
use crate::picture::decode;
use crate::progress::Progress;
use crate::record::{Absent, Record};
use crate::roster::Wanted;
use crate::workloads::select;

/// Arguments of `dyconv` without a command.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Folder for pictures and the record
    #[arg(long, value_name = "FOLDER", default_value = "dyconv-out")]
    pub out: PathBuf,
}

/// Experts of the demonstration.
const EXPERTS: usize = 4;

/// Does the main job.
///
/// # Errors
/// Where the folder can't be written to, or a backend fails.
pub fn run(args: &Args) -> Result<Ending> {
    make_folder(&args.out)?;
    let candidates = Wanted::parse(&["all".into()])?.open(None)?;
    let absent = Absent::among(&candidates);
    let backends = present(&candidates);
    let ids: Vec<_> = backends.iter().map(|backend| backend.info().id.clone()).collect();
    print(&format!("backends: {}", ids.join(", ")))?;
    if !absent.is_empty() {
        print(absent_lines(&absent).trim_end())?;
    }
    photograph(&backends, &args.out)?;
    layers(&backends, absent, &args.out)?;
    print("more: dyconv run IMAGE, dyconv bench, dyconv explain resnet18-64x56, dyconv --help")?;
    Ok(Ending::Well)
}

/// Part one: the photograph on every backend, and the contact sheet.
fn photograph(backends: &[AnyBackend], out: &Path) -> Result<()> {
    let picture = decode(PHOTOGRAPH).map_err(|error| Error::file("coffee.png", error))?;
    let demo = Demo::new(&picture, EXPERTS, SEED)?;
    let progress = Progress::new("photograph", backends.len());
    let reference = AnyBackend::new(Reference::default());
    let truth = demo.mix(&reference, &TEMPERATURES)?;
    let mut notes = Vec::new();
    for backend in backends {
        let id = &backend.info().id;
        progress.say(id);
        let mixed = demo.mix(backend, &TEMPERATURES)?;
        let worst = mixed.iter().zip(&truth).map(|(got, want)| got.difference(want)).fold(0.0, f64::max);
        if *id != reference.info().id {
            notes.push(format!("{id} {worst:.1e}"));
        }
        progress.step();
    }
    let agreement = match notes.as_slice() {
        [] => "No backend but the reference is here to compare with.".to_string(),
        notes => format!("Largest difference from the reference, of 1 = white: {}.", notes.join(", ")),
    };
    let explanation = "How the head decides: a brighter picture calls for the blur, a darker one for sharpening, a \
                       bluer one for horizontal edges, a greener one for vertical edges; the original calls for none, \
                       and so for all alike.";
    let source = "Photograph: Rachel Michetti, CC0, from scikit-image.";
    let notes = [explanation.to_string(), format!("{agreement} {source}")];
    let picture = sheet(&demo.copies, &demo.alone(&reference)?, &truth, &notes);
    drop(progress);
    let path = out.join("sheet.png");
    write_png(&path, &picture)?;
    print(&format!("contact sheet: {}\n  {agreement}", shown(&path)))
}

/// Part two: the paper's layers on every backend, the table, the plot and the record.
fn layers(backends: &[AnyBackend], absent: Vec<Absent>, out: &Path) -> Result<()> {
    let names = ["resnet18", "mbv2-project", "mbv2-dw"].map(String::from);
    let plan = Plan {
        workloads: select(&names)?,
        batches: Some(vec![1]),
        layouts: vec![Layout::Nchw],
        budget: Budget::GLANCE,
        longest_row: Duration::from_secs(3),
        longest_backend: Duration::from_secs(8),
    };
    let machine = Machine::look()?;
    let progress = Progress::new("layers", plan.rows_per_backend() * backends.len());
    let outcome = plan.run(backends, &progress)?;
    drop(progress);
    let record = Record::new(machine, outcome.rows, outcome.skipped, absent);
    print(&format!("{}\n{}", record.machine.describe(), report(&record)))?;
    let (plot, json) = (out.join("layers.png"), out.join("record.json"));
    write_png(&plot, &comparison_plot(&record.rows, &record.machine.title()))?;
    write_json(&json, &record)?;
    print(&format!("plot: {}\nrecord: {}", shown(&plot), shown(&json)))
}

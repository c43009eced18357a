//! `dyconv` without a command: what the layer is, on a photograph, and what it costs, on the paper's layers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dyconv_core::{AnyBackend, Backend, Error, Layout, Reference, Result};
use serde::Serialize;

use super::bench::report;
use super::{Ending, absent_lines, present, present_lines, shown};
use crate::compare::Plan;
use crate::data::SEED;
use crate::demo::{Copy, Demo, EXPLANATION, FILTERS, Mixed, PHOTOGRAPH, TEMPERATURES, sheet};
use crate::draw::comparison_plot;
use crate::machine::Machine;
use crate::output::{make_folder, print, write_json, write_png};
use crate::picture::decode;
use crate::precision::Storage;
use crate::progress::Progress;
use crate::ready::Pass;
use crate::record::{Absent, Record, VERSION};
use crate::roster::Wanted;
use crate::timing::Budget;
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

/// What the main job writes as JSON.
#[derive(Clone, Debug, Serialize)]
struct ShowRecord {
    version: u32,
    /// `show`.
    kind: &'static str,
    photograph: Photograph,
    /// As `dyconv bench --json` writes it.
    layers: Record,
}

/// What came of the photograph.
#[derive(Clone, Debug, Serialize)]
struct Photograph {
    experts: Vec<&'static str>,
    attention: Vec<Weights>,
    /// Largest |got − reference| by backend, outputs and attention, every picture and temperature; 1 is white.
    worst_errors: BTreeMap<String, f64>,
}

/// One picture at one temperature.
#[derive(Clone, Debug, Serialize)]
struct Weights {
    picture: &'static str,
    temperature: f64,
    weights: Vec<f32>,
}

/// Does the main job.
///
/// # Errors
/// Where the folder can't be written to, or a backend fails.
pub fn run(args: &Args) -> Result<Ending> {
    make_folder(&args.out)?;
    let candidates = Wanted::all().open(None)?;
    let absent = Absent::among(&candidates);
    let backends = present(&candidates);
    print(&format!("{}{}", present_lines(&backends), absent_lines(&absent)))?;
    let photograph = photograph(&backends, &args.out)?;
    let layers = layers(&backends, absent, &args.out)?;
    let json = args.out.join("record.json");
    write_json(&json, &ShowRecord { version: VERSION, kind: "show", photograph, layers })?;
    print(&format!("record: {}", shown(&json)))?;
    print("\nmore: dyconv run IMAGE, dyconv bench, dyconv explain resnet18-64x56, dyconv --help")?;
    Ok(Ending::Well)
}

/// Part one: the photograph on every backend, and the contact sheet.
fn photograph(backends: &[AnyBackend], out: &Path) -> Result<Photograph> {
    let picture = decode(PHOTOGRAPH).map_err(|error| Error::file("coffee.png", error))?;
    let demo = Demo::new(&picture, EXPERTS, SEED)?;
    let progress = Progress::new("photograph", backends.len());
    let reference = AnyBackend::new(Reference::default());
    let truth = demo.mix(&reference, &TEMPERATURES)?;
    let mut worst_errors = BTreeMap::new();
    for backend in backends {
        let id = &backend.info().id;
        progress.say(id);
        let mixed = demo.mix(backend, &TEMPERATURES)?;
        let worst = mixed.iter().zip(&truth).map(|(got, want)| got.difference(want)).fold(0.0, f64::max);
        if *id != reference.info().id {
            worst_errors.insert(id.clone(), worst);
        }
        progress.step();
    }
    let agreement = agreement(&worst_errors);
    let notes = [
        EXPLANATION.to_string(),
        format!("{agreement} Photograph: Rachel Michetti, CC0, from scikit-image."),
    ];
    let picture = sheet(&demo.copies, &demo.alone(&reference)?, &truth, &notes);
    drop(progress);
    let path = out.join("sheet.png");
    write_png(&path, &picture)?;
    print(&format!("contact sheet: {}\n{agreement}\n", shown(&path)))?;
    let experts = FILTERS.iter().take(EXPERTS).map(|filter| filter.name).collect();
    Ok(Photograph { experts, attention: weights(&demo, &truth), worst_errors })
}

fn agreement(worst_errors: &BTreeMap<String, f64>) -> String {
    if worst_errors.is_empty() {
        return "No backend but the reference is here to compare with.".into();
    }
    let each: Vec<_> = worst_errors.iter().map(|(id, worst)| format!("{id} {worst:.1e}")).collect();
    format!("Largest difference from the reference, where 1 is white: {}.", each.join(", "))
}

fn weights(demo: &Demo, mixed: &[Mixed]) -> Vec<Weights> {
    let of = |(sample, copy): (usize, &Copy)| {
        let picture = copy.name;
        let at = move |mixed: &Mixed| Weights {
            picture,
            temperature: mixed.temperature,
            weights: mixed.weights(sample).to_vec(),
        };
        mixed.iter().map(at).collect::<Vec<_>>()
    };
    demo.copies.iter().enumerate().flat_map(of).collect()
}

/// Part two: the paper's layers on every backend, the table and the plot.
fn layers(backends: &[AnyBackend], absent: Vec<Absent>, out: &Path) -> Result<Record> {
    let names = ["resnet18", "mbv2-project", "mbv2-dw"].map(String::from);
    let plan = Plan {
        workloads: select(&names)?,
        batches: Some(vec![1]),
        layouts: vec![Layout::Nchw],
        storages: vec![Storage::F32],
        pass: Pass::Forward,
        cold: None,
        direct: false,
        budget: Budget::GLANCE,
        longest_row: Duration::from_secs(3),
        longest_backend: Duration::from_secs(8),
    };
    let machine = Machine::look()?;
    let progress = Progress::new("layers", plan.rows_per_backend() * backends.len());
    let outcome = plan.run(backends, &progress)?;
    drop(progress);
    let record = Record::new(machine, backends, outcome, absent);
    print(&format!("{}\n\n{}", record.machine.describe(), report(&record)))?;
    let plot = out.join("layers.png");
    write_png(&plot, &comparison_plot(&record))?;
    print(&format!("plot: {}", shown(&plot)))?;
    Ok(record)
}

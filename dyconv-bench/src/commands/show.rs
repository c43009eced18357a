//! `dyconv` without a command: what the layer is, on a photograph; that it learns, on handwritten digits; and what it
//! costs, on the paper's layers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dyconv_core::{AnyBackend, Backend, Error, Layout, Reference, Result};
use dyconv_nn::Model;
use serde::Serialize;

use super::bench::report;
use super::{Ending, absent_lines, present, present_lines, shown};
use crate::compare::Plan;
use crate::data::SEED;
use crate::demo::{Copy, Demo, EXPLANATION, FILTERS, Mixed, PHOTOGRAPH, TEMPERATURES, sheet};
use crate::digits;
use crate::draw::{comparison_plot, reading_sheet};
use crate::machine::Machine;
use crate::output::{make_folder, print, write_file, write_json, write_png};
use crate::picture::decode;
use crate::precision::Storage;
use crate::progress::Progress;
use crate::reading::{Agreement, Answers, COMMAND, NEAR_TIE, NETWORK, every_answer};
use crate::ready::Pass;
use crate::record::{Absent, Record, VERSION};
use crate::roster::Wanted;
use crate::table;
use crate::timing::Budget;
use crate::workloads::select;

/// Arguments of `dyconv` without a command.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Folder for pictures and the record
    #[arg(long, value_name = "FOLDER", default_value = "dyconv-out")]
    pub out: PathBuf,
}

/// What a reader should know about the digits.
const SOURCE: &str = "Beside each image: the class it is read as, red where that is wrong; below: how much each expert weighs. \
                      Images: UCI handwritten digits, E. Alpaydin and C. Kaynak, CC BY 4.0.";

/// Experts of the demonstration.
const EXPERTS: usize = 4;

/// What the main job writes as JSON.
#[derive(Clone, Debug, Serialize)]
struct ShowRecord {
    version: u32,
    /// `show`.
    kind: &'static str,
    photograph: Photograph,
    digits: Digits,
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

/// What came of the digits.
#[derive(Clone, Debug, Serialize)]
struct Digits {
    /// How the network was trained.
    command: &'static str,
    held_out: usize,
    backends: Vec<Agreement>,
    /// Images whose class the reference decides by less than [`NEAR_TIE`], by their place among the held-out ones.
    near_ties: Vec<usize>,
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
    let digits = digits(&backends, &args.out)?;
    let agree = digits.backends.iter().all(|agreement| agreement.different.is_empty());
    let layers = layers(&backends, absent, &args.out)?;
    let json = args.out.join("record.json");
    write_json(&json, &ShowRecord { version: VERSION, kind: "show", photograph, digits, layers })?;
    print(&format!("record: {}", shown(&json)))?;
    print(
        "\nmore: dyconv run IMAGE, dyconv train, dyconv bench, dyconv explain resnet18-64x56, dyconv --help",
    )?;
    Ok(if agree { Ending::Well } else { Ending::ChecksFailed })
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

/// Part two: the trained network reads the held-out digits on every backend.
fn digits(backends: &[AnyBackend], out: &Path) -> Result<Digits> {
    let digits = digits::Digits::load()?;
    let (images, labels) = (&digits.held_out, digits.held_out.labels());
    let model = Model::from_bytes(NETWORK)?;
    let progress = Progress::new("digits", backends.len());
    let truth = Answers::of(&AnyBackend::new(Reference::default()), &model, images)?;
    let mut agreements = Vec::with_capacity(backends.len());
    for backend in backends {
        progress.say(&backend.info().id);
        let answers = Answers::of(backend, &model, images)?;
        agreements.push(Agreement::new(&backend.info().id, &answers, &truth, labels));
        progress.step();
    }
    drop(progress);
    let near_ties: Vec<usize> = (0..truth.len()).filter(|&image| truth.margin(image) < NEAR_TIE).collect();
    let [sheet, list] = ["digits.png", "digits.csv"].map(|name| out.join(name));
    let right =
        format!("{:.2} % of {} held-out digits read right", 100.0 * truth.accuracy(labels), labels.len());
    let trained =
        format!("{right}, by a network of {} parameters. Trained by: {COMMAND}", model.parameters());
    let notes = [trained.clone(), SOURCE.to_string()];
    write_png(&sheet, &reading_sheet(images, &truth, "A network of dynamic convolutions reads", &notes))?;
    write_file(&list, every_answer(images, &truth, &digits.held_out_places).as_bytes())?;
    print(&format!(
        "digits: {trained}\n\n{}\n{}\n\n{}\nπ: attention over experts, in percent\n\nevery image: {}, {}\n",
        table::agreement(&agreements, labels.len()),
        match near_ties.len() {
            0 => format!("no near ties: no two largest logits are closer than {NEAR_TIE}"),
            count => format!("{count} near ties: the two largest logits are closer than {NEAR_TIE}"),
        },
        table::one_of_each(images, &truth, &digits.held_out_places),
        shown(&sheet),
        shown(&list)
    ))?;
    Ok(Digits { command: COMMAND, held_out: labels.len(), backends: agreements, near_ties })
}

/// Part three: the paper's layers on every backend, the table and the plot.
fn layers(backends: &[AnyBackend], absent: Vec<Absent>, out: &Path) -> Result<Record> {
    let names = ["resnet18", "mbv2-project", "mbv2-dw"].map(String::from);
    let plan = Plan {
        workloads: select(&names)?,
        batches: Some(vec![1]),
        layouts: vec![Layout::Nchw],
        activations: vec![Storage::F32],
        storages: vec![Storage::F32],
        pass: Pass::Forward,
        cold: None,
        direct: false,
        budget: Budget::GLANCE,
        passes: 1,
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

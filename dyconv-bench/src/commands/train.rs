//! `dyconv train`: a network learns to read handwritten digits.

use std::path::{Path, PathBuf};
use std::time::Instant;

use dyconv_core::{AnyBackend, Error, Result, Train};
use dyconv_nn::{Checkpoint, End, Images, Model, Temperature, Trainer};

use super::{Ending, present, present_lines, shown, train_compare};
use crate::digits::Digits;
use crate::draw::{attention_plot, history_plot};
use crate::interrupt::Interrupt;
use crate::machine::Machine;
use crate::output::{check_writable, make_folder, print, write_json, write_png};
use crate::progress::Progress;
use crate::record::{Present, VERSION};
use crate::roster::Wanted;
use crate::table;
use crate::training::{Data, Findings, Session, Setup, Summary, TrainRecord, annealed};

/// Arguments of `dyconv train`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The backend: simd (the best here) or a name of `dyconv backends`
    #[arg(long, value_name = "NAME", default_value = "simd")]
    pub backend: String,
    /// Threads of a CPU backend; by default what it chooses itself
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Folder for the results; those of an earlier training are replaced
    #[arg(long, value_name = "FOLDER", default_value = "dyconv-out")]
    pub out: PathBuf,
    /// Go on with an interrupted training, by its own hyper-parameters; by default with --out's checkpoint.safetensors
    #[arg(long, value_name = "FILE", num_args = 0..=1, conflicts_with = "Hyper")]
    pub resume: Option<Option<PathBuf>>,
    /// Compare: static, dynamic with the temperature annealed, dynamic with it fixed; each from several seeds
    #[arg(long, conflicts_with = "resume")]
    pub compare: bool,
    /// Seeds of a comparison, from --seed on
    #[arg(long, value_name = "N", default_value_t = 5, requires = "compare")]
    pub seeds: u64,
    /// What is trained, and how.
    #[command(flatten)]
    pub hyper: Hyper,
}

/// Hyper-parameters, which a resumed training has already.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "Hyper", multiple = true)]
pub struct Hyper {
    /// Experts of each dynamic layer, K; 1: all layers static
    #[arg(long, short = 'k', value_name = "K", default_value_t = 4)]
    pub experts: usize,
    /// The temperature: T, or FROM,TO with --anneal's epochs between them [default: 30,1, as in the paper]
    #[arg(long, value_name = "T", value_delimiter = ',', allow_negative_numbers = true)]
    pub temperature: Vec<f64>,
    /// Epochs from the first temperature to the second [default: 10, as in the paper]
    #[arg(long, value_name = "N")]
    pub anneal: Option<u64>,
    /// How often every image is seen
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub epochs: u64,
    /// Where starting values and the order of images come from; the same seed gives the same network
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Channels of the network's first layers; the last have twice as many
    #[arg(long, value_name = "N", default_value_t = 6)]
    pub width: usize,
    /// Images of a step
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub batch: usize,
    /// The learning rate's peak
    #[arg(long, value_name = "RATE", default_value_t = 0.1, allow_negative_numbers = true)]
    pub rate: f64,
    /// How many times that rate the attention heads have [default: 0.1]
    #[arg(long, value_name = "FACTOR", allow_negative_numbers = true)]
    pub head_rate: Option<f64>,
}

const CHECKPOINT: &str = "checkpoint.safetensors";

/// Trains, prints what came of it, and writes network, pictures and record.
///
/// # Errors
/// Where an option, the checkpoint or the folder can't be used, or the backend fails.
pub fn run(args: &Args) -> Result<Ending> {
    let digits = Digits::load()?;
    let backend = learner(&args.backend, args.threads)?;
    let setup = args.hyper.setup()?;
    if args.compare {
        return train_compare::run(args, &setup, &backend, &digits);
    }
    let path = args.out.join(CHECKPOINT);
    let mut trainer = match &args.resume {
        None => Trainer::new(&backend, &setup.model()?, setup.recipe(), &digits.training)?,
        Some(file) => {
            let file = file.as_ref().unwrap_or(&path);
            Trainer::resume(&backend, Checkpoint::open(file)?, &digits.training)?
        }
    };
    make_folder(&args.out)?;
    check_writable(&path)?;
    let interrupt = Interrupt::listen()?;
    introduce(&backend, &digits, &mut trainer)?;
    let position = trainer.position();
    let steps = position.steps_per_epoch.saturating_mul(position.epochs);
    let start = Instant::now();
    let progress = Progress::new("training", steps as usize).resumed(position.step);
    let checkpoint = Some(path.as_path());
    let session =
        Session { digits: &digits, interrupt: &interrupt, progress: &progress, checkpoint, aloud: true };
    let end = session.run(&mut trainer)?;
    drop(progress);
    match end {
        End::Finished => {
            finish(args, &backend, &digits, &mut trainer, start.elapsed().as_secs_f64())?;
            Ok(Ending::Well)
        }
        End::Stopped => {
            let position = trainer.position();
            print(&format!(
                "interrupted after step {} of {steps}; saved: {}\nto go on: dyconv train --resume --backend {} --out {}",
                position.step,
                shown(&path),
                args.backend,
                shown(&args.out)
            ))?;
            Ok(Ending::Interrupted)
        }
    }
}

/// The backend of this name, which must train.
fn learner(name: &str, threads: Option<usize>) -> Result<AnyBackend> {
    let wanted = Wanted::parse(&[name.to_string()])?;
    let backend = present(&wanted.open(threads)?).into_iter().next();
    match backend {
        Some(backend) if backend.trains() => Ok(backend),
        _ => Err(Error::invalid("backend", format!("`{name}`"), "one that trains")),
    }
}

impl Hyper {
    /// The training that is asked for.
    ///
    /// # Errors
    /// Where two options contradict each other.
    pub fn setup(&self) -> Result<Setup> {
        let attends = !self.temperature.is_empty() || self.anneal.is_some() || self.head_rate.is_some();
        if self.experts == 1 && attends {
            let expected =
                "at least 2 with --temperature, --anneal or --head-rate: one expert has no attention";
            return Err(Error::invalid("experts", 1, expected));
        }
        let temperature = match (self.temperature.as_slice(), self.anneal) {
            ([], epochs) => annealed(30.0, 1.0, epochs.unwrap_or(10)),
            (&[value], None) => Temperature::Fixed { value },
            (&[from, to], epochs) => annealed(from, to, epochs.unwrap_or(10)),
            (&[_], Some(_)) => {
                return Err(Error::invalid("temperature", "one number", "FROM,TO with --anneal"));
            }
            (several, _) => {
                let found = format!("{} numbers", several.len());
                return Err(Error::invalid("temperature", found, "T, or FROM,TO"));
            }
        };
        Ok(Setup {
            experts: self.experts,
            width: self.width,
            epochs: self.epochs,
            batch: self.batch,
            rate: self.rate,
            head_rate: self.head_rate.unwrap_or(0.1),
            temperature,
            seed: self.seed,
        })
    }
}

fn introduce(
    backend: &AnyBackend,
    digits: &Digits,
    trainer: &mut Trainer<'_, AnyBackend, Images>,
) -> Result<()> {
    let data = Data::of(digits);
    let model = trainer.model()?;
    let summary = Summary::of(&model)?;
    print(&format!(
        "{}data: {} images to train on, {} held out\n\n{}\n{} parameters, {} multiply-adds an image\n",
        present_lines(std::slice::from_ref(backend)),
        data.training,
        data.held_out,
        table::network(&model)?,
        summary.parameters,
        summary.multiply_adds
    ))?;
    match trainer.progress().step {
        0 => Ok(()),
        step => print(&format!("resumed after step {step}")),
    }
}

/// What a finished training leaves.
fn finish(
    args: &Args,
    backend: &AnyBackend,
    digits: &Digits,
    trainer: &mut Trainer<'_, AnyBackend, Images>,
    seconds: f64,
) -> Result<()> {
    let model = trainer.model()?;
    let findings = Findings::read(backend, &model, &digits.held_out)?;
    let record = TrainRecord {
        version: VERSION,
        kind: "train",
        program: env!("CARGO_PKG_VERSION"),
        machine: Machine::look()?,
        backend: Present::of(std::slice::from_ref(backend)).remove(0),
        data: Data::of(digits),
        network: Summary::of(&model)?,
        recipe: trainer.recipe().clone(),
        history: trainer.progress().history.clone(),
        findings,
        seconds,
    };
    print(&format!("{}\n", table::findings(&record.findings)))?;
    let written = write(&args.out, &model, &record, digits)?;
    print(&format!("{seconds:.1} s; written: {}", written.join(", ")))
}

fn write(out: &Path, model: &Model, record: &TrainRecord, digits: &Digits) -> Result<Vec<String>> {
    let in_out = |name: &str| out.join(name);
    let (network, json) = (in_out("network.safetensors"), in_out("training.json"));
    model.save(&network)?;
    write_json(&json, record)?;
    let curves = in_out("training.png");
    write_png(&curves, &history_plot(&record.history))?;
    let mut written = vec![network, json, curves];
    if !record.findings.attention.is_empty() {
        let heat = in_out("attention.png");
        write_png(&heat, &attention_plot(&record.findings.attention, &digits.held_out))?;
        written.push(heat);
    }
    Ok(written.iter().map(|path| shown(path)).collect())
}

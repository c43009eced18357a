//! `dyconv train --compare`: static and dynamic networks of equal width, from several seeds.

use std::time::Instant;

use dyconv_core::{AnyBackend, Error, Result};
use dyconv_nn::End;

use super::train::Args;
use super::{Ending, present_lines, shown};
use crate::digits::Digits;
use crate::draw::seeds_plot;
use crate::interrupt::Interrupt;
use crate::machine::Machine;
use crate::output::{check_writable, make_folder, print, write_json, write_png};
use crate::progress::Progress;
use crate::record::{Present, VERSION};
use crate::table;
use crate::training::{CompareRecord, Data, Session, Setup, Variant, compare};

/// Most seeds of a comparison.
const MOST_SEEDS: u64 = 1000;

/// Trains them all, prints the tables, and writes record and picture.
///
/// # Errors
/// Where an option or the folder can't be used, or the backend fails.
pub(super) fn run(args: &Args, setup: &Setup, backend: &AnyBackend, digits: &Digits) -> Result<Ending> {
    let seeds = seeds(setup.seed, args.seeds)?;
    for variant in Variant::ALL {
        variant.setup(setup, setup.seed)?.model()?;
    }
    make_folder(&args.out)?;
    let [json, plot] = ["compare.json", "compare.png"].map(|name| args.out.join(name));
    check_writable(&json)?;
    let interrupt = Interrupt::listen()?;
    print(&format!(
        "{}{} trainings: {} variants from {} seeds",
        present_lines(std::slice::from_ref(backend)),
        Variant::ALL.len() * seeds.len(),
        Variant::ALL.len(),
        seeds.len()
    ))?;
    let start = Instant::now();
    let steps = setup.steps(digits).saturating_mul((Variant::ALL.len() * seeds.len()) as u64);
    let progress = Progress::new("comparing", steps as usize);
    let session =
        Session { digits, interrupt: &interrupt, progress: &progress, checkpoint: None, aloud: false };
    let (variants, end) = compare(setup, &seeds, backend, &session)?;
    drop(progress);
    let done = variants.first().map_or(0, |variant| variant.runs.len());
    if end == End::Stopped {
        print(&format!("interrupted: {done} of {} seeds are complete", seeds.len()))?;
    }
    if done > 0 {
        let record = CompareRecord {
            version: VERSION,
            kind: "train_compare",
            program: env!("CARGO_PKG_VERSION"),
            machine: Machine::look()?,
            backend: Present::of(std::slice::from_ref(backend)).remove(0),
            data: Data::of(digits),
            seeds: seeds[..done].to_vec(),
            variants,
            seconds: start.elapsed().as_secs_f64(),
        };
        print(&table::variants(&record.variants))?;
        write_json(&json, &record)?;
        write_png(&plot, &seeds_plot(&record.variants))?;
        print(&format!("\n{:.0} s; written: {}, {}", record.seconds, shown(&json), shown(&plot)))?;
    }
    Ok(if end == End::Stopped { Ending::Interrupted } else { Ending::Well })
}

/// `count` seeds from the first on.
fn seeds(first: u64, count: u64) -> Result<Vec<u64>> {
    if count == 0 || count > MOST_SEEDS {
        return Err(Error::invalid("seeds", count, format!("1 to {MOST_SEEDS}")));
    }
    match first.checked_add(count) {
        Some(end) => Ok((first..end).collect()),
        None => Err(Error::invalid("seed", first, "one with room for more above it")),
    }
}

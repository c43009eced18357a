//! A child process that holds the Rust engines: JSON lines in, JSON lines out, as `worker.py` describes them.
//!
//!     dyconv-peers --threads 1

mod engines;
#[cfg(any(feature = "tract", feature = "rten"))]
mod graph;
#[cfg(any(feature = "tract", feature = "rten"))]
mod graphs;
mod layer;
#[cfg(any(feature = "tract", feature = "rten"))]
mod onnx;
mod reference;
mod timing;
mod worker;
mod workload;

use std::io::{BufRead, Write};
use std::process::ExitCode;

use serde::Serialize;

use crate::worker::Worker;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match threads(&arguments).and_then(serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dyconv-peers: {error}");
            ExitCode::from(2)
        }
    }
}

fn threads(arguments: &[String]) -> engines::Result<usize> {
    let number = match arguments {
        [] => Some(1),
        [name, number] if name == "--threads" => number.parse().ok().filter(|&number| number >= 1),
        _ => None,
    };
    number.ok_or_else(|| "the only argument is --threads N; peers/README.md says what it is for".into())
}

/// Answers each line with a line, until the input ends.
fn serve(threads: usize) -> engines::Result<()> {
    // This thread is one of them: with one thread, what candle and burn share out stays where it is.
    rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread().build_global()?;
    let mut worker = Worker::new(threads);
    say(&worker.hello())?;
    for line in std::io::stdin().lock().lines() {
        say(&worker.answer(&line?))?;
    }
    Ok(())
}

fn say(message: &impl Serialize) -> engines::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{}", serde_json::to_string(message)?)?;
    Ok(output.flush()?)
}

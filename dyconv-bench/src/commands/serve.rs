//! `dyconv serve`: slices of calls, timed on request.

use std::io::{BufRead, Read};

use dyconv_core::{Error, Result};
use serde::Serialize;

use super::{Ending, present};
use crate::output::print;
use crate::roster::Wanted;
use crate::serve::{Request, Server};

/// Arguments of `dyconv serve`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The backend: simd (the best here) or a name of `dyconv backends`
    #[arg(long, value_name = "NAME", default_value = "simd")]
    pub backend: String,
    /// Threads of the CPU backend
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub threads: usize,
}

/// The longest request, in bytes.
const LONGEST_LINE: u64 = 1 << 16;

/// A request that couldn't be answered.
#[derive(Serialize)]
struct Refusal {
    error: String,
}

/// Says who it is, then answers each line of standard input with one line, until the input ends.
///
/// # Errors
/// Where the backend isn't there, or a line is no text or far too long.
pub fn run(args: &Args) -> Result<Ending> {
    let wanted = Wanted::parse(std::slice::from_ref(&args.backend))?;
    let [backend] = &present(&wanted.open(Some(args.threads))?)[..] else {
        return Err(Error::invalid("backend", &args.backend, "the name of one backend"));
    };
    let mut server = Server::new(backend.clone())?;
    say(&server.greeting())?;
    let mut input = std::io::stdin().lock();
    loop {
        let mut line = String::new();
        let read = input.by_ref().take(LONGEST_LINE).read_line(&mut line);
        match read.map_err(|error| Error::file("standard input", error))? {
            0 => return Ok(Ending::Well),
            read if read as u64 == LONGEST_LINE => {
                return Err(Error::file("standard input", "a request longer than 64 KiB"));
            }
            _ if line.trim().is_empty() => {}
            _ => match answer(&mut server, &line) {
                Ok(answer) => say(&answer)?,
                Err(error) => say(&Refusal { error: error.to_string() })?,
            },
        }
    }
}

fn answer(server: &mut Server, line: &str) -> Result<crate::serve::Answer> {
    let request: Request = serde_json::from_str(line).map_err(|error| Error::file("request", error))?;
    server.answer(&request)
}

/// One line of JSON.
fn say(value: &impl Serialize) -> Result<()> {
    print(&serde_json::to_string(value).map_err(|error| Error::file("JSON", error))?)
}

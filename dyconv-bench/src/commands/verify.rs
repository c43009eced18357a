//! `dyconv verify`: case files on backends.

use std::path::{Path, PathBuf};

use dyconv_core::case::{Case, TensorReport};
use dyconv_core::{AnyBackend, Backend, Error, Result};
use serde::Serialize;

use super::{Ending, absent_lines, present, shown};
use crate::output::{json, print};
use crate::progress::Progress;
use crate::record::{Absent, VERSION};
use crate::roster::Wanted;

/// Arguments of `dyconv verify`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Case files, and folders of them
    #[arg(value_name = "FILE|FOLDER", required = true)]
    pub paths: Vec<PathBuf>,
    /// Backends, separated by commas: all (those that are here), simd (the best here), or the names of
    /// `dyconv backends`
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "all")]
    pub backend: Vec<String>,
    /// Print JSON instead of lines
    #[arg(long)]
    pub json: bool,
    /// Threads of the CPU backends; by default what they choose themselves
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// What `dyconv verify --json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    /// The version of this form.
    pub version: u32,
    /// `verify`.
    pub kind: &'static str,
    /// One per file and backend.
    pub results: Vec<Checked>,
    /// Files that couldn't be used.
    pub errors: Vec<Unusable>,
    /// Backends that aren't here.
    pub absent: Vec<Absent>,
}

/// One file on one backend.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// The file.
    pub file: String,
    /// The backend's id.
    pub backend: String,
    /// Whether all that was compared is within its tolerance.
    pub passed: bool,
    /// What was compared; empty where the backend couldn't run the layer.
    pub tensors: Vec<TensorReport>,
    /// What the file holds that wasn't compared: gradients, on a backend that doesn't train.
    pub skipped: Vec<String>,
    /// Why the backend couldn't run the layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A file that couldn't be used.
#[derive(Clone, Debug, Serialize)]
pub struct Unusable {
    /// The file.
    pub file: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Checks every file on every backend.
///
/// # Errors
/// Where a backend's name is wrong, a named one is absent, or there is no file to check.
pub fn run(args: &Args) -> Result<Ending> {
    let wanted = Wanted::parse(&args.backend)?;
    let files = find(&args.paths)?;
    let candidates = wanted.open(args.threads)?;
    let backends = present(&candidates);
    let progress = Progress::new("verifying", files.len() * backends.len());
    let mut found = Verification {
        version: VERSION,
        kind: "verify",
        results: Vec::new(),
        errors: Vec::new(),
        absent: Absent::among(&candidates),
    };
    for file in &files {
        match Case::open(file) {
            Ok(case) => {
                for backend in &backends {
                    progress.say(&shown(file));
                    found.results.push(check(file, &case, backend));
                    progress.step();
                }
            }
            Err(error) => found.errors.push(Unusable { file: shown(file), reason: reason(&error) }),
        }
    }
    drop(progress);
    print(if args.json { json(&found)? } else { printable(&found.lines()) }.trim_end())?;
    Ok(found.ending())
}

fn check(file: &Path, case: &Case, backend: &AnyBackend) -> Checked {
    let (file, backend_id) = (shown(file), backend.info().id.clone());
    match case.check_training(backend) {
        Ok(report) => Checked {
            file,
            backend: backend_id,
            passed: report.passed,
            tensors: report.tensors,
            skipped: report.skipped,
            reason: None,
        },
        Err(error) => Checked {
            file,
            backend: backend_id,
            passed: false,
            tensors: Vec::new(),
            skipped: Vec::new(),
            reason: Some(error.to_string()),
        },
    }
}

/// Without control characters, with which a hostile file's names could command a terminal.
fn printable(lines: &str) -> String {
    let shown = |c: char| if c.is_control() && c != '\n' { c.escape_default().to_string() } else { c.into() };
    lines.chars().map(shown).collect()
}

/// The message of a file's error, without the path that every line begins with.
fn reason(error: &Error) -> String {
    match error {
        Error::File { reason, .. } => reason.clone(),
        other => other.to_string(),
    }
}

/// Files as they are named, and the case files of folders, in order.
fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let before = files.len();
            collect(path, &mut files)?;
            if files.len() == before {
                return Err(Error::file(path.display(), "no case files (*.safetensors) in this folder"));
            }
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

/// The case files of a folder and of the folders in it; links to folders aren't followed.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let failed = |error: std::io::Error| Error::file(folder.display(), error);
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        entries.push((entry.path(), entry.file_type().map_err(failed)?));
    }
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (path, kind) in entries {
        if kind.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "safetensors") {
            files.push(path);
        }
    }
    Ok(())
}

impl Verification {
    fn ending(&self) -> Ending {
        if !self.errors.is_empty() {
            Ending::BadInput
        } else if self.results.iter().any(|result| !result.passed) {
            Ending::ChecksFailed
        } else {
            Ending::Well
        }
    }

    fn lines(&self) -> String {
        let mut text = String::new();
        let wide = self.results.iter().map(|result| result.file.chars().count()).max().unwrap_or(0);
        for result in &self.results {
            let verdict = if result.passed { "ok    " } else { "FAILED" };
            text += &format!("{verdict} {:wide$}  {:14} {}\n", result.file, result.backend, result.details());
        }
        for error in &self.errors {
            text += &format!("BAD    {}: {}\n", error.file, error.reason);
        }
        text += &absent_lines(&self.absent);
        let with_gradients = self.results.iter().filter(|result| !result.skipped.is_empty()).count();
        if with_gradients > 0 {
            text += &format!(
                "skipped: the gradients in the files of {with_gradients} lines, whose backend doesn't train\n"
            );
        }
        let failed = self.results.iter().filter(|result| !result.passed).count();
        text += &format!(
            "{} passed, {failed} failed, {} bad files",
            self.results.len() - failed,
            self.errors.len()
        );
        text
    }
}

impl Checked {
    /// The tensor that is worst relative to its tolerance.
    fn details(&self) -> String {
        if let Some(reason) = &self.reason {
            return reason.clone();
        }
        // A NaN error is the worst of all.
        let badness = |tensor: &TensorReport| match tensor.worst_error / tensor.tolerance {
            ratio if ratio.is_nan() => f64::INFINITY,
            ratio => ratio,
        };
        let worst = self.tensors.iter().max_by(|a, b| badness(a).total_cmp(&badness(b)));
        let Some(worst) = worst else { return "nothing to compare".into() };
        let mut text = format!("{} off by {:.1e} of {:.1e}", worst.name, worst.worst_error, worst.tolerance);
        if let Some(reason) = &worst.reason {
            text += &format!(" ({reason})");
        }
        if !self.skipped.is_empty() {
            text += &format!("; {} gradients skipped", self.skipped.len());
        }
        text
    }
}

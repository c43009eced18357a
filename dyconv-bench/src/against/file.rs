//! The peers' file: JSON that the program in `peers/` writes, checked before anything is compared with it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use dyconv_core::{Error, Layout, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::precision::Storage;
use crate::problem::Form;
use crate::workloads::{Workload, by_name};

/// The version of the file's form that is read here.
const VERSION: u64 = 1;
/// The largest file that is read: some thousand times what a whole comparison takes.
const LARGEST: u64 = 64 << 20;

/// Whose time a row holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Another engine's.
    Peer,
    /// Our own, taken in turn with the others'.
    Dyconv,
}

/// One form of one layer in one engine.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerRow {
    /// The layer.
    pub workload: &'static Workload,
    /// Samples per call.
    pub batch: usize,
    /// Whose time it is.
    pub side: Side,
    /// The engine; on our side the backend.
    pub framework: String,
    /// How the layer is expressed there; on our side the plan.
    pub variant: String,
    /// The layer itself, or one kernel without attention.
    pub form: Form,
    /// Layout of the input.
    pub layout: Layout,
    /// How weights are stored.
    pub storage: Storage,
    /// Median time of a call.
    pub median_us: f64,
    /// The engine's version.
    pub version: String,
}

/// What a peers' file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Peers {
    /// The processor's name.
    pub cpu: String,
    /// Threads of every row.
    pub threads: usize,
    /// When it was made, where it says.
    pub made: Option<String>,
    /// How it was made, where it says.
    pub command: Option<String>,
    /// Every measurement.
    pub rows: Vec<PeerRow>,
}

#[derive(Deserialize)]
struct RawFile {
    machine: RawMachine,
    threads: usize,
    made: Option<String>,
    command: Option<String>,
    rows: Vec<Value>,
}

#[derive(Deserialize)]
struct RawMachine {
    cpu: String,
}

#[derive(Deserialize)]
struct RawRow {
    workload: String,
    batch: usize,
    side: Side,
    framework: String,
    variant: String,
    mode: Form,
    layout: Layout,
    #[serde(default)]
    precision: Storage,
    median_us: f64,
    min_us: f64,
    runs: usize,
    worst_error: f64,
    version: String,
}

impl Peers {
    /// Reads a file.
    ///
    /// # Errors
    /// Where it can't be read, isn't a peers' file of this version, or has a row that can't be right.
    pub fn read(path: &Path) -> Result<Self> {
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(LARGEST).read_to_string(&mut text));
        match read {
            Ok(read) if read as u64 == LARGEST => {
                Err("larger than 64 MiB; expected a peers' file".to_string())
            }
            Ok(_) => Self::parse(&text),
            Err(error) => Err(error.to_string()),
        }
        .map_err(|reason| Error::file(path.display(), reason))
    }

    fn parse(text: &str) -> std::result::Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        match &value["kind"] {
            Value::String(kind) if kind == "peers" => {}
            Value::String(kind) => return Err(format!("kind is {kind:?}; expected \"peers\"")),
            _ => return Err("no kind; expected \"peers\"".into()),
        }
        match value["version"].as_u64() {
            Some(VERSION) => {}
            _ => return Err(format!("version is {}; expected {VERSION}", value["version"])),
        }
        let raw: RawFile = serde_json::from_value(value).map_err(|error| error.to_string())?;
        if raw.threads == 0 {
            return Err("threads is 0; expected at least 1".into());
        }
        if raw.rows.is_empty() {
            return Err("no rows".into());
        }
        let row = |(i, row)| row_of(row).map_err(|reason| format!("row {i}: {reason}"));
        let rows = raw.rows.into_iter().enumerate().map(row).collect::<std::result::Result<_, _>>()?;
        Ok(Self { cpu: raw.machine.cpu, threads: raw.threads, made: raw.made, command: raw.command, rows })
    }

    /// Version by engine, our own apart.
    #[must_use]
    pub fn versions(&self) -> BTreeMap<String, String> {
        let peers = self.rows.iter().filter(|row| row.side == Side::Peer);
        peers.map(|row| (row.framework.clone(), row.version.clone())).collect()
    }
}

fn row_of(value: Value) -> std::result::Result<PeerRow, String> {
    let raw: RawRow = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let workload = by_name(&raw.workload).map_err(|error| error.to_string())?;
    let who = format!("{}, {}", raw.workload, raw.framework);
    let require = |holds: bool, what: String| if holds { Ok(()) } else { Err(format!("{who}: {what}")) };
    require(raw.batch >= 1, "batch is 0; expected at least 1".into())?;
    require(raw.runs >= 1, "runs is 0; expected at least 1".into())?;
    for (name, us) in [("median_us", raw.median_us), ("min_us", raw.min_us)] {
        require(us.is_finite() && us > 0.0, format!("{name} is {us}; expected a time above 0"))?;
    }
    require(raw.min_us <= raw.median_us, "min_us is above median_us".into())?;
    let allowed = allowed_error(raw.precision);
    let right = (0.0..=allowed).contains(&raw.worst_error);
    require(right, format!("worst_error is {}; a right output is within {allowed}", raw.worst_error))?;
    Ok(PeerRow {
        workload,
        batch: raw.batch,
        side: raw.side,
        framework: raw.framework,
        variant: raw.variant,
        form: raw.mode,
        layout: raw.layout,
        storage: raw.precision,
        median_us: raw.median_us,
        version: raw.version,
    })
}

/// What an output may be off, as a share of the largest reference value: beyond it, another layer was timed.
fn allowed_error(storage: Storage) -> f64 {
    match storage {
        Storage::F32 => 1e-3,
        Storage::Bf16 | Storage::F16 => 2e-2,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn file() -> Value {
        json!({
            "version": 1, "kind": "peers", "machine": {"cpu": "a chip", "cores": 2}, "threads": 1, "made": "today",
            "rows": [{
                "workload": "resnet18-64x56", "batch": 1, "side": "peer", "framework": "engine",
                "variant": "loop", "mode": "dynamic", "layout": "nchw", "median_us": 5.0, "min_us": 4.0,
                "runs": 3, "worst_error": 1e-6, "version": "1.0", "note": "unknown keys are ignored"
            }],
            "skipped": []
        })
    }

    fn error(change: impl Fn(&mut Value)) -> String {
        let mut file = file();
        change(&mut file);
        Peers::parse(&file.to_string()).unwrap_err()
    }

    #[test]
    fn a_good_file_is_read() {
        let peers = Peers::parse(&file().to_string()).unwrap();
        assert_eq!((peers.cpu.as_str(), peers.threads, peers.made.as_deref()), ("a chip", 1, Some("today")));
        let row = &peers.rows[0];
        assert_eq!((row.workload.name, row.side, row.form), ("resnet18-64x56", Side::Peer, Form::Dynamic));
        assert_eq!((row.storage, row.median_us), (Storage::F32, 5.0));
        assert_eq!(peers.versions(), BTreeMap::from([("engine".into(), "1.0".into())]));
    }

    #[test]
    fn what_is_no_peers_file_of_this_version_is_refused() {
        for text in ["", "hello", "{\"version\": NaN}"] {
            assert!(Peers::parse(text).unwrap_err().starts_with("not JSON"), "{text}");
        }
        assert_eq!(Peers::parse("[]").unwrap_err(), "no kind; expected \"peers\"");
        assert_eq!(error(|file| file["kind"] = json!("bench")), "kind is \"bench\"; expected \"peers\"");
        assert_eq!(error(|file| file["version"] = json!(2)), "version is 2; expected 1");
        assert_eq!(error(|file| file["threads"] = json!(0)), "threads is 0; expected at least 1");
        assert_eq!(error(|file| file["rows"] = json!([])), "no rows");
        assert!(error(|file| drop(file.as_object_mut().unwrap().remove("rows"))).contains("`rows`"));
        assert!(error(|file| file["machine"] = json!({})).contains("`cpu`"));
    }

    #[test]
    fn a_row_that_cannot_be_right_is_refused_by_number() {
        let row = |key: &'static str, value: Value| error(move |file| file["rows"][0][key] = value.clone());
        for (key, value, expected) in [
            ("median_us", Value::Null, "expected f64"),
            ("median_us", json!(0.0), "median_us is 0; expected a time above 0"),
            ("median_us", json!(3.0), "min_us is above median_us"),
            ("min_us", json!(-1.0), "min_us is -1"),
            ("runs", json!(0), "runs is 0"),
            ("batch", json!(0), "batch is 0"),
            ("worst_error", json!(0.5), "worst_error is 0.5"),
            ("worst_error", json!(-0.5), "worst_error is -0.5"),
            ("workload", json!("resnet19"), "expected one of resnet18-64x56"),
            ("side", json!("both"), "`peer` or `dyconv`"),
            ("mode", json!("both"), "`dynamic` or `static`"),
            ("layout", json!("chwn"), "nhwc"),
            ("precision", json!("f8"), "bf16"),
        ] {
            let got = row(key, value);
            assert!(got.starts_with("row 0: ") && got.contains(expected), "{key}: {got}");
        }
        let missing = error(|file| drop(file["rows"][0].as_object_mut().unwrap().remove("min_us")));
        assert_eq!(missing, "row 0: missing field `min_us`");
    }

    #[test]
    fn experts_in_fewer_bits_may_be_further_off() {
        let mut reduced = file();
        reduced["rows"][0]["worst_error"] = json!(1.5e-3);
        assert!(Peers::parse(&reduced.to_string()).is_err());
        reduced["rows"][0]["precision"] = json!("bf16");
        assert_eq!(Peers::parse(&reduced.to_string()).unwrap().rows[0].storage, Storage::Bf16);
    }
}

//! Ours beside the best of the others, one line per layer and batch.

use dyconv_core::Layout;
use serde::Serialize;

use super::file::{PeerRow, Peers, Side};
use crate::precision::Storage;
use crate::problem::Form;
use crate::record::Row;
use crate::workloads::Workload;

/// The fastest of some measurements.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Best {
    /// Engine and variant; on our side backend and plan.
    pub who: String,
    /// Layout of the input.
    pub layout: Layout,
    /// Median time.
    pub median_us: f64,
}

/// One layer and batch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeerLine {
    /// The workload's name.
    pub workload: &'static str,
    /// Samples per call.
    pub batch: usize,
    /// How our experts are stored; peers have 32 bits.
    pub precision: Storage,
    /// Whether our time is from the peers' file, taken in turn with the others'.
    pub interleaved: bool,
    /// Our dynamic layer, the better of the layouts.
    pub dynamic: Option<Best>,
    /// Our static layer, the better of the layouts.
    #[serde(rename = "static")]
    pub static_: Option<Best>,
    /// The best dynamic peer.
    pub dynamic_peer: Option<Best>,
    /// The best static peer.
    pub static_peer: Option<Best>,
    /// How many times as fast as the best dynamic peer our dynamic layer is.
    pub over_dynamic_peer: Option<f64>,
    /// How many times as fast as the best static peer our *dynamic* layer is.
    pub over_static_peer: Option<f64>,
}

/// Every line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lines(pub Vec<PeerLine>);

impl Lines {
    /// A line for each layer, batch and precision of `asked`: our times from the file where it has them, else from
    /// this run's rows of as many threads.
    #[must_use]
    pub fn new(peers: &Peers, rows: &[Row], asked: &[(&'static Workload, usize, Storage)]) -> Self {
        Self(asked.iter().map(|&asked| line(peers, rows, asked)).collect())
    }

    /// A layer's line.
    #[must_use]
    pub fn get(&self, workload: &str, batch: usize, precision: Storage) -> Option<&PeerLine> {
        let key = (workload, batch, precision);
        self.0.iter().find(|line| (line.workload, line.batch, line.precision) == key)
    }

    /// Layers whose own times aren't from the file.
    #[must_use]
    pub fn not_interleaved(&self) -> Vec<&PeerLine> {
        self.0.iter().filter(|line| line.dynamic.is_some() && !line.interleaved).collect()
    }
}

fn line(
    peers: &Peers,
    rows: &[Row],
    (workload, batch, precision): (&'static Workload, usize, Storage),
) -> PeerLine {
    let of_file = |side, form, storage| {
        let wanted = move |row: &&PeerRow| {
            (row.workload, row.batch, row.side) == (workload, batch, side)
                && (row.form, row.storage) == (form, storage)
        };
        fastest(peers.rows.iter().filter(wanted).map(|row| Best {
            who: format!("{} {}", row.framework, row.variant),
            layout: row.layout,
            median_us: row.median_us,
        }))
    };
    let of_run = |form| {
        let wanted = |row: &&Row| {
            (row.workload, row.batch, row.precision) == (workload.name, batch, precision)
                && row.threads == peers.threads
                && row.backend.starts_with("simd-")
        };
        fastest(rows.iter().filter(wanted).map(|row| match form {
            Form::Dynamic => best(row, &row.plan, row.median_us),
            Form::Static => best(row, &row.static_plan, row.static_median_us),
        }))
    };
    let of_peers = |form| of_file(Side::Peer, form, Storage::F32);
    let ours = of_file(Side::Dyconv, Form::Dynamic, precision);
    let interleaved = ours.is_some();
    let dynamic = ours.or_else(|| of_run(Form::Dynamic));
    let [dynamic_peer, static_peer] = Form::ALL.map(of_peers);
    let over = |peer: &Option<Best>| Some(peer.as_ref()?.median_us / dynamic.as_ref()?.median_us);
    PeerLine {
        workload: workload.name,
        batch,
        precision,
        interleaved,
        over_dynamic_peer: over(&dynamic_peer),
        over_static_peer: over(&static_peer),
        dynamic,
        static_: of_file(Side::Dyconv, Form::Static, precision).or_else(|| of_run(Form::Static)),
        dynamic_peer,
        static_peer,
    }
}

fn best(row: &Row, plan: &str, median_us: f64) -> Best {
    Best { who: format!("{} {plan}", row.backend), layout: row.layout, median_us }
}

fn fastest(candidates: impl Iterator<Item = Best>) -> Option<Best> {
    candidates.min_by(|a, b| a.median_us.total_cmp(&b.median_us))
}

#[cfg(test)]
pub(in crate::against) mod tests {
    use super::*;
    use crate::workloads::by_name;

    /// A peer's row: batch 1, NCHW, 32 bits.
    pub(crate) fn peer(workload: &str, side: Side, framework: &str, form: Form, median_us: f64) -> PeerRow {
        PeerRow {
            workload: by_name(workload).unwrap(),
            batch: 1,
            side,
            framework: framework.into(),
            variant: "v".into(),
            form,
            layout: Layout::Nchw,
            storage: Storage::F32,
            median_us,
            version: "1".into(),
        }
    }

    pub(crate) fn peers(rows: Vec<PeerRow>) -> Peers {
        Peers { cpu: "a chip".into(), threads: 1, made: None, command: None, rows }
    }

    const NAME: &str = "resnet18-64x56";

    fn asked(storage: Storage) -> [(&'static Workload, usize, Storage); 1] {
        [(by_name(NAME).unwrap(), 1, storage)]
    }

    fn row(threads: usize, layout: Layout, median_us: f64) -> Row {
        Row {
            workload: by_name(NAME).unwrap().name,
            backend: "simd-avx2".into(),
            threads,
            batch: 1,
            layout,
            median_us,
            static_median_us: median_us / 2.0,
            plan: "p".into(),
            ..Row::default()
        }
    }

    fn two_engines() -> Vec<PeerRow> {
        vec![
            peer(NAME, Side::Peer, "a", Form::Dynamic, 30.0),
            peer(NAME, Side::Peer, "b", Form::Dynamic, 20.0),
            peer(NAME, Side::Peer, "b", Form::Static, 12.0),
            peer(NAME, Side::Peer, "a", Form::Static, 8.0),
            peer("resnet18-128x28", Side::Peer, "a", Form::Dynamic, 1.0),
        ]
    }

    #[test]
    fn the_best_peer_of_each_form_is_compared_with_our_better_layout() {
        let rows = [row(1, Layout::Nchw, 11.0), row(1, Layout::Nhwc, 10.0), row(2, Layout::Nhwc, 5.0)];
        let lines = Lines::new(&peers(two_engines()), &rows, &asked(Storage::F32));
        let line = lines.get(NAME, 1, Storage::F32).unwrap();
        assert_eq!((line.over_dynamic_peer, line.over_static_peer), (Some(2.0), Some(0.8)));
        assert_eq!(line.dynamic_peer.as_ref().unwrap().who, "b v");
        assert_eq!(line.static_peer.as_ref().unwrap().who, "a v");
        assert_eq!(line.dynamic.as_ref().unwrap().layout, Layout::Nhwc);
        assert_eq!(line.static_.as_ref().unwrap().median_us, 5.0);
        assert_eq!((line.interleaved, lines.not_interleaved().len()), (false, 1));
    }

    #[test]
    fn our_times_in_the_file_come_before_those_of_this_run() {
        let mut file = two_engines();
        file.push(peer(NAME, Side::Dyconv, "simd-avx512", Form::Dynamic, 4.0));
        // Another batch and another precision are other lines.
        file.push(PeerRow { batch: 8, ..peer(NAME, Side::Dyconv, "simd-avx512", Form::Dynamic, 1.0) });
        let reduced = peer(NAME, Side::Dyconv, "simd-avx512", Form::Dynamic, 2.0);
        file.push(PeerRow { storage: Storage::Bf16, ..reduced });
        let rows = [row(1, Layout::Nchw, 1.0)];
        let lines = Lines::new(&peers(file.clone()), &rows, &asked(Storage::F32));
        assert_eq!((lines.0[0].over_dynamic_peer, lines.0[0].interleaved), (Some(5.0), true));
        assert!(lines.not_interleaved().is_empty());
        let lines = Lines::new(&peers(file), &rows, &asked(Storage::Bf16));
        assert_eq!(lines.0[0].over_dynamic_peer, Some(10.0));
    }

    #[test]
    fn what_is_missing_leaves_a_gap() {
        let lines = Lines::new(&peers(Vec::new()), &[row(1, Layout::Nchw, 1.0)], &asked(Storage::F32));
        assert_eq!((lines.0[0].over_dynamic_peer, lines.0[0].over_static_peer), (None, None));
        let lines = Lines::new(&peers(two_engines()), &[], &asked(Storage::F32));
        assert_eq!(lines.0[0].over_dynamic_peer, None);
        assert!(lines.not_interleaved().is_empty(), "nothing of ours is there at all");
    }
}

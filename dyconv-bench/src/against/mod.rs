//! This machine's other engines: a file of their times, ours beside them, and what the project has set itself.

mod file;
mod lines;
mod prototype;
mod targets;

pub use file::{PeerRow, Peers, Side};
pub use lines::{Best, Lines, PeerLine};
pub use prototype::{Beside, Chip, Prototype};
pub use targets::{Bound, Target, beside_prototypes, targets};

use crate::machine::Machine;
use crate::precision::Storage;
use crate::record::{Against, Row};
use crate::workloads::Workload;

/// The geometric mean of positive numbers; of none, none.
#[must_use]
pub fn geometric_mean(values: &[f64]) -> Option<f64> {
    let sum: f64 = values.iter().map(|value| value.ln()).sum();
    (!values.is_empty()).then(|| (sum / values.len() as f64).exp())
}

/// Compares a run with a file of peers.
#[must_use]
pub fn compare(
    peers: &Peers,
    machine: &Machine,
    rows: &[Row],
    asked: &[(&'static Workload, usize, Storage)],
) -> Against {
    let lines = Lines::new(peers, rows, &with_those_of_the_file(peers, asked));
    let chip = Chip::of(&machine.cpu, machine.isa.iter().any(|isa| isa == "avx512"));
    let prototypes = beside_prototypes(chip, rows);
    Against {
        made: peers.made.clone(),
        command: peers.command.clone(),
        versions: peers.versions(),
        threads: peers.threads,
        targets: targets(chip, machine.last_level_cache(), &lines, &prototypes, rows),
        prototypes,
        warnings: warnings(peers, machine, &lines),
        lines: lines.0,
    }
}

/// What was asked for, and what the file has of ours for the same layers beyond it: other batches, other storage.
fn with_those_of_the_file(
    peers: &Peers,
    asked: &[(&'static Workload, usize, Storage)],
) -> Vec<(&'static Workload, usize, Storage)> {
    let place = |workload| asked.iter().position(|(asked, ..)| *asked == workload);
    let ours = peers.rows.iter().filter(|row| row.side == Side::Dyconv && place(row.workload).is_some());
    let mut all: Vec<_> =
        ours.map(|row| (row.workload, row.batch, row.storage)).chain(asked.to_vec()).collect();
    all.sort_by_key(|&(workload, batch, storage)| (place(workload), batch, storage));
    all.dedup();
    all
}

/// What makes the lines less than they seem.
fn warnings(peers: &Peers, machine: &Machine, lines: &Lines) -> Vec<String> {
    let mut warnings = Vec::new();
    if peers.cpu != machine.cpu {
        let (there, here) = (&peers.cpu, &machine.cpu);
        warnings
            .push(format!("the peers ran on {there}, this is {here}: their times say nothing about ours"));
    }
    let apart = lines.not_interleaved();
    if !apart.is_empty() {
        let mut names: Vec<_> = apart.iter().map(|line| line.workload).collect();
        names.dedup();
        warnings.push(format!(
            "*: our time is this run's, not the file's, where it would have been taken in turn with the peers': {}",
            names.join(", ")
        ));
    }
    let lacks = |lacks: fn(&PeerLine) -> bool| {
        let named = |line: &PeerLine| match line.batch {
            1 => line.workload.to_string(),
            batch => format!("{} × {batch}", line.workload),
        };
        let mut names: Vec<_> = lines.0.iter().filter(|line| lacks(line)).map(named).collect();
        names.dedup();
        names.join(", ")
    };
    for (what, names) in [
        ("no dynamic peer", lacks(|line| line.dynamic_peer.is_none())),
        ("no static peer", lacks(|line| line.static_peer.is_none())),
        ("no time of ours", lacks(|line| line.dynamic.is_none())),
    ] {
        if !names.is_empty() {
            warnings.push(format!("{what} for {names}"));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::lines::tests::{peer, peers};
    use super::*;
    use crate::problem::Form;
    use crate::workloads::by_name;

    #[test]
    fn a_geometric_mean_is_the_root_of_the_product() {
        assert_eq!(geometric_mean(&[]), None);
        assert!((geometric_mean(&[2.0, 8.0]).unwrap() - 4.0).abs() < 1e-12);
        assert!((geometric_mean(&[0.5, 2.0, 1.0]).unwrap() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_layer_brings_what_the_file_has_of_ours_in_order_and_once() {
        let row = |workload, side, batch, storage| PeerRow {
            batch,
            storage,
            ..peer(workload, side, "one", Form::Dynamic, 1.0)
        };
        let file = peers(vec![
            row("resnet18-512x7", Side::Dyconv, 8, Storage::F32),
            row("resnet18-512x7", Side::Dyconv, 1, Storage::Bf16),
            row("resnet18-512x7", Side::Dyconv, 1, Storage::F32),
            row("resnet18-512x7", Side::Peer, 32, Storage::F32),
            row("resnet18-64x56", Side::Dyconv, 1, Storage::Bf16),
        ]);
        let asked = ["mbv2-dw-960x7", "resnet18-512x7"].map(|name| (by_name(name).unwrap(), 1, Storage::F32));
        let all = with_those_of_the_file(&file, &asked);
        let named: Vec<_> =
            all.iter().map(|(workload, batch, storage)| (workload.name, *batch, *storage)).collect();
        let layer = |batch, storage| ("resnet18-512x7", batch, storage);
        assert_eq!(named[0], ("mbv2-dw-960x7", 1, Storage::F32));
        assert_eq!(named[1..], [layer(1, Storage::F32), layer(1, Storage::Bf16), layer(8, Storage::F32)]);
    }
}

//! This machine's other engines: a file of their times, ours beside them, and what the project has set itself.

mod file;
mod lines;
mod prototype;
mod targets;

pub use file::{PeerRow, Peers, Side};
pub use lines::{Best, Lines, PeerLine};
pub use prototype::{Chip, Prototype};
pub use targets::{Bound, Target, targets};

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
    let lines = Lines::new(peers, rows, asked);
    let chip = Chip::of(&machine.cpu, machine.isa.iter().any(|isa| isa == "avx512"));
    Against {
        made: peers.made.clone(),
        command: peers.command.clone(),
        versions: peers.versions(),
        threads: peers.threads,
        targets: targets(chip, machine.last_level_cache(), &lines, rows),
        warnings: warnings(peers, machine, &lines),
        lines: lines.0,
    }
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
    use super::*;

    #[test]
    fn a_geometric_mean_is_the_root_of_the_product() {
        assert_eq!(geometric_mean(&[]), None);
        assert!((geometric_mean(&[2.0, 8.0]).unwrap() - 4.0).abs() < 1e-12);
        assert!((geometric_mean(&[0.5, 2.0, 1.0]).unwrap() - 1.0).abs() < 1e-12);
    }
}

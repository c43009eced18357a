//! Goals against other engines.

use super::super::lines::{Lines, PeerLine};
use super::super::prototype::Chip;
use super::{Bound, Named, Target, counted, least, mean, names, not_measured};
use crate::precision::Storage;

/// Every one.
pub(super) fn targets(chip: Chip, lines: &Lines) -> Vec<Target> {
    [against_dynamic(chip, lines), against_static(chip, lines)].concat()
}

fn against_dynamic(chip: Chip, lines: &Lines) -> Vec<Target> {
    let ratios = |names: &[&str]| of_lines(lines, names, |line| line.over_dynamic_peer);
    let one = |name: &str, batch, storage, wanted| {
        let line = lines.get(name, batch, storage);
        let got = line.and_then(|line| line.over_dynamic_peer);
        let peer = line.and_then(|line| line.dynamic_peer.as_ref());
        let times = if batch == 1 { String::new() } else { format!(" × {batch}") };
        Target {
            name: format!("best dynamic peer, {name}{times}, {storage}"),
            wanted: Bound::AtLeast(wanted),
            got,
            complete: got.is_some(),
            note: peer.map_or_else(not_measured, |peer| peer.who.clone()),
        }
    };
    let (all, depthwise) = (ratios(&counted()), ratios(&names(&["mbv2-dw"])));
    let mut targets = vec![
        mean("best dynamic peer, batch 1, geometric mean", Bound::AtLeast(2.0), &all, counted().len()),
        least("best dynamic peer, batch 1, least", Bound::AtLeast(1.1), &all, counted().len()),
        one("resnet18-64x56", 1, Storage::F32, 1.6),
        one("resnet18-128x28", 1, Storage::F32, 3.0),
        one("resnet18-256x14", 1, Storage::F32, chip.goal(2.2, 3.0)),
        one("resnet18-512x7", 1, Storage::F32, 1.8),
        one("resnet18-512x7", 1, Storage::Bf16, chip.goal(2.3, 3.0)),
        least(
            "best dynamic peer, depthwise, least",
            Bound::AtLeast(2.0),
            &depthwise,
            names(&["mbv2-dw"]).len(),
        ),
    ];
    for name in ["resnet18-128x28", "resnet18-512x7"] {
        targets.extend([8, 32].map(|batch| one(name, batch, Storage::F32, 1.5)));
    }
    targets
}

fn against_static(chip: Chip, lines: &Lines) -> Vec<Target> {
    let ratios = of_lines(lines, &counted(), |line| line.over_static_peer);
    let wanted = Bound::AtLeast(chip.goal(1.0, 1.1));
    vec![
        mean("best static peer, batch 1, geometric mean", wanted, &ratios, counted().len()),
        least("best static peer, batch 1, least", Bound::Report, &ratios, counted().len()),
    ]
}

fn of_lines(lines: &Lines, names: &[&str], ratio: impl Fn(&PeerLine) -> Option<f64>) -> Vec<Named> {
    let of = |name: &&str| Some(((*name).to_string(), ratio(lines.get(name, 1, Storage::F32)?)?));
    names.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::lines::tests::{peer, peers};
    use super::super::super::{PeerRow, Side};
    use super::super::tests::{close, find};
    use super::*;
    use crate::problem::Form;
    use crate::workloads::WORKLOADS;

    /// A file in which our dynamic layers take 10 µs, the best dynamic peers 30 and the best static ones 5,
    /// everywhere but where `change` says otherwise.
    fn file(change: impl Fn(&mut PeerRow)) -> Vec<PeerRow> {
        let rows = WORKLOADS.iter().flat_map(|workload| {
            let row = |side, form, us| peer(workload.name, side, "one", form, us);
            workload.batches.iter().flat_map(move |&batch| {
                [
                    PeerRow { batch, ..row(Side::Dyconv, Form::Dynamic, 10.0) },
                    PeerRow { batch, ..row(Side::Peer, Form::Dynamic, 30.0) },
                    PeerRow { batch, ..row(Side::Peer, Form::Static, 5.0) },
                ]
            })
        });
        let mut rows: Vec<_> = rows.collect();
        rows.iter_mut().for_each(change);
        rows
    }

    fn lines(rows: Vec<PeerRow>) -> Lines {
        let asked: Vec<_> = WORKLOADS
            .iter()
            .flat_map(|workload| workload.batches.iter().map(move |&batch| (workload, batch, Storage::F32)))
            .collect();
        Lines::new(&peers(rows), &[], &asked)
    }

    #[test]
    fn means_and_minima_run_over_fifteen_rows_and_leave_the_others_out() {
        // Expand layers, extras and batches are planted a thousandfold off: no mean may see them.
        let counted = counted();
        assert_eq!(counted.len(), 15);
        let rows = file(|row| {
            if !counted.contains(&row.workload.name) || row.batch != 1 {
                row.median_us *= if row.side == Side::Peer { 1000.0 } else { 1.0 };
            }
        });
        let targets = targets(Chip::Zen5, &lines(rows));
        let mean = find(&targets, "best dynamic peer, batch 1, geometric mean");
        assert!(close(mean.got, 3.0) && mean.reached() == Some(true), "{mean:?}");
        assert_eq!(mean.note, "15 rows");
        assert!(close(find(&targets, "best dynamic peer, batch 1, least").got, 3.0));
        let static_ = find(&targets, "best static peer, batch 1, geometric mean");
        assert!(close(static_.got, 0.5) && static_.reached() == Some(false), "{static_:?}");
        assert!(close(find(&targets, "128x28 × 32").got, 3000.0));
    }

    #[test]
    fn one_slow_layer_misses_its_own_goal_and_the_least_and_lowers_the_mean() {
        let rows = file(|row| {
            if row.workload.name == "mbv2-dw-96x56" && row.side == Side::Dyconv {
                row.median_us = 60.0;
            }
        });
        let targets = targets(Chip::Zen4, &lines(rows));
        let least = find(&targets, "best dynamic peer, batch 1, least");
        assert!(close(least.got, 0.5) && least.reached() == Some(false), "{least:?}");
        assert_eq!(least.note, "mbv2-dw-96x56");
        assert!(close(find(&targets, "depthwise, least").got, 0.5));
        let mean = find(&targets, "best dynamic peer, batch 1, geometric mean");
        assert!(close(mean.got, 3.0 * 6f64.powf(-1.0 / 15.0)), "{mean:?}");
    }

    #[test]
    fn goals_depend_on_the_chip() {
        let lines = lines(file(|_| ()));
        let wanted = |chip, name: &str| find(&targets(chip, &lines), name).wanted;
        for (name, general, zen4) in [
            ("256x14", 2.2, 3.0),
            ("512x7, bf16", 2.3, 3.0),
            ("best static peer, batch 1, geometric mean", 1.0, 1.1),
        ] {
            assert_eq!(wanted(Chip::Zen4, name), Bound::AtLeast(zen4));
            assert_eq!(wanted(Chip::Zen5, name), Bound::AtLeast(general));
            assert_eq!(wanted(Chip::Other, name), Bound::AtLeast(general));
        }
    }
}

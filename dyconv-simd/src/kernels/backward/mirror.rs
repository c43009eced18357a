//! The mirror's experts from the layer's own, a square of lanes at a time: what lies along a vector of output channels comes
//! to lie along one of input channels.

use dyconv_core::Config;

use crate::lanes::{Lanes, transpose};
use crate::pack::{Block, Packed};
use crate::threads::Threads;

/// Writes the mirror's experts for these taps, both packed in blocks that share input channels.
pub(crate) fn turn_over<L: Lanes>(
    lanes: L,
    threads: &Threads,
    config: &Config,
    taps: [&[usize]; 2],
    (experts, mirror): (&Packed, &mut Packed),
) {
    let (blocks, mut rest) = mirror.parts_mut();
    let per_lane = config.out_channels_per_group() * taps[0].len() * taps[1].len() * config.experts();
    let items = blocks.iter().map(|block| {
        // Blocks come in the order in which they lie.
        let (own, after) = std::mem::take(&mut rest).split_at_mut(block.vectors * L::WIDTH * per_lane);
        rest = after;
        (block, own)
    });
    threads.for_each(items, |(block, out)| one(lanes, config, taps, experts, (block, out)));
}

/// A block of the mirror's output channels, which are the layer's inputs.
fn one<L: Lanes>(
    lanes: L,
    config: &Config,
    [rows, columns]: [&[usize]; 2],
    experts: &Packed,
    (own, out): (&Block, &mut [f32]),
) {
    let (inputs, outputs) = (config.in_channels_per_group(), config.out_channels_per_group());
    let (group, first) = (own.first / inputs, own.first % inputs);
    let vector = config.experts() * L::WIDTH;
    let (taps, kept) = (config.taps(), rows.len() * columns.len());
    let of_group = experts.blocks.iter().filter(|block| block.first / outputs == group);
    for block in of_group {
        let from = experts.weights_of(block, first, own.channels);
        let (apart, out_apart) = (taps * block.vectors * vector, kept * own.vectors * vector);
        for (lane, out_lane) in pairs(block.channels, own.channels, L::WIDTH) {
            let [width, height] =
                [block.channels - lane, own.channels - out_lane].map(|left| left.min(L::WIDTH));
            let out = &mut out[(block.first % outputs + lane) * out_apart..];
            // The last tap comes first.
            let turned =
                rows.iter().rev().flat_map(|row| columns.iter().rev().map(move |column| (row, column)));
            for (t, (row, column)) in turned.enumerate() {
                let tap = row * config.kernel_size()[1] + column;
                let at = (tap * block.vectors + lane / L::WIDTH) * vector + out_lane * apart;
                let out_at = (t * own.vectors + out_lane / L::WIDTH) * vector;
                for k in (0..vector).step_by(L::WIDTH) {
                    let to = (&mut out[out_at + k..], out_apart);
                    transpose(lanes, (&from[at + k..], apart), to, [height, width]);
                }
            }
        }
    }
}

/// The first lanes of every pair of vectors.
fn pairs(lanes: usize, others: usize, width: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..lanes).step_by(width).flat_map(move |a| (0..others).step_by(width).map(move |b| (a, b)))
}

//! Narrow groups that share a vector of output channels: what every lane reads.

use dyconv_core::Config;

use crate::kernels::direct::Window;
use crate::kernels::grouped::RUN;

/// Where the kernel finds its inputs, in a padded copy with channels last.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Groups {
    /// Where each run of taps begins.
    pub(crate) offsets: Vec<usize>,
    /// Its taps, a pixel apart.
    pub(crate) run: usize,
    /// From one row of outputs to the next.
    pub(crate) row: usize,
    /// From one pixel to the next.
    pub(crate) pixel: usize,
    /// Input and output channels of a group.
    per_group: [usize; 2],
    /// In a vector of the channels that a block reads, where each lane finds each input channel: `[input channel][lane]`.
    places: Vec<u32>,
    width: usize,
}

fn per_group(config: &Config) -> [usize; 2] {
    [config.in_channels_per_group(), config.out_channels_per_group()]
}

/// Taps of a row that are neighbours in the copy, as many as the kernel takes at once.
pub(super) fn run(config: &Config) -> usize {
    let neighbours = config.stride()[1] == 1 && config.dilation()[1] == 1;
    if neighbours && config.kernel_size()[1] == RUN { RUN } else { 1 }
}

impl Groups {
    /// Whether whole groups fill a vector, and their inputs no more than one.
    pub(super) fn fit(config: &Config, width: usize) -> bool {
        let [inputs, outputs] = per_group(config);
        let share = outputs < width && width.is_multiple_of(outputs) && config.groups() > 1;
        share && inputs <= outputs && !config.is_depthwise()
    }

    /// Channels of a pixel of the copy: the last block, too, reads a whole vector.
    pub(super) fn channels(config: &Config, width: usize) -> usize {
        let [inputs, outputs] = per_group(config);
        let last = (config.out_channels() - 1) / width * width / outputs * inputs;
        config.in_channels().max(last + width)
    }

    pub(super) fn new(config: &Config, window: &Window, width: usize) -> Self {
        let [inputs, outputs] = per_group(config);
        let places =
            (0..inputs).flat_map(|j| (0..width).map(move |lane| (lane / outputs * inputs + j) as u32));
        let (rows, columns) = (&window.rows.offsets, &window.columns.offsets);
        let run = run(config);
        let taps = |&row: &usize| {
            columns.iter().step_by(run).map(move |column| row * window.row + column * window.channels)
        };
        Self {
            offsets: rows.iter().flat_map(taps).collect(),
            run,
            row: window.row,
            pixel: window.channels,
            per_group: [inputs, outputs],
            places: places.collect(),
            width,
        }
    }

    /// The first of a pixel's channels that a block reads whose first output channel is `output`.
    pub(crate) fn input(&self, output: usize) -> usize {
        let [inputs, outputs] = self.per_group;
        output / outputs * inputs
    }

    /// Where lanes find each input channel from `from` on.
    pub(crate) fn places(&self, from: usize) -> &[u32] {
        &self.places[from * self.width..]
    }
}

#[cfg(test)]
mod tests {
    use dyconv_core::{Layout, Options, Padding};

    use super::*;

    #[test]
    fn every_lane_finds_its_own_groups_channels() {
        for width in [4, 8, 16] {
            for (inputs, outputs, groups) in
                [(4, 4, 32), (2, 4, 3), (2, 2, 9), (1, 2, 5), (8, 8, 3), (3, 8, 2)]
            {
                let options = Options::new(inputs * groups, outputs * groups).groups(groups);
                let config = options.kernel_size([3, 2]).padding(Padding::Same).build().unwrap();
                if !Groups::fit(&config, width) {
                    assert!(outputs >= width || config.is_depthwise());
                    continue;
                }
                let geometry = config.geometry(5, 6).unwrap();
                let channels = Groups::channels(&config, width);
                let window = Window::new(&config, &geometry, channels).unwrap();
                let found = Groups::new(&config, &window, width);
                for output in 0..config.out_channels() {
                    let (first, lane) = (output / width * width, output % width);
                    assert!(found.input(first) + width <= channels);
                    for j in 0..inputs {
                        let place = found.places(j)[lane] as usize;
                        assert!(place < width);
                        assert_eq!(found.input(first) + place, output / outputs * inputs + j);
                    }
                }
            }
        }
    }

    #[test]
    fn three_taps_of_a_row_are_a_run_where_they_are_neighbours() {
        let runs = |options: Options| {
            let config = options.padding(Padding::Same).build().unwrap();
            let geometry = config.geometry(9, 9).unwrap();
            let window = Window::new(&config, &geometry, 8).unwrap();
            let groups = Groups::new(&config, &window, 8);
            (groups.run, groups.offsets.len())
        };
        let options = Options::new(8, 8).groups(2);
        assert_eq!(runs(options.kernel_size([3, 3])), (3, 3));
        assert_eq!(runs(options.kernel_size([3, 3]).stride([2, 2])), (1, 9));
        assert_eq!(runs(options.kernel_size([3, 3]).dilation([1, 2])), (1, 9));
        assert_eq!(runs(options.kernel_size([3, 5])), (1, 15));
    }

    #[test]
    fn wide_groups_and_depthwise_layers_have_other_kernels() {
        let fit = |options: Options, width| Groups::fit(&options.build().unwrap(), width);
        assert!(fit(Options::new(64, 64).groups(8).layout(Layout::Nhwc), 16));
        assert!(!fit(Options::new(64, 64).groups(8), 8));
        assert!(!fit(Options::new(64, 64).groups(64), 8));
        assert!(!fit(Options::new(64, 64), 128));
        // Six doesn't divide eight; and eight inputs a group are more than a vector for four groups of two.
        assert!(!fit(Options::new(12, 12).groups(2), 8));
        assert!(!fit(Options::new(32, 8).groups(4), 8));
    }
}

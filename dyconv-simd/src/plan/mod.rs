//! How a layer is computed for one image size: a pure function of configuration, extents, instruction set, storage and
//! cache, chosen by predicted cost, apart from running it.

mod batch;
mod correlate;
mod cost;
mod describe;
mod groups;
mod part;
mod patch;
mod winograd;

use dyconv_core::{Config, Geometry, Layout, Precision, Result};

pub(crate) use self::batch::MOST_SAMPLES;
pub(crate) use self::correlate::{Correlation, SAMPLES, Tile};
use self::cost::slots;
use self::groups::Groups;
pub(crate) use self::part::{Division, Part};
pub(crate) use self::patch::Patch;
use self::patch::patch;
pub(crate) use self::winograd::{Alike, Cut, Size, Tiles};
use crate::isa::Traits;
use crate::kernels::depthwise::Way;
use crate::kernels::direct::Window;
use crate::pack::Family;

/// A way to convolve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(hidden)]
pub enum Kernel {
    /// Any layer, over a padded copy of the input.
    Direct,
    /// 1×1, stride 1, unpadded: the input as it lies.
    Pointwise,
    /// Any layer, the vector over pixels: few output channels, and channels first. A 1×1 layer whose input has channels
    /// first is read as it lies, others over a padded copy.
    Across,
    /// One input channel per group: the vector over channels or pixels, no broadcast.
    Depthwise,
    /// Groups of fewer output channels than a vector, which share one. Over a padded copy with channels last.
    Grouped,
    /// Any layer: convolves with each expert and mixes the outputs, where they have very few pixels. A 1×1 layer's input is
    /// read as it lies, others' over a padded copy.
    Mixing,
    /// 3×3 without stride or dilation, by tiles of at most 2×2 outputs.
    WinogradF2,
    /// The same by tiles of at most 4×4 outputs.
    WinogradF4,
}

impl Kernel {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::Direct,
        Self::Pointwise,
        Self::Across,
        Self::Depthwise,
        Self::Grouped,
        Self::Mixing,
        Self::WinogradF2,
        Self::WinogradF4,
    ];

    fn fits(self, config: &Config, traits: Traits) -> bool {
        match self {
            Self::Direct | Self::Across | Self::Mixing => true,
            Self::Pointwise => config.is_pointwise(),
            Self::Depthwise => config.is_depthwise(),
            Self::Grouped => Groups::fit(config, traits.width),
            Self::WinogradF2 | Self::WinogradF4 => {
                config.kernel_size() == [3, 3] && config.stride() == [1, 1] && config.dilation() == [1, 1]
            }
        }
    }

    pub(crate) fn family(self) -> Family {
        match self {
            Self::Direct
            | Self::Pointwise
            | Self::Across
            | Self::Mixing
            | Self::WinogradF2
            | Self::WinogradF4 => Family::Shared,
            Self::Depthwise | Self::Grouped => Family::Lanewise,
        }
    }

    /// The largest tiles, of a kernel that has any.
    fn tiles(self) -> Option<Size> {
        match self {
            Self::WinogradF2 => Some(Size::Two),
            Self::WinogradF4 => Some(Size::Four),
            Self::Direct
            | Self::Pointwise
            | Self::Across
            | Self::Depthwise
            | Self::Grouped
            | Self::Mixing => None,
        }
    }
}

/// How a tile finds its pixels.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reading {
    /// Pixels of a row are neighbours.
    Windows {
        /// Where each step of the reduction begins, for as many channels as a step has.
        offsets: Vec<usize>,
        /// From one row of outputs to the next.
        row: usize,
        /// From one input channel to the next.
        channel: usize,
    },
    /// Every pixel is a row of channels.
    Strided {
        /// From one pixel to the next.
        pixel: usize,
    },
    /// Every pixel by itself.
    Points {
        /// Where each step of the reduction begins, for as many channels as a step has.
        offsets: Vec<usize>,
        /// From one row of outputs, and from one output, to the next.
        pixel: [usize; 2],
        /// From one input channel to the next.
        channel: usize,
    },
    /// Channels first, the vector over pixels of a channel.
    Planes(Way),
    /// Channels last, the vector over channels: by position.
    Channels,
    /// Channels last, every lane those of its own group.
    Groups(Groups),
    /// Transformed tiles.
    Tiles(Tiles),
}

/// A chosen way to convolve images of one size.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) kernel: Kernel,
    pub(crate) config: Config,
    pub(crate) geometry: Geometry,
    pub(crate) out_channels: usize,
    /// Input channels that one output channel sums over.
    pub(crate) reduction_channels: usize,
    /// Of them, how many are aggregated at a time.
    pub(crate) step: usize,
    /// Pixels as patches see them: rows × columns, or 1 × all where rows don't matter.
    pub(crate) grid: [usize; 2],
    /// The most rows and columns of a patch.
    pub(crate) patch: [usize; 2],
    /// Samples of a batch that share each read of the experts.
    pub(crate) samples: usize,
    /// The padded copy that direct reads.
    pub(crate) copy: Option<Window>,
    pub(crate) reading: Reading,
    pub(crate) traits: Traits,
    /// What experts are stored in.
    precision: Precision,
}

/// A panel of aggregated weights takes at most this: with four experts, those of this panel and of the next, which come
/// while it is used, are eight times as much, and all of it stays within a second-level cache of 1 MiB beside the pixels.
const PANEL_BYTES: usize = 80 << 10;

/// A step's experts that are mixed take at most this: they stay in the same cache while all pixels read them.
const EXPERT_BYTES: usize = 4 * PANEL_BYTES;

impl Plan {
    /// The cheapest plan among those that read `family` (all, where `None`), or `forced` where it fits the layer.
    ///
    /// # Errors
    /// Where the image doesn't fit the layer.
    pub(crate) fn choose(
        config: &Config,
        [height, width]: [usize; 2],
        traits: Traits,
        precision: Precision,
        family: Option<Family>,
        forced: Option<Kernel>,
    ) -> Result<Self> {
        let geometry = config.geometry(height, width)?;
        let readable = |kernel: &Kernel| family.is_none_or(|family| kernel.family() == family);
        let fitting =
            || Kernel::ALL.into_iter().filter(|kernel| kernel.fits(config, traits)).filter(readable);
        let forced = fitting().find(|kernel| forced == Some(*kernel));
        let cheapest = || {
            fitting().min_by(|a, b| {
                let slots = |kernel| slots(kernel, config, &geometry, traits, precision);
                slots(*a).total_cmp(&slots(*b))
            })
        };
        // Direct, depthwise or grouped reads either family.
        let kernel = forced.or_else(cheapest).unwrap_or(Kernel::Direct);
        Self::new(kernel, config, geometry, traits, precision)
    }

    fn new(
        kernel: Kernel,
        config: &Config,
        geometry: Geometry,
        traits: Traits,
        precision: Precision,
    ) -> Result<Self> {
        let panel_channel = config.taps() * traits.vectors * traits.width * size_of::<f32>();
        let (channel_bytes, most) = match kernel {
            Kernel::Mixing => (panel_channel * config.experts(), EXPERT_BYTES),
            _ => (panel_channel, PANEL_BYTES),
        };
        let reduction_channels = config.in_channels_per_group();
        let steps = reduction_channels.div_ceil((most / channel_bytes).max(1));
        let tiles = kernel.tiles().map(|size| Tiles::new(size, config, &geometry, traits)).transpose()?;
        let step = match &tiles {
            Some(tiles) => tiles.step(reduction_channels),
            None => reduction_channels.div_ceil(steps),
        };
        let [height, width] = geometry.output;
        let as_it_lies = reads_input(kernel, config);
        let grid = if as_it_lies || kernel == Kernel::Mixing { [1, height * width] } else { [height, width] };
        let copy = match kernel {
            Kernel::Direct | Kernel::Across | Kernel::Mixing if !as_it_lies => {
                Some(Window::new(config, &geometry, config.in_channels())?)
            }
            Kernel::Grouped => Some(Window::new(config, &geometry, Groups::channels(config, traits.width))?),
            _ => None,
        };
        let reading = match (kernel, &copy, config.layout()) {
            (Kernel::Mixing, Some(window), _) => Reading::Points {
                offsets: window.offsets(step),
                pixel: [window.row, 1],
                channel: window.columns.len,
            },
            (Kernel::Mixing, None, layout) => {
                let (pixel, channel) = match layout {
                    Layout::Nchw => (1, height * width),
                    Layout::Nhwc => (config.in_channels(), 1),
                };
                let offsets = (0..step).map(|c| c * channel).collect();
                Reading::Points { offsets, pixel: [width * pixel, pixel], channel }
            }
            (Kernel::Direct | Kernel::Across, Some(window), _) => Reading::Windows {
                offsets: window.offsets(step),
                row: window.row,
                channel: window.columns.len,
            },
            (Kernel::Grouped, Some(window), _) => Reading::Groups(Groups::new(config, window, traits.width)),
            (Kernel::Pointwise | Kernel::Across, _, Layout::Nchw) => {
                let pixels = height * width;
                Reading::Windows { offsets: (0..step).map(|c| c * pixels).collect(), row: 0, channel: pixels }
            }
            (Kernel::Pointwise, _, Layout::Nhwc) => Reading::Strided { pixel: config.in_channels() },
            (Kernel::Depthwise, _, Layout::Nchw) => {
                Reading::Planes(Way::new(config, &geometry, traits.width)?)
            }
            _ => tiles.map_or(Reading::Channels, Reading::Tiles),
        };
        Ok(Self {
            kernel,
            config: *config,
            geometry,
            out_channels: config.out_channels(),
            reduction_channels,
            step,
            grid,
            patch: patch(kernel, grid, config, traits),
            samples: batch::samples(kernel, config, &geometry, precision),
            copy,
            reading,
            traits,
            precision,
        })
    }

    /// Where lanes find each input channel from `from` on, where they read different ones.
    pub(crate) fn places(&self, from: usize) -> &[u32] {
        match &self.reading {
            Reading::Groups(groups) => groups.places(from),
            _ => &[],
        }
    }

    /// Whether so many bytes of experts come from memory in every run.
    pub(crate) fn streams(&self, bytes: usize) -> bool {
        bytes > self.traits.last_level
    }

    pub(crate) fn channels_first(&self) -> bool {
        self.config.layout() == Layout::Nchw
    }

    /// The copy of the input that every sample needs, in floats; 0 where it is read as it lies.
    pub(crate) fn copied(&self) -> usize {
        self.copy.as_ref().map_or(0, Window::len)
    }
}

/// Whether a kernel reads its input where it lies, pixels one after the other.
fn reads_input(kernel: Kernel, config: &Config) -> bool {
    match kernel {
        Kernel::Pointwise => true,
        Kernel::Mixing => config.is_pointwise(),
        Kernel::Across => config.is_pointwise() && config.layout() == Layout::Nchw,
        Kernel::Direct | Kernel::Depthwise | Kernel::Grouped | Kernel::WinogradF2 | Kernel::WinogradF4 => {
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use dyconv_core::{Attention, Options, Padding};

    use super::*;

    pub(super) const AVX512: Traits =
        Traits { width: 16, rows: 14, vectors: 2, across: [24, 1], pick: 1, last_level: 32 << 20 };
    pub(super) const AVX2: Traits =
        Traits { width: 8, rows: 6, vectors: 2, across: [4, 3], pick: 1, last_level: 32 << 20 };
    pub(super) const PORTABLE: Traits =
        Traits { width: 8, rows: 6, vectors: 1, across: [6, 1], pick: 30, last_level: 32 << 20 };

    fn choose(options: Options, image: usize, traits: Traits) -> Plan {
        Plan::choose(&options.build().unwrap(), [image, image], traits, Precision::F32, None, None).unwrap()
    }

    #[test]
    fn every_kernel_is_chosen_on_some_workload() {
        let square = |i, o| Options::new(i, o).kernel_size([3, 3]).padding(Padding::Same);
        let dynamic = |options: Options| options.experts(4).attention(Attention::Given);
        let table = [
            (square(64, 64), 56, Kernel::WinogradF4),
            (square(256, 256), 14, Kernel::WinogradF4),
            (square(512, 512), 7, Kernel::WinogradF4),
            // ResNet-18's last stage on images of 32 × 32.
            (square(512, 512), 4, Kernel::WinogradF2),
            (square(64, 128).stride([2, 2]), 56, Kernel::Direct),
            (Options::new(960, 24), 7, Kernel::Pointwise),
            (Options::new(960, 320), 7, Kernel::Pointwise),
            (square(96, 96).groups(96), 56, Kernel::Depthwise),
            (square(960, 960).groups(960), 7, Kernel::Depthwise),
            (square(32, 64).groups(32), 14, Kernel::Depthwise),
            // ResNeXt-50's first stages.
            (square(128, 128).groups(32), 56, Kernel::Grouped),
            // MobileNetV3's last 1×1 layer, after the pool.
            (dynamic(Options::new(960, 1280)), 1, Kernel::Mixing),
            (dynamic(square(512, 512)), 1, Kernel::Mixing),
            (Options::new(64, 1).kernel_size([5, 5]).padding(Padding::Same), 56, Kernel::Across),
        ];
        for (options, image, want) in table {
            // Channels first, it depends on how well vectors over pixels fill: below.
            let either = options.kernel_size != [1, 1] && want != Kernel::Grouped;
            let layouts = if either { &Layout::ALL[..] } else { &[Layout::Nhwc] };
            for &layout in layouts {
                // Lanes that are picked one by one take longer than any other way.
                let all = [AVX512, AVX2, PORTABLE];
                for &traits in if want == Kernel::Grouped { &all[..2] } else { &all[..] } {
                    let plan = choose(options.layout(layout), image, traits);
                    assert_eq!(plan.kernel, want, "{options:?} at {image} in {layout}, {traits:?}");
                }
            }
        }
        // None is left that only a flag could reach.
        for kernel in Kernel::ALL {
            assert!(table.iter().any(|(_, _, want)| *want == kernel), "{kernel:?} is never chosen");
        }
    }

    #[test]
    fn narrow_groups_share_vectors_where_pixels_are_far_apart() {
        let groups = |channels| Options::new(channels, channels).kernel_size([3, 3]).padding(Padding::Same);
        let kernel = |layout, traits| choose(groups(128).groups(32).layout(layout), 56, traits).kernel;
        assert_eq!([AVX512, AVX2].map(|traits| kernel(Layout::Nhwc, traits)), [Kernel::Grouped; 2]);
        assert_eq!(kernel(Layout::Nchw, AVX2), Kernel::Across);
        let kernel = |layout| choose(groups(256).groups(32).layout(layout), 28, AVX512).kernel;
        assert_eq!([kernel(Layout::Nhwc), kernel(Layout::Nchw)], [Kernel::Grouped, Kernel::Across]);
    }

    /// What was faster by at least 2 %.
    #[test]
    fn channels_first_pointwise_tiles_are_turned_over_where_sums_are_long_enough_to_pay() {
        let kernel = |inputs, outputs, image, traits| {
            let dynamic = Options::new(inputs, outputs).experts(4).attention(Attention::Given);
            choose(dynamic, image, traits).kernel
        };
        for traits in [AVX512, AVX2] {
            for (inputs, outputs, image) in [(384, 96, 14), (512, 512, 14), (160, 960, 7)] {
                let taken = kernel(inputs, outputs, image, traits);
                assert_eq!(taken, Kernel::Pointwise, "{inputs} to {outputs} at {image}");
            }
            for (inputs, outputs, image) in
                [(96, 576, 14), (128, 64, 14), (96, 24, 56), (128, 128, 28), (256, 20, 14)]
            {
                let taken = kernel(inputs, outputs, image, traits);
                assert_eq!(taken, Kernel::Across, "{inputs} to {outputs} at {image}");
            }
        }
        assert_eq!(kernel(192, 64, 14, AVX2), Kernel::Pointwise);
        assert_eq!(
            [AVX512, AVX2].map(|traits| kernel(512, 128, 28, traits)),
            [Kernel::Across, Kernel::Pointwise]
        );
    }

    #[test]
    fn tiles_are_small_where_experts_come_from_memory_or_outputs_are_few() {
        let square = |channels| Options::new(channels, channels).kernel_size([3, 3]).padding(Padding::Same);
        let chosen = |channels, image, precision| {
            let config = square(channels).experts(4).attention(Attention::Given).build().unwrap();
            Plan::choose(&config, [image, image], AVX512, precision, None, None).unwrap().kernel
        };
        assert_eq!(chosen(512, 7, Precision::F32), Kernel::WinogradF2);
        assert_eq!(chosen(512, 7, Precision::Bf16), Kernel::WinogradF4);
        assert_eq!(chosen(256, 14, Precision::F32), Kernel::WinogradF4);
        assert_eq!(chosen(512, 4, Precision::Bf16), Kernel::WinogradF2);
    }

    #[test]
    fn vectors_run_over_pixels_where_that_leaves_fewer_lanes_empty() {
        for traits in [AVX512, AVX2] {
            let kernel = |options: Options, image| choose(options, image, traits).kernel;
            let first = |options: Options| options.layout(Layout::Nchw);
            assert_eq!(kernel(first(Options::new(96, 24)), 56), Kernel::Across, "{traits:?}");
            assert_eq!(kernel(first(Options::new(16, 96)), 112), Kernel::Across, "{traits:?}");
            // With a stride the input can't be read as it lies.
            assert!(choose(Options::new(96, 24).stride([2, 2]), 56, traits).copy.is_some());
            let to_one = Options::new(64, 1).kernel_size([5, 5]).padding(Padding::Same);
            for layout in Layout::ALL {
                assert_eq!(kernel(to_one.layout(layout), 56), Kernel::Across, "{traits:?}");
            }
            assert_eq!(
                kernel(Options::new(96, 96).layout(Layout::Nhwc), 56),
                Kernel::Pointwise,
                "{traits:?}"
            );
        }
    }

    #[test]
    fn outputs_are_mixed_where_their_pixels_are_so_few_that_experts_are_read_once() {
        let square = |i, o| Options::new(i, o).kernel_size([3, 3]).padding(Padding::Same);
        let table = [
            (Options::new(320, 1280), [1, 1], [true, true]),
            (Options::new(1280, 1000), [1, 1], [true, true]),
            (square(512, 512), [1, 1], [true, true]),
            (square(64, 64).groups(2), [1, 1], [true, true]),
            // Two pixels fit the registers of AVX-512 beside each other.
            (Options::new(320, 1280), [1, 2], [true, false]),
            (square(256, 256), [2, 1], [true, false]),
            (Options::new(320, 1280), [2, 2], [false; 2]),
            (square(512, 512), [2, 2], [false; 2]),
        ];
        for (options, image, want) in table {
            let config = options.experts(4).attention(Attention::Given).build().unwrap();
            for (traits, want) in [AVX512, AVX2].into_iter().zip(want) {
                for (precision, last_level) in
                    [(Precision::F32, 8 << 20), (Precision::F32, 64 << 20), (Precision::Bf16, 32 << 20)]
                {
                    let traits = Traits { last_level, ..traits };
                    let plan = Plan::choose(&config, image, traits, precision, None, None).unwrap();
                    assert_eq!(
                        plan.kernel == Kernel::Mixing,
                        want,
                        "{options:?} at {image:?}, {traits:?}, {precision:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_forced_kernel_is_taken_only_where_it_fits() {
        let pointwise = Options::new(64, 64).layout(Layout::Nhwc).build().unwrap();
        let forced = |config, kernel| {
            Plan::choose(config, [4, 4], AVX2, Precision::F32, None, Some(kernel)).unwrap().kernel
        };
        assert_eq!(forced(&pointwise, Kernel::Direct), Kernel::Direct);
        assert_eq!(forced(&pointwise, Kernel::Depthwise), Kernel::Pointwise);
        let depthwise = Options::new(8, 8).groups(8).kernel_size([3, 3]).build().unwrap();
        assert_eq!(forced(&depthwise, Kernel::Direct), Kernel::Direct);
        assert_eq!(forced(&depthwise, Kernel::Depthwise), Kernel::Depthwise);
    }

    #[test]
    fn panels_stay_within_their_share_of_the_cache() {
        for channels in [1, 3, 64, 512, 4096] {
            let options = Options::new(channels, 64).kernel_size([3, 3]).padding(Padding::Same);
            let plan = choose(options, 14, AVX512);
            assert!(plan.step * 9 * 32 * 4 <= PANEL_BYTES);
            assert!(plan.step <= channels);
        }
        // One channel of a huge kernel is more than the share, and is taken alone.
        let plan = choose(Options::new(4, 64).kernel_size([99, 99]), 100, AVX512);
        assert_eq!(plan.step, 1);
    }
}

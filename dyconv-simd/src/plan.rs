//! How a layer is computed for one image size: a pure function of configuration, extents and instruction set, chosen
//! by predicted cost, apart from running it.

use dyconv_core::{Accuracy, Config, Cost, Geometry, Layout, Result, Shape};

use crate::isa::Traits;
use crate::kernels::depthwise::channels_first;
use crate::kernels::direct::Window;
use crate::kernels::tile::STRIDED_ROWS;
use crate::pack::{Family, blocks};

/// A way to convolve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(hidden)]
pub enum Kernel {
    /// Any layer, over a padded copy of the input.
    Direct,
    /// 1×1, stride 1, unpadded: the input as it lies.
    Pointwise,
    /// One input channel per group: the vector over channels or pixels, no broadcast.
    Depthwise,
}

impl Kernel {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Direct, Self::Pointwise, Self::Depthwise];

    fn fits(self, config: &Config) -> bool {
        match self {
            Self::Direct => true,
            Self::Pointwise => config.is_pointwise(),
            Self::Depthwise => config.is_depthwise(),
        }
    }

    pub(crate) fn family(self) -> Family {
        match self {
            Self::Direct | Self::Pointwise => Family::Shared,
            Self::Depthwise => Family::Depthwise,
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
    /// Channels first, the vector over pixels.
    Taps {
        /// Where each tap begins in a channel's copy.
        offsets: Vec<usize>,
    },
    /// Channels last, the vector over channels: by position.
    Channels,
}

/// A rectangle of pixels that one register tile computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patch {
    pub(crate) y: usize,
    pub(crate) x: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl Patch {
    pub(crate) fn pixels(self) -> usize {
        self.rows * self.columns
    }
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
    /// The padded copy: of all channels for direct, of one for depthwise.
    pub(crate) copy: Option<Window>,
    pub(crate) reading: Reading,
    traits: Traits,
}

/// A panel of aggregated weights takes at most this: an eighth of a second-level cache of 1 MiB, since the next panel's
/// experts, K times as large, come into the same cache while this one is used, beside the pixels.
const PANEL_BYTES: usize = 128 << 10;

impl Plan {
    /// The cheapest plan among those that read `family` (all, where `None`), or `forced` where it fits the layer.
    ///
    /// # Errors
    /// Where the image doesn't fit the layer.
    pub(crate) fn choose(
        config: &Config,
        [height, width]: [usize; 2],
        traits: Traits,
        family: Option<Family>,
        forced: Option<Kernel>,
    ) -> Result<Self> {
        let geometry = config.geometry(height, width)?;
        let readable = |kernel: &Kernel| family.is_none_or(|family| kernel.family() == family);
        let fitting = || Kernel::ALL.into_iter().filter(|kernel| kernel.fits(config)).filter(readable);
        let forced = fitting().find(|kernel| forced == Some(*kernel));
        let cheapest = || {
            fitting().min_by(|a, b| {
                slots(*a, config, &geometry, traits).total_cmp(&slots(*b, config, &geometry, traits))
            })
        };
        // Direct or depthwise reads either family.
        let kernel = forced.or_else(cheapest).unwrap_or(Kernel::Direct);
        Self::new(kernel, config, geometry, traits)
    }

    fn new(kernel: Kernel, config: &Config, geometry: Geometry, traits: Traits) -> Result<Self> {
        let panel_channel = config.taps() * traits.vectors * traits.width * size_of::<f32>();
        let reduction_channels = config.in_channels_per_group();
        let steps = reduction_channels.div_ceil((PANEL_BYTES / panel_channel).max(1));
        let step = reduction_channels.div_ceil(steps);
        let [height, width] = geometry.output;
        let grid = if kernel == Kernel::Pointwise { [1, height * width] } else { [height, width] };
        let copy = match (kernel, config.layout()) {
            (Kernel::Direct, _) => Some(Window::new(config, &geometry, config.in_channels())?),
            (Kernel::Depthwise, Layout::Nchw) => Some(Window::new(config, &geometry, 1)?),
            _ => None,
        };
        let reading = match (kernel, &copy, config.layout()) {
            (Kernel::Direct, Some(window), _) => Reading::Windows {
                offsets: window.offsets(step),
                row: window.row,
                channel: window.columns.len,
            },
            (Kernel::Pointwise, _, Layout::Nchw) => {
                let pixels = height * width;
                Reading::Windows { offsets: (0..step).map(|c| c * pixels).collect(), row: 0, channel: pixels }
            }
            (Kernel::Pointwise, _, Layout::Nhwc) => Reading::Strided { pixel: config.in_channels() },
            (Kernel::Depthwise, Some(window), _) => Reading::Taps { offsets: window.offsets(1) },
            _ => Reading::Channels,
        };
        Ok(Self {
            kernel,
            config: *config,
            geometry,
            out_channels: config.out_channels(),
            reduction_channels,
            step,
            grid,
            patch: patch(grid, rows(kernel, config, traits)),
            copy,
            reading,
            traits,
        })
    }

    /// Pixels of the output.
    pub(crate) fn pixels(&self) -> usize {
        self.grid[0] * self.grid[1]
    }

    /// Pixels of the largest patch.
    pub(crate) fn patch_pixels(&self) -> usize {
        self.patch[0] * self.patch[1]
    }

    /// The output cut into patches of even width, row by row.
    pub(crate) fn patches(&self) -> impl Iterator<Item = Patch> {
        let ([height, width], [rows, columns]) = (self.grid, self.patch);
        let cuts = width.div_ceil(columns);
        (0..height).step_by(rows).flat_map(move |y| {
            (0..cuts).map(move |cut| {
                let [x, end] = [cut, cut + 1].map(|cut| cut * (width / cuts) + cut.min(width % cuts));
                Patch { y, x, rows: rows.min(height - y), columns: end - x }
            })
        })
    }

    /// The copy that every sample needs, in floats; 0 where the input is read as it lies.
    pub(crate) fn copied(&self) -> usize {
        match (self.kernel, &self.copy) {
            (Kernel::Direct, Some(window)) => window.len(),
            _ => 0,
        }
    }

    /// The kernel and its tile: `direct 14×32`.
    pub(crate) fn name(&self) -> String {
        let Traits { width, vectors, .. } = self.traits;
        let rows = rows(self.kernel, &self.config, self.traits);
        match self.kernel {
            Kernel::Direct => format!("direct {rows}×{}", vectors * width),
            Kernel::Pointwise => format!("pointwise {rows}×{}", vectors * width),
            Kernel::Depthwise => format!("depthwise {width}"),
        }
    }

    /// What `explain` prints, for a batch and a number of threads; `resident` are the prepared layer's bytes.
    ///
    /// # Errors
    /// Where the input doesn't fit the layer.
    pub(crate) fn describe(
        &self,
        input: Shape,
        threads: usize,
        resident: usize,
    ) -> Result<dyconv_core::Plan> {
        let total = Cost::new(&self.config, input)?.total();
        let output = self.config.output_shape(input)?;
        let copies = self.copied().saturating_mul(input.batch());
        let bytes = total.bytes.saturating_add(floats(copies.saturating_mul(2)));
        let workers = threads.min(input.batch().max(1) * self.blocks());
        let peak = floats(input.len())
            .saturating_add(floats(output.len()))
            .saturating_add(floats(self.copied().saturating_mul(threads.min(input.batch()))))
            .saturating_add(floats(self.scratch().saturating_mul(workers)))
            .saturating_add(resident as u64);
        Ok(dyconv_core::Plan::new(self.name(), total.multiply_adds, bytes, peak, Accuracy::Cpu))
    }

    fn blocks(&self) -> usize {
        blocks(&self.config, self.kernel.family(), self.traits).len()
    }

    /// Floats that each thread keeps: a panel, offsets, sums that wait, a plane of a depthwise layer.
    fn scratch(&self) -> usize {
        let Traits { width, vectors, .. } = self.traits;
        let taps = self.config.taps();
        if self.kernel == Kernel::Depthwise {
            let spread = self.config.out_channels_per_group() > 1;
            let plane = match &self.copy {
                Some(window) => channels_first::scratch(window, self.geometry.output[0], width),
                None if spread => self.geometry.input[0] * self.geometry.input[1] * width,
                None => 0,
            };
            return taps * width + width + plane;
        }
        let one_step = self.step >= self.reduction_channels;
        let waiting = if one_step { self.patch_pixels() } else { self.pixels() };
        (self.step * taps + 1 + waiting) * vectors * width
    }
}

/// Pixels of a register tile.
fn rows(kernel: Kernel, config: &Config, traits: Traits) -> usize {
    match (kernel, config.layout()) {
        (Kernel::Pointwise, Layout::Nhwc) => traits.rows.min(STRIDED_ROWS),
        _ => traits.rows,
    }
}

/// The most rows and columns of a patch: a row cut evenly, or two short rows at once.
fn patch([height, width]: [usize; 2], most: usize) -> [usize; 2] {
    let columns = width.div_ceil(width.div_ceil(most));
    let rows = if height > 1 && 2 * columns <= most { 2 } else { 1 };
    [rows, columns]
}

fn floats(count: usize) -> u64 {
    (count as u64).saturating_mul(4)
}

/// Predicted time in slots, each one vector multiply-add: arithmetic with all its lanes, filled or not, and what a
/// copy of the input costs.
fn slots(kernel: Kernel, config: &Config, geometry: &Geometry, traits: Traits) -> f64 {
    let [height, width] = geometry.output;
    let pixels = (height * width) as f64;
    let reduction = config.reduction_len() as f64;
    let vectors: usize = blocks(config, kernel.family(), traits).iter().map(|block| block.vectors).sum();
    let input = (config.in_channels() * geometry.input[0] * geometry.input[1]) as f64;
    match kernel {
        Kernel::Direct | Kernel::Pointwise => {
            let grid = if kernel == Kernel::Pointwise { [1, height * width] } else { [height, width] };
            let [rows, columns] = patch(grid, rows(kernel, config, traits));
            let patches = (grid[0].div_ceil(rows) * grid[1].div_ceil(columns)) as f64;
            // A transpose takes longer than what it loads and stores.
            let per_vector = if config.layout() == Layout::Nhwc { 5.0 } else { 2.0 };
            let copy =
                if kernel == Kernel::Direct { input / traits.width as f64 * per_vector + 64.0 } else { 0.0 };
            // Loads go beside the multiply-adds, but the fewer of those a step has, the less they hide.
            vectors as f64 * reduction * (pixels + 0.25 * patches) + copy
        }
        Kernel::Depthwise => match config.layout() {
            Layout::Nhwc => {
                let lanes = (vectors * traits.width) as f64 * input / config.in_channels() as f64;
                let spread = if config.out_channels_per_group() > 1 { lanes } else { 0.0 };
                vectors as f64 * reduction * pixels * 1.5 + spread
            }
            Layout::Nchw => {
                let row_vectors = (height * width.div_ceil(traits.width)) as f64;
                let copy = input / traits.width as f64 + 16.0 * config.in_channels() as f64;
                config.out_channels() as f64 * reduction * row_vectors * 2.0 + copy
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use dyconv_core::{Options, Padding};

    use super::*;

    const AVX512: Traits = Traits { width: 16, rows: 14, vectors: 2 };
    const AVX2: Traits = Traits { width: 8, rows: 6, vectors: 2 };
    const PORTABLE: Traits = Traits { width: 8, rows: 6, vectors: 1 };

    fn choose(options: Options, image: usize, traits: Traits) -> Plan {
        Plan::choose(&options.build().unwrap(), [image, image], traits, None, None).unwrap()
    }

    #[test]
    fn each_kernel_is_chosen_on_some_workload() {
        let square = |i, o| Options::new(i, o).kernel_size([3, 3]).padding(Padding::Same);
        let table = [
            (square(64, 64), 56, Kernel::Direct),
            (square(512, 512), 7, Kernel::Direct),
            (square(64, 128).groups(4), 28, Kernel::Direct),
            (square(1, 64), 28, Kernel::Direct),
            (Options::new(96, 24), 56, Kernel::Pointwise),
            (Options::new(960, 320), 7, Kernel::Pointwise),
            (Options::new(96, 24).stride([2, 2]), 56, Kernel::Direct),
            (square(96, 96).groups(96), 56, Kernel::Depthwise),
            (square(960, 960).groups(960), 7, Kernel::Depthwise),
            (square(32, 64).groups(32), 14, Kernel::Depthwise),
        ];
        for (options, image, want) in table {
            for layout in Layout::ALL {
                for traits in [AVX512, AVX2, PORTABLE] {
                    let plan = choose(options.layout(layout), image, traits);
                    assert_eq!(plan.kernel, want, "{options:?} at {image} in {layout}, {traits:?}");
                }
            }
        }
    }

    #[test]
    fn a_forced_kernel_is_taken_only_where_it_fits() {
        let pointwise = Options::new(8, 8).build().unwrap();
        let forced = |config, kernel| Plan::choose(config, [4, 4], AVX2, None, Some(kernel)).unwrap().kernel;
        assert_eq!(forced(&pointwise, Kernel::Direct), Kernel::Direct);
        assert_eq!(forced(&pointwise, Kernel::Depthwise), Kernel::Pointwise);
        let depthwise = Options::new(8, 8).groups(8).kernel_size([3, 3]).build().unwrap();
        assert_eq!(forced(&depthwise, Kernel::Direct), Kernel::Direct);
        assert_eq!(forced(&depthwise, Kernel::Depthwise), Kernel::Depthwise);
    }

    #[test]
    fn patches_cover_every_pixel_once_within_the_registers() {
        for height in 1..9 {
            for width in 1..40 {
                for traits in [AVX512, AVX2, PORTABLE] {
                    let config = Options::new(1, 1).kernel_size([1, 1]).build().unwrap();
                    let geometry = config.geometry(height, width).unwrap();
                    for kernel in [Kernel::Direct, Kernel::Pointwise] {
                        let plan = Plan::new(kernel, &config, geometry, traits).unwrap();
                        let mut seen = vec![0; plan.pixels()];
                        for patch in plan.patches() {
                            assert!(patch.pixels() <= traits.rows && patch.pixels() <= plan.patch_pixels());
                            for y in patch.y..patch.y + patch.rows {
                                for x in patch.x..patch.x + patch.columns {
                                    seen[y * plan.grid[1] + x] += 1;
                                }
                            }
                        }
                        assert!(seen.iter().all(|&count| count == 1), "{height}×{width}");
                    }
                }
            }
        }
    }

    #[test]
    fn seven_by_seven_takes_two_rows_and_wide_rows_are_cut_evenly() {
        assert_eq!(patch([7, 7], 14), [2, 7]);
        assert_eq!(patch([56, 56], 14), [1, 14]);
        assert_eq!(patch([10, 15], 14), [1, 8]);
        assert_eq!(patch([1, 49], 14), [1, 13]);
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

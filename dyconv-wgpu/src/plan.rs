//! How a layer is computed for one input shape: a pure function of configuration, storage, shape and limits,
//! apart from recording it.

use dyconv_core::{Accuracy, Config, Geometry, Layout, Prepared, Result, Shape};

use crate::choice::Choice;
use crate::kernel::{Convolution, Gather, Kernel, Narrow, Outputs, Source};
use crate::layer::WgpuLayer;
use crate::limits::{ELEMENT, LOOP_STEPS, Limits, Rates, Split, exceeded, index};
use crate::narrow::{self, Block};
use crate::pack::Packing;
use crate::stored::Stored;
use crate::tile::Tile;
use crate::values::Values;
use crate::winograd::{self, Size, Tiles};

/// The kernel for one layer and input shape, and how its work is divided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) kernel: Kernel,
    /// The parts of the batch that run one after the other.
    pub(crate) split: Split,
    /// Whether samples share a kernel, and columns run through all of them: in a static layer.
    pub(crate) shares: bool,
    /// In how many slices another kernel finds every output's sum, to join them; `None` where the first one finishes it.
    pub(crate) slices: Option<u32>,
    /// Whether the kernel that finishes outputs writes their channel sums.
    pub(crate) emits: bool,
    /// Winograd's tiles, whose products the kernel is for.
    pub(crate) winograd: Option<Tiles>,
}

impl Plan {
    /// Whether experts are aggregated as tiles load them.
    pub(crate) fn is_fused(&self) -> bool {
        matches!(self.kernel, Kernel::Convolve(Convolution { source: Source::Experts, .. }))
    }

    /// Whether kernels are aggregated as experts are, in the layer's packed order.
    pub(crate) fn aggregates(&self) -> bool {
        !self.is_fused() && self.winograd.is_none()
    }

    /// The error contract.
    pub(crate) fn accuracy(&self) -> Accuracy {
        self.winograd.map_or(Accuracy::Gpu, |tiles| tiles.size.accuracy())
    }
}

/// The plan for a layer and input shape, where the output's channel sums are wanted or not.
pub(crate) fn plan(limits: &Limits, layer: &WgpuLayer, input: Shape, emits: bool) -> Result<Plan> {
    let form = (layer.stored, layer.values);
    choose(limits, layer.config(), form, &layer.packing, input, emits)
}

fn choose(
    limits: &Limits,
    config: &Config,
    (stored, values): (Stored, Values),
    packing: &Packing,
    input: Shape,
    emits: bool,
) -> Result<Plan> {
    let output = config.output_shape(input)?;
    let problem = Problem { config, stored, values, kernel: packing.stride, input, output, limits };
    check_extents(config, &config.geometry(input.height(), input.width())?)?;
    if config.is_depthwise() {
        return problem.depthwise(emits);
    }
    if let Some(plan) = problem.winograd(emits)? {
        return Ok(plan);
    }
    let tiled = problem.tiled(emits)?;
    Ok(problem.narrow(&tiled, emits)?.unwrap_or(tiled))
}

/// Kernels compute positions in the padded input with signed 32 bits.
fn check_extents(config: &Config, geometry: &Geometry) -> Result<()> {
    for axis in 0..2 {
        let padded = geometry.input[axis].saturating_add(geometry.before[axis] + geometry.after[axis]);
        index("extent of the padded input", padded)?;
        index("extent of the dilated kernel", config.reach()[axis])?;
    }
    Ok(())
}

/// What a plan is chosen by.
struct Problem<'a> {
    config: &'a Config,
    stored: Stored,
    values: Values,
    /// Elements of one kernel, its bias included.
    kernel: usize,
    input: Shape,
    output: Shape,
    limits: &'a Limits,
}

impl Problem<'_> {
    fn depthwise(&self, emits: bool) -> Result<Plan> {
        let (steps, most) = (row_steps(self.config), u64::from(LOOP_STEPS));
        if steps > most {
            return Err(exceeded("loop steps of a depthwise kernel's row", steps, most));
        }
        self.by_windows(|outputs| Kernel::Depthwise(outputs, self.values), emits)
    }

    /// The plan by blocks of narrow groups, where they fit and cost less than tiles: in products of a thread, those of rows
    /// and of steps that are only padding included, as long as [`Tile::time`] and [`Block::time`] say that each takes.
    fn narrow(&self, tiled: &Plan, emits: bool) -> Result<Option<Plan>> {
        let Kernel::Convolve(Convolution { tile, gather, .. }) = tiled.kernel else { return Ok(None) };
        let [rows, groups] = [self.config.out_channels_per_group(), self.config.groups()];
        let (samples, pixels) = (tiled.split.largest().max(1), self.output.pixels());
        let (cheapest, time) = Block::choose(rows, pixels, samples * groups, self.limits);
        let by_blocks = time * self.config.reduction_len() as f64;
        let [columns, kernels] = if tiled.shares { [samples * pixels, 1] } else { [pixels, samples] };
        let products = steps(self.config, tile, gather) as f64 * f64::from(tile.depth);
        let by_tiles = tile.time(rows, columns, kernels * groups, self.limits) * products
            / f64::from(tiled.slices.unwrap_or(1));
        let wanted = match self.limits.forced {
            None => (rows <= narrow::MOST_ROWS && by_blocks < by_tiles).then_some(cheapest),
            Some(choice) => choice.block(),
        };
        let fits = row_steps(self.config) <= u64::from(LOOP_STEPS);
        // What was aggregated is floats.
        let stored = if self.is_static() { self.stored } else { Stored::F32 };
        let plan = |block| {
            let kernel = |outputs| Kernel::Narrow(Narrow { block, outputs, stored, values: self.values });
            self.by_windows(kernel, emits)
        };
        wanted.filter(|_| fits).map(plan).transpose()
    }

    /// The plan by a kernel that walks over windows.
    fn by_windows(&self, kernel: impl FnOnce(Outputs) -> Kernel, emits: bool) -> Result<Plan> {
        let split = if self.is_static() { self.parts()? } else { self.parts_with_kernels()? };
        let is_long = self.config.taps() as u64 > u64::from(taps_at_once(self.config));
        Ok(Plan {
            kernel: kernel(if emits { Outputs::Summed(self.limits.across) } else { Outputs::Each }),
            split,
            shares: self.is_static(),
            slices: is_long.then_some(1),
            emits,
            winograd: None,
        })
    }

    fn tiled(&self, emits: bool) -> Result<Plan> {
        let whole = self.parts()?;
        let pixels = self.output.pixels();
        let [rows, groups] = [self.config.out_channels_per_group(), self.config.groups()];
        let samples = whole.largest().max(1);
        // Columns that have a kernel in common, and how many sets of them there are.
        let shares = self.is_static();
        let [columns, kernels] = if shares { [samples * pixels, 1] } else { [pixels, samples] };
        let tile = self.tile(rows, columns, kernels * groups)?;

        let gather = self.gather(tile);
        let is_fused = !self.is_static() && self.fits_fused(tile) && self.wants_fused(tile);
        let split = if is_fused || self.is_static() { whole } else { self.parts_with_kernels()? };
        let source = if is_fused { Source::Experts } else { Source::Kernels };
        // What was aggregated is floats.
        let stored = if is_fused || self.is_static() { self.stored } else { Stored::F32 };
        let kernel = Kernel::Convolve(Convolution { tile, gather, source, stored, values: self.values });
        let slices = self.slices(tile, gather, split, shares);
        // What joins slices knows each output's sample. Tiles that add channel sums belong to one sample each.
        let emits = emits && (slices.is_some() || !shares || !self.pads_too_much(tile));
        let shares = shares && (slices.is_some() || !emits);
        Ok(Plan { kernel, split, shares, slices, emits, winograd: None })
    }

    /// The plan by Winograd, where it fits and is cheaper.
    fn winograd(&self, emits: bool) -> Result<Option<Plan>> {
        let size = match self.limits.forced {
            Some(Choice::WinogradF2 | Choice::WinogradHuge | Choice::WinogradDeep) => Some(Size::Two),
            Some(Choice::WinogradF4) => Some(Size::Four),
            Some(_) => None,
            None => self.wanted_winograd(),
        };
        let Some(tiles) =
            size.filter(|_| winograd::fits(self.config)).map(|size| Tiles::new(size, self.output))
        else {
            return Ok(None);
        };
        let kernels = tiles.size.points().saturating_mul(self.kernel / self.config.taps());
        let images =
            [self.input.channels(), self.output.channels()].map(|channels| tiles.image_len(channels));
        let largest = images.into_iter().fold(kernels, usize::max);
        // One sample must fit; a sum is never continued.
        if (largest as u64).saturating_mul(ELEMENT) > self.limits.binding_bytes
            || self.config.in_channels_per_group() > LOOP_STEPS as usize
        {
            return Ok(None);
        }
        let lens = [("input", self.input.sample_len()), ("output", self.output.sample_len())];
        let split = self.limits.split_with_kernels(self.input.batch(), &lens, largest)?;
        let samples = split.largest().max(1);
        let shares = self.is_static();
        let [columns, count] = if shares { [samples * tiles.pixels, 1] } else { [tiles.pixels, samples] };
        let count = count * tiles.size.points() * self.config.groups();
        let rows = self.config.out_channels_per_group();
        let tile = self.tile(rows, columns, count)?;
        let kernel = Kernel::Convolve(Convolution {
            tile,
            gather: Gather::Points,
            source: Source::Kernels,
            stored: Stored::F32,
            values: Values::F32,
        });
        Ok(Some(Plan { kernel, split, shares, slices: None, emits, winograd: Some(tiles) }))
    }

    /// The tiles, if any, that cost less than convolving directly: in multiply-adds, bytes counted as so many.
    ///
    /// With C inputs and O outputs per group, P pixels and t tiles a sample, p points a tile, and S samples that
    /// share a kernel:
    ///
    /// ```text
    /// direct       9·C·O·P
    /// by tiles     p·C·O·t + products·(2·4·p·(C + O)·t + 2·4·p·C·O/S)
    /// ```
    /// Transformed input, products and kernels are each written once and read once; `products` is the device's
    /// [rate](crate::limits::Rates).
    fn wanted_winograd(&self) -> Option<Size> {
        if !winograd::fits(self.config) {
            return None;
        }
        let [inputs, outputs, pixels] =
            [self.config.in_channels_per_group(), self.config.out_channels_per_group(), self.output.pixels()]
                .map(|count| count as f64);
        let sharing = if self.is_static() { self.input.batch().max(1) as f64 } else { 1.0 };
        let direct = 9.0 * inputs * outputs * pixels;
        let by_tiles = |size: Size| {
            let (points, tiles) = (size.points() as f64, Tiles::new(size, self.output).pixels as f64);
            let bytes = 8.0 * points * ((inputs + outputs) * tiles + inputs * outputs / sharing);
            points * inputs * outputs * tiles + self.limits.rates.products * bytes
        };
        let cheapest = Size::ALL.into_iter().min_by(|&a, &b| by_tiles(a).total_cmp(&by_tiles(b)));
        cheapest.filter(|&size| by_tiles(size) < direct)
    }

    fn is_static(&self) -> bool {
        self.config.attention().is_none()
    }

    /// Parts of the batch whose tensors fit a binding.
    fn parts(&self) -> Result<Split> {
        let lens = [("input", self.input.sample_len()), ("output", self.output.sample_len())];
        self.limits.split(self.input.batch(), &lens)
    }

    /// The same, and whose kernels are aggregated at once.
    fn parts_with_kernels(&self) -> Result<Split> {
        let lens = [("input", self.input.sample_len()), ("output", self.output.sample_len())];
        let split = self.limits.split_with_kernels(self.input.batch(), &lens, self.kernel)?;
        let most = if self.limits.forced == Some(Choice::Chunked) { 2 } else { usize::MAX };
        Ok(Split { size: split.size.min(most), ..split })
    }

    /// The tile for `count` matrices of `rows` output channels and `columns` output pixels.
    fn tile(&self, rows: usize, columns: usize, count: usize) -> Result<Tile> {
        match self.limits.forced.and_then(Choice::tile).filter(|tile| tile.fits(self.limits)) {
            Some(tile) => Ok(tile),
            None => Ok(Tile::choose(rows, columns, count, self.limits)?
                .deepened(self.config.in_channels_per_group(), self.limits)),
        }
    }

    fn gather(&self, tile: Tile) -> Gather {
        let depth = self.config.in_channels_per_group();
        let is_first = self.config.layout() == Layout::Nchw;
        let padded = depth.next_multiple_of(tile.depth as usize);
        match self.limits.forced {
            Some(Choice::Any) => Gather::Any,
            Some(Choice::Taps) => Gather::Taps,
            _ if !is_first && depth.is_multiple_of(4) => Gather::Quads,
            _ if is_first && self.config.is_pointwise() && self.output.pixels().is_multiple_of(4) => {
                Gather::Points
            }
            // Channels beyond the last are multiplied, too.
            _ if self.config.taps() == 1 || padded * 4 <= depth * 5 => Gather::Taps,
            _ => Gather::Any,
        }
    }

    /// Whether a tile's loops, with one over the experts in them, are sure to be run to their ends.
    fn fits_fused(&self, tile: Tile) -> bool {
        let quads = u64::from(tile.depth * tile.rows / 4 / tile.threads());
        let step = quads * (self.config.experts() as u64 + 2) + u64::from(2 * tile.depth);
        let steps = steps(self.config, tile, Gather::Taps);
        step.saturating_mul(u64::from(steps)) <= u64::from(LOOP_STEPS)
    }

    /// Whether aggregating as tiles load costs less than writing aggregated kernels and reading them: in
    /// bytes, the multiply-adds of the aggregation, which every column tile repeats, counted as bytes, too.
    ///
    /// With W floats of a kernel, N samples, K experts of b bytes a weight, and t column tiles per sample:
    ///
    /// ```text
    /// aggregated   ⌈N/4⌉·K·W·b/cached + N·K·W/products + 2·4·N·W + (t − 1)·4·N·W/cached
    /// fused        t·N·K·W·b/cached + t·N·K·W/products
    /// ```
    /// Reading experts for the first time is the same for both. What is read again comes from the device's
    /// cache, `cached` times as fast as its memory; it does `products` multiply-adds while a byte comes from memory.
    fn wants_fused(&self, tile: Tile) -> bool {
        match self.limits.forced {
            Some(Choice::Fused) => return true,
            Some(Choice::Aggregated | Choice::Chunked) => return false,
            _ => {}
        }
        let Rates { products, cached } = self.limits.rates;
        let [samples, experts] = [self.input.batch(), self.config.experts()].map(|count| count as f64);
        let tiles = self.output.pixels().div_ceil(tile.columns as usize) as f64;
        let weight = if self.stored == Stored::F32 { 4.0 } else { 2.0 };
        let aggregated = (samples / 4.0).ceil() * experts * weight / cached
            + samples * experts / products
            + 8.0 * samples
            + (tiles - 1.0) * 4.0 * samples / cached;
        let fused = tiles * samples * experts * (weight / cached + 1.0 / products);
        fused < aggregated
    }

    /// Whether filling up tiles with columns that don't exist, so that each belongs to one sample, costs more
    /// multiply-adds than a pool over the outputs, which reads each of them once.
    fn pads_too_much(&self, tile: Tile) -> bool {
        let pixels = self.output.pixels();
        let padding = pixels.next_multiple_of(tile.columns as usize) - pixels;
        let products = padding as f64 * self.config.reduction_len() as f64;
        products > self.limits.rates.products * (pixels as u64 * ELEMENT) as f64
    }

    /// In how many slices sums are taken: by as many workgroups as keep the device busy, if each has some steps of its own;
    /// in one at least, if a sum is too long for one dispatch.
    fn slices(&self, tile: Tile, gather: Gather, split: Split, shares: bool) -> Option<u32> {
        /// Less than this isn't worth another pass over the output.
        const STEPS: u32 = 8;
        let steps = steps(self.config, tile, gather);
        let samples = split.largest().max(1);
        let [columns, kernels] =
            if shares { [samples * self.output.pixels(), 1] } else { [self.output.pixels(), samples] };
        let tiles = self.config.out_channels_per_group().div_ceil(tile.rows as usize)
            * columns.div_ceil(tile.columns as usize)
            * kernels
            * self.config.groups();
        let sums = (samples * self.output.sample_len()) as u64 * ELEMENT;
        let fit = u32::try_from(self.limits.binding_bytes / sums.max(1)).unwrap_or(u32::MAX);
        let wanted = if self.limits.forced == Some(Choice::Sliced) {
            3.min(steps)
        } else {
            let threads = (tiles as u64).saturating_mul(u64::from(tile.threads()));
            let wanted = u64::from(self.limits.busy_threads) / threads.max(1);
            (wanted as u32).min(steps / STEPS)
        };
        // No slice is empty.
        let slices = steps.div_ceil(steps.div_ceil(wanted.clamp(1, fit.max(1))));
        (slices > 1 || steps > steps_at_once(tile)).then_some(slices)
    }
}

/// Steps of an output's sum.
pub(crate) fn steps(config: &Config, tile: Tile, gather: Gather) -> u32 {
    let depth = tile.depth as usize;
    let steps = match gather {
        Gather::Taps => config.taps().saturating_mul(config.in_channels_per_group().div_ceil(depth)),
        Gather::Any | Gather::Points | Gather::Quads => config.reduction_len().div_ceil(depth),
    };
    u32::try_from(steps).unwrap_or(u32::MAX)
}

/// Steps of a sum that one workgroup takes in one dispatch.
pub(crate) fn steps_at_once(tile: Tile) -> u32 {
    LOOP_STEPS / tile.depth
}

/// Taps that one dispatch takes of a kernel that walks over windows: whole rows.
pub(crate) fn taps_at_once(config: &Config) -> u32 {
    let rows = u64::from(LOOP_STEPS) / row_steps(config);
    (rows as u32).max(1).saturating_mul(config.kernel_size()[1] as u32)
}

/// Loop steps of a row of the kernel there: its own, one for each tap, and at each of them one for every input channel and
/// the vec4s of its weights, where a group has several channels.
pub(crate) fn row_steps(config: &Config) -> u64 {
    let depth = if config.is_depthwise() { 0 } else { config.in_channels_per_group() as u64 };
    (config.kernel_size()[1] as u64).saturating_mul(1 + 3 * depth).saturating_add(1)
}

#[cfg(test)]
mod tests;

//! Predicted time: what the choice of a plan compares.

use dyconv_core::{Config, Geometry, Layout, Precision};

use super::patch::{across, patch};
use super::winograd::Tiles;
use super::{Kernel, groups, reads_input};
use crate::isa::Traits;
use crate::pack::{Block, blocks, word_bytes};

/// What it costs to store a vector of outputs as it lies.
const STORE: f64 = 4.0;

/// The same where tiles are turned over first.
const STORE_TURNED: f64 = 14.0;

/// The same for the tiles of pointwise layers, which have few multiply-adds to hide it; and what it takes to load a vector of
/// pixels for several channels. Both [of 16 lanes](of_16_lanes).
const STORE_POINTS: f64 = 24.0;
const LOAD_PIXELS: f64 = 0.6;

/// What it takes to read a vector of f32s that comes from a second- or third-level cache.
const READ: f64 = 3.0;

/// What it takes to make one of a vector of 16 bits.
const WIDEN: f64 = 0.7;

/// What it takes to write a vector of a panel and to read it again.
const PANEL: f64 = 2.0;

/// Bytes that come from memory in a slot, for every lane of a vector: of multiply-adds that are twice as many with vectors
/// twice as long, memory knows nothing.
const STREAM: f64 = 0.4;

/// The part of the shorter of two things that isn't hidden behind the longer one.
const SHOWN: f64 = 0.1;

/// What it takes to begin and end with a row of a block, apart from what is multiplied: as much as some groups have to
/// multiply.
const CALL: f64 = 250.0;

/// A multiply-add's result is there after about as many slots.
const LATENCY: usize = 4;

/// What Winograd's transforms cost for each pair of points: of a vector of inputs, of aggregated taps (beyond the direct
/// plan's stores), of products.
const TRANSFORM_INPUT: f64 = 6.0;
const TRANSFORM_WEIGHT: f64 = 2.5;
const TRANSFORM_OUTPUT: f64 = 4.0;

/// What it costs to begin and end with a tile of its products, in steps.
const BEGIN: f64 = 5.0;

/// Taps of the kernels that Winograd takes.
const TAPS: f64 = 9.0;

/// What it costs to load a vector of transformed weights, beside the few multiply-adds that use it.
const LOAD: f64 = 0.5;

/// Predicted time in slots, each one vector multiply-add. Experts that the last-level cache doesn't hold come from memory
/// beside everything else.
pub(super) fn slots(
    kernel: Kernel,
    config: &Config,
    geometry: &Geometry,
    traits: Traits,
    precision: Precision,
) -> f64 {
    let experts = Experts::new(kernel, config, traits, precision);
    let work = work(kernel, config, geometry, traits, experts);
    let bytes = experts.vectors * experts.count * (traits.width * experts.word) as f64;
    let stream = if bytes > traits.last_level as f64 { bytes / (STREAM * traits.width as f64) } else { 0.0 };
    // Winograd aggregates and transforms weights between its products, and waits for experts then.
    let alone = match kernel.tiles() {
        Some(size) => {
            experts.vectors / TAPS * TRANSFORM_WEIGHT * size.points().pow(2) as f64 + experts.aggregate()
        }
        None => 0.0,
    };
    let beside = work - alone;
    alone + beside.max(stream) + SHOWN * beside.min(stream)
}

/// All experts of a layer, as they are packed.
#[derive(Clone, Copy)]
struct Experts {
    /// How many.
    count: f64,
    /// Vectors of one of them.
    vectors: f64,
    /// Bytes of a weight.
    word: usize,
    /// Whether a panel is made of them; a static layer's weights in f32 are panels.
    aggregated: bool,
}

impl Experts {
    fn new(kernel: Kernel, config: &Config, traits: Traits, precision: Precision) -> Self {
        let vectors: usize = blocks(config, kernel.family(), traits).iter().map(|block| block.vectors).sum();
        let word = word_bytes(precision);
        Self {
            count: config.experts() as f64,
            vectors: (vectors * config.reduction_len()) as f64,
            word,
            aggregated: config.attention().is_some() || word < size_of::<f32>(),
        }
    }

    /// What it takes to read a vector of one and to multiply and add with it.
    fn used(self, multiply_adds: f64) -> f64 {
        let share = self.word as f64 / size_of::<f32>() as f64;
        let widen = if share < 1.0 { WIDEN } else { 0.0 };
        (READ * share).max(multiply_adds + widen)
    }

    /// What aggregation takes.
    fn aggregate(self) -> f64 {
        if self.aggregated { self.vectors * (self.count * self.used(1.0) + PANEL) } else { 0.0 }
    }
}

/// Slots of vectors of 16 lanes, in those of the plan's: a shorter vector is loaded, or turned over, in as much time, in which more
/// of its multiply-adds fit.
fn of_16_lanes(slots: f64, traits: Traits) -> f64 {
    slots * 16.0 / traits.width as f64
}

/// The slots that arithmetic takes, with all its lanes, filled or not, a copy of the input, and experts from the caches.
fn work(kernel: Kernel, config: &Config, geometry: &Geometry, traits: Traits, experts: Experts) -> f64 {
    let [height, width] = geometry.output;
    let pixels = (height * width) as f64;
    let reduction = config.reduction_len() as f64;
    let blocks = blocks(config, kernel.family(), traits);
    let vectors: usize = blocks.iter().map(|block| block.vectors).sum();
    let aggregate = experts.aggregate();
    let input = (config.in_channels() * geometry.input[0] * geometry.input[1]) as f64;
    let as_it_lies = reads_input(kernel, config);
    // A transpose takes longer than what it loads and stores.
    let per_vector = if config.layout() == Layout::Nhwc { 5.0 } else { 2.0 };
    let copy = if as_it_lies { 0.0 } else { input / traits.width as f64 * per_vector + 64.0 };
    match kernel {
        Kernel::Direct | Kernel::Pointwise => {
            let grid = if as_it_lies { [1, height * width] } else { [height, width] };
            let [rows, columns] = patch(kernel, grid, config, traits);
            let patches = (grid[0].div_ceil(rows) * grid[1].div_ceil(columns)) as f64;
            let store = match (config.layout(), kernel) {
                (Layout::Nhwc, _) => STORE,
                (Layout::Nchw, Kernel::Pointwise) => of_16_lanes(STORE_POINTS, traits),
                (Layout::Nchw, _) => STORE_TURNED,
            };
            // Loads go beside the multiply-adds, but the fewer of those a step has, the less they hide; least of all
            // where another line begins far away, with every row of taps.
            let far = if kernel == Kernel::Pointwise { 0.0 } else { 1.25 / config.kernel_size()[1] as f64 };
            let load = 0.25 + far;
            // A tile of few pixels waits for its own sums.
            let waiting = (LATENCY * blocks.len()) as f64 / vectors as f64 * patches;
            let step = pixels.max(waiting) + load * patches;
            vectors as f64 * (reduction * step + pixels * store) + copy + aggregate
        }
        Kernel::Across => {
            let grid = if as_it_lies { [1, height * width] } else { [height, width] };
            let pixel_vectors = (grid[0] * grid[1].div_ceil(traits.width)) as f64;
            let channels = config.out_channels() as f64;
            let vectors_at_once = across(config, traits)[1].min(grid[1].div_ceil(traits.width));
            // A tile of few sums waits for them; and each loads its pixels.
            let load = of_16_lanes(LOAD_PIXELS, traits);
            let step = |block: &Block| {
                let tiles = block.channels.div_ceil(traits.across[0]);
                let waiting = LATENCY * tiles / vectors_at_once;
                block.channels.max(waiting) as f64 + load * tiles as f64
            };
            let step: f64 = blocks.iter().map(step).sum();
            let store = if config.layout() == Layout::Nchw { STORE } else { STORE_TURNED };
            let calls = if as_it_lies { 0 } else { blocks.len() * height };
            pixel_vectors * (reduction * step + channels * store) + CALL * calls as f64 + copy + aggregate
        }
        Kernel::Grouped => {
            let [_, columns] = patch(kernel, geometry.output, config, traits);
            let patches = (height * width.div_ceil(columns)) as f64;
            let per_vector = if config.layout() == Layout::Nhwc { 2.0 } else { 5.0 };
            let copy = input / traits.width as f64 * per_vector + 64.0;
            let store = if config.layout() == Layout::Nhwc { STORE } else { STORE_TURNED };
            let waiting = LATENCY as f64 * patches;
            let picks = traits.pick as f64 * pixels / groups::run(config) as f64;
            let step = pixels.max(waiting) + picks + patches;
            vectors as f64 * (reduction * step + pixels * store) + copy + aggregate
        }
        Kernel::Mixing => {
            let [_, most] = patch(kernel, [1, height * width], config, traits);
            let tiles = (height * width).div_ceil(most) as f64;
            // Every tile reads all experts.
            let convolve = experts.vectors * experts.count * tiles * experts.used(pixels / tiles);
            convolve + vectors as f64 * pixels * (experts.count + STORE_TURNED) + copy
        }
        Kernel::WinogradF2 | Kernel::WinogradF4 => {
            let tiles = kernel.tiles().and_then(|size| Tiles::new(size, config, geometry, traits).ok());
            let Some(tiles) = tiles else { return f64::INFINITY };
            let channels = config.in_channels_per_group() as f64;
            let inputs = (config.groups() * config.in_channels_per_group().div_ceil(traits.width)) as f64;
            let (pairs, products) = (tiles.pairs() as f64, tiles.products() as f64);
            let (store, turn) = match config.layout() {
                Layout::Nhwc => (STORE, 0.0),
                Layout::Nchw => (STORE_TURNED, 6.0 * input / traits.width as f64),
            };
            let step = tiles.step(config.in_channels_per_group()) as f64;
            let multiply = products * (1.0 + BEGIN / step) + LOAD * pairs;
            vectors as f64 * (channels * (multiply + TRANSFORM_WEIGHT * pairs) + TRANSFORM_OUTPUT * products)
                + vectors as f64 * pixels * store
                + TRANSFORM_INPUT * inputs * products
                + turn
                + aggregate
        }
        Kernel::Depthwise => match config.layout() {
            Layout::Nhwc => {
                let lanes = (vectors * traits.width) as f64 * input / config.in_channels() as f64;
                let spread = if config.out_channels_per_group() > 1 { lanes } else { 0.0 };
                vectors as f64 * reduction * pixels * 1.5 + spread + aggregate
            }
            Layout::Nchw => {
                let row_vectors = (height * width.div_ceil(traits.width)) as f64;
                let copy = input / traits.width as f64 + 16.0 * config.in_channels() as f64;
                config.out_channels() as f64 * reduction * row_vectors * 2.0 + copy + aggregate
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use dyconv_core::{Attention, Options, Padding};

    use super::super::tests::{AVX2, AVX512};
    use super::*;

    #[test]
    fn experts_beyond_the_last_level_cache_come_from_memory_beside_the_work() {
        let square = |i, o| Options::new(i, o).kernel_size([3, 3]).padding(Padding::Same);
        // 37.7 MB in f32, half as much in bf16.
        let config = square(512, 512).experts(4).attention(Attention::Given).build().unwrap();
        for traits in [AVX512, AVX2] {
            let predict = |image, last_level, precision| {
                let geometry = config.geometry(image, image).unwrap();
                slots(Kernel::Direct, &config, &geometry, Traits { last_level, ..traits }, precision)
            };
            let bytes = (4 * 512 * 512 * 9) as f64;
            for (image, precision, word) in
                [(1, Precision::F32, 4.0), (1, Precision::Bf16, 2.0), (7, Precision::F32, 4.0)]
            {
                let fits = |cache| predict(image, cache, precision);
                let [held, streamed] = [bytes * word, bytes * word - 1.0].map(|cache| fits(cache as usize));
                let stream = bytes * word / (STREAM * traits.width as f64);
                let want = held.max(stream) + SHOWN * held.min(stream);
                assert!((streamed / want - 1.0).abs() < 1e-12, "{image}, {precision:?}: {streamed}, {want}");
                // At one pixel memory is what counts, at 49 the multiply-adds.
                assert_eq!(stream > held, image == 1);
            }
        }
    }

    #[test]
    fn aggregation_is_counted_where_there_is_any() {
        for (options, precision, aggregated) in [
            (Options::new(64, 64), Precision::F32, false),
            (Options::new(64, 64), Precision::F16, true),
            (Options::new(64, 64).attention(Attention::mlp(4)), Precision::F32, true),
        ] {
            let config = options.build().unwrap();
            let experts = Experts::new(Kernel::Direct, &config, AVX512, precision);
            assert_eq!(experts.aggregate() > 0.0, aggregated);
        }
    }
}

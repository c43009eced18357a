//! The kernels: which there are, what they bind, and how their WGSL is put together.

mod train;

use std::fmt;

use crate::narrow::{Block, PIXELS};
use crate::stored::Stored;
use crate::tile::Tile;
use crate::values::Values;
use crate::winograd::Size;
pub(crate) use train::TrainKernel;

/// One compute kernel. What varies from layer to layer without changing the loads is a uniform, so that
/// this list stays short: a software driver takes up to a second per pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kernel {
    Pool(Across, Values),
    PoolMax(Values),
    Relayout(Values),
    Convert(Values, Values),
    Attention(Across),
    Aggregate(Stored),
    Convolve(Convolution),
    Join(Source, Outputs, Values),
    WinogradKernels(Size, Stored),
    WinogradInput(Size, Values),
    WinogradOutput(Size, Source, Outputs, Values),
    Depthwise(Outputs, Values),
    Narrow(Narrow),
    Moments,
    Normalize,
    Train(TrainKernel),
}

/// How a kernel uses a storage buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

use Access::{Read, Write};

/// Invocations per workgroup, in every kernel but the largest tile's: two warps of work, and little enough for
/// drivers that emulate barriers.
pub(crate) const THREADS: u32 = 64;

/// A tiled convolution: its tile, how it finds its input, where its kernels come from, and
/// how both are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Convolution {
    pub(crate) tile: Tile,
    pub(crate) gather: Gather,
    pub(crate) source: Source,
    pub(crate) stored: Stored,
    pub(crate) values: Values,
}

/// A convolution of narrow groups: what a thread computes, and how experts and activations are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Narrow {
    pub(crate) block: Block,
    pub(crate) outputs: Outputs,
    pub(crate) stored: Stored,
    pub(crate) values: Values,
}

/// How a tile finds its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Gather {
    /// For any layer.
    Any,
    /// A step's products belong to one tap.
    Taps,
    /// 1×1, stride 1, unpadded, channels first, pixels a multiple of four: four pixels to a load.
    Points,
    /// Channels last, a multiple of four to a group: four channels to a load.
    Quads,
}

/// Who finishes which outputs, in a kernel that finishes them unit by unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outputs {
    /// One thread per unit.
    Each,
    /// Threads with some units each, who add their channel sums.
    Summed(Across),
}

/// How the threads of a workgroup add and compare what each has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Across {
    /// In workgroup memory, on any device.
    Workgroup,
    /// By subgroups, where the device has them.
    Subgroup,
}

/// Where a tile's kernels come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// Kernels that lie ready: aggregated, or a static layer's one expert.
    Kernels,
    /// Experts, aggregated as they are loaded.
    Experts,
}

impl Kernel {
    /// Every kernel that there is; only a few are ever made into pipelines.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let mut all = vec![Self::Moments, Self::Normalize];
        all.extend(Across::ALL.map(Self::Attention));
        for values in [Values::F32, Values::F16] {
            all.extend([Self::PoolMax(values), Self::Relayout(values)]);
        }
        for values in Values::ALL {
            all.extend(Across::ALL.map(|across| Self::Pool(across, values)));
            all.extend(Size::ALL.map(|size| Self::WinogradInput(size, values)));
            for outputs in [Outputs::Each].into_iter().chain(Across::ALL.map(Outputs::Summed)) {
                all.push(Self::Depthwise(outputs, values));
                for block in Block::ALL {
                    let stored = Stored::ALL.into_iter().filter(|&stored| values.goes_with(stored));
                    all.extend(stored.map(|stored| Self::Narrow(Narrow { block, outputs, stored, values })));
                }
                for source in [Source::Kernels, Source::Experts] {
                    all.push(Self::Join(source, outputs, values));
                    all.extend(Size::ALL.map(|size| Self::WinogradOutput(size, source, outputs, values)));
                }
            }
        }
        for half in [Values::F16, Values::NativeF16] {
            all.extend([Self::Convert(half, Values::F32), Self::Convert(Values::F32, half)]);
        }
        all.extend(Stored::ALL.map(Self::Aggregate));
        for size in Size::ALL {
            all.extend(Stored::ALL.map(|stored| Self::WinogradKernels(size, stored)));
        }
        for tile in Tile::ALL {
            for gather in [Gather::Any, Gather::Taps, Gather::Points, Gather::Quads] {
                for source in [Source::Kernels, Source::Experts] {
                    for values in Values::ALL {
                        let stored = Stored::ALL.into_iter().filter(|&stored| values.goes_with(stored));
                        all.extend(stored.map(|stored| {
                            Self::Convolve(Convolution { tile, gather, source, stored, values })
                        }));
                    }
                }
            }
        }
        all.into_iter().chain(TrainKernel::ALL.map(Self::Train))
    }

    /// Invocations per workgroup.
    pub(crate) fn threads(self) -> u32 {
        match self {
            Self::Convolve(convolution) => convolution.tile.threads(),
            _ => THREADS,
        }
    }

    /// The WGSL function, by the stage's name.
    pub(crate) fn entry_point(self) -> &'static str {
        match self {
            Self::Pool(..) => "pool",
            Self::PoolMax(_) => "pool_max",
            Self::Relayout(_) => "relayout",
            Self::Convert(..) => "convert",
            Self::Attention(_) => "attention",
            Self::Aggregate(_) => "aggregate",
            Self::Convolve(_) => "convolve",
            Self::Join(..) => "join",
            Self::WinogradKernels(..) => "winograd_kernels",
            Self::WinogradInput(..) => "winograd_input",
            Self::WinogradOutput(..) => "winograd_output",
            Self::Depthwise(..) => "depthwise",
            Self::Narrow(_) => "narrow",
            Self::Moments => "moments",
            Self::Normalize => "normalize_batch",
            Self::Train(kernel) => kernel.entry_point(),
        }
    }

    /// The layer's stage that it is a part of; or what it does beside a layer.
    pub(crate) fn stage(self) -> &'static str {
        match self {
            Self::Pool(..) => "pool",
            Self::PoolMax(_) => "max pool",
            Self::Relayout(_) => "relayout",
            Self::Convert(..) => "convert",
            Self::Attention(_) => "attention",
            Self::Aggregate(_) | Self::WinogradKernels(..) => "aggregate",
            Self::Convolve(_) | Self::Join(..) | Self::Depthwise(..) | Self::Narrow(_) => "convolve",
            Self::WinogradInput(..) | Self::WinogradOutput(..) => "convolve",
            Self::Moments | Self::Normalize => "normalize",
            Self::Train(kernel) => kernel.stage(),
        }
    }

    /// The storage buffers at bindings 1, 2, …; binding 0 is the uniform.
    pub(crate) fn storage(self) -> &'static [Access] {
        match self {
            Self::Pool(..) => &[Read, Read, Write],
            Self::PoolMax(_) | Self::Relayout(_) | Self::Convert(..) => &[Read, Write],
            Self::Moments | Self::WinogradInput(..) => &[Read, Write],
            Self::WinogradKernels(..) => &[Read, Read, Write],
            Self::Attention(_) => &[Read, Read, Write, Write],
            Self::Aggregate(_) => &[Read, Read, Read, Write],
            Self::Normalize => &[Read, Read, Read, Read, Read, Write],
            Self::Convolve(Convolution { source, .. })
            | Self::Join(source, ..)
            | Self::WinogradOutput(_, source, ..) => source.storage(),
            Self::Depthwise(..) | Self::Narrow(_) => Source::Kernels.storage(),
            Self::Train(kernel) => kernel.storage(),
        }
    }

    /// What the device must have for it beyond WebGPU's defaults.
    #[cfg(test)]
    pub(crate) fn features(self) -> wgpu::Features {
        let wgsl = self.wgsl();
        let mut features = wgpu::Features::empty();
        features.set(wgpu::Features::SHADER_F16, wgsl.contains("enable f16;"));
        features.set(wgpu::Features::SUBGROUP, wgsl.contains("subgroupAdd("));
        features
    }

    /// The whole module.
    pub(crate) fn wgsl(self) -> String {
        const GRID: &str = include_str!("../shaders/grid.wgsl");
        const EXP: &str = include_str!("../shaders/exp.wgsl");
        const ACTIVATE: &str = include_str!("../shaders/activate.wgsl");
        const EPILOGUE: &str = include_str!("../shaders/epilogue.wgsl");
        let finishing = |values: Values| [GRID, EXP, ACTIVATE, values.load(), values.store(), EPILOGUE];
        const BLOCKS: &str = include_str!("../shaders/outputs/blocks.wgsl");
        let unit_by_unit =
            |stored: Stored, source: Source, outputs: Outputs, values: Values, own: &[&'static str]| {
                let [across, outputs] = outputs.wgsl();
                let parts = [stored.wgsl(), source.wgsl(), across, BLOCKS, outputs];
                [&finishing(values), &parts[..], own].concat()
            };
        let by_windows = |stored: Stored, outputs: Outputs, values: Values, own: [&'static str; 2]| {
            const COLUMNS: &str = include_str!("../shaders/columns.wgsl");
            const PLACES: &str = include_str!("../shaders/gather/places.wgsl");
            let parts = [COLUMNS, PLACES, include_str!("../shaders/window.wgsl")];
            unit_by_unit(stored, Source::Kernels, outputs, values, &[&parts[..], &own].concat())
        };
        let parts: Vec<&str> = match self {
            Self::Pool(across, values) => {
                vec![GRID, across.wgsl(), values.load(), include_str!("../shaders/pool.wgsl")]
            }
            Self::PoolMax(values) => vec![GRID, values.bits(), include_str!("../shaders/pool_max.wgsl")],
            Self::Relayout(values) => vec![GRID, values.bits(), include_str!("../shaders/relayout.wgsl")],
            Self::Convert(from, to) => {
                vec![GRID, from.load(), to.store(), include_str!("../shaders/convert.wgsl")]
            }
            Self::Attention(across) => {
                vec![GRID, EXP, ACTIVATE, across.wgsl(), include_str!("../shaders/attention.wgsl")]
            }
            Self::Aggregate(stored) => vec![stored.wgsl(), GRID, include_str!("../shaders/aggregate.wgsl")],
            Self::Convolve(convolution) => {
                return convolution.tile.unroll(&module(&convolution.parts(&finishing(convolution.values))));
            }
            Self::Join(source, outputs, values) => {
                unit_by_unit(Stored::F32, source, outputs, values, &[include_str!("../shaders/join.wgsl")])
            }
            Self::WinogradKernels(size, stored) => {
                vec![stored.wgsl(), GRID, size.wgsl(), include_str!("../shaders/winograd/kernels.wgsl")]
            }
            Self::WinogradInput(size, values) => {
                vec![GRID, values.load(), size.wgsl(), include_str!("../shaders/winograd/input.wgsl")]
            }
            Self::WinogradOutput(size, source, outputs, values) => {
                let own = [size.wgsl(), include_str!("../shaders/winograd/output.wgsl")];
                unit_by_unit(Stored::F32, source, outputs, values, &own)
            }
            Self::Depthwise(outputs, values) => {
                by_windows(Stored::F32, outputs, values, ["", include_str!("../shaders/depthwise.wgsl")])
            }
            Self::Narrow(Narrow { block, outputs, stored, values }) => {
                by_windows(stored, outputs, values, [block.wgsl(), include_str!("../shaders/narrow.wgsl")])
            }
            Self::Moments => vec![GRID, include_str!("../shaders/moments.wgsl")],
            Self::Normalize => vec![GRID, EXP, ACTIVATE, include_str!("../shaders/normalize.wgsl")],
            Self::Train(kernel) => return kernel.wgsl(),
        };
        module(&parts)
    }
}

/// The parts as one module, in front of it the directive that some of them need.
fn module(parts: &[&str]) -> String {
    const ENABLE: &str = "enable f16;\n";
    let joined = parts.join("\n");
    if joined.contains(ENABLE) { ENABLE.to_owned() + &joined.replace(ENABLE, "") } else { joined }
}

impl Convolution {
    fn parts(self, finishing: &[&'static str]) -> Vec<&'static str> {
        const COLUMNS: &str = include_str!("../shaders/columns.wgsl");
        const NEIGHBOURS: &str = include_str!("../shaders/gather/neighbours.wgsl");
        const PRODUCTS: &str = include_str!("../shaders/products.wgsl");
        const PLACES: &str = include_str!("../shaders/gather/places.wgsl");
        let finding: &[&str] = match self.gather {
            Gather::Points => &[],
            Gather::Taps => &[COLUMNS, NEIGHBOURS, PLACES],
            Gather::Quads => &[COLUMNS, NEIGHBOURS, PRODUCTS],
            Gather::Any => &[COLUMNS, NEIGHBOURS, PRODUCTS, PLACES],
        };
        let own = [self.gather.wgsl(), include_str!("../shaders/convolve.wgsl")];
        [&[self.stored.wgsl(), self.source.wgsl()], finishing, finding, &own].concat()
    }
}

impl Gather {
    fn wgsl(self) -> &'static str {
        match self {
            Self::Any => include_str!("../shaders/gather/any.wgsl"),
            Self::Taps => include_str!("../shaders/gather/taps.wgsl"),
            Self::Points => include_str!("../shaders/gather/points.wgsl"),
            Self::Quads => include_str!("../shaders/gather/quads.wgsl"),
        }
    }
}

impl Outputs {
    fn wgsl(self) -> [&'static str; 2] {
        match self {
            Self::Each => ["", include_str!("../shaders/outputs/each.wgsl")],
            Self::Summed(across) => [across.wgsl(), include_str!("../shaders/outputs/summed.wgsl")],
        }
    }
}

impl Across {
    pub(crate) const ALL: [Self; 2] = [Self::Workgroup, Self::Subgroup];

    fn wgsl(self) -> &'static str {
        match self {
            Self::Workgroup => concat!(
                include_str!("../shaders/across/tree.wgsl"),
                include_str!("../shaders/across/workgroup.wgsl")
            ),
            Self::Subgroup => concat!(
                include_str!("../shaders/across/tree.wgsl"),
                include_str!("../shaders/across/subgroup.wgsl")
            ),
        }
    }
}

impl Source {
    /// The storage buffers of a kernel that ends in the epilogue.
    fn storage(self) -> &'static [Access] {
        match self {
            Self::Kernels => &[Read, Read, Read, Read, Read, Write, Write],
            Self::Experts => &[Read, Read, Read, Read, Read, Write, Write, Read],
        }
    }

    fn wgsl(self) -> &'static str {
        match self {
            Self::Kernels => include_str!("../shaders/source/kernels.wgsl"),
            Self::Experts => include_str!("../shaders/source/experts.wgsl"),
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Convolve(Convolution { tile, .. }) => {
                write!(f, "tiled {}×{}×{}", tile.rows, tile.columns, tile.depth)
            }
            Self::Narrow(Narrow { block, .. }) => write!(f, "narrow {}×{PIXELS}", block.rows()),
            _ => f.write_str(self.entry_point()),
        }
    }
}

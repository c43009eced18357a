//! The kernels: which there are, what they bind, and how their WGSL is put together.

mod train;

use std::fmt;

use crate::stored::Stored;
use crate::tile::Tile;
use crate::winograd::Size;
pub(crate) use train::TrainKernel;

/// One compute kernel. What varies from layer to layer without changing the loads is a uniform, so that
/// this list stays short: a software driver takes up to a second per pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kernel {
    Pool(Across),
    PoolMax,
    Relayout,
    Attention(Across),
    Aggregate(Stored),
    Convolve(Convolution),
    Join(Source, Outputs),
    WinogradKernels(Size, Stored),
    WinogradInput(Size),
    WinogradOutput(Size, Source, Outputs),
    Depthwise(Outputs),
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

/// A tiled convolution: its tile, how it finds its input, and where its kernels come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Convolution {
    pub(crate) tile: Tile,
    pub(crate) gather: Gather,
    pub(crate) source: Source,
    pub(crate) stored: Stored,
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
        let mut all = vec![Self::PoolMax, Self::Relayout, Self::Moments, Self::Normalize];
        all.extend(Across::ALL.into_iter().flat_map(|across| [Self::Pool(across), Self::Attention(across)]));
        for outputs in [Outputs::Each].into_iter().chain(Across::ALL.map(Outputs::Summed)) {
            all.push(Self::Depthwise(outputs));
            for source in [Source::Kernels, Source::Experts] {
                all.push(Self::Join(source, outputs));
                all.extend(Size::ALL.map(|size| Self::WinogradOutput(size, source, outputs)));
            }
        }
        all.extend(Stored::ALL.map(Self::Aggregate));
        for size in Size::ALL {
            all.extend(Stored::ALL.map(|stored| Self::WinogradKernels(size, stored)));
            all.push(Self::WinogradInput(size));
        }
        for tile in Tile::ALL {
            for gather in [Gather::Any, Gather::Taps, Gather::Points, Gather::Quads] {
                for source in [Source::Kernels, Source::Experts] {
                    all.extend(
                        Stored::ALL
                            .map(|stored| Self::Convolve(Convolution { tile, gather, source, stored })),
                    );
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
            Self::Pool(_) => "pool",
            Self::PoolMax => "pool_max",
            Self::Relayout => "relayout",
            Self::Attention(_) => "attention",
            Self::Aggregate(_) => "aggregate",
            Self::Convolve(_) => "convolve",
            Self::Join(..) => "join",
            Self::WinogradKernels(..) => "winograd_kernels",
            Self::WinogradInput(_) => "winograd_input",
            Self::WinogradOutput(..) => "winograd_output",
            Self::Depthwise(_) => "depthwise",
            Self::Moments => "moments",
            Self::Normalize => "normalize_batch",
            Self::Train(kernel) => kernel.entry_point(),
        }
    }

    /// The layer's stage that it is a part of; or what it does beside a layer.
    pub(crate) fn stage(self) -> &'static str {
        match self {
            Self::Pool(_) => "pool",
            Self::PoolMax => "max pool",
            Self::Relayout => "relayout",
            Self::Attention(_) => "attention",
            Self::Aggregate(_) | Self::WinogradKernels(..) => "aggregate",
            Self::Convolve(_) | Self::Join(..) | Self::Depthwise(_) => "convolve",
            Self::WinogradInput(_) | Self::WinogradOutput(..) => "convolve",
            Self::Moments | Self::Normalize => "normalize",
            Self::Train(kernel) => kernel.stage(),
        }
    }

    /// The storage buffers at bindings 1, 2, …; binding 0 is the uniform.
    pub(crate) fn storage(self) -> &'static [Access] {
        match self {
            Self::Pool(_) => &[Read, Read, Write],
            Self::PoolMax | Self::Relayout | Self::Moments | Self::WinogradInput(_) => &[Read, Write],
            Self::WinogradKernels(..) => &[Read, Read, Write],
            Self::Attention(_) => &[Read, Read, Write, Write],
            Self::Aggregate(_) => &[Read, Read, Read, Write],
            Self::Normalize => &[Read, Read, Read, Read, Read, Write],
            Self::Convolve(Convolution { source, .. })
            | Self::Join(source, _)
            | Self::WinogradOutput(_, source, _) => source.storage(),
            Self::Depthwise(_) => Source::Kernels.storage(),
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
        let kernels = Source::Kernels.wgsl();
        let floats = Stored::F32.wgsl();
        let parts: &[&str] = match self {
            Self::Pool(across) => &[GRID, across.wgsl(), include_str!("../shaders/pool.wgsl")],
            Self::PoolMax => &[GRID, include_str!("../shaders/pool_max.wgsl")],
            Self::Relayout => &[GRID, include_str!("../shaders/relayout.wgsl")],
            Self::Attention(across) => {
                &[GRID, EXP, ACTIVATE, across.wgsl(), include_str!("../shaders/attention.wgsl")]
            }
            Self::Aggregate(stored) => &[stored.wgsl(), GRID, include_str!("../shaders/aggregate.wgsl")],
            Self::Convolve(convolution) => return convolution.wgsl(&[GRID, EXP, ACTIVATE, EPILOGUE]),
            Self::Join(source, outputs) => {
                let join = include_str!("../shaders/join.wgsl");
                let [across, outputs] = outputs.wgsl();
                &[floats, GRID, EXP, ACTIVATE, EPILOGUE, source.wgsl(), across, outputs, join]
            }
            Self::WinogradKernels(size, stored) => {
                let kernels = include_str!("../shaders/winograd/kernels.wgsl");
                &[stored.wgsl(), GRID, size.wgsl(), kernels]
            }
            Self::WinogradInput(size) => &[GRID, size.wgsl(), include_str!("../shaders/winograd/input.wgsl")],
            Self::WinogradOutput(size, source, outputs) => {
                let output = include_str!("../shaders/winograd/output.wgsl");
                let [across, outputs] = outputs.wgsl();
                let own = [source.wgsl(), across, outputs, size.wgsl(), output];
                &[&[floats, GRID, EXP, ACTIVATE, EPILOGUE], &own[..]].concat()
            }
            Self::Depthwise(outputs) => {
                let depthwise = include_str!("../shaders/depthwise.wgsl");
                let [across, outputs] = outputs.wgsl();
                &[floats, GRID, EXP, ACTIVATE, EPILOGUE, kernels, across, outputs, depthwise]
            }
            Self::Moments => &[GRID, include_str!("../shaders/moments.wgsl")],
            Self::Normalize => &[GRID, EXP, ACTIVATE, include_str!("../shaders/normalize.wgsl")],
            Self::Train(kernel) => return kernel.wgsl(),
        };
        parts.join("\n")
    }
}

impl Convolution {
    fn wgsl(self, common: &[&str]) -> String {
        const COLUMNS: &str = include_str!("../shaders/columns.wgsl");
        const PRODUCTS: &str = include_str!("../shaders/products.wgsl");
        let [columns, products] = match self.gather {
            Gather::Points => ["", ""],
            Gather::Taps => [COLUMNS, ""],
            Gather::Any | Gather::Quads => [COLUMNS, PRODUCTS],
        };
        let convolve = include_str!("../shaders/convolve.wgsl");
        let own = [self.source.wgsl(), columns, products, self.gather.wgsl(), convolve];
        let parts = [&[self.stored.wgsl()], common, &own].concat();
        self.tile.unroll(&parts.join("\n"))
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
            _ => f.write_str(self.entry_point()),
        }
    }
}

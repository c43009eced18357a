//! The kernels: which there are, what they bind, and how their WGSL is put together.

mod train;

use std::fmt;

pub(crate) use train::TrainKernel;

/// One compute kernel. What varies from layer to layer without changing the loads is a uniform, so that
/// this list stays short: a software driver takes up to a second per pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kernel {
    Pool,
    PoolMax,
    Relayout,
    Attention,
    Aggregate,
    Convolve(Tile),
    Depthwise,
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

/// Invocations per workgroup, in every kernel: two to four warps of work per register tile, and little
/// enough for drivers that emulate barriers.
pub(crate) const THREADS: u32 = 64;

impl Kernel {
    /// Those of a forward.
    const FORWARD: [Self; 11] = [
        Self::Pool,
        Self::PoolMax,
        Self::Relayout,
        Self::Attention,
        Self::Aggregate,
        Self::Convolve(Tile::LARGE),
        Self::Convolve(Tile::SMALL),
        Self::Convolve(Tile::FLAT),
        Self::Depthwise,
        Self::Moments,
        Self::Normalize,
    ];

    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Self::FORWARD.into_iter().chain(TrainKernel::ALL.map(Self::Train))
    }

    /// The WGSL function, by the stage's name.
    pub(crate) fn entry_point(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::PoolMax => "pool_max",
            Self::Relayout => "relayout",
            Self::Attention => "attention",
            Self::Aggregate => "aggregate",
            Self::Convolve(_) => "convolve",
            Self::Depthwise => "depthwise",
            Self::Moments => "moments",
            Self::Normalize => "normalize_batch",
            Self::Train(kernel) => kernel.entry_point(),
        }
    }

    /// The layer's stage that it is a part of; or what it does beside a layer.
    pub(crate) fn stage(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::PoolMax => "max pool",
            Self::Relayout => "relayout",
            Self::Attention => "attention",
            Self::Aggregate => "aggregate",
            Self::Convolve(_) | Self::Depthwise => "convolve",
            Self::Moments | Self::Normalize => "normalize",
            Self::Train(kernel) => kernel.stage(),
        }
    }

    /// The storage buffers at bindings 1, 2, …; binding 0 is the uniform.
    pub(crate) fn storage(self) -> &'static [Access] {
        match self {
            Self::Pool => &[Read, Read, Write],
            Self::PoolMax | Self::Relayout | Self::Moments => &[Read, Write],
            Self::Attention => &[Read, Read, Write, Write],
            Self::Aggregate => &[Read, Read, Write],
            Self::Convolve(_) | Self::Depthwise => &[Read, Read, Read, Read, Write],
            Self::Normalize => &[Read, Read, Read, Read, Read, Write],
            Self::Train(kernel) => kernel.storage(),
        }
    }

    /// The whole module.
    pub(crate) fn wgsl(self) -> String {
        const GRID: &str = include_str!("../shaders/grid.wgsl");
        const EXP: &str = include_str!("../shaders/exp.wgsl");
        const ACTIVATE: &str = include_str!("../shaders/activate.wgsl");
        const EPILOGUE: &str = include_str!("../shaders/epilogue.wgsl");
        const CONVOLVE: &str = include_str!("../shaders/convolve.wgsl");
        let parts: &[&str] = match self {
            Self::Pool => &[GRID, include_str!("../shaders/pool.wgsl")],
            Self::PoolMax => &[GRID, include_str!("../shaders/pool_max.wgsl")],
            Self::Relayout => &[GRID, include_str!("../shaders/relayout.wgsl")],
            Self::Attention => &[GRID, EXP, ACTIVATE, include_str!("../shaders/attention.wgsl")],
            Self::Aggregate => &[GRID, include_str!("../shaders/aggregate.wgsl")],
            Self::Convolve(tile) => {
                return tile.unroll(&[GRID, EXP, ACTIVATE, EPILOGUE, CONVOLVE].join("\n"));
            }
            Self::Depthwise => &[GRID, EXP, ACTIVATE, EPILOGUE, include_str!("../shaders/depthwise.wgsl")],
            Self::Moments => &[GRID, include_str!("../shaders/moments.wgsl")],
            Self::Normalize => &[GRID, EXP, ACTIVATE, include_str!("../shaders/normalize.wgsl")],
            Self::Train(kernel) => return kernel.wgsl(),
        };
        parts.join("\n")
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Convolve(tile) => write!(f, "tiled {}×{}×{}", tile.rows, tile.columns, Tile::DEPTH),
            _ => f.write_str(self.entry_point()),
        }
    }
}

/// A convolution tile: output channels × output pixels per workgroup, and per thread in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tile {
    pub(crate) rows: u32,
    pub(crate) columns: u32,
    row_block: u32,
    column_block: u32,
}

impl Tile {
    /// Products per step through workgroup memory: 8 KiB for the largest tile.
    pub(crate) const DEPTH: u32 = 16;

    pub(crate) const LARGE: Self = Self { rows: 64, columns: 64, row_block: 8, column_block: 8 };
    pub(crate) const SMALL: Self = Self { rows: 32, columns: 32, row_block: 4, column_block: 4 };
    /// For groups of few output channels.
    pub(crate) const FLAT: Self = Self { rows: 16, columns: 64, row_block: 4, column_block: 4 };

    /// Tiles and the worth of one product in them: a larger register tile loads less per product.
    const BY_WORTH: [(Self, f64); 3] = [(Self::LARGE, 1.0), (Self::SMALL, 1.6), (Self::FLAT, 1.6)];

    /// The cheapest tile for a matrix of `rows` output channels and `columns` output pixels, padding to
    /// whole tiles included.
    pub(crate) fn choose(rows: usize, columns: usize) -> Self {
        let cost = |(tile, worth): (Self, f64)| {
            let padded = rows.next_multiple_of(tile.rows as usize) as f64
                * columns.next_multiple_of(tile.columns as usize) as f64;
            padded * worth
        };
        let cheapest = Self::BY_WORTH.into_iter().min_by(|&a, &b| cost(a).total_cmp(&cost(b)));
        cheapest.map_or(Self::SMALL, |(tile, _)| tile)
    }

    /// Writes the constants, and the register tile's statements in place of the markers.
    fn unroll(self, wgsl: &str) -> String {
        let Self { rows, columns, row_block, column_block } = self;
        let (row_quads, column_quads) = (row_block / 4, column_block / 4);
        let cells = || (0..row_block).flat_map(move |r| (0..column_quads).map(move |c| (r, c)));
        let lines = |line: &dyn Fn((u32, u32)) -> String| cells().map(line).collect::<String>();

        let declare = lines(&|(r, c)| format!("var sum_{r}_{c} = vec4(0.0);\n"));
        let mut multiply: String = (0..row_quads)
            .map(|q| format!("let a_{q} = kernel_tile[k * ROW_QUADS + thread_row / 4u + {q}u];\n"))
            .collect();
        multiply.extend((0..column_quads).map(|c| {
            format!("let b_{c} = input_tile[k * COLUMN_QUADS + {c}u * THREAD_COLUMNS + thread_column];\n")
        }));
        multiply += &lines(&|(r, c)| {
            format!("sum_{r}_{c} += a_{}.{} * b_{c};\n", r / 4, ["x", "y", "z", "w"][r as usize % 4])
        });
        let collect = lines(&|(r, c)| format!("tile[{}] = sum_{r}_{c};\n", r * column_quads + c));

        let constants = format!(
            "const ROWS: u32 = {rows}u;\nconst COLUMNS: u32 = {columns}u;\nconst DEPTH: u32 = {}u;\n\
             const ROW_BLOCK: u32 = {row_block}u;\nconst COLUMN_BLOCK: u32 = {column_block}u;\n\n",
            Self::DEPTH
        );
        let body = wgsl
            .replace("// #declare\n", &declare)
            .replace("// #multiply\n", &multiply)
            .replace("// #collect\n", &collect);
        constants + &body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_fit_the_matrix() {
        assert_eq!(Tile::choose(64, 28 * 28), Tile::LARGE);
        assert_eq!(Tile::choose(256, 56 * 56), Tile::LARGE);
        assert_eq!(Tile::choose(24, 14 * 14), Tile::SMALL);
        assert_eq!(Tile::choose(512, 7 * 7), Tile::LARGE);
        assert_eq!(Tile::choose(96, 4), Tile::SMALL);
        assert_eq!(Tile::choose(8, 56 * 56), Tile::FLAT);
        assert_eq!(Tile::choose(1, 1), Tile::SMALL);
    }

    #[test]
    fn every_tile_has_one_workgroup_of_threads() {
        for (Tile { rows, columns, row_block, column_block }, _) in Tile::BY_WORTH {
            assert_eq!(rows / row_block * (columns / column_block), THREADS);
        }
    }
}

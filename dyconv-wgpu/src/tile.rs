//! The convolution's tiles: output channels × output pixels of one workgroup, and of a thread's registers.

/// A tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tile {
    pub(crate) rows: u32,
    pub(crate) columns: u32,
    row_block: u32,
    column_block: u32,
}

impl Tile {
    /// Products per step through workgroup memory: 16 KiB for the largest tile, all that WebGPU promises.
    pub(crate) const DEPTH: u32 = 16;

    /// Four times the threads of the others, and half the loads per product of the next: for large matrices.
    pub(crate) const HUGE: Self = Self { rows: 128, columns: 128, row_block: 8, column_block: 8 };
    pub(crate) const LARGE: Self = Self { rows: 64, columns: 64, row_block: 8, column_block: 8 };
    /// For matrices that wouldn't fill a large one, or make too few of them.
    pub(crate) const SMALL: Self = Self { rows: 32, columns: 32, row_block: 4, column_block: 4 };
    /// For groups of few output channels.
    pub(crate) const FLAT: Self = Self { rows: 16, columns: 64, row_block: 4, column_block: 4 };

    pub(crate) const ALL: [Self; 4] = [Self::HUGE, Self::LARGE, Self::SMALL, Self::FLAT];

    /// Invocations of a workgroup.
    pub(crate) fn threads(self) -> u32 {
        self.rows / self.row_block * (self.columns / self.column_block)
    }

    /// Time of one product in it: a larger register tile, and a larger tile, load less per product.
    fn worth(self) -> f64 {
        match self {
            Self::HUGE => 1.0,
            Self::LARGE => 1.1,
            _ => 1.6,
        }
    }

    /// The cheapest tile for `count` matrices of `rows` output channels and `columns` output pixels, padding to
    /// whole tiles included, on a device that runs `busy` threads at once: it takes as long as a thread's
    /// products times the waves in which the threads come.
    pub(crate) fn choose(rows: usize, columns: usize, count: usize, busy: u32) -> Self {
        let time = |tile: Self| {
            let tiles = rows.div_ceil(tile.rows as usize) as f64
                * columns.div_ceil(tile.columns as usize) as f64
                * count as f64;
            let waves = (tiles * f64::from(tile.threads()) / f64::from(busy)).ceil();
            waves * f64::from(tile.row_block * tile.column_block) * tile.worth()
        };
        let cheapest = Self::ALL.into_iter().min_by(|&a, &b| time(a).total_cmp(&time(b)));
        cheapest.unwrap_or(Self::SMALL)
    }

    /// Writes the constants, and the register tile's statements in place of the markers.
    pub(crate) fn unroll(self, wgsl: &str) -> String {
        let Self { row_block, column_block, .. } = self;
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

        wgsl.replace("// #constants\n", &self.constants())
            .replace("// #declare\n", &declare)
            .replace("// #multiply\n", &multiply)
            .replace("// #collect\n", &collect)
    }

    fn constants(self) -> String {
        let Self { rows, columns, row_block, column_block } = self;
        format!(
            "const ROWS: u32 = {rows}u;\nconst COLUMNS: u32 = {columns}u;\nconst DEPTH: u32 = {}u;\n\
             const ROW_BLOCK: u32 = {row_block}u;\nconst COLUMN_BLOCK: u32 = {column_block}u;\n",
            Self::DEPTH
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_fit_the_matrix_where_threads_are_few() {
        let choose = |rows, columns| Tile::choose(rows, columns, 1, 64);
        assert_eq!(choose(64, 28 * 28), Tile::LARGE);
        assert_eq!(choose(256, 56 * 56), Tile::HUGE);
        assert_eq!(choose(24, 14 * 14), Tile::SMALL);
        assert_eq!(choose(512, 7 * 7), Tile::LARGE);
        assert_eq!(choose(96, 4), Tile::SMALL);
        assert_eq!(choose(8, 56 * 56), Tile::FLAT);
        assert_eq!(choose(1, 1), Tile::SMALL);
    }

    #[test]
    fn a_device_of_many_threads_takes_smaller_tiles_until_it_is_busy() {
        let choose = |rows, columns, count| Tile::choose(rows, columns, count, 1 << 16);
        assert_eq!(choose(64, 28 * 28, 1), Tile::SMALL);
        assert_eq!(choose(64, 56 * 56, 32), Tile::LARGE);
        assert_eq!(choose(256, 56 * 56, 32), Tile::HUGE);
    }

    #[test]
    fn every_tile_stays_within_webgpu_s_defaults() {
        for tile in Tile::ALL {
            assert!(tile.threads() <= 256);
            assert!((tile.rows + tile.columns) * Tile::DEPTH * 4 <= 16384);
            // Channel sums of a tile pass through the kernels' part of workgroup memory.
            assert!(tile.columns / tile.column_block <= Tile::DEPTH);
        }
    }
}

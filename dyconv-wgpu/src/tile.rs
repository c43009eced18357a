//! The convolution's tiles: output channels × output pixels of one workgroup, and of a thread's registers.
//!
//! | | tile | threads | workgroup memory | |
//! | --- | --- | --- | --- | --- |
//! | deep | 128×128×32 | 256 | 32 KiB | instead of huge, on devices with 48 KiB |
//! | huge | 128×128×16 | 256 | 16 KiB | all that WebGPU promises |
//! | large | 64×64×16 | 64 | 8 KiB | |
//! | small | 32×32×16 | 64 | 4 KiB | |
//!
//! Groups that would leave most rows of the small one empty go without ([`narrow`](crate::narrow)).

use dyconv_core::Result;

use crate::limits::{Limits, exceeded};

/// A tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tile {
    pub(crate) rows: u32,
    pub(crate) columns: u32,
    /// Products per step through workgroup memory.
    pub(crate) depth: u32,
    row_block: u32,
    column_block: u32,
}

impl Tile {
    /// The huge tile with half as many barriers. Predicted, not measured on a GPU: a multiprocessor of 128 lanes takes
    /// 2048 cycles for the products of a huge tile's step and waits 600 to 1000 for its loads. Where a second workgroup
    /// multiplies meanwhile little is gained; where there is no second one, a quarter of the time was waiting, and half
    /// of that goes. Channels last, all 256 threads gather: 16 products of 128 columns keep only half of them busy.
    pub(crate) const DEEP: Self = Self { depth: 32, ..Self::HUGE };
    /// Four times the threads of the smaller ones, and half the loads per product of the next: for large matrices.
    pub(crate) const HUGE: Self = Self::new([128, 128], [8, 8]);
    pub(crate) const LARGE: Self = Self::new([64, 64], [8, 8]);
    /// For matrices that wouldn't fill a large one, or make too few of them.
    pub(crate) const SMALL: Self = Self::new([32, 32], [4, 4]);

    pub(crate) const ALL: [Self; 4] = [Self::DEEP, Self::HUGE, Self::LARGE, Self::SMALL];

    /// Those that differ in their rows or columns.
    const SHAPES: [Self; 3] = [Self::HUGE, Self::LARGE, Self::SMALL];

    const fn new([rows, columns]: [u32; 2], [row_block, column_block]: [u32; 2]) -> Self {
        Self { rows, columns, depth: 16, row_block, column_block }
    }

    /// Invocations of a workgroup.
    pub(crate) const fn threads(self) -> u32 {
        self.rows / self.row_block * (self.columns / self.column_block)
    }

    /// Bytes of workgroup memory.
    pub(crate) const fn bytes(self) -> u32 {
        (self.rows + self.columns) * self.depth * 4
    }

    /// Whether the device can run it.
    pub(crate) fn fits(self, limits: &Limits) -> bool {
        self.threads() <= limits.invocations && self.bytes() <= limits.workgroup_bytes
    }

    /// The same with deeper steps, where they divide the `depth` of the matrices and the device has room for them. One that
    /// allows no more than such a tile takes is likely to have no place for a second one beside it.
    pub(crate) fn deepened(self, depth: usize, limits: &Limits) -> Self {
        let has_room = Self::DEEP.bytes() / 2 * 3 <= limits.workgroup_bytes;
        if self == Self::HUGE && has_room && depth.is_multiple_of(Self::DEEP.depth as usize) {
            return Self::DEEP;
        }
        self
    }

    /// Time of one product in it: a larger register tile, and a larger tile, load less per product.
    fn worth(self) -> f64 {
        match self {
            Self::HUGE | Self::DEEP => 1.0,
            Self::LARGE => 1.1,
            _ => 1.6,
        }
    }

    /// Time of one product per output, for `count` matrices of `rows` output channels and `columns` output pixels, padding
    /// to whole tiles included, where `busy_threads` run at once: as long as a thread's products take, times the waves
    /// in which the threads come.
    pub(crate) fn time(self, rows: usize, columns: usize, count: usize, limits: &Limits) -> f64 {
        let tiles = rows.div_ceil(self.rows as usize) as f64
            * columns.div_ceil(self.columns as usize) as f64
            * count as f64;
        let waves = (tiles * f64::from(self.threads()) / f64::from(limits.busy_threads)).ceil();
        waves * f64::from(self.row_block * self.column_block) * self.worth()
    }

    /// The cheapest of the tiles that fit the device.
    pub(crate) fn choose(rows: usize, columns: usize, count: usize, limits: &Limits) -> Result<Self> {
        let time = |tile: Self| tile.time(rows, columns, count, limits);
        let fitting = Self::SHAPES.into_iter().filter(|tile| tile.fits(limits));
        fitting.min_by(|&a, &b| time(a).total_cmp(&time(b))).ok_or_else(|| {
            let small = Self::SMALL;
            let [needed, allowed] = [small.bytes(), limits.workgroup_bytes].map(u64::from);
            if small.threads() > limits.invocations {
                let [needed, allowed] = [small.threads(), limits.invocations].map(u64::from);
                return exceeded("max_compute_invocations_per_workgroup", needed, allowed);
            }
            exceeded("max_compute_workgroup_storage_size", needed, allowed)
        })
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
        let Self { rows, columns, depth, row_block, column_block } = self;
        format!(
            "const ROWS: u32 = {rows}u;\nconst COLUMNS: u32 = {columns}u;\nconst DEPTH: u32 = {depth}u;\n\
             const ROW_BLOCK: u32 = {row_block}u;\nconst COLUMN_BLOCK: u32 = {column_block}u;\n",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// WebGPU's defaults, and so many threads at once.
    fn limits(busy_threads: u32) -> Limits {
        Limits { busy_threads, ..Limits::new(&wgpu::Limits::default()) }
    }

    #[test]
    fn tiles_fit_the_matrix_where_threads_are_few() {
        let choose = |rows, columns| Tile::choose(rows, columns, 1, &limits(64)).unwrap();
        assert_eq!(choose(64, 28 * 28), Tile::LARGE);
        assert_eq!(choose(256, 56 * 56), Tile::HUGE);
        assert_eq!(choose(24, 14 * 14), Tile::SMALL);
        assert_eq!(choose(512, 7 * 7), Tile::LARGE);
        assert_eq!(choose(96, 4), Tile::SMALL);
        assert_eq!(choose(1, 1), Tile::SMALL);
    }

    #[test]
    fn a_device_of_many_threads_takes_smaller_tiles_until_it_is_busy() {
        let choose = |rows, columns, count| Tile::choose(rows, columns, count, &limits(1 << 16)).unwrap();
        assert_eq!(choose(64, 28 * 28, 1), Tile::SMALL);
        assert_eq!(choose(64, 56 * 56, 32), Tile::LARGE);
        assert_eq!(choose(256, 56 * 56, 32), Tile::HUGE);
    }

    #[test]
    fn a_tile_that_doesnt_fit_the_device_is_never_chosen() {
        let within =
            |invocations, workgroup_bytes| Limits { invocations, workgroup_bytes, ..limits(1 << 16) };
        let mut seen = Vec::new();
        for (invocations, bytes) in
            [(256, 16384), (128, 16384), (256, 16383), (64, 8192), (64, 8191), (64, 4096)]
        {
            let limits = within(invocations, bytes);
            for rows in [1, 8, 24, 64, 256] {
                for columns in [1, 49, 784, 3136] {
                    for count in [1, 32] {
                        let tile = Tile::choose(rows, columns, count, &limits).unwrap();
                        assert!(tile.fits(&limits), "{tile:?} within {invocations} threads, {bytes} bytes");
                        assert_eq!(tile.deepened(64, &limits), tile);
                    }
                }
            }
            seen.push(Tile::choose(256, 56 * 56, 32, &limits).unwrap());
        }
        use Tile as T;
        assert_eq!(seen, [T::HUGE, T::LARGE, T::LARGE, T::LARGE, T::SMALL, T::SMALL]);
        let error = |limits| Tile::choose(64, 49, 1, &limits).unwrap_err();
        let threads = exceeded("max_compute_invocations_per_workgroup", 64, 32);
        assert_eq!(error(within(32, 16384)), threads);
        assert_eq!(error(within(64, 4095)), exceeded("max_compute_workgroup_storage_size", 4096, 4095));
    }

    #[test]
    fn steps_are_deeper_where_the_device_has_room_and_they_pad_nothing() {
        let deepened = |tile: Tile, depth, workgroup_bytes| {
            tile.deepened(depth, &Limits { workgroup_bytes, ..limits(1 << 16) })
        };
        assert_eq!(deepened(Tile::HUGE, 64, 48 << 10), Tile::DEEP);
        assert_eq!(deepened(Tile::HUGE, 80, 48 << 10), Tile::HUGE);
        assert_eq!(deepened(Tile::HUGE, 64, 32 << 10), Tile::HUGE);
        assert_eq!(deepened(Tile::LARGE, 64, 48 << 10), Tile::LARGE);
    }

    #[test]
    fn every_shape_of_tile_stays_within_webgpu_s_defaults() {
        for tile in Tile::SHAPES {
            assert!(tile.fits(&limits(64)), "{tile:?}");
        }
        for tile in Tile::ALL {
            // Channel sums of a tile pass through the kernels' part of workgroup memory.
            assert!(tile.columns / tile.column_block <= tile.depth);
        }
    }
}

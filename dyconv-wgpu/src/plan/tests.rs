//! What is chosen, case by case.

use dyconv_core::{Attention, Options, Padding};

use super::*;
use crate::pack::Packing;

fn plan(options: Options, [n, c, h, w]: [usize; 4], stored: Stored, emits: bool) -> Plan {
    let config = options.build().unwrap();
    let limits = Limits::new(&wgpu::Limits::default());
    let input = Shape::new(n, c, h, w).unwrap();
    super::choose(&limits, &config, (stored, Values::F32), &Packing::new(&config), input, emits).unwrap()
}

fn dynamic(inputs: usize, outputs: usize, kernel: usize) -> Options {
    let options = Options::new(inputs, outputs).kernel_size([kernel; 2]).padding(Padding::Same);
    options.experts(4).attention(Attention::Given)
}

fn convolution(plan: Plan) -> Convolution {
    let Kernel::Convolve(convolution) = plan.kernel else { panic!("{plan:?}") };
    convolution
}

#[test]
fn input_is_found_in_the_largest_loads_that_fit() {
    let gather = |options, shape| convolution(plan(options, shape, Stored::F32, false)).gather;
    assert_eq!(gather(dynamic(64, 64, 3), [1, 64, 28, 28]), Gather::Taps);
    assert_eq!(gather(dynamic(3, 64, 7), [1, 3, 32, 32]), Gather::Any);
    assert_eq!(gather(dynamic(3, 64, 1), [1, 3, 7, 7]), Gather::Taps);
    assert_eq!(gather(dynamic(64, 64, 1), [1, 64, 28, 28]), Gather::Points);
    assert_eq!(gather(dynamic(64, 64, 1), [1, 64, 7, 7]), Gather::Taps);
    let last = dynamic(64, 64, 3).layout(Layout::Nhwc);
    assert_eq!(gather(last, [1, 64, 28, 28]), Gather::Quads);
    assert_eq!(gather(dynamic(18, 64, 3).layout(Layout::Nhwc), [1, 18, 28, 28]), Gather::Any);
}

#[test]
fn larger_tiles_are_taken_only_where_limits_allow() {
    let tile = |invocations, workgroup_bytes, forced| {
        let config = dynamic(64, 256, 5).build().unwrap();
        let defaults = Limits::new(&wgpu::Limits::default());
        let limits = Limits { invocations, workgroup_bytes, forced, ..defaults };
        let input = Shape::new(32, 64, 56, 56).unwrap();
        let plan =
            super::choose(&limits, &config, (Stored::F32, Values::F32), &Packing::new(&config), input, false)
                .unwrap();
        convolution(plan).tile
    };
    assert_eq!(tile(1024, 48 << 10, None), Tile::DEEP);
    assert_eq!(tile(256, 16 << 10, None), Tile::HUGE);
    assert_eq!(tile(128, 48 << 10, None), Tile::LARGE);
    // What is forced must fit, too.
    assert_eq!(tile(256, 32 << 10, Some(Choice::Deep)), Tile::DEEP);
    assert_eq!(tile(256, 16 << 10, Some(Choice::Deep)), Tile::HUGE);
    assert_eq!(tile(64, 16 << 10, Some(Choice::Huge)), Tile::LARGE);
}

#[test]
fn experts_are_aggregated_by_tiles_where_few_of_them_share_a_kernel() {
    let is_fused = |shape, stored| plan(dynamic(512, 512, 3), shape, stored, false).is_fused();
    assert!(is_fused([32, 512, 4, 4], Stored::F32));
    assert!(!is_fused([32, 512, 28, 28], Stored::F32));
    // 16 bits make reading experts again cheaper.
    assert!(!is_fused([32, 512, 7, 7], Stored::F32));
    assert!(is_fused([32, 512, 7, 7], Stored::F16));
    let of_static = Options { experts: 1, attention: None, ..dynamic(512, 512, 3) };
    assert!(!plan(of_static, [32, 512, 4, 4], Stored::F32, false).is_fused());
}

/// What was fastest on llvmpipe, or within a few per cent of it.
#[test]
fn a_software_adapter_goes_by_what_was_measured_there() {
    let chosen = |options: Options, shape: [usize; 4]| {
        let config = options.build().unwrap();
        let defaults = Limits::new(&wgpu::Limits::default());
        let limits = Limits { busy_threads: 64, rates: Rates::SOFTWARE, ..defaults };
        let input = Shape::new(shape[0], shape[1], shape[2], shape[3]).unwrap();
        let plan =
            super::choose(&limits, &config, (Stored::F32, Values::F32), &Packing::new(&config), input, false)
                .unwrap();
        (plan.winograd.map(|tiles| tiles.size), plan.is_fused())
    };
    let of_static = |options: Options| Options { experts: 1, attention: None, ..options };
    assert_eq!(chosen(dynamic(256, 256, 3), [2, 256, 14, 14]), (Some(Size::Two), false));
    assert_eq!(chosen(of_static(dynamic(256, 256, 3)), [2, 256, 14, 14]), (Some(Size::Two), false));
    assert_eq!(chosen(dynamic(256, 256, 3).stride([2, 2]), [2, 256, 28, 28]), (None, false));
    assert_eq!(chosen(dynamic(128, 128, 3), [1, 128, 28, 28]), (Some(Size::Four), false));
    assert_eq!(chosen(dynamic(64, 64, 3), [2, 64, 28, 28]), (Some(Size::Four), false));
    assert_eq!(chosen(dynamic(512, 512, 3), [1, 512, 7, 7]), (None, true));
    assert_eq!(chosen(dynamic(128, 128, 3), [4, 128, 6, 6]), (None, false));
    assert_eq!(chosen(dynamic(256, 512, 1), [2, 256, 7, 7]), (None, false));
}

#[test]
fn winograd_is_taken_where_channels_and_pixels_are_many() {
    let size = |channels, extent, stride: usize| {
        let options = dynamic(channels, channels, 3).stride([stride; 2]);
        let plan = plan(options, [32, channels, extent, extent], Stored::F32, false);
        plan.winograd.map(|tiles| tiles.size)
    };
    assert_eq!(size(256, 56, 1), Some(Size::Four));
    assert_eq!(size(256, 56, 2), None);
    assert_eq!(size(64, 28, 1), None);
    assert_eq!(size(512, 7, 1), None);
    // A static layer's kernels are transformed once for all samples.
    let of_static = Options { experts: 1, attention: None, ..dynamic(512, 512, 3) };
    assert!(plan(of_static, [64, 512, 14, 14], Stored::F32, false).winograd.is_some());
}

/// ResNeXt-50's stages, a last layer of three channels, and a first one of sixteen.
#[test]
fn narrow_groups_go_without_tiles() {
    let kernel = |[inputs, outputs, groups]: [usize; 3], batch, extent| {
        let options = dynamic(inputs, outputs, 3).groups(groups);
        plan(options, [batch, inputs, extent, extent], Stored::F32, false).kernel.to_string()
    };
    assert_eq!(kernel([128, 128, 32], 32, 56), "narrow 4×4");
    assert_eq!(kernel([256, 256, 32], 32, 28), "narrow 8×4");
    assert_eq!(kernel([512, 512, 32], 32, 14), "narrow 8×4");
    assert_eq!(kernel([64, 3, 1], 32, 56), "narrow 4×4");
    assert_eq!(kernel([3, 16, 1], 32, 112), "narrow 8×4");
    // Groups that fill tiles.
    assert_eq!(kernel([1024, 1024, 16], 32, 14), "tiled 64×64×16");
    // So few blocks that the device has as much to do for a few rows as for a tile's: the tile waits less for each.
    assert_eq!(kernel([512, 512, 32], 1, 14), "tiled 32×32×16");
    // Eight rows fill one panel or two quads; five fill it better than two quads, and four don't.
    let (many, limits) = (1 << 20, Limits::new(&wgpu::Limits::default()));
    let block = |rows| Block::choose(rows, many, 1, &limits).0;
    assert_eq!([1, 4, 5, 8, 9, 12].map(block), {
        use Block::{Panel, Quad};
        [Quad, Quad, Panel, Panel, Panel, Panel]
    });
    // A dispatch can't take one row of taps.
    assert_eq!(kernel([1 << 12, 4, 1], 32, 28), "tiled 32×32×16");
}

#[test]
fn sums_are_sliced_where_tiles_are_few() {
    let slices = |batch, channels, extent| {
        plan(dynamic(channels, channels, 3), [batch, channels, extent, extent], Stored::F32, false).slices
    };
    assert!(slices(1, 512, 7) > Some(8));
    assert_eq!(slices(32, 256, 56), None);
    // A sum of few steps is left whole.
    assert_eq!(slices(1, 8, 7), None);
}

#[test]
fn sums_too_long_for_a_dispatch_are_parts_to_be_joined() {
    let slices = |options, shape| plan(options, shape, Stored::F32, false).slices;
    // 2048 steps of 16 products, and a few more, in so many tiles that one workgroup for each is enough.
    let many = [64, 2, 56, 56];
    assert_eq!(slices(dynamic(2, 128, 128), many), None);
    assert_eq!(slices(dynamic(2, 128, 129), many), Some(1));
    // 181 rows of 180 taps and one step more.
    assert_eq!(slices(dynamic(2, 2, 180).groups(2), [1, 2, 28, 28]), None);
    assert_eq!(slices(dynamic(2, 2, 181).groups(2), [1, 2, 28, 28]), Some(1));
}

#[test]
fn whatever_finishes_outputs_emits_their_sums() {
    let emits = |options, shape| plan(options, shape, Stored::F32, true).emits;
    // Tiles, slices of them, Winograd's, depthwise.
    assert!(emits(dynamic(64, 64, 5), [32, 64, 28, 28]));
    assert!(emits(dynamic(512, 512, 3), [1, 512, 7, 7]));
    assert!(emits(dynamic(256, 256, 3), [32, 256, 56, 56]));
    assert!(emits(dynamic(64, 64, 3).groups(64), [1, 64, 28, 28]));
    assert!(emits(dynamic(64, 64, 3).groups(16), [32, 64, 28, 28]));
    // Sums that take several dispatches.
    assert!(emits(dynamic(64, 64, 23), [32, 64, 28, 28]));
    assert!(emits(dynamic(64, 64, 182).groups(64), [1, 64, 28, 28]));
    // Slices of tiles that samples share, which pad too much to emit sums themselves.
    let of_static = Options { experts: 1, attention: None, ..dynamic(512, 512, 3) };
    let shared = plan(of_static, [2, 512, 7, 7], Stored::F32, true);
    assert!(shared.slices > Some(1) && shared.shares && shared.emits, "{shared:?}");
}

#[test]
fn static_samples_share_tiles_unless_their_sums_are_wanted() {
    let of_static = Options { experts: 1, attention: None, ..dynamic(64, 64, 5) };
    // So many samples that no tile's sums are sliced.
    let shares = |kernel, extent, emits| {
        let options = of_static.kernel_size([kernel; 2]);
        let plan = plan(options, [1024, 64, extent, extent], Stored::F32, emits);
        assert_eq!(plan.slices, None);
        (plan.shares, plan.emits)
    };
    assert_eq!(shares(5, 56, false), (true, false));
    assert_eq!(shares(5, 56, true), (false, true));
    // 49 pixels leave a quarter of each tile empty: more than reading the outputs once takes, unless products are few.
    assert_eq!(shares(5, 7, true), (true, false));
    assert_eq!(shares(1, 7, true), (false, true));
}

//! What a layer and its run hold at most, measured, against what `explain` says.

mod counting;

use dyconv_core::{
    Attention, Backend, BatchNorm, Call, DyConv2d, Handle, Layout, Options, Padding, Params, Precision,
    Prepare, Shape, Tensor,
};
use dyconv_simd::{Kernel, SimdBackend};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting::new();

/// Lists of blocks and plans, handles, rayon's jobs.
const SMALL: u64 = 16 << 10;

/// Experts that fill a huge page are mapped: the allocator doesn't see them.
const MAPPED_FROM: u64 = 2 << 20;

fn layer(options: Options) -> DyConv2d {
    let options = options.experts(4).bias(true).attention(Attention::mlp(16));
    let config = options.batch_norm(BatchNorm::KERAS).build().unwrap();
    let params = Params::from_named(&config, |spec| {
        Ok(Some((0..spec.shape.iter().product()).map(|i: usize| (i % 13) as f32 * 0.01 + 0.01).collect()))
    });
    DyConv2d::new(config, params.unwrap()).unwrap()
}

/// Prepares and runs, and gives the kernel's name with the bytes predicted and measured.
fn measure(
    backend: &SimdBackend,
    layer: &DyConv2d,
    shape: Shape,
    precision: Precision,
) -> (String, [u64; 2]) {
    let x = Tensor::new(shape, layer.config().layout(), vec![0.5; shape.len()]).unwrap();
    let how = Prepare::default().input(shape).precision(precision);
    let mut plan = None;
    let measured = ALLOCATOR.peak(|| {
        let prepared = backend.prepare(layer, &how).unwrap();
        let mut stream = backend.stream().unwrap();
        let x = backend.upload(&mut stream, x.view()).unwrap();
        let y = backend.forward(&mut stream, &prepared, &Call::new(&x)).unwrap().output;
        assert!(y.data().iter().all(|y| y.is_finite()), "{}", y.shape());
        plan = Some(backend.plan(&prepared, shape).unwrap());
    });
    let plan = plan.unwrap();
    let word = if precision == Precision::F32 { 4 } else { 2 };
    let experts = (layer.config().experts() * layer.config().expert_len() * word) as u64;
    let mapped = if experts >= MAPPED_FROM { experts } else { 0 };
    (plan.name, [plan.peak_bytes, measured as u64 + mapped])
}

#[test]
fn a_run_holds_what_its_plan_says() {
    let square = |i, o| Options::new(i, o).kernel_size([3, 3]).padding(Padding::Same);
    let layers = [
        (square(64, 64), 28),
        (square(64, 128).stride([2, 2]), 28),
        (square(256, 256), 14),
        (square(512, 64), 7),
        (square(96, 96).groups(96), 28),
        (square(96, 192).groups(96).stride([2, 2]), 28),
        (square(64, 64).groups(4), 28),
        (square(60, 60).groups(15), 28),
        (Options::new(96, 24), 28),
        (Options::new(64, 384), 14),
        (Options::new(512, 512), 1),
    ];
    for threads in [1, 2] {
        for kernel in Kernel::ALL {
            let builder = SimdBackend::builder().threads(threads).serial_below(0).force(kernel);
            let backend = builder.build().unwrap();
            // Threads start, and take what they need for that.
            measure(&backend, &layer(square(40, 40)), Shape::new(4, 40, 20, 20).unwrap(), Precision::F32);
            for (options, image) in layers {
                for (layout, batch) in [(Layout::Nchw, 1), (Layout::Nhwc, 1), (Layout::Nhwc, 5)] {
                    for precision in [Precision::F32, Precision::Bf16] {
                        let layer = layer(options.layout(layout));
                        let shape = Shape::new(batch, options.in_channels, image, image).unwrap();
                        let (name, [said, held]) = measure(&backend, &layer, shape, precision);
                        let what = format!("{name}, {threads} threads, {precision:?}, {shape}, {options:?}");
                        assert!(held <= said + SMALL, "{held} bytes, not {said}: {what}");
                        // Of several threads some may come too late to need any memory.
                        let tight = threads > 1 || 4 * said <= 5 * held;
                        assert!(tight, "only {held} bytes, not {said}: {what}");
                    }
                }
            }
        }
    }
}

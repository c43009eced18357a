//! A run allocates nothing where one like it has run before.

mod counting;

use dyconv_core::{
    Activation, Attention, Backend, BatchNorm, Call, DyConv2d, Layout, Options, Padding, Params, Prepare,
    Shape, Tensor,
};
use dyconv_simd::{Kernel, SimdBackend};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting::new();

fn ramp(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7) % 13) as f32 * 0.01 + 0.01).collect()
}

fn layers() -> Vec<DyConv2d> {
    let square = |i, o| Options::new(i, o).kernel_size([3, 3]).padding(Padding::Same);
    let options = [
        square(40, 70),
        square(300, 40),
        square(24, 24).groups(3),
        square(24, 24).groups(6),
        square(20, 20).groups(20),
        square(20, 40).groups(20).stride([2, 2]).activation(Activation::Silu),
        Options::new(40, 24),
        Options::new(40, 70).batch_norm(BatchNorm::KERAS).activation(Activation::Relu),
    ];
    let build = |options: Options, layout| {
        let options = options.layout(layout).experts(4).bias(true).attention(Attention::mlp(8));
        let config = options.build().unwrap();
        let params = Params::from_named(&config, |spec| Ok(Some(ramp(spec.shape.iter().product()))));
        DyConv2d::new(config, params.unwrap()).unwrap()
    };
    options.into_iter().flat_map(|options| Layout::ALL.map(|layout| build(options, layout))).collect()
}

/// How many bytes some runs of a layer ask for, after others of their like, with patience while it is more than `most`:
/// into a new tensor, and into a slice.
fn asked(backend: &SimdBackend, layer: &DyConv2d, how: &Prepare, most: usize) -> usize {
    let config = layer.config();
    let shape = Shape::new(3, config.in_channels(), 12, 9).unwrap();
    let x = Tensor::new(shape, config.layout(), ramp(shape.len())).unwrap();
    let output = config.output_shape(shape).unwrap();
    let residual = Tensor::new(output, config.layout(), ramp(output.len())).unwrap();
    let mut y = vec![0.0; output.len()];
    let mut stream = backend.stream().unwrap();
    let prepared = backend.prepare(layer, how).unwrap();
    let mut run = || {
        let device = backend.upload(&mut stream, x.view()).unwrap();
        let added = backend.upload(&mut stream, residual.view()).unwrap();
        let call = Call::new(&device).residual(&added).emit_sums(true).return_attention(true);
        let output = backend.forward(&mut stream, &prepared, &call).unwrap().output;
        drop(backend.forward(&mut stream, &prepared, &Call::new(&device)).unwrap());
        backend.relayout(&mut stream, &output, Layout::Nchw).unwrap();
        let (input, residual) = (x.view(), residual.view());
        let call = Call::new(&input).residual(&residual);
        backend.forward_into(&mut stream, &prepared, &call, &mut y).unwrap();
    };
    // Every thread's scratch must have grown; which of them does what, and when, is chance.
    (0..10).for_each(|_| run());
    let mut round = || ALLOCATOR.asked(|| (0..10).for_each(|_| run()));
    let mut bytes = round();
    for _ in 0..10 {
        bytes = if bytes <= most { bytes } else { round() };
    }
    bytes
}

#[test]
fn a_run_allocates_nothing_once_its_like_has_run() {
    // What rayon needs for its jobs; collected items would be ten times as much. Threads come last, since those of a dropped
    // pool take a while to end.
    for (threads, most) in [(1, 0), (2, 64 << 10)] {
        for layer in layers() {
            for how in [Prepare::default(), Prepare::default().trainable(true)] {
                for kernel in Kernel::ALL {
                    let builder = SimdBackend::builder().threads(threads).serial_below(0).force(kernel);
                    let bytes = asked(&builder.build().unwrap(), &layer, &how, most);
                    let what = || format!("{kernel:?}, {threads} threads, {:?}", layer.config());
                    assert!(bytes <= most, "{bytes} bytes allocated: {}", what());
                }
            }
        }
    }
}

//! Channel sums that a kernel emits are those of the outputs it wrote: every depthwise kernel, and tiles of every plan, at
//! sizes where last vectors, rows and columns are whole or not.

use dyconv_core::{
    Activation, Attention, Backend, Call, DyConv2d, Layout, Options, Padding, Params, Pool, Prepare, Shape,
    Tensor,
};
use dyconv_simd::{Isa, Kernel, SimdBackend};

fn ramp(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7) % 13) as f32 * 0.25 - 1.0).collect()
}

/// Mean and mean magnitude of every channel of every sample.
fn means(y: &Tensor) -> Vec<[f64; 2]> {
    let planes = y.to_layout(Layout::Nchw);
    let mean = |plane: &[f32], f: fn(f64) -> f64| {
        plane.iter().map(|&y| f(f64::from(y))).sum::<f64>() / plane.len() as f64
    };
    let planes = planes.data().chunks_exact(y.shape().pixels());
    planes.map(|plane| [mean(plane, |y| y), mean(plane, f64::abs)]).collect()
}

fn check(backend: &SimdBackend, options: Options, [height, width]: [usize; 2]) {
    let config = options.experts(2).attention(Attention::mlp(4)).build().unwrap();
    let params = Params::from_named(&config, |spec| Ok(Some(ramp(spec.shape.iter().product()))));
    let layer = DyConv2d::new(config, params.unwrap()).unwrap();
    let prepared = backend.prepare(&layer, &Prepare::default()).unwrap();
    let mut stream = backend.stream().unwrap();
    let shape = Shape::new(2, config.in_channels(), height, width).unwrap();
    let x = Tensor::new(shape, config.layout(), ramp(shape.len())).unwrap();
    let x = backend.upload(&mut stream, x.view()).unwrap();
    let y = backend.forward(&mut stream, &prepared, &Call::new(&x).emit_sums(true)).unwrap().output;
    let pooled = backend.pool(&mut stream, &y, &Pool::GlobalMean).unwrap();
    let got = backend.download(&mut stream, &pooled).unwrap();
    let y = backend.download(&mut stream, &y).unwrap();
    let terms = (y.shape().pixels() + 1) as f64;
    for (c, (&got, [mean, magnitude])) in got.data().iter().zip(means(&y)).enumerate() {
        let bound = f64::from(f32::EPSILON) * terms * magnitude;
        let off = (f64::from(got) - mean).abs();
        assert!(off <= bound, "channel {c} is {got}, expected {mean}: {height}×{width}, {options:?}");
    }
}

#[test]
fn emitted_sums_are_those_of_the_output() {
    for isa in Isa::available() {
        for kernel in Kernel::ALL {
            let backend = SimdBackend::builder().isa(isa).threads(1).force(kernel).build().unwrap();
            for layout in Layout::ALL {
                for activation in [Activation::None, Activation::Relu6, Activation::Sigmoid] {
                    for size in [1, 3, 5] {
                        for stride in [1, 2] {
                            for (channels, out_channels) in [(5, 5), (16, 16), (20, 40)] {
                                let options = Options::new(channels, out_channels).groups(channels);
                                let options = options.kernel_size([size, size]).stride([stride, stride]);
                                let options = options.padding(Padding::Same).layout(layout);
                                for image in [[7, 7], [8, 21], [33, 16]] {
                                    check(&backend, options.activation(activation), image);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

//! Depthwise layers whose planes are turned over give the bits that they give channels last: with and without a residual,
//! with blocks that are whole or not, at sizes that squares of vectors divide or don't, and planes too large to be turned.

use dyconv_core::{
    Activation, Attention, Backend, Call, DyConv2d, Layout, Options, Padding, Params, Prepare, Shape, Tensor,
};
use dyconv_simd::{Isa, Kernel, SimdBackend};

/// Small whole numbers, which every order of sums gives exactly.
fn whole(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + i / 7) % 13) as f32 - 6.0).collect()
}

/// The output, channels first, of a layer of the given options in a layout.
fn run(backend: &SimdBackend, options: Options, image: [usize; 2], layout: Layout, residual: bool) -> Tensor {
    let config = options.layout(layout).build().unwrap();
    let params = Params::from_named(&config, |spec| Ok(Some(whole(spec.shape.iter().product()))));
    let layer = DyConv2d::new(config, params.unwrap()).unwrap();
    let prepared = backend.prepare(&layer, &Prepare::default()).unwrap();
    let mut stream = backend.stream().unwrap();
    let shape = Shape::new(2, config.in_channels(), image[0], image[1]).unwrap();
    let mut tensor = |shape: Shape| {
        let tensor = Tensor::new(shape, Layout::Nchw, whole(shape.len())).unwrap().to_layout(layout);
        backend.upload(&mut stream, tensor.view()).unwrap()
    };
    let (x, added) = (tensor(shape), tensor(config.output_shape(shape).unwrap()));
    let pi = Tensor::attention(2, 2, vec![1.0, 2.0, -1.0, 1.0]).unwrap();
    let pi = backend.upload(&mut stream, pi.view()).unwrap();
    let call = Call::new(&x).attention(Some(&pi)).residual(residual.then_some(&added));
    let y = backend.forward(&mut stream, &prepared, &call).unwrap().output;
    backend.download(&mut stream, &y).unwrap().to_layout(Layout::Nchw)
}

#[test]
fn turned_planes_have_the_bits_that_they_have_channels_last() {
    for isa in Isa::available() {
        let backend = SimdBackend::builder().isa(isa).threads(1).force(Kernel::Depthwise).build().unwrap();
        for (channels, image) in [(5, [3, 4]), (16, [7, 7]), (40, [14, 14]), (20, [33, 16])] {
            for (size, stride, residual) in
                [(3, 1, false), (3, 1, true), (3, 2, true), (5, 1, true), (5, 2, false)]
            {
                let options = Options::new(channels, channels).groups(channels).kernel_size([size; 2]);
                let options = options.stride([stride; 2]).padding(Padding::Same).bias(true);
                let options = options.experts(2).attention(Attention::Given).activation(Activation::Relu);
                let [first, last] = Layout::ALL.map(|layout| run(&backend, options, image, layout, residual));
                assert_eq!(first.data(), last.data(), "simd-{isa}, {image:?}, {options:?}, {residual}");
            }
        }
    }
}

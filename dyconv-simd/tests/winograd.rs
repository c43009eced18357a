//! What Winograd's plans say of themselves holds: the error they state on ordinary data, and that they are chosen.

use dyconv_core::{
    Accuracy, Attention, Backend, Call, DyConv2d, Layout, Options, Padding, Params, Precision, Prepare,
    Reference, Shape, Tensor,
};
use dyconv_simd::{Isa, Kernel, SimdBackend};

/// −0.5 to 0.5, without a short period.
fn reals(len: usize, seed: u32) -> Vec<f32> {
    let hash = |i: u32| (i ^ seed).wrapping_mul(0x9e37_79b9).rotate_left(13).wrapping_mul(0x85eb_ca6b);
    (0..len as u32).map(|i| (hash(i) >> 8) as f32 / (1u32 << 24) as f32 - 0.5).collect()
}

fn layer(channels: usize, layout: Layout) -> DyConv2d {
    let options = Options::new(channels, channels).kernel_size([3, 3]).padding(Padding::Same).layout(layout);
    let config = options.experts(2).attention(Attention::Given).build().unwrap();
    let weight = reals(2 * config.expert_len(), 1);
    DyConv2d::new(config, Params { weight, bias: None, attention: None, batch_norm: None }).unwrap()
}

fn run(backend: &impl Backend, layer: &DyConv2d, x: &Tensor, precision: Precision) -> (Tensor, Accuracy) {
    let mut stream = backend.stream().unwrap();
    let prepared = backend.prepare(layer, &Prepare::default().precision(precision)).unwrap();
    let accuracy = backend.plan(&prepared, x.shape()).unwrap().accuracy;
    let pi = Tensor::attention(1, 2, vec![0.375, 0.625]).unwrap();
    let (x, pi) =
        (backend.upload(&mut stream, x.view()).unwrap(), backend.upload(&mut stream, pi.view()).unwrap());
    let y = backend.forward(&mut stream, &prepared, &Call::new(&x).attention(&pi)).unwrap().output;
    (backend.download(&mut stream, &y).unwrap(), accuracy)
}

#[test]
fn errors_on_ordinary_data_are_a_fraction_of_what_is_stated() {
    for (kernel, stated) in
        [(Kernel::WinogradF2, Accuracy::WinogradF2), (Kernel::WinogradF4, Accuracy::WinogradF4)]
    {
        // One size per kind of tile: fours, threes and fours, threes and twos.
        for (channels, image) in [(64, 16), (96, 14), (130, 7), (64, 5)] {
            let layer = layer(channels, Layout::Nhwc);
            let shape = Shape::new(1, channels, image, image).unwrap();
            let x = Tensor::new(shape, Layout::Nhwc, reals(shape.len(), 2)).unwrap();
            let (want, _) = run(&Reference::default(), &layer, &x, Precision::F32);
            let largest = want.data().iter().fold(0f32, |most, y| most.max(y.abs()));
            for isa in Isa::available() {
                let backend = SimdBackend::builder().isa(isa).threads(1).force(kernel).build().unwrap();
                let (got, accuracy) = run(&backend, &layer, &x, Precision::F32);
                assert_eq!(accuracy, stated);
                let differences = got.data().iter().zip(want.data()).map(|(got, want)| (got - want).abs());
                let error = f64::from(differences.fold(0f32, f32::max) / largest);
                let allowed = stated.tolerance().relative / 2.0;
                assert!(
                    error < allowed,
                    "simd-{isa}, {kernel:?}, {channels}@{image}: {error:e} of {allowed:e}"
                );
            }
        }
    }
}

#[test]
fn integers_are_exact_by_the_smaller_tiles_and_nearly_so_by_the_larger() {
    let (channels, image) = (40, 9);
    let layer = layer(channels, Layout::Nchw);
    let (config, params) = layer.into_parts();
    let integers = |len: usize| reals(len, 3).into_iter().map(|x| (x * 8.0).round()).collect::<Vec<_>>();
    let weight = integers(params.weight.len());
    let layer = DyConv2d::new(config, Params { weight, ..params }).unwrap();
    let shape = Shape::new(1, channels, image, image).unwrap();
    let x = Tensor::new(shape, Layout::Nchw, integers(shape.len())).unwrap();
    let (want, _) = run(&Reference::default(), &layer, &x, Precision::F32);
    for precision in [Precision::F32, Precision::Bf16, Precision::F16] {
        let with = |kernel| SimdBackend::builder().threads(1).force(kernel).build().unwrap();
        let (two, _) = run(&with(Kernel::WinogradF2), &layer, &x, precision);
        assert_eq!(two, want);
        let (four, _) = run(&with(Kernel::WinogradF4), &layer, &x, precision);
        assert_ne!(four, want, "sixths are no dyadic numbers: is this F(4×4)?");
    }
}

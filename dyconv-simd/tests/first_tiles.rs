//! A tile that aggregates the panel it uses gives the same bits as one that finds it ready: a sample alone, whose first
//! tile aggregates, against the same sample in a batch, whose samples share what is read of the experts.

use dyconv_core::{
    Attention, Backend, Call, DyConv2d, Layout, Options, Params, Precision, Prepare, Shape, Tensor,
};
use dyconv_simd::{Isa, Kernel, SimdBackend};

fn reals(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + i / 7) % 2003) as f32 / 1001.0 - 1.0).collect()
}

/// Enough experts for four samples, or at least two, to share them.
fn layer(experts: usize, layout: Layout) -> DyConv2d {
    let options = Options::new(256, 256).experts(experts).attention(Attention::Given).bias(true);
    let config = options.layout(layout).build().unwrap();
    let params = Params::from_named(&config, |spec| Ok(Some(reals(spec.shape.iter().product()))));
    DyConv2d::new(config, params.unwrap()).unwrap()
}

#[test]
fn a_sample_alone_has_the_bits_that_it_has_in_a_batch() {
    for isa in Isa::available() {
        let backend = SimdBackend::builder().isa(isa).threads(1).force(Kernel::Pointwise).build().unwrap();
        let mut stream = backend.stream().unwrap();
        let cases = [2, 3, 4, 8].into_iter().flat_map(|experts| Layout::ALL.map(|layout| (experts, layout)));
        for (experts, layout) in cases {
            let layer = layer(experts, layout);
            for precision in [Precision::F32, Precision::Bf16, Precision::F16] {
                let prepared = backend.prepare(&layer, &Prepare::default().precision(precision)).unwrap();
                for pixels in 1..=16 {
                    let mut run = |x: &[f32], pi: &[f32]| {
                        let batch = pi.len() / experts;
                        let shape = Shape::new(batch, 256, 1, pixels).unwrap();
                        let x = Tensor::new(shape, layout, x.to_vec()).unwrap();
                        let pi = Tensor::attention(batch, experts, pi.to_vec()).unwrap();
                        let mut y = vec![0.0; shape.len()];
                        let (x, pi) = (x.view(), pi.view());
                        let call = Call::new(&x).attention(Some(&pi));
                        backend.forward_into(&mut stream, &prepared, &call, &mut y).unwrap();
                        y
                    };
                    let (x, pi) = (reals(2 * 256 * pixels), reals(2 * experts));
                    let both = run(&x, &pi);
                    let samples = x.chunks_exact(256 * pixels).zip(pi.chunks_exact(experts));
                    let alone: Vec<f32> = samples.flat_map(|(x, pi)| run(x, pi)).collect();
                    assert_eq!(
                        alone, both,
                        "simd-{isa}, {layout:?}, {experts} experts in {precision:?}, {pixels} pixels"
                    );
                }
            }
        }
    }
}

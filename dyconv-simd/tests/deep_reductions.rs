//! Reductions so deep that their input channels are taken in several steps, whose sums wait for each other: larger than
//! the conformance suite's problems, and exact, on small integers.

use dyconv_core::{
    Attention, Backend, Call, DyConv2d, Layout, Options, Padding, Params, Prepare, Reference, Shape, Tensor,
};
use dyconv_simd::{Isa, Kernel, SimdBackend};

/// −2 to 2, without a short period.
fn integers(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * i + 3 * i) % 1009 % 5) as f32 - 2.0).collect()
}

fn run(backend: &impl Backend, layer: &DyConv2d, x: &Tensor, pi: &Tensor) -> Tensor {
    let mut stream = backend.stream().unwrap();
    let prepared = backend.prepare(layer, &Prepare::default()).unwrap();
    let x = backend.upload(&mut stream, x.view()).unwrap();
    let pi = backend.upload(&mut stream, pi.view()).unwrap();
    let y = backend.forward(&mut stream, &prepared, &Call::new(&x).attention(&pi)).unwrap().output;
    backend.download(&mut stream, &y).unwrap()
}

#[test]
fn sums_of_several_steps_are_exact_in_every_plan() {
    let square = |i, o| Options::new(i, o).kernel_size([3, 3]).padding(Padding::Same);
    let table = [
        (square(300, 40), [Kernel::Direct, Kernel::Across, Kernel::Mixing, Kernel::WinogradF2]),
        (
            square(520, 36).groups(2).stride([2, 1]),
            [Kernel::Direct, Kernel::Across, Kernel::Mixing, Kernel::Direct],
        ),
        (
            Options::new(8, 8).groups(2).kernel_size([26, 25]).padding(Padding::Same),
            [Kernel::Direct, Kernel::Across, Kernel::Mixing, Kernel::Grouped],
        ),
        (Options::new(4100, 35), [Kernel::Direct, Kernel::Across, Kernel::Mixing, Kernel::Pointwise]),
    ];
    for (options, kernels) in table {
        for layout in Layout::ALL {
            let options = options.experts(2).attention(Attention::Given).bias(true).layout(layout);
            let config = options.build().unwrap();
            let params = Params::from_named(&config, |spec| Ok(Some(integers(spec.shape.iter().product()))));
            let layer = DyConv2d::new(config, params.unwrap()).unwrap();
            let shape = Shape::new(2, config.in_channels(), 5, 7).unwrap();
            let x = Tensor::new(shape, layout, integers(shape.len())).unwrap();
            let pi = Tensor::attention(2, 2, vec![0.5, 0.25, -1.0, 0.75]).unwrap();
            let want = run(&Reference::default(), &layer, &x, &pi);
            for isa in Isa::available() {
                for kernel in kernels {
                    for threads in [1, 3] {
                        let builder = SimdBackend::builder().isa(isa).threads(threads).serial_below(0);
                        let got = run(&builder.force(kernel).build().unwrap(), &layer, &x, &pi);
                        assert_eq!(got, want, "simd-{isa}, {kernel:?}, {threads} threads, {options:?}");
                    }
                }
            }
        }
    }
}

//! Narrow groups that share vectors: of the conformance suite's problems few have groups that fill a vector, so this
//! has many of them, exact on small integers, and with the channel sums that a next layer asks for.

use dyconv_core::{
    Attention, Backend, Call, DyConv2d, Layout, Options, Padding, Params, Pool, Prepare, Reference, Shape,
    Tensor,
};
use dyconv_simd::{Isa, Kernel, SimdBackend};
use proptest::prelude::*;

/// −2 to 2, without a short period.
fn integers(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * i + (3 + seed) * i + seed) % 1009 % 5) as f32 - 2.0).collect()
}

/// The output, and its mean pooled from the sums that it brings.
fn run(backend: &impl Backend, layer: &DyConv2d, x: &Tensor, pi: &Tensor) -> [Tensor; 2] {
    let mut stream = backend.stream().unwrap();
    let prepared = backend.prepare(layer, &Prepare::default()).unwrap();
    let x = backend.upload(&mut stream, x.view()).unwrap();
    let pi = backend.upload(&mut stream, pi.view()).unwrap();
    let call = Call::new(&x).attention(&pi).emit_sums(true);
    let y = backend.forward(&mut stream, &prepared, &call).unwrap().output;
    let mean = backend.pool(&mut stream, &y, &Pool::GlobalMean).unwrap();
    [y, mean].map(|tensor| backend.download(&mut stream, &tensor).unwrap())
}

fn plan(backend: &SimdBackend, layer: &DyConv2d, shape: Shape) -> String {
    let prepared = backend.prepare(layer, &Prepare::default().input(shape)).unwrap();
    backend.plan(&prepared, shape).unwrap().name
}

fn options() -> impl Strategy<Value = Options> {
    let per_group = (1usize..=3, 1usize..=8, 2usize..=11).prop_map(|(log, inputs, groups)| {
        let outputs = 1 << log;
        Options::new(groups * inputs.min(outputs), groups * outputs).groups(groups)
    });
    let axis = || (1usize..=5, 1usize..=3, 1usize..=2);
    let padding = prop_oneof![
        3 => Just(Padding::Same),
        1 => Just(Padding::Valid),
        1 => (0usize..4, 0usize..4, 0usize..4, 0usize..4)
            .prop_map(|(top, bottom, left, right)| Padding::Explicit { top, bottom, left, right }),
    ];
    // Three neighbouring taps are a case of their own.
    let across = prop_oneof![Just((3, 1, 1)), axis()];
    (per_group, axis(), across, padding, prop::sample::select(&Layout::ALL[..])).prop_map(
        |(options, (kh, sh, dh), (kw, sw, dw), padding, layout)| {
            let options = options.kernel_size([kh, kw]).stride([sh, sw]).dilation([dh, dw]).padding(padding);
            options.layout(layout).experts(2).attention(Attention::Given).bias(true)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn narrow_groups_are_exact(options in options(), image in [1usize..20, 1usize..30], batch in 1usize..3, seed in 0usize..99) {
        let config = options.build().unwrap();
        let shape = Shape::new(batch, config.in_channels(), image[0], image[1]).unwrap();
        prop_assume!(config.output_shape(shape).is_ok());
        let params = Params::from_named(&config, |spec| Ok(Some(integers(spec.shape.iter().product(), seed))));
        let layer = DyConv2d::new(config, params.unwrap()).unwrap();
        let x = Tensor::new(shape, config.layout(), integers(shape.len(), seed + 1)).unwrap();
        let pi = Tensor::attention(batch, 2, [0.5, 0.25, -1.0, 0.75][..2 * batch].to_vec()).unwrap();
        let [want, want_mean] = run(&Reference::default(), &layer, &x, &pi);
        for isa in Isa::available() {
            for threads in [1, 3] {
                let builder = SimdBackend::builder().isa(isa).threads(threads).serial_below(0);
                let backend = builder.force(Kernel::Grouped).build().unwrap();
                let plan = plan(&backend, &layer, shape);
                // Groups of eight fill vectors of eight.
                if !plan.starts_with("grouped") {
                    continue;
                }
                let [got, mean] = run(&backend, &layer, &x, &pi);
                let differs = got.data().iter().zip(want.data()).position(|(got, want)| got != want);
                prop_assert_eq!(differs, None, "simd-{}, {} threads", isa, threads);
                for (got, want) in mean.data().iter().zip(want_mean.data()) {
                    prop_assert!((got - want).abs() <= 1e-5 * want.abs().max(1.0), "{} {}", got, want);
                }
            }
        }
    }
}

#[test]
fn narrow_groups_are_what_is_tested() {
    let options = Options::new(12, 12).groups(3).kernel_size([3, 3]).layout(Layout::Nhwc);
    let layer = |options: Options| {
        let config = options.build().unwrap();
        let params = Params::from_named(&config, |spec| Ok(Some(integers(spec.shape.iter().product(), 0))));
        DyConv2d::new(config, params.unwrap()).unwrap()
    };
    let shape = Shape::new(1, 12, 9, 9).unwrap();
    for isa in Isa::available() {
        let backend = SimdBackend::builder().isa(isa).force(Kernel::Grouped).build().unwrap();
        let plan = plan(&backend, &layer(options), shape);
        assert!(plan.starts_with("grouped"), "{plan}");
    }
}

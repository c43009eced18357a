//! What the tests share: one backend per process, since a software driver compiles pipelines slowly, and
//! layers with random numbers.

use std::sync::OnceLock;

use dyconv_core::{
    Attention, Backend, Call, DyConv2d, Error, Initializer, Initializers, Layout, Options, Params, Prepare,
    Reference, Result, Shape, Tensor,
};
use dyconv_wgpu::{WgpuBackend, WgpuBuilder};

/// The machine's backend, or its absence: printed, and a failure where `DYCONV_REQUIRE_GPU=1`.
pub(crate) fn backend() -> Result<WgpuBackend> {
    static BACKEND: OnceLock<Result<WgpuBackend>> = OnceLock::new();
    BACKEND.get_or_init(|| WgpuBackend::builder().build()).clone()
}

pub(crate) fn is_required() -> bool {
    std::env::var("DYCONV_REQUIRE_GPU").is_ok_and(|value| value == "1")
}

/// Runs a test on a backend made from the usual builder, if there is an adapter.
pub(crate) fn with_backend(change: impl FnOnce(WgpuBuilder) -> WgpuBuilder, test: impl FnOnce(WgpuBackend)) {
    match change(WgpuBackend::builder()).build() {
        Ok(backend) => test(backend),
        Err(error @ Error::Unavailable { .. }) if !is_required() => println!("SKIPPED: {error}"),
        Err(error) => panic!("{error}"),
    }
}

/// Runs a test on the process's backend, if there is an adapter.
pub(crate) fn with_shared(test: impl FnOnce(WgpuBackend)) {
    match backend() {
        Ok(backend) => test(backend),
        Err(error @ Error::Unavailable { .. }) if !is_required() => println!("SKIPPED: {error}"),
        Err(error) => panic!("{error}"),
    }
}

/// The layers of the tests start here: 3×3, four experts, a head.
pub(crate) fn options(inputs: usize, outputs: usize) -> Options {
    Options::new(inputs, outputs)
        .kernel_size([3, 3])
        .padding(dyconv_core::Padding::Same)
        .experts(4)
        .attention(Attention::mlp(4))
        .bias(true)
}

pub(crate) fn layer(options: Options) -> DyConv2d {
    let config = options.build().expect("possible options");
    let any = Initializer::RandomUniform { min: -1.0, max: 1.0 };
    let initializers =
        Initializers { bias: any, fc1_bias: Some(any), fc2_bias: Some(any), ..Initializers::default() };
    let params = Params::init(&config, &initializers, 7).expect("initialisers");
    DyConv2d::new(config, params).expect("matching parameters")
}

/// Numbers without a pattern that a wrong index could fit.
pub(crate) fn image(shape: Shape, layout: Layout, seed: usize) -> Tensor {
    let mut state = seed as u32 * 2_654_435_761 + 1;
    Tensor::from_fn(shape, layout, |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    })
}

/// Runs the layer on both and compares within the tolerance of case files.
pub(crate) fn agrees(backend: &WgpuBackend, layer: &DyConv2d, input: &Tensor) {
    let want = Reference::default().run(layer, input).expect("the reference runs");
    let got = backend.run(layer, input).expect("the backend runs");
    close(&got, &want);
}

pub(crate) fn close(got: &Tensor, want: &Tensor) {
    assert_eq!((got.shape(), got.layout()), (want.shape(), want.layout()));
    let largest = want.data().iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let tolerance = 1e-6 + 2e-5 * largest;
    for (i, (got, want)) in got.data().iter().zip(want.data()).enumerate() {
        assert!((got - want).abs() <= tolerance, "element {i}: got {got}, want {want}");
    }
}

/// Records one layer after the other, the whole chain on the device.
pub(crate) fn chain(backend: &WgpuBackend, layers: &[DyConv2d], input: &Tensor) -> Result<Tensor> {
    let mut stream = backend.stream()?;
    let mut x = backend.upload(&mut stream, input.view())?;
    for layer in layers {
        let prepared = backend.prepare(layer, &Prepare::default())?;
        x = backend.forward(&mut stream, &prepared, &Call::new(&x).emit_sums(true))?.output;
    }
    backend.download(&mut stream, &x)
}

//! Layers end to end: record, submit, wait. Tensors stay on the device, but for one channel mean that is
//! brought back so that the work is known to be done.
//!
//! Without an adapter it says so and measures nothing.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dyconv_core::{
    Activation, Attention, Backend, Call, DyConv2d, Initializers, Layout, Options, Padding, Params, Pool,
    Prepare, Result, Shape, Tensor, hidden,
};
use dyconv_wgpu::WgpuBackend;

/// A layer's name, options and input. The first two are ResNet-18's second and last stage, the others
/// MobileNetV2's expand and depthwise layers at 14×14.
fn workloads() -> [(&'static str, Options, [usize; 4]); 4] {
    let dynamic = |inputs, outputs, kernel| {
        Options::new(inputs, outputs)
            .kernel_size([kernel; 2])
            .padding(Padding::Same)
            .experts(4)
            .attention(Attention::mlp(hidden::paper(inputs)))
            .activation(Activation::Relu)
    };
    [
        ("3x3 64-64 28x28 n2", dynamic(64, 64, 3), [2, 64, 28, 28]),
        ("3x3 512-512 7x7", dynamic(512, 512, 3), [1, 512, 7, 7]),
        ("1x1 96-576 14x14", dynamic(96, 576, 1), [1, 96, 14, 14]),
        ("depthwise 576 14x14", dynamic(576, 576, 3).groups(576), [1, 576, 14, 14]),
    ]
}

fn measure(criterion: &mut Criterion, backend: &WgpuBackend) -> Result<()> {
    let mut group = criterion.benchmark_group(backend.info().id.clone());
    group.sample_size(10);
    for (name, options, [n, c, h, w]) in workloads() {
        for (kind, options) in
            [("dynamic", options), ("static", Options { experts: 1, attention: None, ..options })]
        {
            let config = options.layout(Layout::Nchw).build()?;
            let layer = DyConv2d::new(config, Params::init(&config, &Initializers::default(), 1)?)?;
            let shape = Shape::new(n, c, h, w)?;
            let prepared = backend.prepare(&layer, &Prepare::default().input(shape))?;
            let mut stream = backend.stream()?;
            let input =
                Tensor::from_fn(shape, Layout::Nchw, |[_, c, y, x]| ((c * 7 + y * 3 + x) % 11) as f32 - 5.0);
            let x = backend.upload(&mut stream, input.view())?;
            let plan = backend.plan(&prepared, shape)?;
            group.throughput(Throughput::Elements(plan.multiply_adds));
            group.bench_function(format!("{name} {kind}"), |bencher| {
                bencher.iter(|| run(backend, &mut stream, &prepared, &x).expect("the layer runs"));
            });
        }
    }
    Ok(())
}

fn run<B: Backend>(backend: &B, stream: &mut B::Stream, layer: &B::Layer, x: &B::Tensor) -> Result<Tensor> {
    let y = backend.forward(stream, layer, &Call::new(x))?.output;
    let mean = backend.pool(stream, &y, &Pool::GlobalMean)?;
    backend.download(stream, &mean)
}

fn layers(criterion: &mut Criterion) {
    match WgpuBackend::new() {
        Ok(backend) => measure(criterion, &backend).expect("the workloads are possible"),
        Err(error) => println!("SKIPPED: {error}"),
    }
}

criterion_group!(benches, layers);
criterion_main!(benches);

//! One thread, through the public interface: a register tile, aggregation, and whole layers of ResNet-18, MobileNetV2
//! and ResNeXt-50 (paper and layer in each name). Throughput is nominal: an element is one floating-point operation of the direct
//! convolution, or one aggregated weight.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use dyconv_core::{
    Attention, Backend, Call, DyConv2d, Layout, Options, Padding, Params, Prepare, Shape, Tensor, hidden,
};
use dyconv_simd::{Isa, SimdBackend};

/// Small numbers of both signs.
fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919) % 2003) as f32 / 1001.0 - 1.0).collect()
}

fn layer(options: Options) -> DyConv2d {
    let config = options.build().expect("a workload is possible");
    let params = Params::from_named(&config, |spec| Ok(Some(values(spec.shape.iter().product()))));
    DyConv2d::new(config, params.expect("every tensor is there")).expect("a workload's parameters fit")
}

struct Workload {
    name: String,
    options: Options,
    image: usize,
}

impl Workload {
    fn new(name: impl Into<String>, options: Options, image: usize) -> Self {
        Self { name: name.into(), options, image }
    }

    fn dynamic(mut self) -> Self {
        let head = match self.options.attention {
            None => Attention::mlp(hidden::paper(self.options.in_channels)),
            Some(given) => given,
        };
        self.options = self.options.experts(4).attention(head);
        self.name += " K4";
        self
    }

    /// Times forwards into one slice.
    fn bench(&self, c: &mut Criterion, isa: Isa, elements: impl Fn(&DyConv2d, Shape) -> usize) {
        let backend =
            SimdBackend::builder().isa(isa).threads(1).build().expect("an instruction set that is there");
        let layer = layer(self.options);
        let shape =
            Shape::new(1, self.options.in_channels, self.image, self.image).expect("a possible image");
        let layout = self.options.layout;
        let x = Tensor::new(shape, layout, values(shape.len())).expect("as many values as elements");
        let pi = Tensor::attention(1, self.options.experts, values(self.options.experts))
            .expect("a row of weights");
        let given = (self.options.attention == Some(Attention::Given)).then(|| pi.view());
        let prepared = backend.prepare(&layer, &Prepare::default().input(shape)).expect("a served layer");
        let mut stream = backend.stream().expect("a stream");
        let mut y = vec![0.0; layer.config().output_shape(shape).expect("a fitting image").len()];
        let mut group = c.benchmark_group(isa.id());
        group.throughput(Throughput::Elements(elements(&layer, shape) as u64));
        group.bench_function(format!("{} {layout}", self.name), |b| {
            let x = x.view();
            let call = Call::new(&x).attention(given.as_ref());
            b.iter_batched(
                || (),
                |()| backend.forward_into(&mut stream, &prepared, &call, &mut y).expect("a fitting call"),
                BatchSize::SmallInput,
            );
        });
        group.finish();
    }
}

fn flops(layer: &DyConv2d, input: Shape) -> usize {
    let output = layer.config().output_shape(input).expect("a fitting image");
    2 * output.len() * layer.config().reduction_len()
}

fn tile(c: &mut Criterion) {
    for isa in Isa::available() {
        for layout in Layout::ALL {
            // As many pixels and channels as a few tiles of every instruction set have.
            let options = Options::new(256, 96).layout(layout);
            let image = if isa == Isa::Avx512 { 14 } else { 12 };
            Workload::new("tiles of 1×1 256→96", options, image).bench(c, isa, flops);
        }
    }
}

fn aggregate(c: &mut Criterion) {
    for isa in Isa::available() {
        let options = Options::new(256, 256).kernel_size([3, 3]).attention(Attention::Given);
        let workload = Workload::new("aggregate 3×3 256→256", options, 3).dynamic();
        workload.bench(c, isa, |layer, _| layer.config().expert_len());
    }
}

fn layers(c: &mut Criterion) {
    let square = |channels| Options::new(channels, channels).kernel_size([3, 3]).padding(Padding::Same);
    let workloads = || {
        [
            Workload::new("ResNet-18 conv2 3×3 64@56", square(64), 56),
            Workload::new("ResNet-18 conv3 3×3 128@28", square(128), 28),
            Workload::new("ResNet-18 conv4 3×3 256@14", square(256), 14),
            Workload::new("ResNet-18 conv5 3×3 512@7", square(512), 7),
            Workload::new("MobileNetV2 project 1×1 96→24@56", Options::new(96, 24), 56),
            Workload::new("MobileNetV2 project 1×1 384→96@14", Options::new(384, 96), 14),
            Workload::new("MobileNetV2 project 1×1 960→320@7", Options::new(960, 320), 7),
            Workload::new("MobileNetV2 depthwise 3×3 96@56", square(96).groups(96), 56),
            Workload::new("MobileNetV2 depthwise 3×3 960@7", square(960).groups(960), 7),
            Workload::new("ResNeXt-50 conv2 3×3 in 32 groups 128@56", square(128).groups(32), 56),
            Workload::new("ResNeXt-50 conv3 3×3 in 32 groups 256@28", square(256).groups(32), 28),
        ]
    };
    for isa in Isa::available() {
        for layout in Layout::ALL {
            for mut workload in workloads() {
                workload.options = workload.options.layout(layout);
                workload.bench(c, isa, flops);
                workload.dynamic().bench(c, isa, flops);
            }
        }
    }
}

criterion_group! {
    name = kernels;
    config = Criterion::default().sample_size(10).without_plots();
    targets = tile, aggregate, layers
}
criterion_main!(kernels);

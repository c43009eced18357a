//! What layers cost on paper, against the paper's own figures.

use dyconv_core::{Activation, Attention, BatchNorm, Config, Cost, Options, Padding, Shape, Squash, hidden};

fn conv(inputs: usize, outputs: usize, kernel: usize, groups: usize) -> Options {
    Options::new(inputs, outputs)
        .kernel_size([kernel, kernel])
        .padding(Padding::Same)
        .groups(groups)
        .batch_norm(BatchNorm::PYTORCH)
        .activation(Activation::Relu6)
}

fn dynamic(options: Options) -> Options {
    options.experts(4).attention(Attention::mlp(hidden::paper(options.in_channels)))
}

fn cost(options: Options, extent: usize) -> Cost {
    let config: Config = options.build().unwrap();
    Cost::new(&config, Shape::new(1, config.in_channels(), extent, extent).unwrap()).unwrap()
}

/// MobileNetV2's channels: the nearest multiple of 8, at least 0.9 of what was asked.
fn channels(base: f64, width: f64) -> usize {
    let asked = base * width;
    let nearest = ((asked + 4.0) as usize / 8 * 8).max(8);
    if (nearest as f64) < 0.9 * asked { nearest + 8 } else { nearest }
}

/// Every convolution of DY-MobileNetV2: the three of each inverted residual are dynamic (K = 4, hidden Cin/4), the
/// stem, the last 1×1 and the classifier static. With the extent of its input.
fn dy_mobilenet_v2(width: f64, last_is_dynamic: bool) -> Vec<(Options, usize)> {
    let blocks = [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ];
    let mut inputs = channels(32.0, width);
    let mut extent = 112;
    let mut layers = vec![(conv(3, inputs, 3, 1).stride([2, 2]), 224)];
    for (expand, base, repeats, stride) in blocks {
        let outputs = channels(f64::from(base), width);
        for repeat in 0..repeats {
            let stride = if repeat == 0 { stride } else { 1 };
            let wide = inputs * expand;
            if expand > 1 {
                layers.push((dynamic(conv(inputs, wide, 1, 1)), extent));
            }
            layers.push((dynamic(conv(wide, wide, 3, wide)).stride([stride, stride]), extent));
            extent /= stride;
            layers.push((dynamic(conv(wide, outputs, 1, 1)), extent));
            inputs = outputs;
        }
    }
    let last = channels(1280.0, width.max(1.0));
    let layer = conv(inputs, last, 1, 1);
    layers.push((if last_is_dynamic { dynamic(layer) } else { layer }, extent));
    layers.push((Options::new(last, 1000).bias(true), 1));
    layers
}

fn millions(layers: &[(Options, usize)]) -> f64 {
    let total: u64 = layers.iter().map(|&(options, extent)| cost(options, extent).total().parameters).sum();
    total as f64 / 1e6
}

#[test]
fn dy_mobilenet_v2_has_the_papers_number_of_parameters() {
    for (width, static_last, dynamic_last) in
        [(1.0, 11.15, 12.40), (0.75, 7.01, 7.95), (0.5, 3.95, 4.57), (0.35, 2.69, 3.12)]
    {
        let found = millions(&dy_mobilenet_v2(width, false));
        assert!((found - static_last).abs() < 0.005_1, "×{width}: {found} M, not {static_last} M");
        let found = millions(&dy_mobilenet_v2(width, true));
        assert!((found - dynamic_last).abs() < 0.005_1, "×{width}: {found} M, not {dynamic_last} M");
    }
}

#[test]
fn dy_mobilenet_v2_needs_as_many_multiply_adds_as_counted_apart() {
    let layers = dy_mobilenet_v2(1.0, false);
    let sum = |of: fn(&Cost) -> u64| {
        layers.iter().map(|&(options, extent)| of(&cost(options, extent))).sum::<u64>() as f64 / 1e6
    };
    let pool = sum(|cost| cost.pool.multiply_adds);
    let rest = sum(|cost| cost.total().multiply_adds) - pool;
    assert!((rest - 310.2).abs() < 0.1, "{rest} M without the pool");
    assert!((rest + pool - 316.8).abs() < 0.1, "{} M with it", rest + pool);
}

#[test]
fn aggregation_over_convolution_is_experts_over_output_pixels() {
    for (extent, kernel, groups, experts) in [(7, 3, 1, 4), (4, 1, 1, 4), (1, 1, 1, 8), (14, 3, 64, 3)] {
        let options = conv(64, 64, kernel, groups).experts(experts).attention(Attention::Given);
        let cost = cost(options, extent);
        let ratio = cost.aggregate.multiply_adds as f64 / cost.convolve.multiply_adds as f64;
        assert_eq!(ratio, experts as f64 / (extent * extent) as f64);
    }
}

#[test]
fn every_stage_of_a_layer_by_hand() {
    let options = Options::new(8, 12).kernel_size([3, 3]).padding(Padding::Same).stride([2, 2]).experts(4);
    let options = options.bias(true).attention(Attention::mlp(2)).batch_norm(BatchNorm::KERAS);
    let config = options.build().unwrap();
    let cost = Cost::new(&config, Shape::new(3, 8, 6, 5).unwrap()).unwrap();
    let (n, pixels) = (3, 3 * 3);
    let kernel = 12 * 8 * 9 + 12;
    assert_eq!((cost.pool.parameters, cost.pool.multiply_adds), (0, n * 8 * 30));
    assert_eq!(cost.pool.bytes, 4 * (n * 8 * 30 + n * 8));
    assert_eq!(cost.attention.parameters, 2 * 8 + 2 + 4 * 2 + 4);
    assert_eq!(cost.attention.multiply_adds, n * (2 * 8 + 4 * 2));
    assert_eq!((cost.aggregate.parameters, cost.aggregate.multiply_adds), (4 * kernel, n * 4 * kernel));
    assert_eq!(cost.aggregate.bytes, 4 * (n * 4 * kernel + n * kernel));
    assert_eq!((cost.convolve.parameters, cost.convolve.multiply_adds), (2 * 12, n * pixels * 12 * 8 * 9));
    assert_eq!(cost.convolve.bytes, 4 * (n * 8 * 30 + n * 12 * pixels + n * kernel));
    let total = cost.total();
    assert_eq!(total.parameters, 30 + 4 * kernel + 24);
    let ratio = cost.ratio_to_static();
    assert_eq!(ratio.parameters, total.parameters as f64 / (kernel + 24) as f64);
    assert_eq!(ratio.multiply_adds, total.multiply_adds as f64 / (n * pixels * 12 * 8 * 9) as f64);
    assert_eq!(cost.resident_bytes, cost.convolve.bytes + 4 * total.parameters);
}

#[test]
fn static_and_given_layers_have_no_head() {
    let fixed = cost(conv(8, 8, 3, 1), 5);
    assert_eq!((fixed.pool, fixed.attention, fixed.aggregate), Default::default());
    assert_eq!(fixed.convolve.parameters, 8 * 8 * 9 + 16);
    assert_eq!(fixed.ratio_to_static().bytes, 1.0);
    let given = cost(conv(8, 8, 3, 1).experts(4).attention(Attention::Given), 5);
    assert_eq!((given.pool, given.attention), Default::default());
    let linear = Attention::Linear { squash: Squash::Sigmoid };
    assert_eq!(cost(conv(8, 8, 3, 1).experts(4).attention(linear), 5).attention.parameters, 4 * 8 + 4);
}

#[test]
fn figures_beyond_64_bits_saturate() {
    let options = Options::new(1 << 10, 1 << 20).kernel_size([1 << 5, 1 << 5]).padding(Padding::Same);
    let config = options.build().unwrap();
    let cost = Cost::new(&config, Shape::new(1, 1 << 10, 1 << 20, 1 << 20).unwrap()).unwrap();
    assert_eq!(cost.convolve.multiply_adds, u64::MAX);
    assert_eq!(cost.total().multiply_adds, u64::MAX);
}

#[test]
fn an_input_that_does_not_fit_has_no_cost() {
    let config = conv(8, 8, 3, 1).build().unwrap();
    assert!(Cost::new(&config, Shape::new(1, 7, 5, 5).unwrap()).is_err());
}

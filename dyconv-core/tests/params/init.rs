//! Starting values: their distributions, and that a seed always gives the same ones.

use dyconv_core::{
    Attention, BatchNorm, Config, Distribution, DyConv2d, Fan, Initializer, Initializers, Options, Params,
};

/// Experts of 64 → 32 channels in 2 groups, 5×3: 48 000 numbers each.
fn options() -> Options {
    Options::new(64, 50).groups(2).kernel_size([5, 6]).experts(2).bias(true).attention(Attention::mlp(300))
}

const FAN_IN: f64 = 32.0 * 30.0;
const FAN_OUT: f64 = 50.0 * 30.0;

fn config() -> Config {
    options().build().unwrap()
}

fn init(initializer: Initializer) -> Params {
    let initializers = Initializers { weight: initializer, ..Initializers::default() };
    Params::init(&config(), &initializers, 1).unwrap()
}

struct Moments {
    mean: f64,
    variance: f64,
    min: f64,
    max: f64,
}

fn moments(data: &[f32]) -> Moments {
    let n = data.len() as f64;
    let mean = data.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let variance = data.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
    let fold = |f: fn(f64, f64) -> f64, start| data.iter().fold(start, |a, &x| f(a, f64::from(x)));
    Moments { mean, variance, min: fold(f64::min, f64::INFINITY), max: fold(f64::max, f64::NEG_INFINITY) }
}

/// Mean and variance within 2 %: five standard errors of 96 000 draws and more.
#[track_caller]
fn assert_moments(data: &[f32], mean: f64, variance: f64) -> Moments {
    let found = moments(data);
    let std = variance.sqrt();
    assert!((found.mean - mean).abs() < 0.02 * std, "mean {} is not {mean}", found.mean);
    assert!((found.variance / variance - 1.0).abs() < 0.02, "variance {} is not {variance}", found.variance);
    found
}

#[test]
fn constants() {
    assert!(init(Initializer::Zeros).weight.iter().all(|&x| x == 0.0));
    assert!(init(Initializer::Ones).weight.iter().all(|&x| x == 1.0));
    assert!(init(Initializer::Constant { value: -0.3 }).weight.iter().all(|&x| x == -0.3));
}

#[test]
fn random_normal() {
    let found = assert_moments(&init(Initializer::RandomNormal { mean: 0.5, std: 0.02 }).weight, 0.5, 4e-4);
    // No cut: of 96 000 draws some lie beyond four deviations, and a few hundred beyond three.
    assert!(found.max > 0.5 + 4.0 * 0.02 && found.min < 0.5 - 3.5 * 0.02);
}

#[test]
fn random_uniform() {
    let found =
        assert_moments(&init(Initializer::RandomUniform { min: -0.1, max: 0.3 }).weight, 0.1, 0.16 / 12.0);
    assert!(found.min >= -0.1 - 1e-8 && found.min < -0.0999 && found.max <= 0.3 + 1e-8 && found.max > 0.2999);
}

#[test]
fn truncated_normal() {
    let std = 0.3;
    let cut = 0.879_625_661_034_239_8_f64;
    let weight = init(Initializer::TruncatedNormal { mean: 1.0, std }).weight;
    let found = assert_moments(&weight, 1.0, (std * cut).powi(2));
    assert!(found.min >= 1.0 - 2.0 * std - 1e-6 && found.max <= 1.0 + 2.0 * std + 1e-6);
    assert!(found.min < 1.0 - 1.99 * std && found.max > 1.0 + 1.99 * std);
}

#[test]
fn variance_scaling_has_the_variance_of_its_fans_per_expert() {
    let average = f64::midpoint(FAN_IN, FAN_OUT);
    let scaled = |scale, fan, distribution| Initializer::VarianceScaling { scale, fan, distribution };
    for (initializer, variance, limit) in [
        (Initializer::GLOROT_UNIFORM, 1.0 / average, 3f64.sqrt()),
        (Initializer::GLOROT_NORMAL, 1.0 / average, 2.0 / 0.879_625_661_034_239_8),
        (Initializer::HE_UNIFORM, 2.0 / FAN_IN, 3f64.sqrt()),
        (Initializer::HE_NORMAL, 2.0 / FAN_IN, 2.0 / 0.879_625_661_034_239_8),
        (Initializer::LECUN_UNIFORM, 1.0 / FAN_IN, 3f64.sqrt()),
        (Initializer::LECUN_NORMAL, 1.0 / FAN_IN, 2.0 / 0.879_625_661_034_239_8),
        (Initializer::TORCH_CONV, 1.0 / 3.0 / FAN_IN, 3f64.sqrt()),
        (scaled(0.5, Fan::Out, Distribution::Normal), 0.5 / FAN_OUT, f64::INFINITY),
    ] {
        let found = assert_moments(&init(initializer).weight, 0.0, variance);
        let (limit, std) = (limit * variance.sqrt(), variance.sqrt());
        assert!(found.max <= limit * 1.000_001 && found.min >= -limit * 1.000_001, "{initializer:?}");
        match limit.is_finite() {
            true => assert!(found.max > 0.99 * limit && found.min < -0.99 * limit, "{initializer:?}"),
            false => assert!(found.max > 3.5 * std && found.min < -3.5 * std),
        }
    }
}

#[test]
fn heads_and_biases_have_fans_of_their_own() {
    let initializers = Initializers {
        bias: Initializer::HE_UNIFORM,
        head_weight: Initializer::HE_UNIFORM,
        fc1_bias: Some(Initializer::HE_UNIFORM),
        ..Initializers::default()
    };
    let params = Params::init(&config(), &initializers, 3).unwrap();
    let limit = |fan_in: f64| (6.0 / fan_in).sqrt();
    let head = params.attention.unwrap();
    let fc1 = head.fc1.unwrap();
    for (name, data, limit) in [
        ("bias", params.bias.unwrap(), limit(50.0)),
        ("fc1.weight", fc1.weight, limit(64.0)),
        ("fc1.bias", fc1.bias.unwrap(), limit(300.0)),
        ("fc2.weight", head.fc2.weight, limit(300.0)),
    ] {
        let max = moments(&data).max.max(-moments(&data).min);
        assert!(max <= limit * 1.000_001 && max > 0.95 * limit, "{name}: {max} of {limit}");
    }
}

#[test]
fn absent_head_biases_stay_absent_and_batch_norm_starts_as_the_identity() {
    let config = options().batch_norm(BatchNorm::PYTORCH).build().unwrap();
    let initializers = Initializers { fc1_bias: None, ..Initializers::default() };
    let params = Params::init(&config, &initializers, 0).unwrap();
    let head = params.attention.as_ref().unwrap();
    assert_eq!(head.fc1.as_ref().unwrap().bias, None);
    assert_eq!(head.fc2.bias, Some(vec![0.0; 2]));
    let norm = params.batch_norm.as_ref().unwrap();
    assert_eq!((&norm.weight, &norm.bias), (&vec![1.0; 50], &vec![0.0; 50]));
    assert_eq!((&norm.running_mean, &norm.running_var), (&vec![0.0; 50], &vec![1.0; 50]));
    DyConv2d::new(config, params).unwrap();
}

#[test]
fn an_experts_numbers_depend_neither_on_how_many_there_are_nor_on_the_rest() {
    let with = |options: Options| {
        let initializers = Initializers { bias: Initializer::LECUN_NORMAL, ..Initializers::default() };
        Params::init(&options.build().unwrap(), &initializers, 5).unwrap()
    };
    let (two, three) = (with(options()), with(options().experts(3)));
    assert_eq!(two.weight, three.weight[..two.weight.len()]);
    assert_eq!(two.bias.as_ref().unwrap()[..], three.bias.as_ref().unwrap()[..100]);
    assert_eq!(with(options().bias(false).attention(Attention::Given)).weight, two.weight);
    let len = two.weight.len() / 2;
    assert_ne!(two.weight[..len], two.weight[len..]);
    assert_ne!(two.weight[..50], two.bias.unwrap()[..50]);
}

#[test]
fn seeds_matter_and_repeat() {
    let with = |seed| Params::init(&config(), &Initializers::default(), seed).unwrap();
    assert_eq!(with(1), with(1));
    assert_ne!(with(1), with(2));
    assert_ne!(with(0), with(1 << 63));
}

/// These numbers never change: a seed in someone's notes must mean the same layer for ever.
#[test]
fn the_stream_is_pinned() {
    let first = |initializer: Initializer| init(initializer).weight[..3].to_vec();
    assert_eq!(first(Initializer::RandomUniform { min: 0.0, max: 1.0 }), PINNED_UNIFORM);
    assert_eq!(first(Initializer::RandomNormal { mean: 0.0, std: 1.0 }), PINNED_NORMAL);
    let params = Params::init(&config(), &Initializers::default(), u64::MAX).unwrap();
    assert_eq!(params.weight[48_000..48_003], PINNED_SECOND_EXPERT);
    assert_eq!(params.attention.unwrap().fc2.weight[..3], PINNED_HEAD);
}

// Computed apart, from the published cipher.
const PINNED_UNIFORM: [f32; 3] = [0.381_489_43, 0.294_927_33, 0.798_254_25];
const PINNED_NORMAL: [f32; 3] = [-0.273_05, 1.546_660_7, 1.262_311_9];
const PINNED_SECOND_EXPERT: [f32; 3] = [-0.022_786_494, -0.018_389_152, 0.039_369_684];
const PINNED_HEAD: [f32; 3] = [0.034_115_49, -0.072_946_52, 0.012_991_646];

#[test]
fn impossible_numbers_are_refused() {
    let refusal = |initializer| {
        let initializers = Initializers { bias: initializer, ..Initializers::default() };
        Params::init(&config(), &initializers, 0).unwrap_err().to_string()
    };
    for (initializer, expected) in [
        (Initializer::Constant { value: f64::NAN }, "bias.value is NaN; expected a finite f32"),
        (
            Initializer::RandomNormal { mean: 0.0, std: -1.0 },
            "bias.std is -1; expected a finite f32, at least 0",
        ),
        (Initializer::TruncatedNormal { mean: 1e39, std: 1.0 }, "expected a finite f32"),
        (Initializer::RandomUniform { min: 1.0, max: 0.5 }, "bias.max is 0.5; expected at least min (1)"),
        (
            Initializer::VarianceScaling { scale: -1.0, fan: Fan::In, distribution: Distribution::Normal },
            "bias.scale is -1; expected a finite f32, at least 0",
        ),
    ] {
        let message = refusal(initializer);
        assert!(message.ends_with(expected), "{message}");
    }
}

#[test]
fn initializers_survive_json() {
    let initializers = Initializers {
        weight: Initializer::HE_NORMAL,
        bias: Initializer::TruncatedNormal { mean: 0.1, std: 1e-3 },
        head_weight: Initializer::RandomUniform { min: -1.0, max: 1.0 },
        fc1_bias: None,
        fc2_bias: Some(Initializer::Constant { value: 0.25 }),
    };
    let json = serde_json::to_string(&initializers).unwrap();
    assert_eq!(serde_json::from_str::<Initializers>(&json).unwrap(), initializers);
    assert!(json.contains(
        r#""weight":{"kind":"variance_scaling","scale":2.0,"fan":"in","distribution":"truncated_normal"}"#
    ));
}

//! `get_config` as Keras 2.3.1, tf-keras (both of its formats) and Keras 3 write it.

use std::path::Path;

use dyconv_core::keras::DyConv2D;
use dyconv_core::{Activation, Constraint, Distribution, Fan, Initializer, Layout, Padding, Regularizer};
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Layer {
    name: String,
    config: serde_json::Value,
}

const LIBRARIES: [&str; 5] = ["keras2", "tf_keras", "tf_keras_legacy", "keras3", "strings"];

fn layers(library: &str) -> Vec<Layer> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/foreign");
    let text = std::fs::read_to_string(folder.join(format!("keras_get_config_{library}.json"))).unwrap();
    serde_json::from_str::<File>(&text).unwrap().layers
}

fn plain() -> DyConv2D {
    DyConv2D::new(16, 3, 4).padding(Padding::Same)
}

/// What the layer of this name was made with, apart from rounding to f32 on the way.
fn expected(name: &str, library: &str) -> Option<DyConv2D> {
    let plain = plain();
    let both = |initializer: Initializer| {
        Some(plain.clone().kernel_initializer(initializer).bias_initializer(initializer))
    };
    let penalty = |l1, l2| {
        let all = Regularizer { l1, l2 };
        Some(plain.clone().kernel_regularizer(all).bias_regularizer(all).activity_regularizer(all))
    };
    let within = |set: Constraint| Some(plain.clone().kernel_constraint(set.clone()).bias_constraint(set));
    let activation = |activation| Some(plain.clone().activation(activation));
    match name {
        "defaults" => Some(plain),
        "geometry" => Some(
            DyConv2D::new(5, [5, 3], 7)
                .strides([2, 1])
                .data_format(Layout::Nchw)
                .use_bias(false)
                .bias_initializer(Initializer::Ones),
        ),
        "dilated" => {
            let mut layer = plain.dilation_rate([2, 3]);
            layer.trainable = false;
            Some(layer)
        }
        "initializer_Zeros" => both(Initializer::Zeros),
        "initializer_Ones" => both(Initializer::Ones),
        "initializer_Constant" => both(Initializer::Constant { value: 0.25 }),
        "initializer_RandomNormal" => both(Initializer::RandomNormal { mean: 0.5, std: 0.02 }),
        "initializer_RandomUniform" => both(Initializer::RandomUniform { min: -0.1, max: 0.2 }),
        "initializer_TruncatedNormal" => both(Initializer::TruncatedNormal { mean: 0.0, std: 0.3 }),
        "initializer_GlorotUniform" => both(Initializer::GLOROT_UNIFORM),
        "initializer_GlorotNormal" => both(Initializer::GLOROT_NORMAL),
        "initializer_HeUniform" => both(Initializer::HE_UNIFORM),
        "initializer_HeNormal" => both(Initializer::HE_NORMAL),
        "initializer_LecunUniform" => both(Initializer::LECUN_UNIFORM),
        "initializer_LecunNormal" => both(Initializer::LECUN_NORMAL),
        "initializer_VarianceScaling" => both(Initializer::VarianceScaling {
            scale: 0.5,
            fan: Fan::Average,
            distribution: Distribution::Uniform,
        }),
        "regularizer_L1" => penalty(0.01, 0.0),
        "regularizer_L2" => penalty(0.0, 0.0005),
        "regularizer_L1L2" => penalty(0.001, 0.002),
        "constraint_MaxNorm" => within(Constraint::MaxNorm { max: 2.0, axes: vec![0] }),
        "constraint_NonNeg" => within(Constraint::NonNeg),
        "constraint_UnitNorm" => within(Constraint::UnitNorm { axes: vec![1] }),
        "constraint_MinMaxNorm" => {
            within(Constraint::MinMaxNorm { min: 0.5, max: 1.5, rate: 0.9, axes: vec![0] })
        }
        "activation_linear" => activation(Activation::None),
        "activation_relu" => activation(Activation::Relu),
        "activation_relu6" => activation(Activation::Relu6),
        "activation_leaky_relu" => activation(Activation::LeakyRelu { slope: 0.2 }),
        "activation_LeakyReLU_layer" => activation(Activation::LeakyRelu { slope: 0.3 }),
        "activation_sigmoid" => activation(Activation::Sigmoid),
        "activation_tanh" => activation(Activation::Tanh),
        "activation_hard_sigmoid" if library == "keras3" => activation(Activation::HardSigmoid),
        "activation_hard_sigmoid" => activation(Activation::KerasHardSigmoid),
        "activation_hard_silu" => activation(Activation::HardSwish),
        "activation_silu" | "activation_swish" => activation(Activation::Silu),
        "activation_gelu" => activation(Activation::Gelu),
        "activation_elu" => activation(Activation::Elu),
        _ => None,
    }
}

/// Without what the expectation doesn't know: seeds, and what f32 rounding does to decimal numbers.
fn rounded(mut layer: DyConv2D) -> DyConv2D {
    let single = |x: f64| f64::from(x as f32);
    layer.kernel_initializer.seed = None;
    layer.bias_initializer.seed = None;
    for penalty in
        [&mut layer.kernel_regularizer, &mut layer.bias_regularizer, &mut layer.activity_regularizer]
    {
        *penalty = penalty.map(|p| Regularizer { l1: single(p.l1), l2: single(p.l2) });
    }
    if let Activation::LeakyRelu { slope } = layer.activation {
        layer.activation = Activation::LeakyRelu { slope: single(slope) };
    }
    layer
}

#[test]
fn every_layer_means_what_it_was_made_with() {
    let mut compared = 0;
    for library in LIBRARIES {
        for Layer { name, config } in layers(library) {
            let Some(expected) = expected(&name, library) else { continue };
            let layer = DyConv2D::from_json(&config.to_string()).unwrap();
            assert_eq!(rounded(layer), rounded(expected), "{library}: {name}");
            compared += 1;
        }
    }
    assert!(compared > 120, "only {compared}");
}

#[test]
fn every_layer_survives_writing_and_reading() {
    for library in LIBRARIES {
        for Layer { name, config } in layers(library) {
            let Ok(layer) = DyConv2D::from_json(&config.to_string()) else {
                assert!(name.starts_with("unusual_"), "{library}: {name}");
                continue;
            };
            if layer.activation == Activation::HardSigmoid {
                assert!(layer.to_json().is_err(), "Keras 2 has no such function");
                continue;
            }
            let json = layer.to_json().unwrap();
            assert_eq!(DyConv2D::from_json(&json).unwrap(), layer, "{library}: {name}");
        }
    }
}

#[test]
fn what_has_no_counterpart_is_refused_by_name() {
    let mut refused = 0;
    for library in LIBRARIES {
        for Layer { name, config } in layers(library) {
            let Some(class) = name.strip_prefix("unusual_") else { continue };
            let message = DyConv2D::from_json(&config.to_string()).unwrap_err().to_string();
            assert!(message.contains(&format!("is {class}; expected")), "{library}: {message}");
            refused += 1;
        }
    }
    assert!(refused >= 9, "only {refused}");
}

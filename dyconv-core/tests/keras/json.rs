//! `get_config` in and out.

use dyconv_core::keras::{DyConv2D, KerasInitializer};
use dyconv_core::{Activation, Constraint, Distribution, Fan, Initializer, Layout, Padding, Regularizer};
use serde_json::{Value, json};

/// What Keras 2 writes for the layer with default arguments.
fn config() -> Value {
    json!({
        "name": "dy_conv2d_1", "trainable": true, "dtype": "float32",
        "filters": 16, "kernel_size": [3, 3], "num_experts": 4, "strides": [1, 1], "padding": "same",
        "data_format": "channels_last", "dilation_rate": [1, 1], "activation": "linear", "use_bias": true,
        "kernel_initializer": {"class_name": "VarianceScaling", "config":
            {"scale": 1.0, "mode": "fan_avg", "distribution": "uniform", "seed": null}},
        "bias_initializer": {"class_name": "Zeros", "config": {}},
        "kernel_regularizer": null, "bias_regularizer": null, "activity_regularizer": null,
        "kernel_constraint": null, "bias_constraint": null, "axis": -1
    })
}

fn with(key: &str, value: Value) -> Value {
    let mut config = config();
    config[key] = value;
    config
}

fn read(config: &Value) -> DyConv2D {
    DyConv2D::from_json(&config.to_string()).unwrap()
}

#[track_caller]
fn refused(config: &Value, expected: &str) {
    let message = DyConv2D::from_json(&config.to_string()).unwrap_err().to_string();
    assert!(message.starts_with(expected), "got: {message}\nexpected: {expected}");
}

#[track_caller]
fn survives(layer: &DyConv2D) {
    let json = layer.to_json().unwrap();
    assert_eq!(DyConv2D::from_json(&json).unwrap(), *layer, "{json}");
    assert_eq!(serde_json::from_value::<DyConv2D>(serde_json::to_value(layer).unwrap()).unwrap(), *layer);
}

#[test]
fn the_layer_as_keras_2_writes_it() {
    let layer = read(&config());
    let mut expected = DyConv2D::new(16, 3, 4).padding(Padding::Same);
    expected.name = "dy_conv2d_1".into();
    assert_eq!(layer, expected);
    survives(&layer);
}

#[test]
fn what_is_written() {
    let layer = DyConv2D::new(16, [3, 1], 4)
        .data_format(Layout::Nchw)
        .activation(Activation::LeakyRelu { slope: 0.3 })
        .kernel_regularizer(Regularizer { l1: 0.0, l2: 1e-4 })
        .bias_constraint(Constraint::NonNeg);
    let written: Value = serde_json::from_str(&layer.to_json().unwrap()).unwrap();
    assert_eq!(
        written,
        json!({
            "name": "dy_conv2d", "trainable": true, "dtype": "float32",
            "filters": 16, "kernel_size": [3, 1], "num_experts": 4, "strides": [1, 1], "padding": "valid",
            "data_format": "channels_first", "dilation_rate": [1, 1],
            "activation": {"class_name": "LeakyReLU", "config": {"alpha": 0.3}}, "use_bias": true,
            "kernel_initializer": {"class_name": "GlorotUniform", "config": {"seed": null}},
            "bias_initializer": {"class_name": "Zeros", "config": {}},
            "kernel_regularizer": {"class_name": "L1L2", "config": {"l1": 0.0, "l2": 1e-4}},
            "bias_regularizer": null, "activity_regularizer": null, "kernel_constraint": null,
            "bias_constraint": {"class_name": "NonNeg", "config": {}}, "axis": 1
        })
    );
}

#[test]
fn activations_by_name_and_as_layers() {
    let layer = |class: &str, config: Value| json!({"class_name": class, "config": config});
    for (value, expected) in [
        (json!(null), Activation::None),
        (json!("linear"), Activation::None),
        (json!("relu"), Activation::Relu),
        (json!("relu6"), Activation::Relu6),
        (json!("leaky_relu"), Activation::LeakyRelu { slope: 0.2 }),
        (json!("sigmoid"), Activation::Sigmoid),
        (json!("tanh"), Activation::Tanh),
        (json!("hard_sigmoid"), Activation::KerasHardSigmoid),
        (json!("hard_silu"), Activation::HardSwish),
        (json!("silu"), Activation::Silu),
        (json!("swish"), Activation::Silu),
        (json!("gelu"), Activation::Gelu),
        (json!("elu"), Activation::Elu),
        (layer("LeakyReLU", json!({})), Activation::LeakyRelu { slope: 0.3 }),
        (layer("LeakyReLU", json!({"name": "l", "alpha": 0.1})), Activation::LeakyRelu { slope: 0.1 }),
        (layer("LeakyReLU", json!({"negative_slope": 0.05})), Activation::LeakyRelu { slope: 0.05 }),
        (
            layer("ReLU", json!({"max_value": null, "negative_slope": 0.0, "threshold": 0.0})),
            Activation::Relu,
        ),
        (layer("ReLU", json!({"max_value": 6.0})), Activation::Relu6),
        (layer("ReLU", json!({"negative_slope": 0.5})), Activation::LeakyRelu { slope: 0.5 }),
        (layer("ELU", json!({"alpha": 1.0})), Activation::Elu),
        (layer("Activation", json!({"activation": "tanh", "name": "a"})), Activation::Tanh),
        (
            json!({"module": "builtins", "class_name": "function", "config": "gelu", "registered_name": "function"}),
            Activation::Gelu,
        ),
    ] {
        let layer = read(&with("activation", value));
        assert_eq!(layer.activation, expected);
        survives(&layer);
    }
}

#[test]
fn activations_without_a_counterpart_are_refused_by_name() {
    let layer = |class: &str, config: Value| json!({"class_name": class, "config": config});
    for (value, expected) in [
        (json!("softmax"), "activation is softmax; expected linear, relu,"),
        (json!("selu"), "activation is selu; expected"),
        (json!("LeakyReLU"), "activation is LeakyReLU; expected"),
        (json!(3), "activation is 3; expected null, a name, or an object"),
        (layer("PReLU", json!({})), "activation is PReLU; expected"),
        (layer("ELU", json!({"alpha": 0.5})), "activation.alpha is 0.5; expected 1"),
        (layer("ReLU", json!({"max_value": 1.0})), "activation.max_value is 1; expected null, or 6"),
        (layer("ReLU", json!({"threshold": 0.1})), "activation.threshold is 0.1; expected 0"),
        (layer("LeakyReLU", json!({"alpha": "x"})), "activation.alpha is \"x\"; expected a number"),
        (layer("LeakyReLU", json!({"beta": 1})), "activation.beta is present; expected no such key"),
        (
            json!({"class_name": "LeakyReLU"}),
            "activation is {\"class_name\":\"LeakyReLU\"}; expected null, a name",
        ),
    ] {
        refused(&with("activation", value), expected);
    }
    let layer = DyConv2D::new(1, 1, 1).activation(Activation::HardSigmoid);
    let message = layer.to_json().unwrap_err().to_string();
    assert!(message.starts_with("activation is hard_sigmoid; expected one that Keras 2 has"), "{message}");
}

#[test]
fn initializers_by_name_and_as_objects() {
    let scaling = |scale, fan, distribution| Initializer::VarianceScaling { scale, fan, distribution };
    for (value, expected) in [
        (json!("zeros"), Initializer::Zeros),
        (json!("Ones"), Initializer::Ones),
        (json!("constant"), Initializer::Constant { value: 0.0 }),
        (json!("normal"), Initializer::RandomNormal { mean: 0.0, std: 0.05 }),
        (json!("RandomUniform"), Initializer::RandomUniform { min: -0.05, max: 0.05 }),
        (json!("truncated_normal"), Initializer::TruncatedNormal { mean: 0.0, std: 0.05 }),
        (json!("variance_scaling"), Initializer::LECUN_NORMAL),
        (json!("glorot_uniform"), Initializer::GLOROT_UNIFORM),
        (json!("GlorotNormal"), Initializer::GLOROT_NORMAL),
        (json!("he_uniform"), Initializer::HE_UNIFORM),
        (json!("HeNormal"), Initializer::HE_NORMAL),
        (json!("lecun_uniform"), Initializer::LECUN_UNIFORM),
        (json!("LecunNormal"), Initializer::LECUN_NORMAL),
        (
            json!({"class_name": "VarianceScaling", "config": {"scale": 0.5, "mode": "fan_out", "distribution": "untruncated_normal"}}),
            scaling(0.5, Fan::Out, Distribution::Normal),
        ),
    ] {
        let layer = read(&with("bias_initializer", value));
        assert_eq!(layer.bias_initializer, KerasInitializer { initializer: expected, seed: None });
        survives(&layer);
    }
    let seeded = json!({"class_name": "HeNormal", "config": {"seed": 7}});
    let layer = read(&with("kernel_initializer", seeded));
    assert_eq!(
        layer.kernel_initializer,
        KerasInitializer { initializer: Initializer::HE_NORMAL, seed: Some(7) }
    );
    survives(&layer);
}

#[test]
fn objects_without_a_counterpart_are_refused_by_name() {
    let object = |class: &str, config: Value| json!({"class_name": class, "config": config});
    for (key, value, expected) in [
        ("kernel_initializer", json!(null), "kernel_initializer is null; expected an initializer"),
        (
            "kernel_initializer",
            json!("orthogonal"),
            "kernel_initializer is orthogonal; expected zeros, ones,",
        ),
        (
            "bias_initializer",
            object("Identity", json!({"gain": 1.0})),
            "bias_initializer is Identity; expected",
        ),
        (
            "kernel_initializer",
            object("VarianceScaling", json!({"mode": "fan_max"})),
            "mode is fan_max; expected fan_in,",
        ),
        (
            "kernel_initializer",
            object("VarianceScaling", json!({"distribution": "cauchy"})),
            "distribution is cauchy",
        ),
        (
            "kernel_initializer",
            object("GlorotUniform", json!({"input_axes": [0]})),
            "kernel_initializer.input_axes is [0]; expected null",
        ),
        (
            "kernel_initializer",
            object("RandomNormal", json!({"stddev": -1})),
            "kernel_initializer.std is -1; expected",
        ),
        (
            "kernel_initializer",
            object("HeNormal", json!({"seed": 0.5})),
            "kernel_initializer.seed is 0.5; expected an integer",
        ),
        (
            "kernel_initializer",
            object("HeNormal", json!({"gain": 2})),
            "kernel_initializer.gain is present; expected no such key",
        ),
        (
            "kernel_regularizer",
            json!("orthogonal_regularizer"),
            "kernel_regularizer is orthogonal_regularizer; expected l1, l2 or l1_l2",
        ),
        ("bias_regularizer", object("L2", json!({"l2": -0.1})), "bias_regularizer.l2 is -0.1; expected"),
        ("activity_regularizer", object("L1", json!({"l2": 0.1})), "activity_regularizer.l2 is present"),
        (
            "kernel_constraint",
            json!("radial_constraint"),
            "kernel_constraint is radial_constraint; expected max_norm,",
        ),
        (
            "bias_constraint",
            object("MinMaxNorm", json!({"rate": 2})),
            "bias_constraint.rate is 2; expected a number from 0 to 1",
        ),
        (
            "bias_constraint",
            object("UnitNorm", json!({"axis": [0.5]})),
            "bias_constraint.axis is [0.5]; expected an integer or",
        ),
    ] {
        refused(&with(key, value), expected);
    }
}

#[test]
fn regularizers_and_constraints() {
    for (value, l1, l2) in [
        (json!("l1"), 0.01, 0.0),
        (json!("L2"), 0.0, 0.01),
        (json!("l1_l2"), 0.01, 0.01),
        (json!("L1L2"), 0.0, 0.0),
        (json!({"class_name": "L1", "config": {"l1": 0.5}}), 0.5, 0.0),
        (json!({"class_name": "L1L2", "config": {"l1": 0.25, "l2": 2}}), 0.25, 2.0),
    ] {
        for key in ["kernel_regularizer", "bias_regularizer", "activity_regularizer"] {
            let layer = read(&with(key, value.clone()));
            let all = [layer.kernel_regularizer, layer.bias_regularizer, layer.activity_regularizer];
            let there: Vec<_> = all.into_iter().flatten().collect();
            assert_eq!(there, [Regularizer { l1, l2 }]);
            survives(&layer);
        }
    }
    for (value, expected) in [
        (json!("max_norm"), Constraint::MaxNorm { max: 2.0, axes: vec![0] }),
        (json!("NonNeg"), Constraint::NonNeg),
        (
            json!({"class_name": "UnitNorm", "config": {"axis": [0, 1, 2]}}),
            Constraint::UnitNorm { axes: vec![0, 1, 2] },
        ),
        (json!("min_max_norm"), Constraint::MinMaxNorm { min: 0.0, max: 1.0, rate: 1.0, axes: vec![0] }),
    ] {
        let layer = read(&with("kernel_constraint", value.clone()));
        assert_eq!(
            (layer.kernel_constraint.as_ref(), layer.bias_constraint.as_ref()),
            (Some(&expected), None)
        );
        survives(&layer);
        survives(&read(&with("bias_constraint", value)));
    }
}

#[test]
fn plain_arguments() {
    for (key, value, expected) in [
        ("dtype", json!("float16"), "dtype is \"float16\"; expected float32"),
        ("dtype", json!({"class_name": "DTypePolicy", "config": {"name": "mixed_float16"}}), "dtype is {"),
        ("padding", json!("causal"), "padding is causal; expected valid or same"),
        ("data_format", json!("nchw"), "data_format is nchw; expected channels_first or channels_last"),
        ("axis", json!(1), "axis is 1; expected -1, the channels of data_format channels_last"),
        ("kernel_size", json!([3, 3, 3]), "Keras config: an integer ≥ 0 or a pair of them"),
        ("strides", json!(-1), "Keras config: an integer ≥ 0 or a pair of them"),
        ("filters", json!(1.5), "Keras config: invalid type: floating point"),
        ("groups", json!(2), "Keras config: unknown field `groups`"),
        ("kernel_initialiser", json!("zeros"), "Keras config: unknown field `kernel_initialiser`"),
    ] {
        refused(&with(key, value), expected);
    }
    for key in ["filters", "kernel_size", "num_experts"] {
        let mut config = config();
        config.as_object_mut().unwrap().remove(key);
        refused(&config, &format!("Keras config: missing field `{key}`"));
    }
    let short =
        read(&json!({"filters": 2, "kernel_size": 5, "num_experts": 3, "strides": 2, "data_format": null}));
    assert_eq!(short, DyConv2D::new(2, 5, 3).strides(2));
    let message = DyConv2D::from_json("{\"filters\": 1, \"filters\": 2}").unwrap_err().to_string();
    assert!(message.starts_with("Keras config: duplicate field `filters`"), "{message}");
}

#[test]
fn keras_3_means_its_own_hard_sigmoid() {
    let mut config = with("activation", json!("hard_sigmoid"));
    assert_eq!(read(&config).activation, Activation::KerasHardSigmoid);
    config["dtype"] = json!({"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}, "registered_name": null});
    assert_eq!(read(&config).activation, Activation::HardSigmoid);
}

//! The constructor and what it means.

use dyconv_core::keras::{DyConv2D, KerasInitializer};
use dyconv_core::{
    Activation, Attention, BatchNorm, Constraint, DyConv2d, Initializer, Layout, Options, Padding, Params,
    Regularizer, Squash,
};

fn layer() -> DyConv2D {
    DyConv2D::new(16, 3, 4)
}

#[test]
fn defaults_are_keras_s() {
    let config = layer().build(8).unwrap();
    let expected = Options::new(8, 16)
        .kernel_size([3, 3])
        .experts(4)
        .bias(true)
        .layout(Layout::Nhwc)
        .attention(Attention::Mlp { hidden: 4, squash: Squash::Softmax { temperature: 1.0 } })
        .batch_norm(BatchNorm { epsilon: 1e-3, keep: 0.99, unbiased: false });
    assert_eq!(config, expected.build().unwrap());
    let initializers = layer().initializers();
    assert_eq!((initializers.weight, initializers.bias), (Initializer::GLOROT_UNIFORM, Initializer::Zeros));
    assert_eq!(layer().name, "dy_conv2d");
    assert!(layer().trainable && layer().kernel_regularizer.is_none() && layer().bias_constraint.is_none());
}

#[test]
fn every_argument_arrives() {
    let layer = DyConv2D::new(5, [5, 3], 7)
        .strides([2, 1])
        .padding(Padding::Same)
        .data_format(Layout::Nchw)
        .dilation_rate([1, 2])
        .activation(Activation::Tanh)
        .use_bias(false)
        .kernel_initializer(Initializer::HE_NORMAL)
        .bias_initializer(Initializer::Ones)
        .axis(1);
    let config = layer.build(2).unwrap();
    let expected = Options::new(2, 5)
        .kernel_size([5, 3])
        .stride([2, 1])
        .padding(Padding::Same)
        .dilation([1, 2])
        .experts(7)
        .layout(Layout::Nchw)
        .attention(Attention::mlp(7))
        .batch_norm(BatchNorm::KERAS)
        .activation(Activation::Tanh);
    assert_eq!(config, expected.build().unwrap());
    let layer = layer.use_bias(true);
    let config = layer.build(2).unwrap();
    let params = Params::init(&config, &layer.initializers(), 0).unwrap();
    assert_eq!(params.bias.as_ref().unwrap()[..], [1.0; 35]);
    DyConv2d::new(config, params).unwrap();
}

#[test]
fn impossible_arguments_are_refused_by_name() {
    let negative = Regularizer { l1: -1.0, l2: 0.0 };
    let crossed = Constraint::MinMaxNorm { min: 2.0, max: 1.0, rate: 1.0, axes: vec![0] };
    let hasty = Constraint::MinMaxNorm { min: 0.0, max: 1.0, rate: 1.5, axes: vec![0] };
    for (layer, expected) in [
        (DyConv2D::new(0, 3, 4), "out_channels is 0; expected an integer from 1 to 2147483647"),
        (DyConv2D::new(8, [3, 0], 4), "kernel_size[1] is 0; expected an integer from 1 to 2147483647"),
        (DyConv2D::new(8, 3, 0), "experts is 0; expected an integer from 1 to 2147483647"),
        (layer().strides(0), "stride[0] is 0; expected an integer from 1 to 2147483647"),
        (
            layer().padding(Padding::symmetric([1, 1])),
            "padding is explicit; expected valid or same, as in the Keras layer",
        ),
        (layer().axis(1), "axis is 1; expected -1, the channels of data_format channels_last"),
        (layer().axis(2), "axis is 2; expected -1, the channels of data_format channels_last"),
        (
            layer().data_format(Layout::Nchw).axis(-1),
            "axis is -1; expected 1, the channels of data_format channels_first",
        ),
        (
            layer().kernel_regularizer(negative),
            "kernel_regularizer.l1 is -1; expected a finite f32, at least 0",
        ),
        (
            layer().activity_regularizer(Regularizer { l1: 0.0, l2: f64::NAN }),
            "activity_regularizer.l2 is NaN; expected a finite f32, at least 0",
        ),
        (layer().bias_constraint(crossed), "bias_constraint.max is 1; expected a finite f32, at least 2"),
        (layer().kernel_constraint(hasty), "kernel_constraint.rate is 1.5; expected a number from 0 to 1"),
        (
            layer().bias_initializer(Initializer::RandomNormal { mean: 0.0, std: -0.5 }),
            "bias_initializer.std is -0.5; expected a finite f32, at least 0",
        ),
    ] {
        assert_eq!(layer.build(3).unwrap_err().to_string(), expected);
    }
    for axis in [-1, 3] {
        layer().axis(axis).build(3).unwrap();
    }
    for axis in [1, -3] {
        layer().data_format(Layout::Nchw).axis(axis).build(3).unwrap();
    }
}

#[test]
fn configurations_come_back_as_arguments() {
    for layer in [
        layer(),
        layer().strides([2, 3]).dilation_rate(2).padding(Padding::Same).use_bias(false),
        layer().data_format(Layout::Nchw).activation(Activation::KerasHardSigmoid),
    ] {
        assert_eq!(DyConv2D::from_config(&layer.build(6).unwrap()).unwrap(), layer);
    }
}

#[test]
fn what_the_keras_layer_cannot_say_is_refused_by_name() {
    let good = layer().options(8);
    let mlp = |hidden, temperature| Attention::Mlp { hidden, squash: Squash::Softmax { temperature } };
    for (options, expected) in [
        (good.groups(2), "groups is 2; expected 1, as in the Keras layer"),
        (good.padding(Padding::symmetric([1, 1])), "padding is explicit; expected valid or same"),
        (good.attention(mlp(2, 1.0)), r#"attention is {"kind":"mlp","hidden":2,"#),
        (
            good.attention(mlp(4, 30.0)),
            r#"attention is {"kind":"mlp","hidden":4,"squash":"softmax","temperature":30.0}; expected {"kind":"mlp","hidden":4,"squash":"softmax","temperature":1.0}, as in the Keras layer"#,
        ),
        (good.attention(Attention::Given), r#"attention is {"kind":"given"}; expected {"kind":"mlp""#),
        (good.batch_norm(None), r#"batch_norm is null; expected {"epsilon":0.001,"keep":0.99}, as"#),
        (good.batch_norm(BatchNorm::PYTORCH), r#"batch_norm is {"epsilon":0.00001,"#),
        (
            good.activation(Activation::HardSigmoid),
            "activation is hard_sigmoid; expected one that Keras 2 has; its hard_sigmoid is clip(0.2x + 0.5, 0, 1)",
        ),
    ] {
        let message = DyConv2D::from_config(&options.build().unwrap()).unwrap_err().to_string();
        assert!(message.starts_with(expected), "{message}");
    }
    let seeded = KerasInitializer { initializer: Initializer::HE_NORMAL, seed: Some(3) };
    assert_ne!(layer().kernel_initializer(seeded), layer().kernel_initializer(Initializer::HE_NORMAL));
}

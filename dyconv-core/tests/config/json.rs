//! A configuration's JSON, in and out.

use dyconv_core::{Activation, Attention, BatchNorm, Config, Layout, Options, Padding, Squash};
use proptest::prelude::*;

use crate::options::options;

fn attention() -> impl Strategy<Value = Option<Attention>> {
    let squash = prop_oneof![
        Just(Squash::Sigmoid),
        (1e-3..1e3f64).prop_map(|temperature| Squash::Softmax { temperature }),
    ];
    prop_oneof![
        Just(None),
        Just(Some(Attention::Given)),
        squash.clone().prop_map(|squash| Some(Attention::Linear { squash })),
        (1..9usize, squash).prop_map(|(hidden, squash)| Some(Attention::Mlp { hidden, squash })),
    ]
}

fn any_options() -> impl Strategy<Value = Options> {
    let padding = prop_oneof![
        Just(Padding::Valid),
        Just(Padding::Same),
        any::<[u8; 4]>().prop_map(|p| {
            let [top, bottom, left, right] = p.map(usize::from);
            Padding::Explicit { top, bottom, left, right }
        }),
    ];
    let activation = prop_oneof![
        prop::sample::select(Activation::ALL.to_vec()),
        (-2.0..2.0f64).prop_map(|slope| Activation::LeakyRelu { slope }),
    ];
    let norm = prop::option::of(
        (1e-8..1.0f64, 0.0..=1.0f64, any::<bool>()).prop_map(|(epsilon, keep, unbiased)| BatchNorm {
            epsilon,
            keep,
            unbiased,
        }),
    );
    let pair = || [1..20usize, 1..20usize];
    let channels = (1..5usize, 1..5usize, 1..5usize);
    (
        (channels, 1..9usize, attention(), padding),
        (activation, norm, any::<[bool; 2]>()),
        (pair(), pair(), pair()),
    )
        .prop_map(
            |((channels, experts, attention, padding), (activation, norm, [bias, nhwc]), pairs)| {
                let (groups, inputs, outputs) = channels;
                Options::new(inputs * groups, outputs * groups)
                    .groups(groups)
                    .experts(if attention.is_none() { 1 } else { experts })
                    .attention(attention)
                    .padding(padding)
                    .activation(activation)
                    .batch_norm(norm)
                    .bias(bias)
                    .layout(if nhwc { Layout::Nhwc } else { Layout::Nchw })
                    .kernel_size(pairs.0)
                    .stride(pairs.1)
                    .dilation(pairs.2)
            },
        )
}

proptest! {
    #[test]
    fn configurations_survive_json(options in any_options()) {
        let config = options.build().unwrap();
        let json = serde_json::to_string(&config).unwrap();
        prop_assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), config);
        prop_assert_eq!(serde_json::from_str::<Options>(&json).unwrap(), options);
    }
}

#[test]
fn the_words_of_the_json_form() {
    let config = options().build().unwrap();
    let json: serde_json::Value = serde_json::to_value(config).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "in_channels": 6, "out_channels": 8, "kernel_size": [3, 2], "stride": [2, 1], "dilation": [1, 2],
            "padding": {"top": 1, "bottom": 2, "left": 3, "right": 0}, "groups": 2, "experts": 3, "bias": true,
            "layout": "nhwc",
            "attention": {"kind": "mlp", "hidden": 4, "squash": "softmax", "temperature": 1.0},
            "batch_norm": {"epsilon": 1e-5, "keep": 0.9, "unbiased": true}, "activation": "hard_swish"
        })
    );
}

#[test]
fn json_goes_through_the_proof() {
    let json = |key: &str, value: serde_json::Value| {
        let mut json = serde_json::to_value(options()).unwrap();
        json[key] = value;
        serde_json::from_value::<Config>(json).unwrap_err().to_string()
    };
    for (key, value, expected) in [
        (
            "groups",
            serde_json::json!(4),
            "groups is 4; expected a divisor of in_channels (6) and out_channels (8)",
        ),
        ("stride", serde_json::json!([0, 1]), "stride[0] is 0; expected an integer from 1"),
        ("attention", serde_json::json!(null), "attention is null; expected a head"),
        (
            "attention",
            serde_json::json!({"kind": "linear", "squash": "softmax"}),
            "attention.temperature is absent; expected a number, since squash is softmax",
        ),
        (
            "attention",
            serde_json::json!({"kind": "linear", "squash": "sigmoid", "temperature": 1.0}),
            "attention.temperature is 1; expected none, since squash is sigmoid",
        ),
        ("strides", serde_json::json!([1, 1]), "unknown field `strides`"),
        ("padding", serde_json::json!("full"), "did not match any variant"),
        ("batch_norm", serde_json::json!({"epsilon": 1e-5, "keep": 0.9, "momentum": 0.1}), "unknown field"),
    ] {
        let message = json(key, value);
        assert!(message.contains(expected), "{message}");
    }
}

//! Every impossible option and the message it gets.

use dyconv_core::{
    Activation, Attention, BatchNorm, Config, Error, Layout, Options, Padding, Squash, hidden,
};

/// A layer with every option away from its default.
pub(crate) fn options() -> Options {
    Options::new(6, 8)
        .kernel_size([3, 2])
        .stride([2, 1])
        .dilation([1, 2])
        .padding(Padding::Explicit { top: 1, bottom: 2, left: 3, right: 0 })
        .groups(2)
        .experts(3)
        .bias(true)
        .layout(Layout::Nhwc)
        .attention(Attention::mlp(4))
        .batch_norm(BatchNorm::PYTORCH)
        .activation(Activation::HardSwish)
}

const EXTENT: &str = "an integer from 1 to 2147483647";
const HUGE: usize = i32::MAX as usize;

#[track_caller]
fn refused(options: Options, parameter: &str, value: &str, expected: &str) {
    let error = options.build().unwrap_err();
    assert_eq!(
        error,
        Error::Invalid { parameter: parameter.into(), value: value.into(), expected: expected.into() }
    );
    assert_eq!(error.to_string(), format!("{parameter} is {value}; expected {expected}"));
}

#[test]
fn extents_must_be_from_1_to_what_a_gpu_can_index() {
    type Set = fn(usize) -> Options;
    let all: [(&str, Set); 12] = [
        ("in_channels", |n| Options { in_channels: n, ..options() }),
        ("out_channels", |n| Options { out_channels: n, ..options() }),
        ("kernel_size[0]", |n| options().kernel_size([n, 1])),
        ("kernel_size[1]", |n| options().kernel_size([1, n])),
        ("stride[0]", |n| options().stride([n, 1])),
        ("stride[1]", |n| options().stride([1, n])),
        ("dilation[0]", |n| options().dilation([n, 1])),
        ("dilation[1]", |n| options().dilation([1, n])),
        ("groups", |n| options().groups(n)),
        ("experts", |n| options().experts(n)),
        ("attention.hidden", |n| options().attention(Attention::mlp(n))),
        ("attention.hidden", |n| options().attention(Attention::Mlp { hidden: n, squash: Squash::Sigmoid })),
    ];
    for (name, set) in all {
        for value in [0, HUGE + 1, usize::MAX] {
            refused(set(value), name, &value.to_string(), EXTENT);
        }
    }
}

#[test]
fn padding_may_be_large_but_not_beyond_what_a_gpu_can_index() {
    let wide = |top, bottom, left, right| Padding::Explicit { top, bottom, left, right };
    for (name, padding) in [
        ("padding.top", wide(HUGE + 1, 0, 0, 0)),
        ("padding.bottom", wide(0, HUGE + 1, 0, 0)),
        ("padding.left", wide(0, 0, HUGE + 1, 0)),
        ("padding.right", wide(0, 0, 0, HUGE + 1)),
    ] {
        refused(options().padding(padding), name, "2147483648", "at most 2147483647");
    }
    options().padding(wide(HUGE, HUGE, HUGE, HUGE)).build().unwrap();
}

#[test]
fn groups_must_divide_channels() {
    for (inputs, outputs, groups) in [(6, 8, 4), (6, 8, 3), (8, 6, 4), (5, 5, 2), (4, 4, 8)] {
        let expected = format!("a divisor of in_channels ({inputs}) and out_channels ({outputs})");
        let options = Options::new(inputs, outputs).groups(groups);
        refused(options, "groups", &groups.to_string(), &expected);
    }
    for groups in [1, 2] {
        options().groups(groups).build().unwrap();
    }
}

#[test]
fn several_experts_need_attention_and_one_may_have_it() {
    for experts in [2, 7] {
        let expected = format!("a head or `given`, since there are {experts} experts");
        refused(options().experts(experts).attention(None), "attention", "null", &expected);
    }
    options().experts(1).attention(None).build().unwrap();
    options().experts(1).build().unwrap();
    options().experts(1).attention(Attention::Given).build().unwrap();
}

#[test]
fn temperatures_must_be_positive_f32() {
    for (temperature, printed) in [
        (0.0, "0"),
        (-1.0, "-1"),
        (f64::NAN, "NaN"),
        (f64::INFINITY, "inf"),
        (1e39, "1000000000000000000000000000000000000000"),
        (1e-300, &format!("{}", 1e-300)),
    ] {
        let squash = Squash::Softmax { temperature };
        for attention in [Attention::Linear { squash }, Attention::Mlp { hidden: 1, squash }] {
            let options = options().attention(attention);
            refused(options, "attention.temperature", printed, "a finite f32 greater than 0");
        }
    }
}

#[test]
fn batch_norm_needs_an_epsilon_and_a_share_to_keep() {
    let with = |epsilon, keep| options().batch_norm(BatchNorm { epsilon, keep, unbiased: false });
    for (epsilon, printed) in [(0.0, "0"), (-1e-5, "-0.00001"), (f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
        refused(with(epsilon, 0.9), "batch_norm.epsilon", printed, "a finite f32 greater than 0");
    }
    for (keep, printed) in [(-0.1, "-0.1"), (1.1, "1.1"), (f64::NAN, "NaN")] {
        refused(with(1e-5, keep), "batch_norm.keep", printed, "a number from 0 to 1");
    }
    for keep in [0.0, 1.0] {
        with(1e-5, keep).build().unwrap();
    }
}

#[test]
fn slopes_must_be_finite() {
    for (slope, printed) in [(f64::NAN, "NaN"), (f64::NEG_INFINITY, "-inf")] {
        let activation = Activation::LeakyRelu { slope };
        refused(options().activation(activation), "activation.slope", printed, "a finite number");
    }
    options().activation(Activation::LeakyRelu { slope: -2.0 }).build().unwrap();
}

#[test]
fn element_counts_must_fit_the_address_space() {
    let plain = Options::new(1, 1);
    let bytes = "at most isize::MAX bytes of f32";
    let wide = plain.kernel_size([HUGE, HUGE]);
    refused(wide, "shape of weight", &format!("[1, 1, 1, {HUGE}, {HUGE}]"), bytes);
    let many = Options::new(1 << 20, 1 << 20).experts(1 << 21).attention(Attention::Given);
    refused(many, "shape of weight", "[2097152, 1048576, 1048576, 1, 1]", bytes);
    let deep = Options::new(HUGE, 1).attention(Attention::mlp(HUGE));
    refused(deep, "shape of attention weight", &format!("[{HUGE}, {HUGE}]"), bytes);
    let heads = Options::new(1, 1).experts(HUGE).attention(Attention::mlp(HUGE));
    refused(heads, "shape of attention weight", &format!("[{HUGE}, {HUGE}]"), bytes);
    // A reach of about 2^62 is odd but fits.
    let far = plain.kernel_size([1 << 20, 1]).dilation([HUGE, 1]).build().unwrap();
    assert_eq!(far.reach()[0], ((1 << 20) - 1) * HUGE + 1);
}

#[test]
fn a_proven_configuration_answers_as_it_was_asked() {
    let config: Config = options().build().unwrap();
    assert_eq!(config.options(), options());
    assert_eq!(Options::from(config), options());
    assert_eq!((config.in_channels(), config.out_channels(), config.groups()), (6, 8, 2));
    assert_eq!((config.in_channels_per_group(), config.out_channels_per_group()), (3, 4));
    assert_eq!((config.kernel_size(), config.taps(), config.reach()), ([3, 2], 6, [3, 3]));
    assert_eq!((config.stride(), config.dilation()), ([2, 1], [1, 2]));
    assert_eq!((config.expert_len(), config.reduction_len()), (8 * 3 * 6, 3 * 6));
    assert_eq!((config.experts(), config.bias(), config.layout()), (3, true, Layout::Nhwc));
    assert!(!config.is_depthwise() && !config.is_pointwise());
    assert!(Options::new(4, 8).groups(4).build().unwrap().is_depthwise());
    for (padding, pointwise) in [
        (Padding::Same, true),
        (Padding::Valid, true),
        (Padding::symmetric([0, 0]), true),
        (Padding::symmetric([0, 1]), false),
    ] {
        let options = Options::new(4, 8).padding(padding);
        assert_eq!(options.build().unwrap().is_pointwise(), pointwise);
        assert!(!options.stride([1, 2]).build().unwrap().is_pointwise());
        assert!(!options.kernel_size([1, 2]).build().unwrap().is_pointwise());
    }
}

#[test]
fn a_static_form_keeps_everything_but_the_experts() {
    let form = options().build().unwrap().static_form();
    assert_eq!(form.options(), options().experts(1).attention(None));
}

#[test]
fn the_rules_for_hidden_units() {
    for (channels, paper, port) in [(3, 1, 8), (4, 1, 2), (7, 1, 2), (8, 2, 3), (64, 16, 17), (1, 1, 1)] {
        assert_eq!(hidden::paper(channels), paper);
        assert_eq!(hidden::torch_port(channels, 0.25, 8), port);
    }
    assert_eq!(hidden::keras(5), 5);
}

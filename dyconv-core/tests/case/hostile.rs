//! Hand-made broken files, each with the message it gets.

use dyconv_core::case::Case;
use serde_json::json;

use crate::sample::{Parts, with_header};

/// The reason for which bytes are refused.
fn refusal(bytes: &[u8]) -> String {
    let message = Case::from_bytes(bytes).expect_err("should be refused").to_string();
    message.strip_prefix("case file: ").expect("names where the bytes came from").to_owned()
}

#[track_caller]
fn refused(parts: Parts, expected: &str) {
    let reason = refusal(&parts.bytes());
    assert!(reason.contains(expected), "got: {reason}\nexpected: {expected}");
}

#[track_caller]
fn refused_bytes(bytes: &[u8], expected: &str) {
    let reason = refusal(bytes);
    assert!(reason.contains(expected), "got: {reason}\nexpected: {expected}");
}

#[test]
fn the_sample_itself_is_accepted() {
    Case::from_bytes(&Parts::sample().bytes()).unwrap();
}

#[test]
fn header_lengths_that_lie() {
    refused_bytes(b"", "0 bytes; expected a safetensors file");
    refused_bytes(b"{}", "2 bytes; expected a safetensors file");
    refused_bytes(&[0; 8], "header: EOF while parsing");
    refused_bytes(
        &u64::MAX.to_le_bytes(),
        "the header has 18446744073709551615 bytes; expected at most 1048576",
    );
    refused_bytes(
        &(1u64 << 40).to_le_bytes(),
        "the header has 1099511627776 bytes; expected at most 1048576",
    );
    refused_bytes(&1000u64.to_le_bytes(), "the header has 1000 bytes, but only 0 follow its length");
    let long = with_header(&" ".repeat((1 << 20) + 1), &[]);
    refused_bytes(&long, "the header has 1048577 bytes; expected at most 1048576");
}

#[test]
fn headers_that_are_not_json_objects() {
    refused_bytes(&with_header("[1, 2]", &[]), "header: invalid type: sequence, expected an object");
    refused_bytes(&with_header("{\"a\": ", &[]), "header: `a`: EOF while parsing");
    let mut bytes = with_header("{\"????\": 1}", &[]);
    bytes[10..14].copy_from_slice(&[0xff; 4]);
    refused_bytes(&bytes, "header: invalid unicode code point");
    let deep = format!("{{\"a\": {{\"b\": {}", "[".repeat(100_000));
    refused_bytes(&with_header(&deep, &[]), "header: `a`: `b`: EOF while parsing a list");
    refused_bytes(&with_header("{\"a\": {}}", &[]), "header: tensor `a`: missing field `dtype`");
    let array = "{\"a\": [\"F32\", [0], [0, 0]]}";
    refused_bytes(&with_header(array, &[]), "header: `a`: invalid type: sequence, expected an object");
    let metadata = "{\"__metadata__\": {\"format\": 1}}";
    refused_bytes(&with_header(metadata, &[]), "header: invalid type: integer `1`, expected a string");
}

#[test]
fn names_that_occur_twice() {
    let sample = Parts::sample();
    let entry = sample.tensors["input"].to_string();
    let twice = sample.header().replacen('{', &format!("{{\"input\": {entry}, "), 1);
    refused_bytes(&with_header(&twice, &sample.data), "header: `input` occurs twice");
    let format = "\"__metadata__\": {\"format\": \"x\", ";
    let twice = sample.header().replacen("\"__metadata__\":{", format, 1);
    assert_ne!(twice, sample.header());
    refused_bytes(&with_header(&twice, &sample.data), "header: `__metadata__`: `format` occurs twice");
}

#[test]
fn truncated_or_lengthened_data() {
    let bytes = Parts::sample().bytes();
    refused_bytes(&bytes[..bytes.len() - 1], "but");
    let mut longer = bytes.clone();
    longer.push(0);
    let reason = refusal(&longer);
    assert!(reason.starts_with("the tensors take ") && reason.ends_with(" follow the header"), "{reason}");
}

#[test]
fn offsets_that_overlap_leave_holes_or_lie() {
    let with_offsets = |offsets| {
        let mut parts = Parts::sample();
        parts.tensors.get_mut("bias").unwrap()["data_offsets"] = offsets;
        parts
    };
    let sample = Parts::sample();
    let [start, end] = [0, 1].map(|i| sample.tensors["bias"]["data_offsets"][i].as_u64().unwrap());
    let invalid = "header: invalid offset for tensor `bias`";
    refused(with_offsets(json!([start - 4, end - 4])), invalid);
    refused(with_offsets(json!([start + 4, end + 4])), invalid);
    for (from, to) in [(end, start), (start, end - 4), (0, u64::MAX)] {
        let expected = format!(
            "header: tensor `bias`: data_offsets is [{from}, {to}]; expected 24 bytes, as [2, 3] of F32 takes"
        );
        refused(with_offsets(json!([from, to])), &expected);
    }
    refused(
        with_offsets(json!([-1, 4])),
        "header: tensor `bias`: invalid value: integer `-1`, expected usize",
    );
    refused(with_offsets(json!([0])), "header: tensor `bias`: invalid length 1, expected a tuple of size 2");
}

/// A list as messages show it.
fn spaced(list: &serde_json::Value) -> String {
    list.to_string().replace(',', ", ")
}

#[test]
fn shapes_that_overflow() {
    let max = usize::MAX;
    for shape in [json!([max, max]), json!([1u64 << 33, 1u64 << 33, 0, 4]), json!([1u64 << 62])] {
        let expected = format!("header: tensor `bias`: shape is {}; expected one that fits", spaced(&shape));
        refused(Parts::sample().set_shape("bias", shape), &expected);
    }
    // Nothing in them, so that they agree with no bytes at all, but impossible all the same.
    let huge = json!([0, 1u64 << 40, 1u64 << 40, 2]);
    let mut parts = Parts::sample().remove("input").add("input", &[]);
    parts.data.truncate(parts.data.len() - 4);
    parts.tensors.get_mut("input").unwrap()["data_offsets"] = json!([parts.data.len(), parts.data.len()]);
    let parts = parts.set_shape("input", huge);
    refused(parts, "tensor `input`: shape is 0×2×1099511627776×1099511627776 (N×C×H×W); expected at most");
}

#[test]
fn other_element_types() {
    let mut parts = Parts::sample();
    let entry = parts.tensors.get_mut("input").unwrap();
    entry["dtype"] = json!("I32");
    refused(parts.clone(), "tensor `input` is I32; expected F32");
    parts.tensors.get_mut("input").unwrap()["dtype"] = json!("F16");
    refused(parts.clone(), "header: tensor `input`: data_offsets is ");
    parts.tensors.get_mut("input").unwrap()["dtype"] = json!("Q8");
    refused(parts, "header: tensor `input`: unknown variant `Q8`");
}

#[test]
fn missing_tensors() {
    for (name, expected) in [
        ("weight", "tensor `weight` is missing; expected [2, 3, 2, 2, 1]"),
        ("bias", "tensor `bias` is missing; expected [2, 3]"),
        ("attention.fc1.weight", "tensor `attention.fc1.weight` is missing; expected [2, 2]"),
        ("bn.running_var", "tensor `bn.running_var` is missing; expected [3]"),
        ("input", "tensor `input` is missing; expected four extents"),
        ("expect.output", "tensor `expect.output` is missing; expected [2, 2, 2, 3]"),
        ("expect.pi", "tensor `expect.pi` is missing; expected [2, 2]"),
        (
            "grad.output",
            "tensor `grad.output` is missing; expected it beside `expect.grad.attention.fc1.bias`",
        ),
    ] {
        refused(Parts::sample().remove(name), expected);
    }
}

#[test]
fn absent_gradients_and_head_biases_are_no_defect() {
    for name in ["expect.grad.input", "expect.grad.pi", "expect.grad.bn.weight", "expect.grad.weight"] {
        Case::from_bytes(&Parts::sample().remove(name).bytes()).unwrap();
    }
    let parts = Parts::sample().remove("attention.fc1.bias");
    refused(parts.clone(), "tensor `expect.grad.attention.fc1.bias` is there; expected no such tensor");
    Case::from_bytes(&parts.remove("expect.grad.attention.fc1.bias").bytes()).unwrap();
}

#[test]
fn extra_tensors() {
    for name in ["pi", "expect.mean", "expect.grad.bn.running_mean", "weights", "", "expect.grad."] {
        let expected = format!("tensor `{name}` is there; expected no such tensor in this case");
        refused(Parts::sample().add(name, &[2, 2]), &expected);
    }
    let steering = Parts::sample().add("\u{1b}[2J\n", &[1]);
    refused(steering, "tensor `\u{fffd}[2J\u{fffd}` is there");
    let long = refusal(&Parts::sample().add(&"x".repeat(900_000), &[1]).bytes());
    assert!(long.chars().count() <= 401, "{} characters", long.chars().count());
}

#[test]
fn wrong_shapes() {
    for (name, shape, expected) in [
        ("weight", json!([2, 3, 2, 1, 2]), "tensor `weight` is [2, 3, 2, 1, 2]; expected [2, 3, 2, 2, 1]"),
        ("bias", json!([3, 2]), "tensor `bias` is [3, 2]; expected [2, 3]"),
        ("bn.bias", json!([3, 1]), "tensor `bn.bias` is [3, 1]; expected [3]"),
        ("input", json!([2, 3, 4]), "tensor `input` is [2, 3, 4]; expected four extents"),
        ("input", json!([2, 2, 2, 3]), "expected 2 channels"),
        (
            "expect.output",
            json!([2, 3, 2, 2]),
            "tensor `expect.output` is [2, 3, 2, 2]; expected [2, 2, 2, 3]",
        ),
        ("expect.pi", json!([4]), "tensor `expect.pi` is [4]; expected [2, 2]"),
        ("grad.output", json!([24]), "tensor `grad.output` is [24]; expected [2, 2, 2, 3]"),
        ("expect.grad.weight", json!([24]), "tensor `expect.grad.weight` is [24]; expected [2, 3, 2, 2, 1]"),
    ] {
        refused(Parts::sample().set_shape(name, shape), expected);
    }
}

#[test]
fn numbers_that_are_not_finite() {
    for (name, expected) in [
        ("weight", "weight[0] is NaN; expected a finite number"),
        ("attention.fc2.bias", "attention.fc2.bias[0] is NaN; expected a finite number"),
        ("bn.running_mean", "bn.running_mean[0] is NaN; expected a finite number"),
        ("expect.output", "expect.output[0] is NaN; expected a finite number"),
        ("expect.pi", "expect.pi[0] is NaN; expected a finite number"),
        ("expect.grad.input", "expect.grad.input[0] is NaN; expected a finite number"),
        ("expect.grad.bias", "expect.grad.bias[0] is NaN; expected a finite number"),
    ] {
        refused(Parts::sample().set_element(name, f32::NAN), expected);
    }
    refused(Parts::sample().set_element("bias", f32::INFINITY), "bias[0] is inf; expected a finite number");
    refused(
        Parts::sample().set_element("bn.running_var", -1.0),
        "bn.running_var[0] is -1; expected at least 0",
    );
    // What goes in follows IEEE arithmetic.
    for name in ["input", "grad.output"] {
        Case::from_bytes(&Parts::sample().set_element(name, f32::NAN).bytes()).unwrap();
    }
}

#[test]
fn metadata() {
    let set = |key: &str, value: &str| {
        let mut parts = Parts::sample();
        parts.metadata.insert(key.into(), value.into());
        parts
    };
    let without = |key: &str| {
        let mut parts = Parts::sample();
        parts.metadata.remove(key);
        parts
    };
    for key in ["format", "version", "config"] {
        refused(without(key), &format!("metadata `{key}` is missing"));
    }
    refused(set("format", "pt"), "metadata `format` is \"pt\"; expected \"dyconv.case\"");
    refused(set("version", "2"), "metadata `version` is \"2\"; expected \"1\"");
    refused(set("config", ""), "config: EOF while parsing");
    refused(set("config", "[]"), "config: config is []; expected an object");
    refused(set("config", &"[".repeat(100_000)), "config: recursion limit exceeded");
    refused(set("config", &format!("{{\"stride\": {}", "[".repeat(100_000))), "config: ");
    Case::from_bytes(&set("producer", "anything").bytes()).unwrap();
}

#[test]
fn every_key_of_the_configuration_is_required_and_no_other_allowed() {
    let config = Parts::sample().config();
    let keys: Vec<_> = config.as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys.len(), 14);
    for key in &keys {
        let mut parts = Parts::sample();
        let mut less = config.clone();
        less.as_object_mut().unwrap().remove(key);
        parts.metadata.insert("config".into(), less.to_string());
        refused(parts, &format!("config: missing field `{key}`"));

        let mut parts = Parts::sample();
        let text = parts.metadata["config"].replacen('{', &format!("{{{key:?}: {}, ", config[key]), 1);
        parts.metadata.insert("config".into(), text);
        refused(parts, &format!("config: duplicate field `{key}`"));
    }
    refused(Parts::sample().set_config("strides", "[1, 1]"), "config: unknown field `strides`");
}

#[test]
fn impossible_values_in_the_configuration() {
    let softmax = r#""kind": "linear", "squash": "softmax""#;
    let sigmoid = r#""kind": "linear", "squash": "sigmoid""#;
    for (key, json, expected) in [
        ("in_channels", "-1", "in_channels is -1; expected a whole number"),
        ("in_channels", "1e999", "number out of range"),
        (
            "in_channels",
            "1180591620717411303424",
            "in_channels is 1.1805916207174113e+21; expected a whole number",
        ),
        ("in_channels", "2.0", "in_channels is 2.0; expected a whole number"),
        ("in_channels", "0", "in_channels is 0; expected an integer from 1 to 2147483647"),
        ("in_channels", "4611686018427387904", "in_channels is 4611686018427387904; expected an integer"),
        (
            "out_channels",
            "2147483647",
            "tensor `weight` is [2, 3, 2, 2, 1]; expected [2, 2147483647, 2, 2, 1]",
        ),
        ("kernel_size", "[2147483647, 2147483647]", "expected at most isize::MAX bytes"),
        ("kernel_size", "[3]", "kernel_size is [3]; expected two whole numbers, [height, width]"),
        ("kernel_size", "[1, 1, 1]", "kernel_size is [1,1,1]; expected two whole numbers"),
        ("stride", "[1, 1.5]", "stride[1] is 1.5; expected a whole number"),
        ("dilation", "{}", "dilation is {}; expected two whole numbers"),
        ("stride", "[0, 1]", "stride[0] is 0; expected an integer from 1"),
        ("dilation", "[4, 1]", "input height is 3; expected at least 1, and with padding 0 + 0 at least 5"),
        ("padding", "\"full\"", "padding is \"full\"; expected \"same\", \"valid\" or an object"),
        (
            "padding",
            r#"{"top": 1, "bottom": 1, "left": 1}"#,
            "expected \"same\", \"valid\" or an object with top",
        ),
        (
            "padding",
            r#"{"top": 1, "bottom": 1, "left": 1, "right": -1}"#,
            "padding.right is -1; expected a whole",
        ),
        ("padding", r#"{"top": 1, "top": 1, "bottom": 1, "left": 1, "right": 1}"#, "padding must be"),
        ("groups", "2", "groups is 2; expected a divisor of in_channels (2) and out_channels (3)"),
        ("experts", "0", "experts is 0; expected an integer from 1 to 2147483647"),
        ("bias", "1", "bias is 1; expected true or false"),
        ("layout", "\"chwn\"", "layout is \"chwn\"; expected one of nchw, nhwc"),
        ("attention", "null", "attention is null; expected a head or `given`, since there are 2 experts"),
        ("attention", r#"{"kind": "cnn"}"#, "attention.kind is \"cnn\"; expected one of mlp, linear, given"),
        (
            "attention",
            r#"{"kind": "given", "squash": "sigmoid"}"#,
            "attention.squash is present; expected a value where, and only where, kind is mlp or linear",
        ),
        ("attention", r#"{"kind": "mlp", "squash": "sigmoid"}"#, "attention.hidden is missing"),
        ("attention", r#"{"kind": "mlp", "hidden": 0, "squash": "sigmoid"}"#, "attention.hidden is 0"),
        ("attention", &format!("{{{sigmoid}, \"hidden\": 2}}"), "attention.hidden is present"),
        ("attention", &format!("{{{softmax}}}"), "attention.temperature is missing"),
        (
            "attention",
            &format!("{{{softmax}, \"temperature\": null}}"),
            "attention.temperature is null; expected a number",
        ),
        (
            "attention",
            &format!("{{{softmax}, \"temperature\": 0}}"),
            "attention.temperature is 0; expected a finite f32 greater than 0",
        ),
        ("attention", &format!("{{{softmax}, \"temperature\": 1e39}}"), "attention.temperature is 1"),
        ("attention", &format!("{{{softmax}, \"temperature\": NaN}}"), "expected value"),
        (
            "attention",
            &format!("{{{sigmoid}, \"temperature\": 1}}"),
            "attention.temperature is present; expected a value where, and only where, squash is softmax",
        ),
        ("attention", &format!("{{{sigmoid}, \"bias\": true}}"), "unknown field `bias`"),
        ("attention", &format!("{{{sigmoid}, {sigmoid}}}"), "duplicate field `kind`"),
        ("batch_norm", r#"{"epsilon": 0, "keep": 0.9}"#, "batch_norm.epsilon is 0"),
        (
            "batch_norm",
            r#"{"epsilon": 1e-3, "keep": 1.1}"#,
            "batch_norm.keep is 1.1; expected a number from 0 to 1",
        ),
        ("batch_norm", r#"{"epsilon": 1e-3, "keep": 0.9, "unbiased": true}"#, "unknown field `unbiased`"),
        ("batch_norm", r#"{"epsilon": 1e-3}"#, "missing field `keep`"),
        ("batch_norm", r#"{"epsilon": NaN, "keep": 0.9}"#, "expected value"),
        ("activation", "null", "activation is null; expected one of none, relu, "),
        ("activation", "\"swish\"", "activation is \"swish\"; expected one of"),
        (
            "activation",
            r#"{"leaky_relu": {"slope": 0.2}}"#,
            "activation is {\"leaky_relu\":{\"slope\":0.2}}; expected one of",
        ),
        ("activation", r#"{"relu": null}"#, "activation is {\"relu\":null}; expected one of"),
        ("layout", r#"{"nhwc": null}"#, "layout is {\"nhwc\":null}; expected one of"),
        ("padding", "[1, 1, 1, 1]", "padding is [1,1,1,1]; expected"),
        ("batch_norm", "[0.001, 0.99]", "batch_norm is [0.001,0.99]; expected an object or null"),
        (
            "attention",
            r#"["linear", 2, "sigmoid"]"#,
            "attention is [\"linear\",2,\"sigmoid\"]; expected an object or null",
        ),
        ("attention", r#"{"kind": {"given": null}}"#, "attention.kind is {\"given\":null}; expected one of"),
        ("activation", "\"keras_hard_sigmoid\"", "activation is \"keras_hard_sigmoid\"; expected one of"),
        ("mode", "\"train\"", "mode is \"train\"; expected one of inference, training"),
    ] {
        let reason = refusal(&Parts::sample().set_config(key, json).bytes());
        assert!(reason.contains(expected), "{key}: {json}\ngot: {reason}\nexpected: {expected}");
    }
}

#[test]
fn given_attention_needs_pi() {
    let mut parts = Parts::sample();
    for name in ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"] {
        parts = parts.remove(&format!("attention.{name}")).remove(&format!("expect.grad.attention.{name}"));
    }
    let parts = parts.set_config("attention", r#"{"kind": "given"}"#);
    refused(parts.clone(), "tensor `pi` is missing; expected [2, 2]");
    Case::from_bytes(&parts.clone().add("pi", &[2, 2]).bytes()).unwrap();
    Case::from_bytes(&parts.add("pi", &[2, 2]).set_element("pi", f32::NAN).bytes()).unwrap();
}

#[test]
fn a_crowd_of_empty_tensors() {
    let mut parts = Parts::sample();
    let end = parts.data.len();
    for i in 0..15_000 {
        let entry = json!({"dtype": "F32", "shape": [0], "data_offsets": [end, end]});
        parts.tensors.insert(format!("{i}"), entry);
    }
    refused(parts, "tensor `0` is there; expected no such tensor in this case");
}

#[cfg(unix)]
#[test]
fn what_is_not_a_regular_file_is_not_read() {
    let reason = Case::open("/dev/zero").unwrap_err().to_string();
    assert_eq!(reason, "/dev/zero: not a regular file");
}

#[test]
fn a_huge_sparse_file_is_refused_by_its_header() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse.safetensors");
    let header = Parts::sample().header();
    std::fs::write(&path, with_header(&header, &[])).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(1 << 42).unwrap();
    let reason = Case::open(&path).unwrap_err().to_string();
    assert!(reason.contains("follow the header"), "{reason}");
}

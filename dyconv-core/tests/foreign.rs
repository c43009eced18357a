//! Layers of other frameworks give those frameworks' own numbers.

use std::collections::BTreeMap;
use std::path::Path;

use dyconv_core::foreign::{self, StateDict};
use dyconv_core::keras::DyConv2D;
use dyconv_core::{Backend, Call, Config, DyConv2d, Layout, Prepare, Reference, Result, Shape, Tensor};
use serde_json::Value;

struct Fixture {
    get_config: Option<String>,
    config: Config,
    tensors: StateDict,
}

fn fixture(name: &str) -> Fixture {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/foreign");
    let bytes = std::fs::read(folder.join(format!("{name}.safetensors"))).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let mut config: BTreeMap<String, Value> =
        serde_json::from_str(&header.metadata().as_ref().unwrap()["config"]).unwrap();
    config.remove("mode");
    let get_config = header.metadata().as_ref().unwrap().get("get_config").cloned();
    Fixture {
        get_config,
        config: serde_json::from_value(serde_json::to_value(config).unwrap()).unwrap(),
        tensors: StateDict::from_safetensors(&bytes).unwrap(),
    }
}

impl Fixture {
    fn image(&self, name: &str) -> Tensor {
        let foreign = &self.tensors.tensors()[name];
        let [n, a, b, c] = foreign.shape[..] else { panic!("{name} is {:?}", foreign.shape) };
        let layout = self.config.layout();
        let shape = match layout {
            Layout::Nchw => Shape::new(n, a, b, c),
            Layout::Nhwc => Shape::new(n, c, a, b),
        };
        Tensor::new(shape.unwrap(), layout, foreign.data.clone()).unwrap()
    }

    /// Runs the layer and compares output and attention with the framework's.
    fn compare(&self, layer: &DyConv2d, output: &str, statistics: bool) {
        let reference = Reference::default();
        let mut stream = reference.stream().unwrap();
        let prepared = reference.prepare(layer, &Prepare::default().trainable(statistics)).unwrap();
        let input = reference.upload(&mut stream, self.image("input").view()).unwrap();
        let call = Call::new(&input).return_attention(true).batch_statistics(statistics);
        let got = reference.forward(&mut stream, &prepared, &call).unwrap();
        let pi = reference.download(&mut stream, &got.attention.unwrap()).unwrap();
        close(pi.data(), &self.tensors.tensors()["pi"].data, "pi");
        let want = self.image(output);
        let got = reference.download(&mut stream, &got.output).unwrap();
        assert_eq!((got.shape(), got.layout()), (want.shape(), want.layout()));
        close(got.data(), want.data(), output);
    }
}

/// The rule of case files, with a reference's room: both sides were computed in f64 and rounded.
fn close(got: &[f32], want: &[f32], name: &str) {
    let largest = want.iter().fold(0f32, |max, value| max.max(value.abs()));
    assert!(largest > 0.0 && got.len() == want.len(), "{name}");
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() <= 3e-7 * largest, "{name}: {got} is not {want}, of at most {largest}");
    }
}

fn agrees(name: &str, make: impl Fn(StateDict, &Config) -> Result<DyConv2d>) {
    let fixture = fixture(name);
    let layer = make(fixture.tensors.under("state."), &fixture.config).unwrap();
    fixture.compare(&layer, "output", false);
}

#[test]
fn paper_style_torch_port() {
    for name in [
        "torch_paper",
        "torch_paper_annealed_stride2",
        "torch_paper_depthwise",
        "torch_paper_grouped_dilated",
        "torch_paper_rgb_no_bias",
    ] {
        agrees(name, foreign::torch_paper);
    }
}

#[test]
fn torch_port_with_scores() {
    for name in ["torch_scores", "torch_scores_anisotropic", "torch_scores_pointwise_no_bias"] {
        agrees(name, foreign::torch_scores);
    }
}

#[test]
fn timm_cond_conv() {
    for name in [
        "timm_condconv",
        "timm_condconv_bias_stride2",
        "timm_condconv_depthwise_same",
        "timm_condconv_grouped",
        "timm_condconv_pointwise",
    ] {
        agrees(name, foreign::timm);
    }
}

const KERAS: [&str; 4] = [
    "keras_dyconv2d",
    "keras_dyconv2d_channels_first",
    "keras_dyconv2d_strided",
    "keras_dyconv2d_valid_dilated_no_bias",
];

#[test]
fn keras_layer_in_inference_and_training() {
    for name in KERAS {
        let fixture = fixture(name);
        let state = fixture.tensors.under("state.dy_conv2d/");
        let arguments = DyConv2D::from_json(fixture.get_config.as_ref().unwrap()).unwrap();
        assert_eq!(arguments.build(fixture.config.in_channels()).unwrap(), fixture.config);
        let layer = foreign::keras(state, &fixture.config).unwrap();
        fixture.compare(&layer, "output", false);
        fixture.compare(&layer, "output.training", true);
    }
}

#[test]
fn keras_names_as_models_number_and_save_them() {
    let fixture = fixture(KERAS[0]);
    let state = fixture.tensors.under("state.dy_conv2d/");
    let plain = foreign::keras(state.clone(), &fixture.config).unwrap();
    let mut renamed = StateDict::new();
    for (name, tensor) in state.tensors() {
        let name = name
            .replace("dense_1/", "dense_10/")
            .replace("dense/", "dense_9/")
            .replace("batch_normalization/", "batch_normalization_4/");
        renamed.insert(format!("{name}:0"), &tensor.shape, tensor.data.clone()).unwrap();
    }
    assert_eq!(foreign::keras(renamed, &fixture.config).unwrap(), plain);
}

#[test]
fn batch_norm_follows_a_torch_layer() {
    let fixture = fixture("torch_scores");
    let options = fixture.config.options().batch_norm(dyconv_core::BatchNorm::PYTORCH);
    let mut norm = StateDict::new();
    for (i, name) in ["weight", "bias", "running_mean", "running_var"].into_iter().enumerate() {
        norm.insert(name, &[10], vec![0.5 + i as f32; 10]).unwrap();
    }
    let state = fixture.tensors.under("state.").with("bn.", norm);
    let layer = foreign::torch_scores(state, &options.build().unwrap()).unwrap();
    let norm = layer.params().batch_norm.clone().unwrap();
    assert_eq!(
        (norm.weight[0], norm.bias[0], norm.running_mean[0], norm.running_var[0]),
        (0.5, 1.5, 2.5, 3.5)
    );
}

#[test]
fn misfits_are_named_as_the_framework_names_them() {
    let refusal = |make: fn(StateDict, &Config) -> Result<DyConv2d>, state, config: &Config| {
        make(state, config).unwrap_err().to_string()
    };
    let paper = fixture("torch_paper");
    let state = paper.tensors.under("state.");
    let more = paper.config.options().experts(5).build().unwrap();
    assert_eq!(
        refusal(foreign::torch_paper, state.clone(), &more),
        "weight is [4, 12, 8, 3, 3]; expected [5, 12, 8, 3, 3]"
    );
    let hidden = paper.config.options().attention(dyconv_core::Attention::mlp(2)).build().unwrap();
    assert_eq!(
        refusal(foreign::torch_paper, state.clone(), &hidden),
        "attention.fc1.weight is [3, 8, 1, 1]; expected [2, 8] or [2, 8, 1, 1]"
    );
    let no_bias = paper.config.options().bias(false).build().unwrap();
    assert_eq!(
        refusal(foreign::torch_paper, state.clone(), &no_bias),
        "bias is present; expected no such tensor for this configuration"
    );
    assert_eq!(
        refusal(foreign::torch_scores, state.clone(), &paper.config),
        "kernels_weights is missing; expected a tensor [4, 12, 8, 3, 3]"
    );
    let timm = fixture("timm_condconv");
    let transposed = timm.config.options().kernel_size([3, 4]).build().unwrap();
    assert_eq!(
        refusal(foreign::timm, timm.tensors.under("state."), &transposed),
        "weight is [4, 864]; expected [4, 1152]"
    );
    let keras = fixture(KERAS[0]);
    let mut state = keras.tensors.under("state.dy_conv2d/");
    state.insert("dense_2/kernel", &[1], vec![0.0]).unwrap();
    assert_eq!(
        refusal(foreign::keras, state.clone(), &keras.config),
        "dense_2/kernel is present; expected no such tensor for this configuration"
    );
    let mut broken = keras.tensors.under("state.dy_conv2d/");
    broken.insert("kernel", &[4, 432], vec![f32::NAN; 4 * 432]).unwrap();
    assert_eq!(refusal(foreign::keras, broken, &keras.config), "weight[0] is NaN; expected a finite number");
    assert_eq!(
        StateDict::new().insert("weight", &[2, 3], vec![0.0; 5]).unwrap_err().to_string(),
        "weight is 5 elements; expected the elements of [2, 3]"
    );
}

#[test]
fn files_that_are_none_are_refused() {
    let message = StateDict::from_safetensors(b"PK\x03\x04 and so on").unwrap_err().to_string();
    assert!(message.starts_with("state dict: the header has "), "{message}");
    assert!(StateDict::open("no/such/file").unwrap_err().to_string().starts_with("no/such/file: "));
}

#[test]
fn tensors_of_other_types_matter_only_where_they_are_asked_for() {
    let header = r#"{"num_batches_tracked":{"dtype":"I64","shape":[],"data_offsets":[0,8]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend([0; 8]);
    let counter = StateDict::from_safetensors(&bytes).unwrap();
    let fixture = fixture("torch_paper");
    let state = fixture.tensors.under("state.");
    foreign::torch_paper(state.clone().with("bn.", counter), &fixture.config).unwrap();

    let header = header.replace("num_batches_tracked", "bias");
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend([0; 8]);
    let bias = StateDict::from_safetensors(&bytes).unwrap();
    let message = foreign::torch_paper(state.with("", bias), &fixture.config).unwrap_err().to_string();
    assert_eq!(message, "bias is of another element type; expected F32");
}

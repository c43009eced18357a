//! Runs: against a sample alone, with the mean kernel, frozen, in both layouts.

use std::collections::BTreeMap;

use dyconv_core::{Backend, Layout, Options, Params, Prepare, Reference, Shape, Tensor};
use dyconv_nn::{Architecture, Block, Dataset, Model, Network, Run, logits};

use crate::common::{architecture, data, model};

fn logits_of(model: &Model, run: &Run) -> Vec<f32> {
    let backend = Reference::default();
    let network = Network::new(&backend, model, &Prepare::default()).unwrap();
    logits(&network, &mut backend.stream().unwrap(), &data(7, 0), 3, run).unwrap().into_data()
}

fn near(got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len());
    assert!(
        got.iter().zip(want).all(|(g, w)| (g - w).abs() <= 1e-4 * (1.0 + w.abs())),
        "{got:?}, not {want:?}"
    );
}

/// A static network by hand: 2x + 1, then + residual, relu, mean, head.
#[test]
fn a_network_by_hand() {
    let one = Options::new(1, 1).bias(true);
    let architecture = Architecture::new([1, 1, 2])
        .residual([Block::convolution("a", one.activation(dyconv_core::Activation::Relu))], None)
        .classifier(1, 2);
    let plain = |weight: &[f32], bias: &[f32]| Params {
        weight: weight.to_vec(),
        bias: Some(bias.to_vec()),
        attention: None,
        batch_norm: None,
    };
    let params = vec![plain(&[2.0], &[1.0]), plain(&[1.0, -1.0], &[0.0, 0.5])];
    let model = Model::new(architecture.build().unwrap(), params, None).unwrap();
    let backend = Reference::default();
    let network = Network::new(&backend, &model, &Prepare::default()).unwrap();
    let mut stream = backend.stream().unwrap();
    let x = Tensor::new(Shape::new(1, 1, 1, 2).unwrap(), Layout::Nchw, vec![3.0, -1.0]).unwrap();
    let x = backend.upload(&mut stream, x.view()).unwrap();
    let answer = network.forward(&mut stream, &x, &Run::default()).unwrap();
    // relu(7 + 3), relu(−1 − 1); their mean is 5.
    assert_eq!(backend.download(&mut stream, &answer.logits).unwrap().data(), [5.0, -4.5]);
}

#[test]
fn the_models_temperature_is_that_of_every_softmax_head() {
    let cold = model(3);
    let warm = {
        let params = cold.layers().iter().map(|layer| layer.params().clone()).collect();
        Model::new(cold.graph().clone(), params, Some(50.0)).unwrap()
    };
    let own = {
        // The same temperature in each layer's configuration.
        let json = serde_json::to_string(cold.graph().architecture())
            .unwrap()
            .replace("\"temperature\":1.0", "\"temperature\":50.0");
        let architecture: Architecture = serde_json::from_str(&json).unwrap();
        let params = cold.layers().iter().map(|layer| layer.params().clone()).collect();
        Model::new(architecture.build().unwrap(), params, None).unwrap()
    };
    let [cold, warm, own] = [cold, warm, own].map(|model| logits_of(&model, &Run::default()));
    assert_eq!(warm, own);
    assert_ne!(cold, warm);
}

#[test]
fn the_mean_kernel_is_the_network_frozen_at_uniform_attention() {
    let model = model(3);
    let dynamic: Vec<_> = model.graph().layers().iter().filter(|layer| layer.is_dynamic()).collect();
    let uniform: BTreeMap<_, _> = dynamic
        .iter()
        .map(|layer| {
            let experts = layer.config().experts();
            (layer.name().to_owned(), vec![1.0 / experts as f32; experts])
        })
        .collect();
    let frozen = model.freeze(&uniform).unwrap();
    assert!(frozen.graph().layers().iter().all(|layer| !layer.is_dynamic()));
    let ablated = logits_of(&model, &Run::default().uniform(uniform.keys().cloned()));
    near(&ablated, &logits_of(&frozen, &Run::default()));
    assert_ne!(ablated, logits_of(&model, &Run::default()));
}

#[test]
fn layouts_agree_and_so_do_batches() {
    let model = model(4);
    let last = {
        let params = model.layers().iter().map(|layer| layer.params().clone()).collect();
        Model::new(architecture().layout(Layout::Nhwc).build().unwrap(), params, None).unwrap()
    };
    near(&logits_of(&last, &Run::default()), &logits_of(&model, &Run::default()));

    let backend = Reference::default();
    let network = Network::new(&backend, &model, &Prepare::default()).unwrap();
    let mut stream = backend.stream().unwrap();
    let alone = logits(&network, &mut stream, &data(7, 0), 1, &Run::default()).unwrap();
    assert_eq!(alone.data(), logits_of(&model, &Run::default()));
}

#[test]
fn misfits_name_what_they_are() {
    let (backend, model) = (Reference::default(), model(3));
    let network = Network::new(&backend, &model, &Prepare::default()).unwrap();
    let mut stream = backend.stream().unwrap();
    let wrong = Tensor::zeros(Shape::new(2, 1, 6, 5).unwrap(), Layout::Nchw);
    let wrong = backend.upload(&mut stream, wrong.view()).unwrap();
    let error = network.forward(&mut stream, &wrong, &Run::default()).unwrap_err().to_string();
    assert_eq!(error, "input is 2×1×6×5 (N×C×H×W); expected 2×1×6×6 (N×C×H×W)");

    let data = data(2, 0);
    assert_eq!(data.shape(), [1, 6, 6]);
    let mut refused = |name: &str| {
        let run = Run::default().uniform([name]);
        logits(&network, &mut stream, &data, 2, &run).unwrap_err().to_string()
    };
    assert_eq!(refused("head"), "layer `head`: attention is none; expected a head");
    assert!(refused("stern").starts_with("layer is `stern`; expected one of stem, a.0"));

    // A layer that the backend refuses is named.
    let precise = Prepare::default().precision(dyconv_core::Precision::F16);
    let error = Network::new(&backend, &model, &precise).unwrap_err().to_string();
    assert!(error.contains("layer `stem`"), "{error}");
}

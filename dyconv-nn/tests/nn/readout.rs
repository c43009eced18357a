//! What attention does, and what it is worth.

use std::collections::BTreeMap;

use dyconv_core::{Backend, Prepare, Reference};
use dyconv_nn::{Metrics, Model, Network, Run, ablate, attention, evaluate};

use crate::common::{data, model};

/// The model at another temperature.
fn at(model: &Model, temperature: f64) -> Model {
    let params = model.layers().iter().map(|layer| layer.params().clone()).collect();
    Model::new(model.graph().clone(), params, Some(temperature)).unwrap()
}

#[test]
fn a_hot_softmax_is_uniform_and_sums_are_one() {
    let (backend, data) = (Reference::default(), data(9, 0));
    let mut stream = backend.stream().unwrap();
    let mut read = |temperature: f64| {
        let network = Network::new(&backend, &at(&model(3), temperature), &Prepare::default()).unwrap();
        attention(&network, &mut stream, &data, 4).unwrap()
    };
    let (hot, cold) = (read(1e6), read(0.05));
    let names: Vec<_> = hot.iter().map(|layer| layer.layer.as_str()).collect();
    assert_eq!(names, ["stem", "a.0", "a.1", "b.0", "b.1"]);
    for (hot, cold) in hot.iter().zip(&cold).filter(|(hot, _)| hot.layer != "b.0") {
        assert!((hot.entropy - 3f64.ln()).abs() < 1e-4, "{}: {}", hot.layer, hot.entropy);
        assert!(cold.entropy <= hot.entropy + 1e-9, "{}: {}", cold.layer, cold.entropy);
        assert_eq!(hot.by_class.len(), 3);
        for row in cold.by_class.iter().chain([&cold.usage, &cold.favoured]) {
            assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{}: {row:?}", cold.layer);
        }
    }
    // A head whose hidden units are all off says the same at any temperature; the stem's aren't.
    assert!(cold[0].entropy < 0.9 * hot[0].entropy, "{}", cold[0].entropy);
    // `b.0` is a sigmoid of two, which needn't sum to one.
    assert_eq!((hot[3].experts, hot[3].by_class[0].len()), (2, 2));
}

#[test]
fn the_ablation_is_the_frozen_network_layer_by_layer() {
    let (backend, data) = (Reference::default(), data(9, 0));
    let mut stream = backend.stream().unwrap();
    let model = at(&model(3), 0.2);
    let network = Network::new(&backend, &model, &Prepare::default()).unwrap();
    let found = ablate(&network, &mut stream, &data, 4).unwrap();
    let mut frozen = |names: &[&str]| -> Metrics {
        let uniform = |name: &&str| {
            let experts = if *name == "b.0" { 2 } else { 3 };
            ((*name).to_owned(), vec![1.0 / experts as f32; experts])
        };
        let frozen = model.freeze(&names.iter().map(uniform).collect::<BTreeMap<_, _>>()).unwrap();
        let network = Network::new(&backend, &frozen, &Prepare::default()).unwrap();
        evaluate(&network, &mut stream, &data, 9, 0.0, &Run::default()).unwrap()
    };
    let near = |got: Metrics, want: Metrics, name: &str| {
        assert!((got.loss - want.loss).abs() < 1e-4, "{name}: {got:?}, not {want:?}");
    };
    near(found.none, frozen(&[]), "none");
    let all = ["stem", "a.0", "a.1", "b.0", "b.1"];
    near(found.all, frozen(&all), "all");
    assert_eq!(found.each.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), all);
    for (name, metrics) in &found.each {
        near(*metrics, frozen(&[name]), name);
    }
    assert!((found.none.loss - found.all.loss).abs() > 1e-4, "attention does nothing here");
}

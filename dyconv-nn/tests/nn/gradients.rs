//! A network's gradients: exactly on integers, and against differences of its own forward.

use std::collections::BTreeMap;

use dyconv_core::{
    Backend, Layout, Options, Padding, ParamMap, ParamSpec, Params, Prepare, Reference, Shape, Tensor, Train,
};
use dyconv_nn::{Architecture, Block, Convolution, Model, Network};

use crate::common::model;

/// Σ g ⊙ logits, and its gradients by layer and parameter, and of the input.
struct Found {
    value: f64,
    params: Vec<ParamMap>,
    input: Vec<f32>,
}

fn differentiate(model: &Model, images: &Tensor, g: &Tensor) -> Found {
    let backend = Reference::default();
    let mut stream = backend.stream().unwrap();
    let mut network = Network::new(&backend, model, &Prepare::default().trainable(true)).unwrap();
    let x = backend.upload(&mut stream, images.view()).unwrap();
    let (logits, recording) = network.forward_train(&mut stream, &x).unwrap();
    let logits = backend.download(&mut stream, &logits).unwrap();
    let value = logits.data().iter().zip(g.data()).map(|(z, g)| f64::from(*z) * f64::from(*g)).sum();
    let g = backend.upload(&mut stream, g.view()).unwrap();
    let found = network.backward(&mut stream, recording, &g, &[], true).unwrap();
    let layers = model.layers().iter().zip(&found.params);
    let params = layers.map(|(layer, gradients)| {
        // Names and order are the layer's, whichever copy of it is asked.
        let prepared = backend.prepare(layer, &Prepare::default().trainable(true)).unwrap();
        backend.gradients(&mut stream, &prepared, gradients).unwrap()
    });
    let params = params.collect();
    let input = backend.download(&mut stream, &found.input.unwrap()).unwrap().into_data();
    Found { value, params, input }
}

/// The same network with one of its tensors moved.
fn moved(model: &Model, layer: usize, name: &str, by: impl Fn(usize) -> f32) -> Model {
    let params = model.layers().iter().enumerate().map(|(i, l)| {
        let tensors: BTreeMap<_, _> = l.params().tensors().into_iter().collect();
        let take = |spec: &ParamSpec| {
            let data = tensors.get(spec.name).map(|data| {
                let change =
                    |(j, v): (usize, &f32)| if i == layer && spec.name == name { v + by(j) } else { *v };
                data.iter().enumerate().map(change).collect()
            });
            Ok(data)
        };
        Params::from_named(l.config(), take).unwrap()
    });
    Model::new(model.graph().clone(), params.collect(), model.temperature()).unwrap()
}

fn integers(count: usize, salt: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7 + salt * 5 + i * i) % 5) as f32 - 2.0).collect()
}

/// Without kinks a network is linear in any one number, so that a difference over a step of 1 is its derivative,
/// and in small integers every sum is exact. Every way that gradients can meet is here: a residual block of one layer,
/// one with a shortcut, one that begins with a block.
#[test]
fn gradients_are_exact_on_integers() {
    let three = |i, o| Options::new(i, o).kernel_size([3, 3]).padding(Padding::Same);
    let inner =
        Block::Residual { body: vec![Block::convolution("inner", Options::new(2, 2))], shortcut: None };
    let architecture = Architecture::new([1, 2, 2])
        .residual([Block::convolution("one", Options::new(1, 1))], None)
        .residual(
            [
                Block::convolution("wide", three(1, 3)),
                Block::convolution("narrow", Options::new(3, 2).bias(true)),
            ],
            Convolution::new("around", Options::new(1, 2)),
        )
        .residual([inner, Block::convolution("outer", Options::new(2, 2).groups(2))], None)
        .classifier(2, 2);
    let graph = architecture.build().unwrap();
    let params = graph.layers().iter().enumerate().map(|(i, layer)| {
        let take = |spec: &ParamSpec| Ok(Some(integers(spec.len(), i)));
        Params::from_named(layer.config(), take).unwrap()
    });
    let params = params.collect();
    let model = Model::new(graph, params, None).unwrap();

    let images = Tensor::new(Shape::new(2, 1, 2, 2).unwrap(), Layout::Nchw, integers(8, 3)).unwrap();
    let g = Tensor::attention(2, 2, vec![4.0, -4.0, 8.0, 4.0]).unwrap();
    let found = differentiate(&model, &images, &g);
    let mut nonzero = 0;
    for (i, gradients) in found.params.iter().enumerate() {
        for (name, gradient) in gradients {
            for (j, slope) in gradient.iter().enumerate() {
                let at = |by: f32| {
                    let there = moved(&model, i, name, |k| if k == j { by } else { 0.0 });
                    differentiate(&there, &images, &g).value
                };
                assert_eq!((at(1.0) - at(-1.0)) / 2.0, f64::from(*slope), "layer {i}, {name}[{j}]");
                nonzero += usize::from(*slope != 0.0);
            }
        }
    }
    assert!(nonzero > 30, "{nonzero} gradients that aren't 0");
    for (j, slope) in found.input.iter().enumerate() {
        let at = |by: f32| {
            let mut images = images.clone();
            images.data_mut()[j] += by;
            differentiate(&model, &images, &g).value
        };
        assert_eq!((at(1.0) - at(-1.0)) / 2.0, f64::from(*slope), "input[{j}]");
    }
}

/// With attention, batch norm, kinks and pools, along one direction through each tensor at a time: forwards are rounded
/// to f32 layer by layer, which a long way along the gradient drowns.
#[test]
fn gradients_are_those_of_differences() {
    let model = model(6);
    let shape = Shape::new(4, 1, 6, 6).unwrap();
    let images = Tensor::from_fn(shape, Layout::Nchw, |[n, _, y, x]| {
        wave((n * 37 + y * 11 + x * 5) as f32) + 0.1 * (x as f32 - 2.5)
    });
    let g = Tensor::attention(4, 3, (0..12).map(|i| wave(i as f32 * 3.0) + 0.25).collect()).unwrap();
    let found = differentiate(&model, &images, &g);
    let mut checked = 0;
    for (i, gradients) in found.params.iter().enumerate() {
        for (name, gradient) in gradients {
            let norm = gradient.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            // A bias before batch norm has none.
            if norm < 1e-4 {
                continue;
            }
            let step = 2e-3 / norm;
            let at = |sign: f64| {
                let there = moved(&model, i, name, |j| (sign * step * f64::from(gradient[j])) as f32);
                differentiate(&there, &images, &g).value
            };
            let slope = (at(1.0) - at(-1.0)) / (2.0 * step);
            let error = (slope - norm * norm).abs() / (norm * norm);
            let allowed = 0.03 + 2e-3 / norm;
            assert!(error < allowed, "layer {i}, {name}: {slope}, not {}", norm * norm);
            checked += 1;
        }
    }
    assert!(checked > 25, "{checked} tensors");
}

/// A saw-tooth from −1 to 1.
fn wave(t: f32) -> f32 {
    (t * 0.37).rem_euclid(2.0) - 1.0
}

#[test]
fn what_doesnt_belong_to_the_network_is_refused() {
    let backend = Reference::default();
    let mut stream = backend.stream().unwrap();
    let small = {
        let architecture = Architecture::new([1, 6, 6]).classifier(1, 3);
        Model::init(architecture, &dyconv_core::Initializers::default(), 1).unwrap()
    };
    let trainable = Prepare::default().trainable(true);
    let mut network = Network::new(&backend, &model(1), &trainable).unwrap();
    let mut other = Network::new(&backend, &small, &trainable).unwrap();
    let x = Tensor::zeros(Shape::new(2, 1, 6, 6).unwrap(), Layout::Nchw);
    let x = backend.upload(&mut stream, x.view()).unwrap();
    let (logits, recording) = other.forward_train(&mut stream, &x).unwrap();
    let error = network.backward(&mut stream, recording, &logits, &[], false).unwrap_err();
    assert!(error.to_string().starts_with("recording is another network's"), "{error}");

    let mut frozen = Network::new(&backend, &model(1), &Prepare::default()).unwrap();
    let error = frozen.forward_train(&mut stream, &x).unwrap_err();
    assert!(error.to_string().starts_with("layer `stem`: layer is prepared for inference"), "{error}");
}

//! Networks learn; what is asked of training happens, and in that order.

use std::ops::ControlFlow;

use dyconv_core::{
    AnyBackend, Backend, Constraint, Layout, Optimizer, Prepare, Reference, Regularizer, Rule, Rules, Shape,
    Tensor, Train,
};
use dyconv_nn::{Dataset, End, Event, Network, Rate, Recipe, Temperature, Trainer, Unit};

use crate::common::{data, model, recipe};

fn losses<B: Train>(backend: &B, recipe: Recipe) -> (f64, f64, f64) {
    let (data, held_out) = (data(18, 0), data(9, 5));
    let mut trainer = Trainer::new(backend, &model(2), recipe, &data).unwrap();
    let end = trainer.run(Some(&held_out), |_, _| Ok(ControlFlow::Continue(()))).unwrap();
    assert_eq!(end, End::Finished);
    let history = &trainer.progress().history;
    let last = history.last().unwrap();
    (history[0].train.loss, last.train.loss, last.held_out.unwrap().accuracy)
}

#[test]
fn a_network_learns_a_separable_problem() {
    let (first, last, held_out) = losses(&Reference::default(), recipe(12));
    assert!(last < 0.7 * first, "from {first} to {last}");
    assert_eq!(held_out, 1.0);
}

#[test]
fn adamw_learns_behind_a_backend_chosen_at_run_time() {
    let adam = Recipe { optimizer: Optimizer::ADAMW, rate: Rate::constant(0.01), ..recipe(8) };
    let (first, last, _) = losses(&AnyBackend::trainable(Reference::default()), adam.clone());
    assert!(last < 0.8 * first, "from {first} to {last}");
    // The same bits as without the disguise.
    assert_eq!(losses(&Reference::default(), adam).1, last);
}

#[test]
fn events_come_in_order_and_schedules_move() {
    let (backend, data) = (Reference::default(), data(12, 0));
    let temperature = Temperature::Linear { from: 9.0, to: 1.0, epochs: 1, every: Unit::Step };
    let recipe = Recipe { temperature, rate: Rate::steps(0.1, [1], 0.5), ..recipe(2) };
    let mut trainer = Trainer::new(&backend, &model(2), recipe, &data).unwrap();
    let mut seen = Vec::new();
    let end = trainer.run(None, |trainer, event| {
        match event {
            Event::Step(step) => seen.push((step.step, step.epoch, step.rate, step.temperature)),
            Event::Epoch(epoch) => {
                assert_eq!(trainer.progress().history.last(), Some(epoch));
                assert_eq!(epoch.held_out, None);
                seen.push((99, epoch.epoch, epoch.rate, epoch.temperature));
            }
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    });
    assert_eq!(end, Ok(End::Finished));
    let third = 9.0 - 8.0 / 3.0;
    let two_thirds = 9.0 + (1.0 - 9.0) * (2.0 / 3.0);
    let (warm, cool) = ([9.0, third, two_thirds], [1.0; 3]);
    let step = |i: usize, epoch: u64, rate: f64, t: f64| (3 * epoch + i as u64, epoch, rate, t);
    let mut want: Vec<_> = (0..3).map(|i| step(i, 0, 0.1, warm[i])).collect();
    want.push((99, 0, 0.1, two_thirds));
    want.extend((0..3).map(|i| step(i, 1, 0.05, cool[i])));
    want.push((99, 1, 0.05, 1.0));
    let near = |a: &(u64, u64, f64, f64), b: &(u64, u64, f64, f64)| {
        (a.0, a.1) == (b.0, b.1) && (a.2 - b.2).abs() < 1e-12 && (a.3 - b.3).abs() < 1e-12
    };
    assert!(seen.len() == want.len() && seen.iter().zip(&want).all(|(a, b)| near(a, b)), "{seen:?}");
    assert_eq!(trainer.step().unwrap(), None);
    assert_eq!(trainer.model().unwrap().temperature(), Some(1.0));
}

#[test]
fn rules_reach_the_layers_that_they_name() {
    let (backend, data, start) = (Reference::default(), data(10, 0), model(2));
    let frozen = Rule { rate: 0.0, ..Rule::default() };
    let all_frozen = Rules {
        experts: frozen.clone(),
        expert_bias: frozen.clone(),
        head: frozen.clone(),
        head_bias: frozen.clone(),
        batch_norm: frozen,
    };
    let mut recipe = recipe(1);
    recipe.rules.experts.constraint = Some(Constraint::NonNeg);
    recipe.layer_rules.insert("a.0".into(), all_frozen);
    let mut trainer = Trainer::new(&backend, &start, recipe, &data).unwrap();
    trainer.run(None, |_, _| Ok(ControlFlow::Continue(()))).unwrap();
    let trained = trainer.model().unwrap();
    let weights = |model: &dyconv_nn::Model, name| {
        model.layers()[model.graph().layer_index(name).unwrap()].params().weight.clone()
    };
    assert_eq!(weights(&trained, "a.0"), weights(&start, "a.0"));
    assert!(weights(&trained, "a.1").iter().all(|w| *w >= 0.0));
    assert_ne!(weights(&trained, "a.1"), weights(&start, "a.1"));
    // `head` has rules of its own, without the constraint.
    assert!(weights(&trained, "head").iter().any(|w| *w < 0.0));
}

#[test]
fn an_activity_penalty_is_a_mean_over_the_batch() {
    let (backend, data, start) = (Reference::default(), data(5, 0), model(2));
    let bias = |l2: f64| {
        let mut recipe = Recipe {
            optimizer: Optimizer::SGD,
            rate: Rate::constant(1.0),
            temperature: Temperature::Fixed { value: 1.0 },
            rules: Rules::default(),
            ..Recipe::new(1, 5)
        };
        recipe.activity.insert("head".into(), Regularizer { l1: 0.0, l2 });
        let mut trainer = Trainer::new(&backend, &start, recipe, &data).unwrap();
        trainer.step().unwrap();
        trainer.model().unwrap().layers().last().unwrap().params().bias.clone().unwrap()
    };
    let (free, held) = (bias(0.0), bias(0.5));

    let mut stream = backend.stream().unwrap();
    let mut network = Network::new(&backend, &start, &Prepare::default().trainable(true)).unwrap();
    let pixels = (0..5).flat_map(|i| data.image(i).to_vec()).collect();
    let images = Tensor::new(Shape::new(5, 1, 6, 6).unwrap(), Layout::Nchw, pixels).unwrap();
    let images = backend.upload(&mut stream, images.view()).unwrap();
    let (logits, _) = network.forward_train(&mut stream, &images).unwrap();
    let logits = backend.download(&mut stream, &logits).unwrap();
    for c in 0..3 {
        // The penalty is z²/2, so the biases differ by the mean of the batch's logits.
        let mean = (0..5).map(|n| logits.data()[3 * n + c]).sum::<f32>() / 5.0;
        assert!((free[c] - held[c] - mean).abs() < 1e-5, "{c}: {} and {}, mean {mean}", free[c], held[c]);
        assert!(mean.abs() > 1e-3, "{mean} shows nothing");
    }
}

#[test]
fn impossible_training_is_refused_before_it_starts() {
    let (backend, data, model) = (Reference::default(), data(6, 0), model(2));
    let refused = |recipe: Recipe| Trainer::new(&backend, &model, recipe, &data).unwrap_err().to_string();
    assert!(refused(Recipe { epochs: 0, ..recipe(1) }).starts_with("epochs is 0"));
    assert!(refused(Recipe { batch: 0, ..recipe(1) }).starts_with("batch is 0"));
    assert!(refused(Recipe { rate: Rate::constant(-1.0), ..recipe(1) }).starts_with("rate.peak is -1"));
    assert!(
        refused(Recipe { temperature: Temperature::Fixed { value: 0.0 }, ..recipe(1) })
            .starts_with("temperature.value is 0")
    );
    let decay = Recipe { rules: Rules::decay(-1.0), ..recipe(1) };
    assert!(refused(decay).starts_with("layer `stem`: rule of weight: weight_decay is -1"));
    let mut typo = recipe(1);
    typo.layer_rules.insert("haed".into(), Rules::default());
    assert!(refused(typo).starts_with("layer is `haed`"));

    let few =
        dyconv_nn::Images::new(Tensor::zeros(Shape::new(2, 1, 6, 6).unwrap(), Layout::Nchw), vec![0, 1], 2)
            .unwrap();
    assert_eq!(few.len(), 2);
    let error = Trainer::new(&backend, &model, recipe(1), &few).unwrap_err().to_string();
    assert_eq!(error, "classes of the data set is 2; expected 3, as many as the network's logits");
    let untrained = AnyBackend::new(Reference::default());
    assert!(Trainer::new(&untrained, &model, recipe(1), &data).is_err());
}

#[test]
fn a_loss_that_isnt_finite_ends_training_before_parameters_move() {
    let (backend, data) = (Reference::default(), data(5, 0));
    let wild = Recipe { rate: Rate::constant(1e38), ..recipe(9) };
    let mut trainer = Trainer::new(&backend, &model(2), wild, &data).unwrap();
    let error = loop {
        match trainer.step() {
            Ok(step) => assert!(step.is_some(), "it should have diverged"),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("training has diverged"), "{error}");
}

//! Checkpoints: a resumed training is the uninterrupted one, bit for bit.

use std::ops::ControlFlow;

use dyconv_core::{Optimizer, Reference};
use dyconv_nn::{Checkpoint, Dataset, End, Event, Model, Recipe, Trainer};

use crate::common::{data, model, recipe};

fn finish(trainer: &mut Trainer<'_, Reference, impl Dataset>, held_out: &dyn Dataset) -> Vec<u8> {
    let end = trainer.run(Some(held_out), |_, _| Ok(ControlFlow::Continue(())));
    assert_eq!(end, Ok(End::Finished));
    trainer.checkpoint().unwrap().to_bytes().unwrap()
}

/// Stops after every possible step, goes through a file, and goes on.
#[test]
fn resumed_training_has_the_same_bits() {
    let (backend, data, held_out) = (Reference::default(), data(8, 0), data(4, 5));
    for optimizer in [Optimizer::MOMENTUM, Optimizer::ADAMW] {
        let recipe = Recipe { optimizer, ..recipe(2) };
        let mut whole = Trainer::new(&backend, &model(2), recipe.clone(), &data).unwrap();
        let want = finish(&mut whole, &held_out);
        for stop in 0..4 {
            let mut first = Trainer::new(&backend, &model(2), recipe.clone(), &data).unwrap();
            let end = first.run(Some(&held_out), |_, event| {
                let now = matches!(event, Event::Step(step) if step.step == stop);
                Ok(if now { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            });
            let expected = if stop == 3 { End::Finished } else { End::Stopped };
            assert_eq!(end, Ok(expected), "after step {stop}");
            assert_eq!(first.progress().step, stop + 1);
            let bytes = first.checkpoint().unwrap().to_bytes().unwrap();
            drop(first);
            let checkpoint = Checkpoint::from_bytes(&bytes).unwrap();
            assert_eq!(checkpoint.to_bytes().unwrap(), bytes);
            let mut second = Trainer::resume(&backend, checkpoint, &data).unwrap();
            assert_eq!(finish(&mut second, &held_out), want, "{optimizer:?}, after step {stop}");
        }
    }
}

#[test]
fn a_checkpoint_is_of_its_data_and_its_recipe() {
    let (backend, ours) = (Reference::default(), data(8, 0));
    let mut trainer = Trainer::new(&backend, &model(2), recipe(2), &ours).unwrap();
    trainer.step().unwrap();
    trainer.step().unwrap();
    let checkpoint = trainer.checkpoint().unwrap();
    let other = data(8, 1);
    let refused = Trainer::resume(&backend, checkpoint.clone(), &other).unwrap_err().to_string();
    assert!(refused.starts_with("data set is another one (fingerprint"), "{refused}");

    let mut short = checkpoint.clone();
    short.recipe.epochs = 1;
    short.progress.step = 3;
    let refused = Trainer::resume(&backend, short, &ours).unwrap_err().to_string();
    assert!(refused.starts_with("step is 3; expected at most 2"), "{refused}");
    let mut forgetful = checkpoint;
    forgetful.progress.history.clear();
    let refused = Trainer::resume(&backend, forgetful, &ours).unwrap_err().to_string();
    assert!(refused.starts_with("history is 0 epochs; expected 1 epochs"), "{refused}");
}

#[test]
fn files_replace_each_other_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("network.safetensors");
    let (first, second) = (model(1), model(2));
    first.save(&path).unwrap();
    assert_eq!(Model::open(&path).unwrap(), first);
    second.save(&path).unwrap();
    assert_eq!(Model::open(&path).unwrap(), second);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");

    let missing = folder.path().join("no/such/folder");
    assert!(first.save(&missing).is_err());
    assert!(Model::open(&missing).unwrap_err().to_string().contains("no/such/folder"));
    assert!(Model::open(folder.path()).unwrap_err().to_string().ends_with("not a regular file"));
}

#[test]
fn the_temperature_of_the_last_step_is_in_the_file() {
    let (backend, data) = (Reference::default(), data(8, 0));
    let mut trainer = Trainer::new(&backend, &model(2), recipe(2), &data).unwrap();
    trainer.step().unwrap();
    let model = trainer.model().unwrap();
    assert_eq!(model.temperature(), Some(30.0));
    assert_eq!(Model::from_bytes(&model.to_bytes().unwrap()).unwrap(), model);
    assert_eq!(trainer.checkpoint().unwrap().model, model);
}

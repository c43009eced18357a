//! Broken and foreign files are refused with a reason, and never panic.

use std::collections::BTreeMap;

use dyconv_core::{Error, Reference, container};
use dyconv_nn::{Architecture, Checkpoint, Model, Trainer};

use crate::common::{data, model, recipe};

fn checkpoint() -> Vec<u8> {
    let (backend, data) = (Reference::default(), data(6, 0));
    let mut trainer = Trainer::new(&backend, &model(2), recipe(2), &data).unwrap();
    trainer.step().unwrap();
    trainer.checkpoint().unwrap().to_bytes().unwrap()
}

fn reason<T>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::File { reason, .. }) => reason,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("it should have been refused"),
    }
}

#[test]
fn every_truncation_is_refused() {
    let bytes = checkpoint();
    for len in (0..200).chain((200..bytes.len()).step_by(97)) {
        reason(Checkpoint::from_bytes(&bytes[..len]));
    }
    let longer = [&bytes[..], &[0]].concat();
    reason(Checkpoint::from_bytes(&longer));
}

/// One bit of every 13th byte: every field and every tensor is hit, and every place in a byte.
#[test]
fn every_flipped_bit_is_noticed() {
    for bytes in [checkpoint(), model(1).to_bytes().unwrap()] {
        for at in (0..bytes.len()).step_by(13) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            let errors = (Checkpoint::from_bytes(&flipped).is_err(), Model::from_bytes(&flipped).is_err());
            assert_eq!(errors, (true, true), "bit {} of byte {at}", at % 8);
        }
    }
}

#[test]
fn a_flipped_weight_is_called_damage() {
    let mut bytes = model(1).to_bytes().unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 4;
    assert!(reason(Model::from_bytes(&bytes)).starts_with("damaged: the checksum is"));
}

#[test]
fn one_kind_of_file_isnt_the_other() {
    let network = model(1).to_bytes().unwrap();
    let wanted = "format is `dyconv.network`; expected `dyconv.checkpoint`";
    assert_eq!(reason(Checkpoint::from_bytes(&network)), wanted);
    let foreign = container::write(&BTreeMap::new(), &[("w".into(), vec![1], &[1.0])]).unwrap();
    let found = reason(Model::from_bytes(&foreign));
    assert_eq!(found, "metadata `format` is missing; expected `dyconv.network`");
    let garbage: Vec<u8> = (0..999u32).map(|i| (i * 37 % 251) as u8).collect();
    reason(Model::from_bytes(&garbage));
}

/// What a sound container may still say that no network can be: rewritten with a right checksum by the writer itself.
#[test]
fn numbers_that_dont_fit_are_refused_by_layer_and_name() {
    let model = model(1);
    let bytes = model.to_bytes().unwrap();
    let file = container::Container::new(&bytes, 1 << 20).unwrap();
    let names: Vec<_> = file.header().names().collect();
    assert!(
        names.contains(&"stem/attention.fc1.weight") && names.contains(&"a.0/bn.running_var"),
        "{names:?}"
    );

    // Other options for the same numbers.
    let json = serde_json::to_string(model.graph().architecture()).unwrap();
    let other: Architecture = serde_json::from_str(&json.replace("\"experts\":3", "\"experts\":2")).unwrap();
    let params = model.layers().iter().map(|layer| layer.params().clone()).collect();
    let error = Model::new(other.build().unwrap(), params, None).unwrap_err().to_string();
    assert!(error.starts_with("layer `stem`: weight is 108 elements"), "{error}");
}

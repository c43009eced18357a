//! The case files of the repository.

use std::path::{Path, PathBuf};

use dyconv_core::AnyBackend;
use dyconv_core::case::Case;
use dyconv_core::reference::Reference;

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cases");
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "safetensors"));
    files.sort();
    assert!(files.len() > 50, "only {} files in {}", files.len(), folder.display());
    files
}

#[test]
fn every_file_survives_reading_and_writing() {
    for path in files() {
        let case = Case::open(&path).unwrap();
        let bytes = case.to_bytes().unwrap();
        assert_eq!(Case::from_bytes(&bytes).unwrap(), case, "{}", path.display());
        assert_eq!(bytes, Case::from_bytes(&bytes).unwrap().to_bytes().unwrap());
    }
}

#[test]
fn the_reference_passes_every_file_gradients_included() {
    let reference = Reference::default();
    let mut gradients = 0;
    for path in files() {
        let case = Case::open(&path).unwrap();
        let report = case.check_training(&reference).unwrap();
        assert!(report.passed, "{}: {report:?}", path.display());
        assert!(report.skipped.is_empty(), "{}: {:?}", path.display(), report.skipped);
        gradients += report.tensors.len() - 2;
    }
    assert!(gradients > 150, "only {gradients} gradients in the files");
}

#[test]
fn a_backend_that_does_not_train_skips_gradients() {
    let inference = AnyBackend::new(Reference::default());
    let training = AnyBackend::trainable(Reference::default());
    for path in files().into_iter().step_by(10) {
        let case = Case::open(&path).unwrap();
        let (skipped, checked) =
            (case.check_training(&inference).unwrap(), case.check_training(&training).unwrap());
        assert!(skipped.passed && checked.passed && checked.skipped.is_empty());
        assert_eq!(skipped, case.check(&inference).unwrap());
        assert_eq!(checked.tensors.len(), skipped.tensors.len() + skipped.skipped.len());
    }
}

//! The case files of the repository.

use std::path::{Path, PathBuf};

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
fn the_reference_passes_every_file() {
    let reference = Reference::default();
    for path in files() {
        let report = Case::open(&path).unwrap().check(&reference).unwrap();
        assert!(report.passed, "{}: {report:?}", path.display());
    }
}

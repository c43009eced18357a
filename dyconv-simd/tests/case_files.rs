//! The repository's case files on every instruction set that this machine has.

use std::path::Path;

use dyconv_core::case::Case;
use dyconv_simd::{Isa, SimdBackend};

#[test]
fn every_case_file_passes_on_every_isa() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dyconv-core/tests/fixtures/cases");
    let mut checked = 0;
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "safetensors") {
            continue;
        }
        let case = Case::open(&path).unwrap();
        for isa in Isa::available() {
            let backend = SimdBackend::builder().isa(isa).build().unwrap();
            let report = case.check(&backend).unwrap();
            assert!(report.passed, "{} on simd-{isa}: {report:?}", path.display());
        }
        checked += 1;
    }
    assert!(checked > 50, "only {checked} files in {}", folder.display());
}

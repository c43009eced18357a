//! Whatever the bytes, reading a case ends in a case or an error; and a case that was read survives being written.
#![no_main]

use dyconv_core::case::Case;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(case) = Case::from_bytes(bytes) else { return };
    let written = case.to_bytes().expect("what was read can be written");
    let again = Case::from_bytes(&written).expect("what was written can be read");
    assert_eq!(again.to_bytes().expect("twice"), written);
});

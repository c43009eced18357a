//! What the environment variables do, seen from a process of its own for each.

use std::process::Command;

use dyconv_core::Backend;
use dyconv_simd::{Isa, SimdBackend};

/// Does nothing unless a test below started it in a process of its own: then says what backend it got.
#[test]
fn child() {
    if std::env::var_os("DYCONV_TEST_CHILD").is_some() {
        let said = match SimdBackend::new() {
            Ok(backend) => format!("{} on {}", backend.info().id, backend.info().threads),
            Err(error) => error.to_string(),
        };
        // A line of its own, after the harness's.
        println!("\nchild: {said}");
    }
}

/// What a backend is like under these variables.
fn under(isa: Option<&str>, threads: Option<&str>) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child", "--exact", "--nocapture"]).env("DYCONV_TEST_CHILD", "1");
    for (name, value) in [("DYCONV_ISA", isa), ("DYCONV_THREADS", threads)] {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let said = output.lines().find_map(|line| line.strip_prefix("child: "));
    said.unwrap_or_else(|| panic!("the child said nothing: {output}")).to_owned()
}

#[test]
fn the_environment_chooses_what_the_builder_leaves_open() {
    assert_eq!(under(Some("portable"), Some("3")), "simd-portable on 3");
    assert_eq!(under(None, Some("1")), format!("{} on 1", Isa::best().id()));
    for isa in Isa::available() {
        assert_eq!(under(Some(isa.name()), Some("2")), format!("{} on 2", isa.id()));
    }
}

#[test]
fn bad_values_are_errors_that_name_the_accepted_ones() {
    assert_eq!(under(Some("sse2"), None), "DYCONV_ISA is \"sse2\"; expected portable, avx2 or avx512");
    assert_eq!(
        under(None, Some("none")),
        "DYCONV_THREADS is \"none\"; expected a whole number from 1 to 1024"
    );
}

//! The suite must be able to fail: every planted error is caught, and by the law that is there for it.
//!
//! `cargo test --release -p dyconv-core --test planted -- --nocapture` prints which laws caught what.

mod backend;
mod fault;
mod stages;

use dyconv_core::testing::{Settings, for_all, laws};

use backend::Faulty;
use fault::{ALL, Fault};

/// The laws that a backend with this fault breaks, and what the first of them said.
///
/// The seed is fixed, since whether an error is caught must not be a matter of luck. The law that
/// must catch it gets more problems than the others, which only fill the table.
fn caught(fault: Option<Fault>, by: Option<&str>) -> (Vec<&'static str>, Option<String>) {
    let faulty = Faulty::new(fault);
    let mut broken = Vec::new();
    let mut said = None;
    for (name, law) in laws::all::<Faulty>() {
        let cases = if by.is_none_or(|by| by == name) { 32 } else { 8 };
        let settings = Settings::fixed(cases, 20_240_613);
        if let Err(failure) = for_all(name, &settings, |problem| law(&faulty, problem)) {
            broken.push(name);
            said.get_or_insert_with(|| failure.failure.to_string());
        }
    }
    (broken, said)
}

#[test]
fn without_a_fault_every_law_is_kept() {
    let (broken, said) = caught(None, None);
    assert!(broken.is_empty(), "{broken:?}: {said:?}");
}

#[test]
fn every_planted_error_is_caught_by_the_law_that_is_there_for_it() {
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads = ALL.map(|(fault, law)| scope.spawn(move || caught(Some(fault), Some(law))));
        threads.into_iter().map(|thread| thread.join().expect("laws don't panic")).collect()
    });
    println!("| planted error | laws that caught it | the first said |\n| --- | --- | --- |");
    for ((fault, _), (broken, said)) in ALL.iter().zip(&results) {
        println!("| {fault:?} | {} | {} |", broken.join(", "), said.as_deref().unwrap_or(""));
    }
    for ((fault, law), (broken, _)) in ALL.iter().zip(&results) {
        assert!(broken.contains(law), "{fault:?} slipped past {law}; caught by {broken:?}");
    }
}

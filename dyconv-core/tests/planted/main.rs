//! The suite must be able to fail: every planted error is caught, and by the law that is there for it.
//!
//! `cargo test --release -p dyconv-core --test planted -- --nocapture` prints which laws caught what.

mod backend;
mod backward;
mod fault;
mod stages;
mod step;
mod train;

use dyconv_core::Precision;
use dyconv_core::testing::{Settings, for_all, laws};

use backend::Faulty;
use fault::{ALL, Fault, OF_STORING, OF_TRAINING};

/// The seed is fixed, since whether an error is caught must not be a matter of luck.
const SEED: u64 = 20_240_613;

/// What a law says of a backend with this fault, where that breaks it.
fn said(fault: Option<Fault>, (name, law): (&'static str, laws::Law<Faulty>), cases: u32) -> Option<String> {
    let faulty = Faulty::new(fault);
    let ran = for_all(name, &Settings::fixed(cases, SEED), |problem| law(&faulty, problem));
    ran.err().map(|broken| broken.failure.to_string())
}

/// The laws of a forward that a backend with this fault breaks, and what the first of them said. The law that must
/// catch it gets more problems than the others, which only fill the table.
fn caught(fault: Fault, by: &str) -> (Vec<&'static str>, Option<String>) {
    let mut broken = Vec::new();
    let mut first = None;
    for (name, law) in laws::all::<Faulty>() {
        let cases = if by == name { 32 } else { 8 };
        if let Some(failure) = said(Some(fault), (name, law), cases) {
            broken.push(name);
            first.get_or_insert(failure);
        }
    }
    (broken, first)
}

#[test]
fn without_a_fault_every_law_is_kept() {
    let all = laws::all::<Faulty>().into_iter().chain(laws::all_of_training()).collect();
    let said = at_once(all, |law| said(None, law, 32).map(|failure| format!("{}: {failure}", law.0)));
    let broken: Vec<String> = said.into_iter().flatten().collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_planted_error_is_caught_by_the_law_that_is_there_for_it() {
    let results = at_once(ALL.to_vec(), |(fault, law)| caught(fault, law));
    println!("| planted error | laws that caught it | the first said |\n| --- | --- | --- |");
    for ((fault, _), (broken, said)) in ALL.iter().zip(&results) {
        println!("| {fault:?} | {} | {} |", broken.join(", "), said.as_deref().unwrap_or(""));
    }
    for ((fault, law), (broken, _)) in ALL.iter().zip(&results) {
        assert!(broken.contains(law), "{fault:?} slipped past {law}; caught by {broken:?}");
    }
}

#[test]
fn every_planted_error_of_storing_is_caught_by_the_law_that_is_there_for_it() {
    let table = laws::all::<Faulty>();
    let said = |fault, (name, law): (&'static str, laws::Law<Faulty>), cases| {
        let faulty = Faulty::storing(Precision::F16, fault);
        let law = |problem: &_| {
            law(&faulty, &dyconv_core::testing::Problem::clone(problem).storing(Precision::F16))
        };
        for_all(name, &Settings::fixed(cases, SEED), law).err().map(|broken| broken.to_string())
    };
    let broken: Vec<String> =
        at_once(table.clone(), |law| said(None, law, 32)).into_iter().flatten().collect();
    assert!(broken.is_empty(), "{broken:#?}");
    for (fault, by) in OF_STORING {
        let law = table.iter().find(|(name, _)| *name == by).copied().expect("a law");
        let failure = said(Some(fault), law, 64);
        assert!(failure.is_some(), "{fault:?} slipped past {by}");
        println!("| {fault:?} | {by} | {} |", failure.unwrap_or_default());
    }
}

#[test]
fn every_planted_error_of_training_is_caught_by_the_law_that_is_there_for_it() {
    let table = laws::all_of_training::<Faulty>();
    let of = |by| table.iter().find(|(name, _)| *name == by).copied().expect("a law of training");
    let results = at_once(OF_TRAINING.to_vec(), |(fault, by)| said(Some(fault), of(by), 64));
    println!("| planted error | law | it said |\n| --- | --- | --- |");
    for ((fault, by), failure) in OF_TRAINING.iter().zip(&results) {
        println!("| {fault:?} | {by} | {} |", failure.as_deref().unwrap_or("nothing"));
    }
    for ((fault, by), failure) in OF_TRAINING.iter().zip(&results) {
        assert!(failure.is_some(), "{fault:?} slipped past {by}");
    }
}

/// What `f` makes of each, on a thread each.
fn at_once<T: Send, R: Send>(of: Vec<T>, f: impl Fn(T) -> R + Sync) -> Vec<R> {
    let f = &f;
    std::thread::scope(|scope| {
        let threads: Vec<_> = of.into_iter().map(|one| scope.spawn(move || f(one))).collect();
        threads.into_iter().map(|thread| thread.join().expect("laws don't panic")).collect()
    })
}

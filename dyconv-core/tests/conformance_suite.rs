//! The suite's own promises: what is skipped says so, what fails can be seen again, bounds mean something.

use std::cell::RefCell;
use std::process::{Command, Output};

use dyconv_core::reference::{F64Layer, F64Tensor, MixedInput};
use dyconv_core::testing::{Data, Expected, Failure, Problem, Settings, Shared, cases, for_all};
use dyconv_core::{Accuracy, Error, Reference, Result, Tensor};

/// A backend that no machine has.
fn absent() -> Result<Reference> {
    let [backend, reason, hint] = ["quantum", "no such device", "wait some years"].map(String::from);
    Err(Error::Unavailable { backend, reason, hint })
}

dyconv_core::conformance_tests!(missing, absent());
dyconv_core::conformance_tests!(present, Ok(Reference::default()), cases = 4);

/// Runs one test of this file in a process of its own, whose environment the caller may change.
fn run_alone(test: &str, variable: Option<(&str, &str)>) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test]);
    if let Some((name, value)) = variable {
        command.env(name, value);
    }
    command.output().unwrap()
}

#[test]
fn a_missing_backend_is_skipped_aloud() {
    let run = run_alone("missing::plan_fits", None);
    assert!(run.status.success());
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    let expected =
        "SKIPPED conformance_suite::missing: quantum isn't available: no such device; wait some years";
    assert!(said.contains(expected), "{said}");
}

#[test]
#[should_panic(expected = "somewhere has no backend: quantum isn't available")]
fn a_missing_backend_that_is_required_fails() {
    Shared::new().get("somewhere", true, absent);
}

#[test]
#[should_panic(expected = "somewhere has no backend: the device was lost")]
fn any_other_error_fails() {
    let lost = || Err::<Reference, _>(Error::DeviceLost { reason: "pulled out".into() });
    Shared::new().get("somewhere", false, lost);
}

#[test]
fn a_mistyped_variable_fails_instead_of_passing() {
    for (name, value) in [("DYCONV_CASES", "many"), ("DYCONV_SEED", "0xyz"), ("DYCONV_PROBLEM", "{")] {
        let run = run_alone("present::plan_fits", Some((name, value)));
        assert!(!run.status.success(), "{name}={value} passed");
    }
    let line = format!("{:?}", cases::paper_layer());
    assert!(run_alone("present::plan_fits", Some(("DYCONV_PROBLEM", &line))).status.success());
}

#[test]
fn a_problem_prints_a_line_that_makes_it_again() {
    for (name, problem) in cases::all() {
        let line = format!("{problem:?}");
        assert!(!line.contains('\n') && !line.contains('\''), "{line}");
        assert_eq!(serde_json::from_str::<Problem>(&line).unwrap(), problem, "{name}");
    }
}

/// All problems that a run tries.
fn tried(settings: &Settings) -> Vec<Problem> {
    let all = RefCell::new(Vec::new());
    let ran = for_all("law", settings, |problem| {
        all.borrow_mut().push(problem.clone());
        Ok(())
    });
    assert!(ran.is_ok());
    all.into_inner()
}

#[test]
fn a_seed_repeats_a_run() {
    let first = tried(&Settings::fixed(20, 7));
    assert_eq!(first.len(), cases::all().len() + 20);
    assert_eq!(first, tried(&Settings::fixed(20, 7)));
    assert_ne!(first, tried(&Settings::fixed(20, 8)));
}

#[test]
fn a_failure_is_shrunk_and_says_how_to_see_it_again() {
    let mut settings = Settings::fixed(200, 3);
    settings.shrinks = 400;
    let broken = for_all("few_channels", &settings, |problem| match problem.config.out_channels() {
        70.. => Err(Failure::new("too many channels")),
        _ => Ok(()),
    });
    let broken = broken.expect_err("65 channels with multiplier 2 come up");
    assert!(broken.problem.batch <= 1 && broken.problem.height == 1, "not shrunk: {:?}", broken.problem);
    let message = broken.to_string();
    assert!(
        message.starts_with("few_channels is broken (one of 200 random problems, shrunk): too many channels")
    );
    assert!(message.contains(&format!("DYCONV_PROBLEM='{:?}'", broken.problem)), "{message}");
    assert!(message.contains("DYCONV_SEED=0x3"), "{message}");
}

#[test]
fn one_problem_can_be_tried_alone() {
    let mut settings = Settings::fixed(20, 7);
    settings.problem = Some(cases::one_pixel());
    assert_eq!(tried(&settings), [cases::one_pixel()]);
}

/// A bound so wide that nothing could break it would be worthless.
#[test]
fn bounds_are_narrow() {
    for (name, problem) in cases::all() {
        let expected = Expected::new(&problem.build().unwrap(), Accuracy::Cpu).unwrap();
        for (what, estimate) in [("π", &expected.attention), ("output", &expected.output)] {
            let most = |of: &[f64]| of.iter().fold(0f64, |most, value| most.max(value.abs()));
            let (error, value) = (most(&estimate.error), most(&estimate.value));
            // The inverse root of a small variance stretches what the convolution may have lost.
            let share = if problem.batch_statistics { 1e-2 } else { 1e-3 };
            assert!(error <= share * value, "{name}: {what} up to {value} may be off by {error}");
        }
    }
}

/// Integer data stays exact in f32 for every plan with dyadic constants: the sum of magnitudes, times
/// 9 for F(2×2) and in sixteenths, is below 2²⁴.
#[test]
fn exact_problems_leave_room() {
    for problem in tried(&Settings::fixed(300, 11)) {
        let problem = problem.exact();
        let instance = problem.build().unwrap();
        assert_eq!(problem.data, Data::Integers);
        let most = |data: &[f32]| data.iter().fold(0f32, |most, value| most.max(value.abs()));
        let attention = instance.attention.as_ref().map_or(1.0, |pi| {
            pi.data()
                .chunks(problem.config.experts())
                .map(|row| row.iter().map(|p| p.abs()).sum())
                .fold(0.0, f32::max)
        });
        let products = problem.config.reduction_len() as f32;
        // A law may combine attention to three times as much.
        let sum =
            products * most(&instance.layer.params().weight) * 3.0 * attention * most(instance.input.data());
        let growth = if problem.config.kernel_size() == [3, 3] { 9.0 } else { 1.0 };
        assert!(16.0 * growth * sum < 16_777_216.0, "{sum} for {problem:?}");
        assert!(gradients_leave_room(&problem), "{problem:?}");
    }
}

/// Sums of magnitudes of every gradient, in quarters, stay below 2²⁴.
fn gradients_leave_room(problem: &Problem) -> bool {
    let lesson = problem.lesson().unwrap();
    let wide =
        |tensor: &Tensor| -> Vec<f64> { tensor.data().iter().map(|value| f64::from(value.abs())).collect() };
    let tensor = |of: &Tensor| F64Tensor::new(of.shape(), of.layout(), wide(of)).unwrap();
    let mut layer = F64Layer::new(&lesson.instance.layer, &lesson.instance.how);
    for name in ["weight", "bias"] {
        layer.tensor_mut(name).into_iter().flatten().for_each(|value| *value = value.abs());
    }
    let config = problem.config;
    let attention = match &lesson.instance.attention {
        Some(pi) => wide(pi),
        None => vec![1.0; problem.batch],
    };
    let sums = layer.mixed_backward(&MixedInput {
        geometry: config.geometry(problem.height, problem.width).unwrap(),
        attention: &attention,
        input: &tensor(&lesson.instance.input),
        gradient: &tensor(&lesson.gradient),
    });
    let all =
        sums.input.data().iter().chain(&sums.weight).chain(sums.bias.iter().flatten()).chain(&sums.attention);
    all.fold(0f64, |most, sum| most.max(*sum)) * 4.0 < 16_777_216.0
}

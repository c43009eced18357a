//! Misfits of training: every backend refuses the same ones, with the same words, and nothing has changed then.

use super::repeatable::same_params;
use crate::testing::laws::opposite;
use crate::testing::{Failure, Lesson, Problem, Trainee, Verdict};
use crate::{
    BatchNorm, Constraint, Error, MomentValues, Optimizer, Params, Prepare, Reference, Regularizer, Result,
    Rule, Rules, Shape, Step, Tensor, Train,
};

/// What was tried, and how it ended.
type Attempts = Vec<(String, Option<Error>)>;

/// Every misfit is refused as the reference refuses it: inference layers, calls, gradients, steps, moments.
///
/// # Errors
/// The first misfit that was accepted, or refused otherwise; or what a refused step changed.
pub fn training_misfits_are_refused_by_name<B: Train>(backend: &B, problem: &Problem) -> Verdict {
    let lesson = problem.lesson()?;
    let reference = Reference::default();
    let kinds = [
        (of_inference(backend, &lesson)?, of_inference(&reference, &lesson)?),
        (of_lessons(backend, &lesson)?, of_lessons(&reference, &lesson)?),
        (of_steps(backend, &lesson)?, of_steps(&reference, &lesson)?),
        (of_moments(backend, &lesson)?, of_moments(&reference, &lesson)?),
    ];
    for (got, want) in kinds {
        for ((what, got), (_, want)) in got.iter().zip(&want) {
            if want.is_none() {
                return Err(Failure::new(format!("{what}: the reference accepted it")));
            }
            if got != want {
                return Err(Failure::new(format!("{what}: gave {got:?}, expected {want:?}")));
            }
        }
    }
    nothing_moved(backend, &lesson)
}

/// A tape of before a step, and one of another layer, are refused by name; so are the gradients and moments of a layer
/// with other parameters, in whatever words.
///
/// # Errors
/// What came back instead.
pub fn old_and_foreign_tapes_are_refused<B: Train>(backend: &B, problem: &Problem) -> Verdict {
    let lesson = problem.lesson()?;
    let mut trainee = Trainee::new(backend, &lesson.instance)?;
    let mut other = Trainee::new(backend, &lesson.instance)?;
    let (_, foreign) = other.forward(&lesson)?;
    let (_, old) = trainee.forward(&lesson)?;
    let gradients = trainee.gradients(&lesson)?.params;
    let mut moments = backend.moments(&trainee.layer, &Optimizer::SGD)?;
    let step = Step::new(Optimizer::SGD, 0.0);
    backend.step(&mut trainee.stream, &mut trainee.layer, &gradients, &mut moments, &step)?;
    for (what, tape) in [("a tape of before a step", old), ("another layer's tape", foreign)] {
        match trainee.backward(&lesson, tape, None) {
            Err(Error::Invalid { parameter, .. }) if parameter == "tape" => {}
            got => return Err(Failure::new(format!("{what} gave {:?}", got.map(|_| "gradients")))),
        }
    }
    let more = problem.clone().with(|options| options.bias(!options.bias)).lesson()?;
    let mut other = Trainee::new(backend, &more.instance)?;
    let foreign = other.gradients(&more)?.params;
    let (stream, layer) = (&mut trainee.stream, &mut trainee.layer);
    if backend.gradients(stream, layer, &foreign).is_ok()
        || backend.step(stream, layer, &foreign, &mut moments, &step).is_ok()
    {
        return Err(Failure::new("gradients of a layer with other parameters were accepted"));
    }
    let mut foreign = backend.moments(&other.layer, &Optimizer::MOMENTUM)?;
    let gradients = trainee.gradients(&lesson)?.params;
    let (stream, layer, step) =
        (&mut trainee.stream, &mut trainee.layer, Step::new(Optimizer::MOMENTUM, 0.1));
    match backend.step(stream, layer, &gradients, &mut foreign, &step) {
        Err(_) => Ok(()),
        Ok(()) => Err(Failure::new("moments of a layer with other parameters were accepted")),
    }
}

fn ended<T>(what: &str, result: Result<T>) -> (String, Option<Error>) {
    (what.to_owned(), result.err())
}

/// A layer that was prepared for inference.
fn of_inference<B: Train>(backend: &B, lesson: &Lesson) -> Result<Attempts, Failure> {
    let mut trainee = Trainee::new(backend, &lesson.instance)?;
    let how = Prepare { trainable: false, ..lesson.instance.how };
    let trained = std::mem::replace(&mut trainee.layer, backend.prepare(&lesson.instance.layer, &how)?);
    let inference = &mut trainee;
    let mut plain = lesson.clone();
    plain.instance.batch_statistics = false;
    let mut attempts = vec![
        ended("training an inference layer", inference.forward(&plain)),
        ended("moments of an inference layer", backend.moments(&inference.layer, &Optimizer::SGD)),
        ended("parameters of an inference layer", inference.params()),
    ];
    let mut own = Trainee { backend, stream: backend.stream()?, layer: trained };
    let gradients = own.gradients(lesson)?.params;
    let mut moments = backend.moments(&own.layer, &Optimizer::SGD)?;
    let step = Step::new(Optimizer::SGD, 0.1);
    let stepped = backend.step(&mut inference.stream, &mut inference.layer, &gradients, &mut moments, &step);
    attempts.push(ended("a step of an inference layer", stepped));
    Ok(attempts)
}

/// Calls and gradients that don't fit.
fn of_lessons<B: Train>(backend: &B, lesson: &Lesson) -> Result<Attempts, Failure> {
    let mut trainee = Trainee::new(backend, &lesson.instance)?;
    let mut attempts = Vec::new();
    let wider = |tensor: &Tensor| -> crate::Result<Tensor> {
        let shape = tensor.shape();
        let wider = Shape::new(shape.batch(), shape.channels() + 1, shape.height(), shape.width())?;
        Ok(Tensor::zeros(wider, tensor.layout()))
    };
    let mut unfit = lesson.clone();
    unfit.instance.input = wider(&lesson.instance.input)?;
    attempts.push(ended("a wider input", trainee.forward(&unfit)));

    let mut bad = Vec::new();
    let mut add = |what, change: &dyn Fn(&mut Lesson)| {
        let mut lesson = lesson.clone();
        change(&mut lesson);
        bad.push((what, lesson));
    };
    let (wide_gradient, wide_input) = (wider(&lesson.gradient)?, wider(&lesson.instance.input)?);
    add("a wider gradient", &|lesson| lesson.gradient = wide_gradient.clone());
    add("a wider tensor to add", &|lesson| lesson.add_to_input = Some(wide_input.clone()));
    let shape = lesson.gradient.shape();
    if shape.pixels() > 1 && shape.channels() > 1 {
        let turned = lesson.gradient.to_layout(opposite(lesson.gradient.layout()));
        add("a gradient in the other layout", &|lesson| lesson.gradient = turned.clone());
    }
    let unwanted = lesson.instance.input.clone();
    add("a tensor to add to nothing", &|lesson| {
        lesson.add_to_input = Some(unwanted.clone());
        lesson.input = false;
    });
    for penalty in [Regularizer { l1: -1.0, l2: 0.0 }, Regularizer { l1: 0.0, l2: f64::NAN }] {
        add("an impossible penalty", &|lesson| lesson.activity = Some(penalty));
    }
    for (what, bad) in bad {
        let (_, tape) = trainee.forward(lesson)?;
        attempts.push(ended(what, trainee.backward(&bad, tape, None)));
    }
    Ok(attempts)
}

/// Steps with impossible numbers, or with moments of another optimiser.
fn of_steps<B: Train>(backend: &B, lesson: &Lesson) -> Result<Attempts, Failure> {
    let mut trainee = Trainee::new(backend, &lesson.instance)?;
    let gradients = trainee.gradients(lesson)?.params;
    let mut moments = backend.moments(&trainee.layer, &Optimizer::MOMENTUM)?;
    let mut attempts = Vec::new();
    for (what, step) in impossible_steps() {
        let stepped = backend.step(&mut trainee.stream, &mut trainee.layer, &gradients, &mut moments, &step);
        attempts.push(ended(what, stepped));
    }
    same_params(&trainee.params()?, &after_forward(backend, lesson)?)
        .map_err(|failure| failure.context("after steps that were refused"))?;
    Ok(attempts)
}

/// The layer's numbers as one forward of training leaves them.
fn after_forward<B: Train>(backend: &B, lesson: &Lesson) -> Result<Params> {
    let mut trainee = Trainee::new(backend, &lesson.instance)?;
    trainee.forward(lesson)?;
    trainee.params()
}

fn impossible_steps() -> Vec<(&'static str, Step)> {
    let optimizer = |what, optimizer| (what, Step::new(optimizer, 0.1));
    let rule = |what, rule: Rule| {
        let rules = Rules { experts: rule, ..Rules::default() };
        (what, Step::new(Optimizer::MOMENTUM, 0.1).rules(rules))
    };
    let constraint = |what, constraint| rule(what, Rule { constraint: Some(constraint), ..Rule::default() });
    let adam = |beta1, beta2, epsilon| Optimizer::AdamW { beta1, beta2, epsilon };
    vec![
        ("a negative rate", Step::new(Optimizer::MOMENTUM, -0.1)),
        ("a rate that isn't finite", Step::new(Optimizer::MOMENTUM, f64::NAN)),
        optimizer("a momentum of 1", Optimizer::Sgd { momentum: 1.0, nesterov: false }),
        optimizer("nesterov without momentum", Optimizer::Sgd { momentum: 0.0, nesterov: true }),
        optimizer("β₁ of 1", adam(1.0, 0.9, 1e-8)),
        optimizer("β₂ below 0", adam(0.9, -0.1, 1e-8)),
        optimizer("ε of 0", adam(0.9, 0.9, 0.0)),
        optimizer("moments of another optimiser", Optimizer::ADAMW),
        optimizer("moments that plain descent hasn't", Optimizer::SGD),
        rule("a negative rate of a rule", Rule { rate: -1.0, ..Rule::default() }),
        rule("an infinite decay", Rule::decay(f64::INFINITY)),
        rule(
            "a negative penalty",
            Rule { regularizer: Some(Regularizer { l1: 0.0, l2: -1.0 }), ..Rule::default() },
        ),
        constraint("a negative norm", Constraint::MaxNorm { max: -1.0, axes: vec![0] }),
        constraint("an axis that an expert hasn't", Constraint::UnitNorm { axes: vec![4] }),
        constraint("an axis twice", Constraint::UnitNorm { axes: vec![1, -3] }),
    ]
}

/// Moments that aren't this layer's and optimiser's.
fn of_moments<B: Train>(backend: &B, lesson: &Lesson) -> Result<Attempts, Failure> {
    let mut trainee = Trainee::new(backend, &lesson.instance)?;
    let learned = lesson.instance.layer.params().learned(lesson.instance.config());
    let adam = MomentValues::zeros(&learned, &Optimizer::ADAMW);
    let changed = |change: &dyn Fn(&mut MomentValues)| {
        let mut values = adam.clone();
        change(&mut values);
        values
    };
    let bad = [
        ("a slot too few", changed(&|values| values.slots.truncate(1))),
        ("a tensor too few", changed(&|values| drop(values.slots[0].remove("weight")))),
        ("a tensor too many", changed(&|values| drop(values.slots[1].insert("bn.running_mean", vec![0.0])))),
        ("an element too many", changed(&|values| values.slots[0].entry("weight").or_default().push(0.0))),
        ("NaN", changed(&|values| values.slots[0].entry("weight").or_default()[0] = f32::NAN)),
        (
            "a negative mean of squares",
            changed(&|values| values.slots[1].entry("weight").or_default()[0] = -1.0),
        ),
    ];
    let mut attempts = Vec::new();
    for (what, values) in bad {
        let loaded = backend.load_moments(&mut trainee.stream, &trainee.layer, &Optimizer::ADAMW, &values);
        attempts.push(ended(what, loaded));
    }
    let impossible = Optimizer::Sgd { momentum: -0.5, nesterov: false };
    attempts.push(ended("moments of a negative momentum", backend.moments(&trainee.layer, &impossible)));
    Ok(attempts)
}

/// A forward that fails moves no running statistics.
fn nothing_moved<B: Train>(backend: &B, lesson: &Lesson) -> Verdict {
    let norm = lesson.instance.config().batch_norm().unwrap_or(BatchNorm::KERAS);
    let Ok(output) = lesson.instance.config().output_shape(lesson.instance.input.shape()) else {
        return Ok(());
    };
    let mut unfit = lesson.clone();
    unfit.instance.batch_statistics = output.batch() * output.pixels() >= if norm.unbiased { 2 } else { 1 };
    unfit.instance.residual =
        Some(Tensor::zeros(output.with_batch(output.batch() + 1)?, unfit.gradient.layout()));
    let mut trainee = Trainee::new(backend, &lesson.instance)?;
    if trainee.forward(&unfit).is_ok() {
        return Err(Failure::new("a residual of another batch was accepted"));
    }
    same_params(&trainee.params()?, lesson.instance.layer.params())
        .map_err(|failure| failure.context("after a forward that failed"))
}

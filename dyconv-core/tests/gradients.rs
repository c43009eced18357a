//! The reference's gradients against central differences, both in f64 and below `Backend`.
//!
//! L = Σ g ⊙ output. A difference that straddles a kink says nothing of a derivative: where a preactivation or a
//! hidden unit is on another side of a kink at one end than at the other, that element is left out, and counted.

use dyconv_core::reference::{Evaluation, F64Gradients, F64Layer, F64Tensor};
use dyconv_core::testing::{Instance, Problem, Settings, cases, for_all};
use dyconv_core::{Activation, Attention, Call, Handle, Layout, Padding, Shape, Squash, Tensor};

/// What L depends on, in f64.
#[derive(Clone)]
struct Point {
    layer: F64Layer,
    input: F64Tensor,
    attention: Option<F64Tensor>,
    residual: Option<F64Tensor>,
}

impl Point {
    fn new(instance: &Instance) -> Self {
        let widen = |tensor: &Tensor| F64Tensor::from(tensor.view());
        Self {
            layer: F64Layer::new(&instance.layer, &instance.how),
            input: widen(&instance.input),
            attention: instance.attention.as_ref().map(widen),
            residual: instance.residual.as_ref().map(widen),
        }
    }

    fn evaluate(&self, instance: &Instance) -> Evaluation {
        let call = Call::new(&self.input)
            .attention(self.attention.as_ref())
            .residual(self.residual.as_ref())
            .temperature(instance.temperature)
            .batch_statistics(instance.batch_statistics);
        self.layer.evaluate(&call).unwrap()
    }

    /// The numbers behind a name.
    fn values(&mut self, name: &str) -> &mut [f64] {
        match name {
            "input" => self.input.data_mut(),
            "pi" => self.attention.as_mut().unwrap().data_mut(),
            "residual" => self.residual.as_mut().unwrap().data_mut(),
            name => self.layer.tensor_mut(name).unwrap(),
        }
    }
}

/// Numbers that have nothing to do with the problem's.
fn wave(len: usize, phase: f64) -> Vec<f64> {
    (0..len).map(|i| (1.0 + phase + 1.7 * i as f64).sin()).collect()
}

/// On which side of its kinks every preactivation and every hidden unit is.
fn sides(activation: Activation, evaluation: &Evaluation) -> Vec<usize> {
    let kinks: &[f64] = match activation {
        Activation::Relu | Activation::LeakyRelu { .. } => &[0.0],
        // Its second derivative jumps.
        Activation::Elu => &[0.0],
        Activation::Relu6 => &[0.0, 6.0],
        Activation::HardSigmoid | Activation::HardSwish => &[-3.0, 3.0],
        Activation::KerasHardSigmoid => &[-2.5, 2.5],
        _ => &[],
    };
    let side = |x: &f64| kinks.iter().filter(|kink| x > kink).count();
    let hidden = evaluation.head.iter().flat_map(|head| head.hidden.iter().flatten());
    evaluation.preactivation.data().iter().map(side).chain(hidden.map(|u| usize::from(*u > 0.0))).collect()
}

struct Checked {
    compared: usize,
    at_kinks: usize,
}

/// Compares a sample of the elements of every gradient.
fn check(problem: &Problem) -> Result<Checked, String> {
    let instance = problem.build().unwrap();
    let start = Point::new(&instance);
    let evaluation = start.evaluate(&instance);
    let output = &evaluation.output;
    let g = F64Tensor::new(output.shape(), output.layout(), wave(output.data().len(), 0.0)).unwrap();
    let found = start.layer.backward(&start.input, &evaluation, &g).unwrap();
    let magnitude: f64 = output.data().iter().zip(g.data()).map(|(y, g)| (y * g).abs()).sum();
    let mut checked = Checked { compared: 0, at_kinks: 0 };
    for (name, gradient) in gradients(&start, &found) {
        let scale = gradient.iter().fold(1e-3f64, |most, g| most.max(g.abs()));
        for i in picked(gradient.len()) {
            let at = |h: f64| {
                let mut moved = start.clone();
                moved.values(name)[i] += h;
                let evaluation = moved.evaluate(&instance);
                let sides = sides(problem.config.activation(), &evaluation);
                let loss: f64 = evaluation.output.data().iter().zip(g.data()).map(|(y, g)| y * g).sum();
                (loss, sides)
            };
            // Richardson's extrapolation of two central differences.
            let h = 1e-4;
            let ((far_up, up), (far_down, down)) = (at(h), at(-h));
            if up != down {
                checked.at_kinks += 1;
                continue;
            }
            let wide = (far_up - far_down) / (2.0 * h);
            let narrow = (at(h / 2.0).0 - at(-h / 2.0).0) / h;
            let slope = (4.0 * narrow - wide) / 3.0;
            // What the extrapolation took away bounds what it left; L itself is rounded.
            let bound = 1e-6 * scale + 0.1 * (wide - narrow).abs() + 16.0 * f64::EPSILON * magnitude / h;
            let error = (slope - gradient[i]).abs();
            if error > bound || (wide - narrow).abs() > 1e-2 * scale {
                return Err(format!("d{name}[{i}] is {}, slope {slope} ± {bound}", gradient[i]));
            }
            checked.compared += 1;
        }
    }
    Ok(checked)
}

fn gradients<'a>(start: &Point, found: &'a F64Gradients) -> Vec<(&'static str, &'a [f64])> {
    let mut all = vec![("input", found.input.data())];
    all.extend(start.attention.as_ref().map(|_| ("pi", found.attention.as_slice())));
    all.extend(start.residual.as_ref().map(|_| ("residual", found.preactivation.data())));
    all.extend(found.params.iter().map(|(name, gradient)| (*name, gradient.as_slice())));
    all
}

/// A few elements, the first and the last among them.
fn picked(len: usize) -> impl Iterator<Item = usize> {
    let step = (len / 5).max(1);
    (0..len).step_by(step).chain(len.checked_sub(1))
}

/// What a problem differentiates: its activation, attention, batch norm and geometry.
fn forms(problem: &Problem) -> Vec<String> {
    let config = &problem.config;
    let instance = problem.build().unwrap();
    let attention = match (config.attention(), &instance.attention) {
        (None, _) => "static".to_owned(),
        (Some(Attention::Given), _) => "given".to_owned(),
        (Some(_), Some(_)) => "overridden".to_owned(),
        (Some(Attention::Mlp { squash, .. }), None) => format!("mlp {}", squash_name(squash)),
        (Some(Attention::Linear { squash }), None) => format!("linear {}", squash_name(squash)),
    };
    let norm = match config.batch_norm() {
        None => "no batch norm",
        Some(_) if instance.batch_statistics => "batch statistics",
        Some(_) => "running statistics",
    };
    let padding = match config.padding() {
        Padding::Valid => "valid",
        Padding::Same => "same",
        Padding::Explicit { .. } => "explicit padding",
    };
    let mut forms = vec![attention, norm.to_owned(), padding.to_owned()];
    forms.push(config.activation().name().to_owned());
    forms.push(config.layout().to_string());
    let rarer = [
        ("stride", config.stride() != [1, 1]),
        ("dilation", config.dilation() != [1, 1]),
        ("groups", config.groups() > 1),
        ("residual", problem.residual),
        ("bias", config.bias()),
    ];
    forms.extend(rarer.into_iter().filter(|(_, is)| *is).map(|(name, _)| name.to_owned()));
    forms
}

fn squash_name(squash: Squash) -> &'static str {
    match squash {
        Squash::Softmax { .. } => "softmax",
        Squash::Sigmoid => "sigmoid",
    }
}

fn every_form() -> Vec<String> {
    let names = [
        "static",
        "given",
        "overridden",
        "mlp softmax",
        "mlp sigmoid",
        "linear softmax",
        "linear sigmoid",
        "no batch norm",
        "running statistics",
        "batch statistics",
        "valid",
        "same",
        "explicit padding",
        "stride",
        "dilation",
        "groups",
        "residual",
        "bias",
    ];
    let activations = Activation::ALL.map(Activation::name);
    let layouts = Layout::ALL.map(|layout| layout.to_string());
    names.into_iter().chain(activations).map(str::to_owned).chain(layouts).collect()
}

#[test]
fn they_are_the_slopes_of_the_loss() {
    let (compared, at_kinks) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let seen = std::cell::RefCell::new(std::collections::BTreeSet::new());
    let settings = Settings::from_environment(300);
    let ran = for_all("they_are_the_slopes_of_the_loss", &settings, |problem| {
        // A variance of few nearly equal values has no slope that a difference could find.
        let values = problem.config.output_shape(problem.input_shape()?)?;
        let problem = match values.batch() * values.pixels() < 8 {
            true => Problem { batch_statistics: false, ..problem.clone() },
            false => problem.clone(),
        };
        let checked = check(&problem).map_err(dyconv_core::testing::Failure::new)?;
        compared.set(compared.get() + checked.compared);
        at_kinks.set(at_kinks.get() + checked.at_kinks);
        seen.borrow_mut().extend(forms(&problem));
        Ok(())
    });
    if let Err(broken) = ran {
        panic!("{broken}");
    }
    println!("{} slopes compared, {} left out at kinks", compared.get(), at_kinks.get());
    if settings.problem.is_none() && settings.cases >= 300 {
        assert!(at_kinks.get() * 20 < compared.get(), "{} of {} at kinks", at_kinks.get(), compared.get());
        let missing: Vec<_> = every_form().into_iter().filter(|form| !seen.borrow().contains(form)).collect();
        assert!(missing.is_empty(), "never differentiated: {missing:?}");
    }
}

/// A test that can't fail would be worthless: gradients of another g aren't its slopes.
#[test]
fn a_wrong_gradient_is_noticed() {
    let problem = cases::training_with_residual();
    let instance = problem.build().unwrap();
    let mut wrong = Point::new(&instance);
    let evaluation = wrong.evaluate(&instance);
    let g = F64Tensor::new(
        evaluation.output.shape(),
        evaluation.output.layout(),
        wave(evaluation.output.data().len(), 0.0),
    );
    let right = wrong.layer.backward(&wrong.input, &evaluation, &g.unwrap()).unwrap();
    wrong.layer.tensor_mut("attention.fc2.weight").unwrap()[0] *= 1.001;
    let g = F64Tensor::new(
        evaluation.output.shape(),
        evaluation.output.layout(),
        wave(evaluation.output.data().len(), 0.0),
    );
    let moved = wrong.layer.backward(&wrong.input, &wrong.evaluate(&instance), &g.unwrap()).unwrap();
    let share = right.params["attention.fc1.weight"].iter().zip(&moved.params["attention.fc1.weight"]);
    assert!(share.map(|(a, b)| (a - b).abs() / a.abs().max(1e-3)).fold(0.0, f64::max) > 1e-6);
    assert!(check(&problem).is_ok());
}

#[test]
fn an_empty_batch_has_gradients_of_zero() {
    for problem in [cases::paper_layer(), cases::keras_layer(), cases::groups_and_given_attention()] {
        let problem = Problem { batch: 0, ..problem };
        let instance = problem.build().unwrap();
        let start = Point::new(&instance);
        let evaluation = start.evaluate(&instance);
        let found = start.layer.backward(&start.input, &evaluation, &evaluation.output).unwrap();
        let learned = instance.layer.params().learned(&problem.config);
        assert_eq!(found.params.len(), learned.len());
        for spec in learned {
            assert_eq!(found.params[spec.name], vec![0.0; spec.len()], "{}", spec.name);
        }
        assert_eq!(
            found.input.shape(),
            Shape::new(0, problem.config.in_channels(), problem.height, problem.width).unwrap()
        );
    }
}

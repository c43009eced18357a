//! What a step does to each kind of parameter.

use serde::{Deserialize, Serialize};

use crate::{Constraint, Error, ParamSpec, Regularizer, Result};

/// What a step does to one kind of parameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Factor of the step's rate, ≥ 0; 1 by default, 0 freezes (but a constraint still holds).
    pub rate: f64,
    /// λ ≥ 0; see [`Step`](super::Step) for where it enters.
    pub weight_decay: f64,
    /// A penalty in the loss; its gradient l1·sign(w) + 2·l2·w is added to the parameter's.
    pub regularizer: Option<Regularizer>,
    /// Where the step's result is brought back into. Axes are those of *one* expert (`[Cout, Cin/G, kh, kw]`, its bias
    /// `[Cout]`), so that each expert is constrained on its own; of the head's matrices `[outputs, inputs]`; of the
    /// other vectors their only one.
    pub constraint: Option<Constraint>,
}

impl Default for Rule {
    fn default() -> Self {
        Self { rate: 1.0, weight_decay: 0.0, regularizer: None, constraint: None }
    }
}

impl Rule {
    /// The usual one with this weight decay.
    #[must_use]
    pub fn decay(weight_decay: f64) -> Self {
        Self { weight_decay, ..Self::default() }
    }

    fn check(&self, spec: &ParamSpec) -> Result<()> {
        let name = |field: &str| format!("rule of {}: {field}", spec.name);
        check_number(&name("rate"), self.rate)?;
        check_number(&name("weight_decay"), self.weight_decay)?;
        self.regularizer.map_or(Ok(()), |regularizer| regularizer.check(&name("regularizer")))?;
        let Some(constraint) = &self.constraint else { return Ok(()) };
        constraint.check(&name("constraint"))?;
        constraint.axes_of(&name("constraint"), spec.own_shape()).map(|_| ())
    }
}

/// A rule for each kind of parameter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// Experts.
    pub experts: Rule,
    /// Expert biases.
    pub expert_bias: Rule,
    /// The head's matrices.
    pub head: Rule,
    /// The head's biases.
    pub head_bias: Rule,
    /// Batch norm's gamma and beta.
    pub batch_norm: Rule,
}

impl Rules {
    /// Weight decay on experts and the head's matrices, and not on biases and batch norm.
    #[must_use]
    pub fn decay(weight_decay: f64) -> Self {
        let decay = Rule::decay(weight_decay);
        Self { experts: decay.clone(), head: decay, ..Self::default() }
    }

    /// The rule of a parameter, by its name in [`ParamSpec`].
    #[must_use]
    pub fn of(&self, parameter: &str) -> &Rule {
        match parameter {
            "weight" => &self.experts,
            "bias" => &self.expert_bias,
            "attention.fc1.weight" | "attention.fc2.weight" => &self.head,
            "attention.fc1.bias" | "attention.fc2.bias" => &self.head_bias,
            _ => &self.batch_norm,
        }
    }

    pub(super) fn check(&self, config: &crate::Config) -> Result<()> {
        ParamSpec::all(config)
            .iter()
            .filter(|spec| spec.learned())
            .try_for_each(|spec| self.of(spec.name).check(spec))
    }
}

pub(super) fn check_number(name: &str, value: f64) -> Result<()> {
    if value >= 0.0 && (value as f32).is_finite() {
        return Ok(());
    }
    Err(Error::invalid(name, value, "a finite f32, at least 0"))
}

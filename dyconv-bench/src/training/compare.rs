//! The same network static and dynamic, with and without annealing of the temperature, from several seeds.

use dyconv_core::{AnyBackend, Error, Result};
use dyconv_nn::{End, LayerAttention, Metrics, Recipe, Temperature, Trainer};
use serde::Serialize;

use super::{Findings, Session, Setup, Spread, Summary};

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// One kernel per layer, no attention.
    Static,
    /// Dynamic, the temperature annealed.
    Annealed,
    /// Dynamic, the temperature from the first step on where annealing ends.
    Fixed,
}

/// One variant over all seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Which.
    pub variant: Variant,
    /// In words.
    pub name: String,
    /// The network.
    pub network: Summary,
    /// How it was trained, but for the seed.
    pub recipe: Recipe,
    /// Held-out accuracy after the last epoch, as a share.
    pub accuracy: Spread,
    /// Held-out loss after the last epoch.
    pub loss: Spread,
    /// Accuracy over the static variant's of the same seed.
    pub over_static: Option<Paired>,
    /// Every dynamic layer.
    pub layers: Vec<LayerOutcome>,
    /// Held-out accuracy without any attention.
    pub without_all: Option<Spread>,
    /// Every seed.
    pub runs: Vec<SeedRun>,
}

/// Differences of runs with the same seed, and so with the same order of images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Paired {
    /// Of accuracies, as shares.
    pub difference: Spread,
    /// Seeds where it is better.
    pub better: usize,
    /// Seeds where it is as good.
    pub alike: usize,
    /// Seeds where it is worse.
    pub worse: usize,
}

/// A dynamic layer over all seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerOutcome {
    /// Its name.
    pub layer: String,
    /// Entropy of π as a share of ln K, 1 where all experts weigh alike.
    pub entropy: Spread,
    /// The mean π of the expert that is used most: 1/K where all are used alike, 1 where one has taken all.
    pub largest_usage: Spread,
    /// Held-out accuracy with the mean kernel instead of the attended one.
    pub accuracy_without: Spread,
}

/// One training of the comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeedRun {
    /// The seed.
    pub seed: u64,
    /// After the last epoch, on images that it was trained on.
    pub training: Metrics,
    /// After the last epoch, on held-out images.
    pub held_out: Metrics,
    /// Held-out accuracy after every epoch.
    pub curve: Vec<f64>,
    /// Every dynamic layer's usage of experts, mean π.
    pub usage: Vec<Vec<f64>>,
    /// Every dynamic layer's entropy as a share of ln K.
    pub entropy: Vec<f64>,
    /// Held-out accuracy without the attention of each dynamic layer.
    pub accuracy_without: Vec<f64>,
    /// Held-out accuracy without any attention.
    pub accuracy_without_all: f64,
}

impl Variant {
    /// All, in the order of tables.
    pub const ALL: [Self; 3] = [Self::Static, Self::Annealed, Self::Fixed];

    /// The training that is asked for, in this variant, from this seed.
    ///
    /// # Errors
    /// Where the temperature isn't annealed, or there is one expert: nothing to compare then.
    pub fn setup(self, asked: &Setup, seed: u64) -> Result<Setup> {
        let Temperature::Linear { to, .. } = asked.temperature else {
            return Err(Error::invalid("temperature", "one number", "FROM,TO with --compare"));
        };
        if asked.experts < 2 {
            return Err(Error::invalid("experts", asked.experts, "at least 2 with --compare"));
        }
        let asked = Setup { seed, ..asked.clone() };
        Ok(match self {
            Self::Static => Setup { experts: 1, ..asked },
            Self::Annealed => asked,
            Self::Fixed => Setup { temperature: Temperature::Fixed { value: to }, ..asked },
        })
    }

    fn name(self, setup: &Setup) -> String {
        match setup.temperature {
            _ if self == Self::Static => "static".into(),
            Temperature::Linear { from, to, epochs, .. } => {
                format!("dynamic, T {from} → {to} in {epochs} epochs")
            }
            Temperature::Fixed { value } => format!("dynamic, T = {value}"),
        }
    }
}

/// Trains every variant from every seed; seeds are complete, so an interruption leaves fewer of them.
///
/// # Errors
/// Where a number can't be used, or the backend fails.
pub fn compare(
    asked: &Setup,
    seeds: &[u64],
    backend: &AnyBackend,
    session: &Session<'_>,
) -> Result<(Vec<Outcome>, End)> {
    let mut runs: [Vec<SeedRun>; 3] = Default::default();
    let mut end = End::Finished;
    'seeds: for &seed in seeds {
        let mut of_seed = Vec::with_capacity(Variant::ALL.len());
        for variant in Variant::ALL {
            match run(&variant.setup(asked, seed)?, backend, session)? {
                Some(run) => of_seed.push(run),
                None => {
                    end = End::Stopped;
                    break 'seeds;
                }
            }
        }
        runs.iter_mut().zip(of_seed).for_each(|(runs, run)| runs.push(run));
    }
    let statics = runs[0].clone();
    let outcomes = Variant::ALL.into_iter().zip(runs);
    let outcomes = outcomes.map(|(variant, runs)| Outcome::new(variant, asked, runs, &statics));
    Ok((outcomes.collect::<Result<_>>()?, end))
}

fn run(setup: &Setup, backend: &AnyBackend, session: &Session<'_>) -> Result<Option<SeedRun>> {
    let mut trainer = Trainer::new(backend, &setup.model()?, setup.recipe(), &session.digits.training)?;
    if session.run(&mut trainer)? == End::Stopped {
        return Ok(None);
    }
    let findings = Findings::read(backend, &trainer.model()?, &session.digits.held_out)?;
    let history = &trainer.progress().history;
    let Some(last) = history.last() else { return Ok(None) };
    let share = |layer: &LayerAttention| layer.entropy / (layer.experts as f64).ln();
    Ok(Some(SeedRun {
        seed: setup.seed,
        training: last.train,
        held_out: last.held_out.unwrap_or(findings.ablation.none),
        curve: history.iter().filter_map(|epoch| epoch.held_out).map(|metrics| metrics.accuracy).collect(),
        usage: findings.attention.iter().map(|layer| layer.usage.clone()).collect(),
        entropy: findings.attention.iter().map(share).collect(),
        accuracy_without: findings.ablation.each.iter().map(|(_, metrics)| metrics.accuracy).collect(),
        accuracy_without_all: findings.ablation.all.accuracy,
    }))
}

impl Outcome {
    fn new(variant: Variant, asked: &Setup, runs: Vec<SeedRun>, statics: &[SeedRun]) -> Result<Self> {
        let setup = variant.setup(asked, asked.seed)?;
        let model = setup.model()?;
        let over = |of: &dyn Fn(&SeedRun) -> f64| Spread::of(&runs.iter().map(of).collect::<Vec<_>>());
        let dynamic = model.graph().layers().iter().filter(|layer| layer.is_dynamic()).enumerate();
        let layers: Vec<LayerOutcome> = dynamic
            .map(|(i, layer)| LayerOutcome {
                layer: layer.name().to_string(),
                entropy: over(&|run| run.entropy[i]),
                largest_usage: over(&|run| run.usage[i].iter().copied().fold(0.0, f64::max)),
                accuracy_without: over(&|run| run.accuracy_without[i]),
            })
            .collect();
        Ok(Self {
            variant,
            name: variant.name(&setup),
            network: Summary::of(&model)?,
            recipe: setup.recipe(),
            accuracy: over(&|run| run.held_out.accuracy),
            loss: over(&|run| run.held_out.loss),
            over_static: (variant != Variant::Static).then(|| Paired::new(&runs, statics)),
            without_all: (!layers.is_empty()).then(|| over(&|run| run.accuracy_without_all)),
            layers,
            runs,
        })
    }
}

impl Paired {
    fn new(runs: &[SeedRun], statics: &[SeedRun]) -> Self {
        let pairs = runs.iter().zip(statics);
        let differences: Vec<f64> =
            pairs.map(|(run, other)| run.held_out.accuracy - other.held_out.accuracy).collect();
        let count = |wanted: fn(&f64) -> bool| differences.iter().filter(|d| wanted(d)).count();
        Self {
            difference: Spread::of(&differences),
            better: count(|d| *d > 0.0),
            alike: count(|d| *d == 0.0),
            worse: count(|d| *d < 0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::annealed;

    fn asked() -> Setup {
        let temperature = annealed(30.0, 2.0, 10);
        Setup { experts: 4, width: 2, epochs: 3, batch: 64, rate: 0.1, head_rate: 0.1, temperature, seed: 1 }
    }

    fn run(seed: u64, accuracy: f64, entropy: f64) -> SeedRun {
        let metrics = Metrics { loss: 1.0 - accuracy, accuracy };
        SeedRun {
            seed,
            training: metrics,
            held_out: metrics,
            curve: vec![accuracy],
            usage: vec![vec![0.25, 0.5, 0.25, 0.0]; 4],
            entropy: vec![entropy; 4],
            accuracy_without: vec![accuracy / 2.0; 4],
            accuracy_without_all: 0.125,
        }
    }

    #[test]
    fn variants_differ_in_what_they_are_named_for_alone() {
        let [statics, annealed, fixed] = Variant::ALL.map(|variant| variant.setup(&asked(), 7).unwrap());
        assert_eq!(annealed, Setup { seed: 7, ..asked() });
        assert_eq!(statics, Setup { experts: 1, ..annealed.clone() });
        assert_eq!(fixed, Setup { temperature: Temperature::Fixed { value: 2.0 }, ..annealed });
        let names = Variant::ALL.map(|variant| variant.name(&variant.setup(&asked(), 7).unwrap()));
        assert_eq!(names, ["static", "dynamic, T 30 → 2 in 10 epochs", "dynamic, T = 2"]);
        let refused = |setup: Setup| Variant::Fixed.setup(&setup, 1).unwrap_err().to_string();
        assert!(refused(Setup { experts: 1, ..asked() }).starts_with("experts is 1; expected at least 2"));
        let fixed = Temperature::Fixed { value: 1.0 };
        assert!(refused(Setup { temperature: fixed, ..asked() }).contains("expected FROM,TO with --compare"));
    }

    #[test]
    fn outcomes_are_over_seeds_and_differences_within_them() {
        let statics = [run(1, 0.75, 0.0), run(2, 0.5, 0.0), run(3, 0.25, 0.0)];
        let runs = vec![run(1, 0.875, 0.5), run(2, 0.5, 1.0), run(3, 0.125, 0.0)];
        let outcome = Outcome::new(Variant::Annealed, &asked(), runs, &statics).unwrap();
        assert_eq!((outcome.accuracy.mean, outcome.accuracy.std), (0.5, Some(0.375)));
        assert_eq!(outcome.loss.mean, 0.5);
        let paired = outcome.over_static.unwrap();
        assert_eq!((paired.difference.mean, paired.difference.std), (0.0, Some(0.125)));
        assert_eq!((paired.better, paired.alike, paired.worse), (1, 1, 1));
        assert_eq!(outcome.layers.len(), 4);
        let layer = &outcome.layers[2];
        assert_eq!(
            (layer.layer.as_str(), layer.entropy.mean, layer.largest_usage.mean),
            ("depthwise", 0.5, 0.5)
        );
        assert_eq!((layer.accuracy_without.mean, outcome.without_all.unwrap().mean), (0.25, 0.125));
        let alone = Outcome::new(Variant::Static, &asked(), statics.to_vec(), &statics).unwrap();
        assert_eq!((alone.over_static, alone.without_all, alone.layers.len()), (None, None, 0));
    }
}

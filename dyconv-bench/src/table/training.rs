//! Tables of networks and their trainings.

use dyconv_core::Result;
use dyconv_nn::{LayerAttention, Metrics, Model};

use super::{dash, table};
use crate::training::{Findings, LayerOutcome, Outcome, Spread};

/// A network's layers, and what each costs for one image.
///
/// # Errors
/// None for a proven network.
pub fn network(model: &Model) -> Result<String> {
    let costs = model.graph().costs()?;
    let rows = model.graph().layers().iter().zip(costs).map(|(layer, cost)| {
        let (config, output) = (layer.config(), layer.output());
        let [height, width] = config.kernel_size();
        let kind = match (config.groups(), layer.is_dynamic()) {
            (1, true) => "dynamic",
            (1, false) => "static",
            (_, true) => "dynamic, depthwise",
            (_, false) => "static, depthwise",
        };
        let total = cost.total();
        vec![
            layer.name().to_string(),
            kind.to_string(),
            format!("{height}×{width}"),
            format!("{}→{}", config.in_channels(), config.out_channels()),
            format!("{}×{}", output.height(), output.width()),
            config.experts().to_string(),
            total.parameters.to_string(),
            total.multiply_adds.to_string(),
        ]
    });
    let header = ["layer", "kind", "taps", "channels", "output", "K", "parameters", "multiply-adds"];
    Ok(table(&header, 2, rows).to_string())
}

/// What attention does on held-out images, layer by layer, and what it is worth.
#[must_use]
pub fn findings(Findings { attention, ablation }: &Findings) -> String {
    let percent = |metrics: &Metrics| format!("{:.2}", 100.0 * metrics.accuracy);
    let mut text =
        format!("held out: loss {:.4}, accuracy {} %", ablation.none.loss, percent(&ablation.none));
    if attention.is_empty() {
        return text;
    }
    let lines = attention.iter().map(|layer| {
        let without = ablation.each.iter().find(|(name, _)| *name == layer.layer).map(|(_, metrics)| metrics);
        vec![
            layer.layer.clone(),
            shares(&layer.usage),
            shares(&layer.favoured),
            entropy(layer),
            without.map_or_else(String::new, percent),
            without.map_or_else(String::new, |metrics| format!("{:.4}", metrics.loss)),
        ]
    });
    let all = ["all", "", "", ""].map(String::from).into_iter();
    let all = all.chain([percent(&ablation.all), format!("{:.4}", ablation.all.loss)]).collect();
    let header = ["layer", "mean π", "weighs most", "entropy", "accuracy without", "loss without"];
    text += &format!("\n\n{}\n", table(&header, 1, lines.chain([all])));
    text += "mean π, weighs most: over held-out images, expert by expert, in percent. entropy: of π, as a share of ln K; \
             100 is all alike. without: the mean kernel takes the place of the attended one (the paper's table 4), \
             accuracy in percent.";
    text
}

/// Variants over several seeds: accuracies; then, of those with attention, every layer.
#[must_use]
pub fn variants(outcomes: &[Outcome]) -> String {
    let percent = |spread: Spread| format!("{:.2}", spread.times(100.0));
    let lines = outcomes.iter().map(|outcome| {
        let paired = outcome.over_static.as_ref();
        vec![
            outcome.name.clone(),
            outcome.network.parameters.to_string(),
            outcome.network.multiply_adds.to_string(),
            percent(outcome.accuracy),
            format!("{:.3}", outcome.loss),
            paired.map_or_else(dash, |paired| percent(paired.difference)),
            paired.map_or_else(dash, |p| format!("{} / {} / {}", p.better, p.alike, p.worse)),
        ]
    });
    let header = [
        "network",
        "parameters",
        "multiply-adds",
        "accuracy, %",
        "loss",
        "over static, points",
        "better / alike / worse",
    ];
    let mut text = format!("{}\n", table(&header, 1, lines));
    text += "mean ± standard deviation over seeds, on held-out images after the last epoch; over static: differences of \
             runs with the same seed.\n";
    for outcome in outcomes.iter().filter(|outcome| !outcome.layers.is_empty()) {
        let mut lines: Vec<Vec<String>> = outcome.layers.iter().map(layer_line).collect();
        let all = outcome.without_all.map_or_else(dash, percent);
        lines.push(["all".into(), String::new(), String::new(), all].to_vec());
        let header = ["layer", "entropy, %", "usage of the most used, %", "accuracy without, %"];
        text += &format!("\n{}\n{}\n", outcome.name, table(&header, 1, lines));
    }
    text + "entropy: of π, as a share of ln K; 100 is all alike, 0 a single expert. without: the mean kernel takes the place of \
            the attended one."
}

fn layer_line(layer: &LayerOutcome) -> Vec<String> {
    let percent = |spread: Spread, digits: usize| format!("{:.digits$}", spread.times(100.0));
    vec![
        layer.layer.clone(),
        percent(layer.entropy, 0),
        percent(layer.largest_usage, 0),
        percent(layer.accuracy_without, 2),
    ]
}

fn shares(shares: &[f64]) -> String {
    let each: Vec<_> = shares.iter().map(|share| format!("{:.0}", 100.0 * share)).collect();
    each.join(" ")
}

/// As a share of ln K, in percent.
fn entropy(layer: &LayerAttention) -> String {
    format!("{:.0}", 100.0 * layer.entropy / (layer.experts as f64).ln())
}

//! Tables of what a network says about images.

use dyconv_nn::{Dataset, Images};

use super::table;
use crate::reading::{Agreement, Answers};

/// Every backend beside the reference.
#[must_use]
pub fn agreement(agreements: &[Agreement], images: usize) -> String {
    let lines = agreements.iter().map(|agreement| {
        vec![
            agreement.backend.clone(),
            format!("{:.2}", 100.0 * agreement.accuracy),
            format!("{} of {images}", agreement.same),
            agreement.different_ties.len().to_string(),
            agreement.different.len().to_string(),
            format!("{:.1e}", agreement.worst_difference),
        ]
    });
    let header =
        ["backend", "accuracy, %", "same class", "another, near tie", "another", "largest difference"];
    table(&header, 1, lines).to_string()
}

/// One image of each class: what is said, and the attention in every layer, in percent.
#[must_use]
pub fn one_of_each(images: &Images, answers: &Answers, places: &[usize]) -> String {
    let firsts =
        (0..images.classes()).filter_map(|class| (0..images.len()).find(|&i| images.label(i) == class));
    let lines = firsts.map(|image| {
        let weights = answers.weights(image).map(|pi| {
            let each: Vec<_> = pi.iter().map(|weight| format!("{:.0}", 100.0 * weight)).collect();
            each.join(" ")
        });
        let start =
            [places[image].to_string(), images.label(image).to_string(), answers.class(image).to_string()];
        start.into_iter().chain(weights).collect()
    });
    let names = answers.attention.iter().map(|(name, _)| format!("π of {name}"));
    let header: Vec<String> =
        ["image", "digit", "read as"].map(String::from).into_iter().chain(names).collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    table(&header, 0, lines).to_string()
}

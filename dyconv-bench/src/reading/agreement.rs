//! Whether a backend says what the reference says.

use serde::Serialize;

use super::Answers;
use crate::problem::worst_difference;

/// Where the reference's two largest logits are closer than this, backends may differ: a class is then decided by
/// roundings. Logits of different backends are a twentieth of it apart, or less.
pub const NEAR_TIE: f32 = 1e-3;

/// One backend's answers beside the reference's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Agreement {
    /// The backend's id.
    pub backend: String,
    /// Share of images whose class it finds.
    pub accuracy: f64,
    /// Images for which it says the same class as the reference.
    pub same: usize,
    /// Images for which it says another class, by their place, although the reference has no doubt: a defect.
    pub different: Vec<usize>,
    /// Images for which it says another class and the reference's two largest logits are a near tie.
    pub different_ties: Vec<usize>,
    /// Largest |got − reference| over all logits and attention weights.
    pub worst_difference: f64,
}

impl Agreement {
    /// Compares answers about the same images.
    #[must_use]
    pub fn new(backend: &str, got: &Answers, reference: &Answers, labels: &[usize]) -> Self {
        let differs = (0..reference.len()).filter(|&image| got.class(image) != reference.class(image));
        let (different_ties, different): (Vec<_>, Vec<_>) =
            differs.partition(|&image| reference.margin(image) < NEAR_TIE);
        let attention = got.attention.iter().zip(&reference.attention);
        let worst = attention.map(|((_, got), (_, want))| worst_difference(got.view(), want.view()));
        Self {
            backend: backend.to_string(),
            accuracy: got.accuracy(labels),
            same: reference.len() - different.len() - different_ties.len(),
            different,
            different_ties,
            worst_difference: worst
                .fold(worst_difference(got.logits.view(), reference.logits.view()), f64::max),
        }
    }
}

#[cfg(test)]
mod tests {
    use dyconv_core::Tensor;

    use super::*;

    #[test]
    fn near_ties_are_counted_apart() {
        let answers = |logits: &[f32]| Answers {
            logits: Tensor::attention(3, 2, logits.to_vec()).unwrap(),
            attention: vec![("a".into(), Tensor::attention(3, 1, vec![logits[0]; 3]).unwrap())],
        };
        let reference = answers(&[2.0, 1.0, 0.5, 0.4999, 3.0, 1.0]);
        let got = answers(&[2.0, 1.0, 0.4999, 0.5, 3.0, 3.5]);
        let agreement = Agreement::new("x", &got, &reference, &[0, 0, 0]);
        assert_eq!((agreement.same, agreement.different, agreement.different_ties), (1, vec![2], vec![1]));
        assert_eq!((agreement.accuracy, agreement.worst_difference), (1.0 / 3.0, 2.5));
        let itself = Agreement::new("x", &reference, &reference, &[0, 0, 0]);
        assert_eq!((itself.same, itself.worst_difference), (3, 0.0));
    }
}

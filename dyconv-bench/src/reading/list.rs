//! Every answer as a table that other programs read.

use dyconv_nn::Images;

use super::Answers;

/// CSV: an image's place in the source, its digit, what it is read as, by how much, and every attention weight.
#[must_use]
pub fn every_answer(images: &Images, answers: &Answers, places: &[usize]) -> String {
    let mut text = "image,digit,read_as,margin".to_string();
    for (name, pi) in &answers.attention {
        (1..=pi.shape().channels()).for_each(|expert| text += &format!(",{name}:{expert}"));
    }
    text.push('\n');
    for (image, (place, label)) in places.iter().zip(images.labels()).enumerate() {
        text += &format!("{place},{label},{},{}", answers.class(image), answers.margin(image));
        answers.weights(image).flatten().for_each(|weight| text += &format!(",{weight}"));
        text.push('\n');
    }
    text
}

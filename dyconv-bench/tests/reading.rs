//! The network that ships: it is what its command trains, and reads the same on every backend.

use dyconv_bench::commands::train::Hyper;
use dyconv_bench::digits::Digits;
use dyconv_bench::reading::{Agreement, Answers, COMMAND, NETWORK, every_answer};
use dyconv_bench::roster::Wanted;
use dyconv_core::{AnyBackend, Reference};
use dyconv_nn::Model;

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    hyper: Hyper,
}

#[test]
fn the_network_that_ships_is_of_the_command_that_ships() {
    use clap::Parser;
    let options = COMMAND.strip_prefix("dyconv train --backend reference").unwrap().split_whitespace();
    let cli = Cli::parse_from(["dyconv"].into_iter().chain(options));
    let setup = cli.hyper.setup().unwrap();
    let model = Model::from_bytes(NETWORK).unwrap();
    assert_eq!(model.graph(), setup.model().unwrap().graph());
    assert_eq!(model.temperature(), Some(1.0));
}

#[test]
fn every_backend_reads_every_held_out_image_as_the_reference_does() {
    let digits = Digits::load().unwrap();
    let (images, labels) = (&digits.held_out, digits.held_out.labels());
    let model = Model::from_bytes(NETWORK).unwrap();
    let reference = Answers::of(&AnyBackend::new(Reference::default()), &model, images).unwrap();
    assert!(reference.accuracy(labels) > 0.97, "{}", reference.accuracy(labels));
    for candidate in Wanted::all().open(None).unwrap() {
        let Ok(backend) = candidate.backend else { continue };
        let answers = Answers::of(&backend, &model, images).unwrap();
        let agreement = Agreement::new(candidate.name, &answers, &reference, labels);
        assert_eq!(agreement.different, Vec::<usize>::new(), "{agreement:?}");
        assert!(agreement.worst_difference < 1e-4, "{agreement:?}");
    }
}

#[test]
fn attention_is_of_the_image() {
    let digits = Digits::load().unwrap();
    let model = Model::from_bytes(NETWORK).unwrap();
    let answers = Answers::of(&AnyBackend::new(Reference::default()), &model, &digits.held_out).unwrap();
    assert_eq!(answers.attention.len(), 4);
    for (name, pi) in &answers.attention {
        let first: Vec<f32> = pi.data().chunks_exact(4).map(|weights| weights[0]).collect();
        let (low, high) = first.iter().fold((1f32, 0f32), |(low, high), &w| (low.min(w), high.max(w)));
        assert!(high - low > 0.05, "{name}: from {low} to {high}");
    }
}

#[test]
fn the_list_of_answers_has_a_line_for_each_image() {
    let digits = Digits::load().unwrap();
    let model = Model::from_bytes(NETWORK).unwrap();
    let answers = Answers::of(&AnyBackend::new(Reference::default()), &model, &digits.held_out).unwrap();
    let text = every_answer(&digits.held_out, &answers, &digits.held_out_places);
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(
        (lines.len(), &lines[0][..5]),
        (600, &["image", "digit", "read_as", "margin", "residual.0:1"][..])
    );
    for (image, line) in lines[1..].iter().enumerate() {
        assert_eq!(line.len(), 4 + 4 * 4);
        assert_eq!(line[0], digits.held_out_places[image].to_string());
        assert_eq!(line[2], answers.class(image).to_string());
        let sum: f32 = line[4..8].iter().map(|weight| weight.parse::<f32>().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-5);
    }
}

//! `dyconv train` from outside: it learns, says what it did, is resumed bit for bit, and refuses what can't be.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use dyconv_nn::Model;
use serde_json::Value;
use tempfile::TempDir;

/// A network so small that an epoch takes a moment.
const SMALL: [&str; 9] =
    ["train", "--backend", "reference", "--width", "2", "--experts", "2", "--batch", "64"];

fn command(arguments: &[&[&str]], out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dyconv"));
    command.args(arguments.concat()).arg("--out").arg(out);
    command
}

fn dyconv(arguments: &[&[&str]], out: &Path) -> Output {
    command(arguments, out).output().expect("the program starts")
}

/// What it printed, messages included, and that it ended with this code.
fn ends_with(code: i32, arguments: &[&[&str]], out: &Path) -> String {
    let Output { status, stdout, stderr } = dyconv(arguments, out);
    let printed = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert_eq!(status.code(), Some(code), "dyconv {arguments:?} printed:\n{printed}");
    assert!(!printed.contains("panicked"), "{printed}");
    printed
}

fn record(out: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(out.join("training.json")).unwrap()).unwrap()
}

#[test]
fn a_network_learns_and_leaves_itself_pictures_and_a_record() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("results");
    let printed = ends_with(0, &[&SMALL, &["--epochs", "2", "--temperature", "9,1", "--anneal", "1"]], &out);
    for word in ["reference", "1198 images", "599 held out", "residual.1", "epoch 2/2", "accuracy without"] {
        assert!(printed.contains(word), "{word} in {printed}");
    }
    let record = record(&out);
    assert_eq!((&record["version"], &record["kind"]), (&Value::from(1), &Value::from("train")));
    assert_eq!(record["backend"]["backend"], "reference");
    assert_eq!((&record["data"]["training"], &record["data"]["held_out"]), (&1198.into(), &599.into()));
    let history = record["history"].as_array().unwrap();
    let temperatures: Vec<f64> = history.iter().map(|epoch| epoch["temperature"].as_f64().unwrap()).collect();
    assert_eq!(temperatures, [9.0, 1.0]);
    let loss = |epoch: usize| history[epoch]["train"]["loss"].as_f64().unwrap();
    assert!(loss(1) < loss(0), "{history:?}");
    let held_out = &history[1]["held_out"];
    assert_eq!(&record["findings"]["ablation"]["none"]["accuracy"], &held_out["accuracy"]);
    let layers = record["findings"]["attention"].as_array().unwrap();
    let names: Vec<&str> = layers.iter().map(|layer| layer["layer"].as_str().unwrap()).collect();
    assert_eq!(names, ["residual.0", "residual.1", "depthwise", "pointwise"]);
    for layer in layers {
        let usage: f64 = layer["usage"].as_array().unwrap().iter().map(|share| share.as_f64().unwrap()).sum();
        assert!((usage - 1.0).abs() < 1e-6 && layer["by_class"].as_array().unwrap().len() == 10);
    }
    let model = Model::open(out.join("network.safetensors")).unwrap();
    assert_eq!(record["network"]["parameters"], model.parameters());
    assert_eq!(model.temperature(), Some(1.0));
    for picture in ["training.png", "attention.png"] {
        assert!(image::open(out.join(picture)).unwrap().width() > 400, "{picture}");
    }
}

#[test]
fn options_have_an_effect() {
    let folder = TempDir::new().unwrap();
    let network = |name: &str, more: &[&str]| {
        let out = folder.path().join(name);
        ends_with(0, &[&SMALL, &["--epochs", "1"], more], &out);
        fs::read(out.join("network.safetensors")).unwrap()
    };
    let plain = network("plain", &[]);
    assert_eq!(plain, network("again", &[]), "the same seed gives the same network");
    for more in [
        &["--seed", "2"][..],
        &["--temperature", "1"],
        &["--temperature", "20,1"],
        &["--rate", "0.05"],
        &["--head-rate", "2"],
    ] {
        assert_ne!(plain, network("other", more), "{more:?}");
    }
    let statics = folder.path().join("static");
    let of_one = ["train", "--backend", "reference", "--width", "2", "--experts", "1", "--epochs", "1"];
    let printed = ends_with(0, &[&of_one], &statics);
    assert!(!printed.contains("dynamic") && printed.contains("held out: loss"), "{printed}");
    assert!(!statics.join("attention.png").exists());
    assert_eq!(record(&statics)["findings"]["attention"], Value::Array(Vec::new()));
}

#[test]
fn what_cannot_be_trained_is_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    for (options, message) in [
        (&["--experts", "0"][..], "experts is 0; expected 1 to"),
        (&["--width", "0"], "width is 0; expected 1 to"),
        (&["--batch", "0"], "batch is 0; expected 1 to"),
        (&["--width", "100000"], "width is 100000"),
        (&["--epochs", "0"], "epochs is 0; expected at least 1"),
        (&["--rate", "-1"], "rate.peak is -1"),
        (&["--rate", "nan"], "rate.peak is NaN"),
        (&["--head-rate", "-2"], "head_rate is -2; expected"),
        (&["--temperature", "0"], "temperature.value is 0; expected"),
        (&["--temperature", "30,-1"], "temperature.to is -1; expected"),
        (&["--temperature", "30,5,1"], "temperature is 3 numbers; expected T, or FROM,TO"),
        (&["--temperature", "2", "--anneal", "3"], "expected FROM,TO with --anneal"),
        (&["--experts", "1", "--temperature", "2"], "experts is 1; expected at least 2 with --temperature"),
        (&["--experts", "1", "--head-rate", "2"], "experts is 1; expected at least 2 with"),
        (&["--backend", "cuda"], "backend is `cuda`"),
        (&["--backend", "reference,simd"], "backend is `reference,simd`"),
        (&["--seed", "x"], "--seed"),
        (&["--resume", "--epochs", "4"], "cannot be used with"),
        (&["--resume", "nowhere.safetensors"], "nowhere.safetensors"),
    ] {
        let printed = ends_with(2, &[&["train"], options], &out);
        assert!(printed.contains(message), "{options:?}: {message} in {printed}");
        assert!(!printed.contains("epoch 1"), "{printed}");
    }
    let blocked = folder.path().join("file");
    fs::write(&blocked, "in the way").unwrap();
    let printed = ends_with(2, &[&SMALL], &blocked.join("out"));
    assert!(printed.contains("file"), "{printed}");
    let damaged = folder.path().join("damaged.safetensors");
    fs::write(&damaged, "no checkpoint").unwrap();
    let printed = ends_with(2, &[&["train", "--resume", damaged.to_str().unwrap()]], &out);
    assert!(printed.contains("damaged.safetensors"), "{printed}");
}

/// Starts a training, and once it has told of its first epoch, interrupts it.
#[cfg(unix)]
fn interrupted(arguments: &[&[&str]], out: &Path) -> (Option<i32>, String) {
    use std::io::{BufRead, BufReader, Read};

    let mut child: Child = command(arguments, out).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut printed = String::new();
    while !printed.contains("epoch  1/40") {
        assert!(lines.read_line(&mut printed).unwrap() > 0, "{printed}");
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    lines.read_to_string(&mut printed).unwrap();
    (child.wait().unwrap().code(), printed)
}

#[cfg(unix)]
#[test]
fn an_interrupted_training_saves_itself_and_goes_on_with_the_same_bits() {
    let folder = TempDir::new().unwrap();
    let [whole, parts] = ["whole", "parts"].map(|name| folder.path().join(name));
    let options = ["--epochs", "40", "--seed", "5"];
    ends_with(0, &[&SMALL, &options], &whole);
    let (code, printed) = interrupted(&[&SMALL, &options], &parts);
    assert_eq!(code, Some(130), "{printed}");
    let advice = format!("dyconv train --resume --backend reference --out {}", parts.display());
    assert!(printed.contains("interrupted after step") && printed.contains(&advice), "{printed}");
    assert!(!parts.join("network.safetensors").exists());
    assert_eq!(fs::read_dir(&parts).unwrap().count(), 1, "a temporary file stayed");
    let resume = ["train", "--backend", "reference", "--resume"];
    let printed = ends_with(0, &[&resume], &parts);
    assert!(printed.contains("resumed after step") && printed.contains("epoch 40/40"), "{printed}");
    for file in ["network.safetensors", "checkpoint.safetensors"] {
        assert!(fs::read(whole.join(file)).unwrap() == fs::read(parts.join(file)).unwrap(), "{file} differs");
    }
    assert_eq!(record(&whole)["history"], record(&parts)["history"]);
    assert_eq!(record(&whole)["findings"], record(&parts)["findings"]);
    // What is finished has nothing left to do, and says the same.
    let printed = ends_with(0, &[&resume], &parts);
    assert!(printed.contains("held out: loss") && !printed.contains("epoch "), "{printed}");
}

#[test]
fn a_comparison_is_over_seeds_and_its_record_adds_up() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    let options = ["--compare", "--seeds", "2", "--seed", "8", "--epochs", "1"];
    let printed = ends_with(0, &[&SMALL, &options], &out);
    for word in ["6 trainings", "static", "dynamic, T 30 → 1 in 10 epochs", "dynamic, T = 1", "over static"]
    {
        assert!(printed.contains(word), "{word} in {printed}");
    }
    assert!(image::open(out.join("compare.png")).unwrap().width() > 400);
    let record: Value = serde_json::from_str(&fs::read_to_string(out.join("compare.json")).unwrap()).unwrap();
    assert_eq!((&record["kind"], &record["seeds"]), (&"train_compare".into(), &Value::from(vec![8, 9])));
    let variants = record["variants"].as_array().unwrap();
    let accuracy = |variant: usize, run: usize| {
        let run = &variants[variant]["runs"][run];
        assert_eq!(run["curve"][0], run["held_out"]["accuracy"]);
        run["held_out"]["accuracy"].as_f64().unwrap()
    };
    let near = |a: &Value, b: f64| (a.as_f64().unwrap() - b).abs() < 1e-12;
    for (i, variant) in variants.iter().enumerate() {
        let (first, second) = (accuracy(i, 0), accuracy(i, 1));
        assert!(near(&variant["accuracy"]["mean"], (first + second) / 2.0), "{variant}");
        // The sample deviation of two numbers is their distance over √2.
        assert!(near(&variant["accuracy"]["std"], (first - second).abs() / 2f64.sqrt()), "{variant}");
        let over = (accuracy(i, 0) + accuracy(i, 1) - accuracy(0, 0) - accuracy(0, 1)) / 2.0;
        match i {
            0 => assert!(variant["over_static"].is_null() && variant["layers"] == Value::Array(Vec::new())),
            _ => assert!(near(&variant["over_static"]["difference"]["mean"], over), "{variant}"),
        }
    }
    assert!(variants[0]["network"]["parameters"].as_u64() < variants[1]["network"]["parameters"].as_u64());
    assert_eq!(variants[1]["network"], variants[2]["network"]);
    for (wrong, message) in [
        (&["--compare", "--seeds", "0"][..], "seeds is 0; expected 1 to"),
        (&["--compare", "--temperature", "1"], "expected FROM,TO with --compare"),
        (&["--compare", "--experts", "1"], "experts is 1; expected at least 2"),
        (&["--compare", "--width", "0"], "width is 0"),
        (&["--compare", "--seed", "18446744073709551615"], "seed is 18446744073709551615"),
        (&["--compare", "--resume"], "cannot be used with"),
        (&["--seeds", "3"], "--compare"),
    ] {
        let printed = ends_with(2, &[&["train"], wrong], &out);
        assert!(printed.contains(message), "{wrong:?}: {message} in {printed}");
    }
}

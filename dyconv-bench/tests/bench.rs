//! `dyconv bench` from outside: every option's effect, and what it makes of a peers' file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

/// Two small layers on the one backend that every machine has.
const SMALL: [&str; 7] =
    ["bench", "--workload", "mbv2-dw-960x7,mbv2-dw-384x14", "--backend", "simd-portable", "--time", "1"];

/// Standard output and standard error, and that it ended with this code.
fn outputs(code: i32, arguments: &[&str]) -> [String; 2] {
    let output = Command::new(env!("CARGO_BIN_EXE_dyconv")).args(arguments).output().unwrap();
    let both = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(output.status.code(), Some(code), "dyconv {arguments:?} printed:\n{}", both.concat());
    both
}

fn small(code: i32, more: &[&str]) -> [String; 2] {
    outputs(code, &[&SMALL[..], more].concat())
}

/// A run of the small layers that writes a record.
fn record(folder: &TempDir, more: &[&str]) -> (String, Value) {
    let path = folder.path().join("record.json");
    let [printed, _] = small(0, &[more, &["--json", text(&path)]].concat());
    (printed, serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn folder() -> TempDir {
    TempDir::new().unwrap()
}

fn row(side: &str, framework: &str, mode: &str, median_us: f64) -> Value {
    json!({
        "workload": "mbv2-dw-960x7", "batch": 1, "side": side, "framework": framework, "variant": "form",
        "mode": mode, "layout": "nhwc", "median_us": median_us, "min_us": median_us / 2.0, "runs": 9,
        "worst_error": 1e-6, "version": "1.5"
    })
}

fn peers(rows: &[Value]) -> Value {
    json!({
        "version": 1, "kind": "peers", "machine": {"cpu": "a chip that nobody has"}, "threads": 1,
        "made": "2026-11-25", "rows": rows
    })
}

/// Four times as fast as the best dynamic peer, half as fast as the best static one.
fn interleaved() -> Value {
    peers(&[
        row("peer", "swift", "dynamic", 40.0),
        row("peer", "slow", "dynamic", 90.0),
        row("peer", "slow", "static", 5.0),
        row("dyconv", "simd-avx2", "dynamic", 10.0),
        row("dyconv", "simd-avx2", "static", 8.0),
    ])
}

fn written(folder: &TempDir, name: &str, content: &str) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    path
}

/// The line that names something, as cells.
fn cells(printed: &str, name: &str) -> Vec<String> {
    let line =
        printed.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name} in {printed}"));
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(String::from).collect()
}

#[test]
fn ratios_are_those_of_the_files_own_rows_and_say_who_is_best() {
    let folder = folder();
    let file = written(&folder, "peers.json", &interleaved().to_string());
    let (printed, record) = record(&folder, &["--against", text(&file)]);
    let line = &record["against"]["lines"][0];
    assert_eq!(line["workload"], "mbv2-dw-960x7");
    assert_eq!((&line["over_dynamic_peer"], &line["over_static_peer"]), (&json!(4.0), &json!(0.5)));
    assert_eq!((&line["interleaved"], &line["dynamic_peer"]["who"]), (&json!(true), &json!("swift form")));
    let table = printed.split("against peers").nth(1).unwrap();
    let got = cells(table, "mbv2-dw-960x7");
    assert_eq!(
        got[2..],
        ["nhwc 10.0", "swift form", "40.0", "4.00", "slow form", "5.00", "0.50"],
        "{printed}"
    );
    assert!(table.contains("made 2026-11-25, 1 thread(s); slow 1.5, swift 1.5"), "{printed}");
    // One row of fifteen decides no goal.
    let goal = cells(table, "best dynamic peer, batch 1, geometric mean");
    assert_eq!(goal[1..], ["only 1 of 15 rows", "≥ 2", "4.00", "–"], "{printed}");
    // What is missing or odd is said.
    assert!(table.contains("no dynamic peer for mbv2-dw-384x14"), "{printed}");
    assert!(table.contains("the peers ran on a chip that nobody has"), "{printed}");
}

#[test]
fn without_our_rows_in_the_file_this_runs_are_taken_with_a_warning() {
    let folder = folder();
    let rows = [row("peer", "swift", "dynamic", 40.0), row("peer", "swift", "static", 5.0)];
    let file = written(&folder, "peers.json", &peers(&rows).to_string());
    let (printed, record) = record(&folder, &["--against", text(&file)]);
    assert!(printed.contains("warning: *: our time is this run's"), "{printed}");
    let line = &record["against"]["lines"][0];
    assert_eq!(line["interleaved"], false);
    let medians = record["rows"].as_array().unwrap().iter().filter(|row| row["workload"] == "mbv2-dw-960x7");
    let best = medians.map(|row| row["median_us"].as_f64().unwrap()).fold(f64::INFINITY, f64::min);
    assert!((line["over_dynamic_peer"].as_f64().unwrap() - 40.0 / best).abs() < 1e-9, "{line}");
}

#[test]
fn with_peers_both_layouts_and_the_peers_threads_are_measured() {
    let folder = folder();
    let file = written(&folder, "peers.json", &interleaved().to_string());
    let (_, record) = record(&folder, &["--against", text(&file)]);
    let rows = record["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|row| row["threads"] == 1));
    assert_eq!(rows.iter().filter(|row| row["layout"] == "nhwc").count(), 2);
}

#[test]
fn the_comparison_is_drawn_and_written_as_a_page() {
    let folder = folder();
    let file = written(&folder, "peers.json", &interleaved().to_string());
    let [plot, page] = ["plot.png", "page.md"].map(|name| folder.path().join(name));
    small(0, &["--against", text(&file), "--plot", text(&plot), "--markdown", text(&page)]);
    assert!(image::open(&plot).unwrap().width() > 400);
    let page = fs::read_to_string(&page).unwrap();
    assert!(
        page.contains("| mbv2-dw-960x7 | 1 | 10.0 | swift form 40.0 | 4.00 | 8.00 | slow form 5.00 | 0.50 |")
    );
    assert!(page.contains("| best static peer, batch 1, geometric mean |"), "{page}");
    let [_, message] = small(2, &["--markdown", text(&plot)]);
    assert!(message.contains("--against"), "{message}");
}

#[test]
fn a_file_that_is_no_comparison_is_refused_before_anything_is_measured() {
    let folder = folder();
    let changed = |change: fn(&mut Value)| {
        let mut file = interleaved();
        change(&mut file);
        file.to_string()
    };
    for (content, word) in [
        (String::new(), "not JSON"),
        ("{\"rows\": [NaN]}".into(), "not JSON"),
        (changed(|file| file["kind"] = json!("bench")), "expected \"peers\""),
        (changed(|file| file["version"] = json!(7)), "version is 7; expected 1"),
        (changed(|file| file["rows"] = json!([])), "no rows"),
        (changed(|file| file["rows"][2]["workload"] = json!("resnet19")), "row 2"),
        (changed(|file| file["rows"][1]["median_us"] = json!(-3)), "median_us is -3"),
        (changed(|file| file["rows"][0]["worst_error"] = json!(0.3)), "worst_error is 0.3"),
    ] {
        let file = written(&folder, "bad.json", &content);
        let [printed, message] = small(2, &["--against", text(&file)]);
        assert!(message.contains(text(&file)) && message.contains(word), "{message}");
        assert!(printed.is_empty(), "{printed}");
    }
    for missing in [folder.path().join("missing.json"), folder.path().to_path_buf(), "/dev/zero".into()] {
        let [_, message] = small(2, &["--against", text(&missing)]);
        assert!(message.contains(text(&missing)), "{message}");
    }
}

#[test]
fn cold_rows_stand_beside_warm_ones() {
    let folder = folder();
    let (printed, record) = record(&folder, &["--cold"]);
    assert!(printed.contains("experts that no cache holds") && printed.contains("cold ÷ warm"), "{printed}");
    for row in record["rows"].as_array().unwrap() {
        for key in ["cold_median_us", "static_cold_median_us"] {
            assert!(row[key].as_f64().unwrap() > 0.0, "{key} in {row}");
        }
    }
    let (printed, record) = self::record(&folder, &[]);
    assert!(!printed.contains("cold") && record["rows"][0]["cold_median_us"].is_null(), "{printed}");
}

#[test]
fn several_thread_counts_give_speed_ups() {
    let folder = folder();
    let (printed, record) = record(&folder, &["--threads", "1,2"]);
    assert!(printed.contains("more threads") && printed.contains("speed-up"), "{printed}");
    let threads: Vec<_> =
        record["rows"].as_array().unwrap().iter().map(|row| row["threads"].as_u64().unwrap()).collect();
    assert_eq!(threads, [1, 2, 1, 2]);
    // Two threads are read against two threads' peak.
    let peak = |i: usize| record["rows"][i]["peak_gflops"].as_f64().unwrap();
    assert!(peak(1) > 0.1 && peak(0) > 0.1);
    let [printed, _] = small(0, &["--threads", "1"]);
    assert!(!printed.contains("speed-up"), "{printed}");
}

#[test]
fn experts_are_stored_as_asked_or_the_row_is_skipped_with_the_reason() {
    let folder = folder();
    let path = folder.path().join("record.json");
    let asked = ["--precision", "f32,bf16,f16", "--json", text(&path)];
    let reference = ["bench", "--workload", "mbv2-dw-960x7", "--backend", "reference", "--time", "1"];
    let [printed, _] = outputs(0, &[&reference[..], &asked].concat());
    assert!(printed.contains("not measured on reference (reference doesn't support"), "{printed}");
    let record: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let precisions = |key: &str| -> Vec<String> {
        let rows = record[key].as_array().unwrap().iter();
        rows.map(|row| row["precision"].as_str().unwrap().to_string()).collect()
    };
    assert_eq!(
        (precisions("rows"), precisions("skipped")),
        (vec!["f32".into()], vec!["bf16".into(), "f16".into()])
    );
    let [_, message] = small(2, &["--precision", "f8"]);
    assert!(message.contains("bf16"), "{message}");
}

#[test]
fn a_cpu_row_has_its_peak_beside_it_and_the_reference_has_none() {
    let folder = folder();
    let (printed, record) = record(&folder, &[]);
    let row = &record["rows"][0];
    let number = |key: &str| row[key].as_f64().unwrap();
    assert!(number("peak_gflops") > 0.1 && number("effective_gflops") > 0.0);
    // The convolution's operations are fewer than all stages', in the same time.
    assert!(number("effective_gflops") < number("gflops"));
    assert!(printed.contains("multiply-add peak beside the rows") && printed.contains("% peak"), "{printed}");
    let [printed, _] =
        outputs(0, &["bench", "--workload", "mbv2-dw-960x7", "--backend", "reference", "--time", "1"]);
    assert!(!printed.contains("beside the rows"), "{printed}");
}

#[test]
fn tables_fit_a_wide_terminal() {
    let folder = folder();
    let file = written(&folder, "peers.json", &interleaved().to_string());
    let [printed, _] =
        small(0, &["--against", text(&file), "--threads", "1,2", "--cold", "--layout", "nchw,nhwc"]);
    let is_table = |line: &&str| line.starts_with(' ');
    let widest = printed.lines().filter(is_table).map(|line| line.chars().count()).max().unwrap();
    assert!(widest <= 165, "{widest} signs:\n{printed}");
}

#[test]
fn explain_shows_a_plan_for_each_storage_and_refuses_absurd_batches() {
    let explain = ["explain", "mbv2-project-960-320x7", "--backend", "reference", "--batch", "2"];
    let [printed, _] = outputs(0, &[&explain[..], &["--precision", "f32,bf16"]].concat());
    assert!(printed.contains("experts") && printed.contains("f32"), "{printed}");
    assert!(printed.contains("reference doesn't support"), "{printed}");
    for batch in ["0", "1000000000"] {
        let [_, message] = outputs(2, &["explain", "mbv2-dw", "--batch", batch]);
        assert!(message.contains(&format!("batch is {batch}")), "{message}");
    }
}

#[test]
fn a_profile_has_every_kernel_and_the_naive_ones_ratio() {
    let folder = folder();
    let path = folder.path().join("record.json");
    let asked =
        ["bench", "--workload", "mbv2-dw-960x7", "--backend", "wgpu", "--time", "1", "--json", text(&path)];
    let ran = |more: &[&str]| {
        let arguments = [&asked[..], more].concat();
        Command::new(env!("CARGO_BIN_EXE_dyconv")).args(arguments).output().unwrap()
    };
    let output = ran(&["--baseline", "naive", "--layout", "nchw,nhwc"]);
    let messages = String::from_utf8(output.stderr).unwrap();
    if messages.contains("isn't available") {
        assert_ne!(std::env::var("DYCONV_REQUIRE_GPU").as_deref(), Ok("1"), "{messages}");
        return println!("SKIPPED: {messages}");
    }
    assert!(output.status.success(), "{messages}");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(cells(&printed, "one thread per output ÷").len(), 1);
    let record: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let profiles = record["profiles"].as_array().unwrap();
    assert_eq!(profiles.len(), 2, "one for each layout");
    for profile in profiles {
        let number = |key: &str| profile[key].as_f64().unwrap_or_else(|| panic!("{key} in {profile}"));
        let kernels = profile["kernels"].as_array().unwrap();
        let stages: Vec<_> = kernels.iter().map(|kernel| kernel["stage"].as_str().unwrap()).collect();
        for stage in ["pool", "attention", "aggregate", "convolve"] {
            assert!(stages.contains(&stage), "{stages:?}");
        }
        let shares: f64 = kernels.iter().map(|kernel| kernel["share"].as_f64().unwrap()).sum();
        assert!((shares - 1.0).abs() < 1e-9, "{shares}");
        // Calls take as long as their kernels, and the ratio is that of its parts.
        assert!(number("kernel_us") > 0.0 && number("call_us") > 0.0 && number("end_to_end_us") > 0.0);
        let compared: f64 = kernels
            .iter()
            .filter(|kernel| ["aggregate", "convolve"].contains(&kernel["stage"].as_str().unwrap()))
            .map(|kernel| kernel["us"].as_f64().unwrap())
            .sum();
        assert!((number("naive_ratio") / (number("naive_us") / compared) - 1.0).abs() < 1e-9);
        let chained = number("chained_kernel_us") / number("static_kernel_us");
        assert!((number("chained_to_static") / chained - 1.0).abs() < 1e-9);
    }
    // Without the baseline there is none; without a profile there are none.
    assert!(ran(&["--profile"]).status.success());
    let record: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert!(record["profiles"][0]["naive_us"].is_null());
}

#[test]
fn a_profile_without_a_gpus_rows_is_an_error() {
    let [_, messages] = small(2, &["--profile"]);
    assert!(messages.contains("profile is asked for, and no row ran on a GPU"), "{messages}");
    let (_, record) = record(&folder(), &[]);
    assert_eq!(record["profiles"], json!([]));
}

//! The program from outside: exit codes, messages, files and JSON.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dyconv_bench::data::{random_layer, random_tensor};
use dyconv_core::case::{Case, Expected, Mode};
use dyconv_core::{Attention, Backend, Call, Config, Layout, Options, Prepare, Reference, Shape, Tensor};
use image::{Rgb, RgbImage};
use serde_json::Value;
use tempfile::TempDir;

fn dyconv(arguments: &[&str]) -> Output {
    dyconv_in(arguments, &[])
}

fn dyconv_in(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dyconv"));
    command.args(arguments).envs(environment.iter().copied()).output().expect("the program starts")
}

/// What it printed, messages included, and that it ended with this code.
fn ends_with(code: i32, arguments: &[&str]) -> String {
    let [out, messages] = outputs(code, arguments);
    out + &messages
}

/// Standard output and standard error.
fn outputs(code: i32, arguments: &[&str]) -> [String; 2] {
    let output = dyconv(arguments);
    let both = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(output.status.code(), Some(code), "dyconv {arguments:?} printed:\n{}", both.concat());
    assert!(!both[1].contains("panicked"), "dyconv {arguments:?} printed:\n{}", both[1]);
    both
}

/// Standard output as JSON: a driver may talk on standard error.
fn json(code: i32, arguments: &[&str]) -> Value {
    parse(&outputs(code, arguments)[0])
}

fn folder() -> TempDir {
    TempDir::new().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn parse(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error} in:\n{json}"))
}

/// A case whose expected results come from the reference, and are `off` by so much.
fn case(config: Config, off: f32) -> Vec<u8> {
    let layer = random_layer(&config, 7).unwrap();
    let input = random_tensor(Shape::new(2, config.in_channels(), 6, 5).unwrap(), config.layout(), 8);
    let backend = Reference::default();
    let mut stream = backend.stream().unwrap();
    let prepared = backend.prepare(&layer, &Prepare::default()).unwrap();
    let x = backend.upload(&mut stream, input.view()).unwrap();
    let result = backend.forward(&mut stream, &prepared, &Call::new(&x).return_attention(true)).unwrap();
    let mut output = backend.download(&mut stream, &result.output).unwrap();
    let attention = backend.download(&mut stream, &result.attention.unwrap()).unwrap();
    output.data_mut()[3] += off;
    let expected = Expected { output, attention, gradients: None };
    Case::new(layer, Mode::Inference, input, None, expected).unwrap().to_bytes().unwrap()
}

/// A case whose attention is given.
fn given_case(config: Config) -> Vec<u8> {
    let layer = random_layer(&config, 7).unwrap();
    let input = random_tensor(Shape::new(1, config.in_channels(), 6, 5).unwrap(), config.layout(), 8);
    let attention = Tensor::attention(1, 2, vec![0.5, 0.5]).unwrap();
    let output = Tensor::zeros(config.output_shape(input.shape()).unwrap(), config.layout());
    let expected = Expected { output, attention: attention.clone(), gradients: None };
    Case::new(layer, Mode::Inference, input, Some(attention), expected).unwrap().to_bytes().unwrap()
}

fn small(in_channels: usize) -> Config {
    let options = Options::new(in_channels, 3).kernel_size([3, 3]).experts(2).bias(true).layout(Layout::Nhwc);
    options.attention(Attention::mlp(2)).build().unwrap()
}

fn write(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn verify_passes_good_cases_with_code_0_and_prints_a_line_for_each() {
    let folder = folder();
    write(&folder, "a.safetensors", &case(small(3), 0.0));
    write(&folder, "b.safetensors", &case(small(4), 0.0));
    write(&folder, "notes.txt", b"not a case");
    let lines = ends_with(0, &["verify", text(folder.path()), "--backend", "reference"]);
    assert_eq!(lines.lines().filter(|line| line.starts_with("ok ") && line.contains("reference")).count(), 2);
    assert!(lines.contains("expect."), "{lines}");
    assert!(lines.ends_with("2 passed, 0 failed, 0 bad files\n"), "{lines}");
}

#[test]
fn verify_fails_altered_cases_with_code_1() {
    let folder = folder();
    write(&folder, "a.safetensors", &case(small(3), 0.0));
    let altered = write(&folder, "b.safetensors", &case(small(3), 0.01));
    let lines = ends_with(1, &["verify", text(folder.path()), "--backend", "reference"]);
    assert!(lines.contains(&format!("FAILED {}", text(&altered))), "{lines}");
    assert!(lines.contains("1 passed, 1 failed"), "{lines}");
}

#[test]
fn verify_refuses_broken_files_with_code_2_and_still_checks_the_others() {
    let folder = folder();
    let good = case(small(3), 0.0);
    write(&folder, "good.safetensors", &good);
    write(&folder, "truncated.safetensors", &good[..good.len() - 9]);
    write(&folder, "empty.safetensors", b"");
    write(&folder, "absurd.safetensors", &[255; 64]);
    let lines = ends_with(2, &["verify", text(folder.path()), "--backend", "reference"]);
    for name in ["truncated", "empty", "absurd"] {
        assert!(
            lines.lines().any(|line| line.starts_with("BAD") && line.contains(name)),
            "{name} in {lines}"
        );
    }
    assert!(lines.contains("1 passed, 0 failed, 3 bad files"), "{lines}");
    ends_with(2, &["verify", text(&folder.path().join("missing.safetensors")), "--backend", "reference"]);
}

#[test]
#[cfg(unix)] // elsewhere a file's name can't hold such characters
fn names_cannot_command_the_terminal() {
    let folder = folder();
    write(&folder, "red\u{1b}[31m.safetensors", b"");
    let lines = ends_with(2, &["verify", text(folder.path()), "--backend", "reference"]);
    assert!(lines.contains("red\\u{1b}[31m") && !lines.contains('\u{1b}'), "{lines}");
}

#[test]
fn verify_needs_something_to_check() {
    let folder = folder();
    let message = ends_with(2, &["verify", text(folder.path())]);
    assert!(message.contains("no case files"), "{message}");
    ends_with(2, &["verify"]);
}

#[test]
fn verify_writes_versioned_json() {
    let folder = folder();
    let good = write(&folder, "good.safetensors", &case(small(3), 0.0));
    let altered = write(&folder, "altered.safetensors", &case(small(3), 0.01));
    let json = json(1, &["verify", text(&good), text(&altered), "--backend", "reference", "--json"]);
    assert_eq!((&json["version"], &json["kind"]), (&Value::from(1), &Value::from("verify")));
    let results = json["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    for (result, (file, passed)) in results.iter().zip([(&good, true), (&altered, false)]) {
        assert_eq!(result["file"], text(file));
        assert_eq!(result["backend"], "reference");
        assert_eq!(result["passed"], passed);
        let tensors = result["tensors"].as_array().unwrap();
        let names: Vec<_> = tensors.iter().map(|tensor| tensor["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["expect.output", "expect.pi"]);
        assert!(tensors[0]["tolerance"].as_f64().unwrap() > 0.0);
        assert_eq!(tensors[0]["worst_error"].as_f64().unwrap() > 0.009, !passed);
    }
}

#[test]
fn verify_on_all_backends_lists_the_absent_ones_and_passes_on_the_others() {
    let folder = folder();
    let file = write(&folder, "case.safetensors", &case(small(3), 0.0));
    let json = json(0, &["verify", text(&file), "--json"]);
    let (results, absent) = (json["results"].as_array().unwrap(), json["absent"].as_array().unwrap());
    assert_eq!(results.len() + absent.len(), dyconv_bench::roster::NAMES.len());
    assert!(absent.iter().all(|absent| !absent["reason"].as_str().unwrap().is_empty()));
    if std::env::var("DYCONV_REQUIRE_GPU").is_ok_and(|value| value == "1") {
        assert!(absent.iter().all(|absent| absent["backend"] != "wgpu"), "{absent:?}");
    }
}

#[test]
fn the_environment_forces_webgpus_default_limits() {
    let folder = folder();
    let file = write(&folder, "case.safetensors", &case(small(3), 0.0));
    let limits = |value| [("DYCONV_WGPU_LIMITS", value)];
    let listed = dyconv_in(&["backends"], &limits("default"));
    let listed = String::from_utf8(listed.stdout).unwrap();
    if !listed.contains("wgpu-") {
        assert_ne!(std::env::var("DYCONV_REQUIRE_GPU").as_deref(), Ok("1"), "{listed}");
        return println!("SKIPPED: no adapter");
    }
    for limit in [
        "max_storage_buffer_binding_size 134217728",
        "max_storage_buffers_per_shader_stage 8",
        "max_compute_invocations_per_workgroup 256",
        "max_compute_workgroup_storage_size 16384",
    ] {
        assert!(listed.contains(limit), "{limit} in {listed}");
    }
    let verified = dyconv_in(&["verify", text(&file), "--backend", "wgpu"], &limits("default"));
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    let wrong = dyconv_in(&["verify", text(&file), "--backend", "wgpu"], &limits("small"));
    let message = String::from_utf8(wrong.stderr).unwrap();
    assert_eq!(wrong.status.code(), Some(2), "{message}");
    assert!(message.contains("DYCONV_WGPU_LIMITS is small; expected `default`, or unset"), "{message}");
}

#[test]
fn an_absent_backend_is_an_error_only_if_it_was_named() {
    let folder = folder();
    let file = write(&folder, "case.safetensors", &case(small(3), 0.0));
    let without_gpu = [("DYCONV_WGPU_ADAPTER", "no adapter has this name")];
    let named = dyconv_in(&["verify", text(&file), "--backend", "reference,wgpu"], &without_gpu);
    let message = String::from_utf8(named.stderr).unwrap();
    assert_eq!(named.status.code(), Some(2), "{message}");
    assert!(message.contains("dyconv: wgpu isn't available"), "{message}");
    let all = dyconv_in(&["verify", text(&file)], &without_gpu);
    let printed = String::from_utf8(all.stdout).unwrap();
    assert_eq!(all.status.code(), Some(0), "{printed}");
    assert!(printed.lines().any(|line| line.starts_with("absent: wgpu (")), "{printed}");
    let listed = dyconv_in(&["backends"], &without_gpu);
    assert!(String::from_utf8(listed.stdout).unwrap().contains("absent"));
}

#[test]
fn simd_means_what_the_environment_says() {
    let folder = folder();
    let file = write(&folder, "case.safetensors", &case(small(3), 0.0));
    let with = |isa| dyconv_in(&["verify", text(&file), "--backend", "simd"], &[("DYCONV_ISA", isa)]);
    let printed = String::from_utf8(with("portable").stdout).unwrap();
    assert!(printed.contains("simd-portable"), "{printed}");
}

#[test]
fn a_wrong_environment_is_refused_also_where_nobody_needs_it() {
    let folder = folder();
    let file = write(&folder, "case.safetensors", &case(small(3), 0.0));
    for command in
        [&["verify", text(&file), "--backend", "simd"][..], &["verify", text(&file)], &["backends"]]
    {
        let wrong = dyconv_in(command, &[("DYCONV_ISA", "mmx")]);
        assert_eq!(wrong.status.code(), Some(2), "{command:?}");
        let said = String::from_utf8(wrong.stderr).unwrap();
        assert!(said.contains("DYCONV_ISA is \"mmx\"; expected portable, avx2 or avx512"), "{said}");
    }
}

#[test]
fn a_mistyped_name_gets_the_right_ones_and_code_2() {
    let message = ends_with(2, &["bench", "--workload", "resnet19"]);
    assert!(message.contains("resnet19") && message.contains("resnet18-64x56"), "{message}");
    let message = ends_with(2, &["explain", "mbv2-wd"]);
    assert!(message.contains("mbv2-dw-960x7"), "{message}");
    for command in [&["bench"][..], &["verify", "."], &["explain", "paper"]] {
        let message = ends_with(2, &[command, &["--backend", "cuda"]].concat());
        assert!(message.contains("cuda") && message.contains("reference"), "{message}");
    }
    let message = ends_with(2, &["bench", "--layout", "chwn"]);
    assert!(message.contains("nhwc"), "{message}");
    ends_with(2, &["bnech"]);
}

#[test]
fn bench_writes_the_record_and_the_plot() {
    let folder = folder();
    let (json, plot) = (folder.path().join("record.json"), folder.path().join("plot.png"));
    let arguments = [
        "bench",
        "--workload",
        "mbv2-dw-960x7,mbv2-dw-384x14",
        "--backend",
        "reference",
        "--time",
        "1",
        "--layout",
        "nchw,nhwc",
        "--batch",
        "1,2",
        "--json",
        text(&json),
        "--plot",
        text(&plot),
    ];
    let table = ends_with(0, &arguments);
    assert!(table.contains("mbv2-dw-960x7") && table.contains("÷ static"), "{table}");
    let record = parse(&fs::read_to_string(&json).unwrap());
    assert_eq!((&record["version"], &record["kind"]), (&Value::from(1), &Value::from("bench")));
    assert!(record["machine"]["cores"].as_u64().unwrap() >= 1);
    for peak in record["machine"]["fma_peak_gflops"].as_object().unwrap().values() {
        assert!(peak.as_f64().unwrap() > 0.1);
    }
    let rows = record["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2 * 2 * 2);
    for row in rows {
        assert!(row["workload"].as_str().unwrap().starts_with("mbv2-dw"));
        assert_eq!((&row["backend"], &row["threads"]), (&Value::from("reference"), &Value::from(1)));
        assert!(["nchw", "nhwc"].contains(&row["layout"].as_str().unwrap()));
        assert!((1..=2).contains(&row["batch"].as_u64().unwrap()));
        let number = |key: &str| row[key].as_f64().unwrap_or_else(|| panic!("{key} in {row}"));
        assert!(number("min_us") > 0.0 && number("min_us") <= number("median_us"));
        assert!(number("static_median_us") > 0.0);
        assert_eq!(number("worst_error"), 0.0, "the reference deviates from itself");
    }
    assert!(image::open(&plot).unwrap().width() > 400);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "a temporary file stayed");
}

#[test]
fn bench_finds_out_early_that_its_files_cannot_be_written() {
    let folder = folder();
    let missing = folder.path().join("missing").join("record.json");
    let small = ["bench", "--workload", "mbv2-dw-960x7", "--backend", "reference", "--time", "1"];
    let message = ends_with(2, &[&small[..], &["--json", text(&missing)]].concat());
    assert!(message.contains(text(&missing)) && !message.contains("median"), "{message}");
    let message = ends_with(2, &[&small[..], &["--plot", text(folder.path())]].concat());
    assert!(message.contains("folder") && !message.contains("median"), "{message}");
    for batch in ["0", "1000000000"] {
        let message = ends_with(2, &["bench", "--batch", batch]);
        assert!(message.contains(&format!("batch is {batch}")), "{message}");
    }
}

#[test]
fn explain_prints_costs_and_plans() {
    let printed = ends_with(0, &["explain", "resnet18-64x56", "--backend", "reference"]);
    for word in
        ["pool", "attention", "aggregate", "convolve", "÷ static", "115.6 M", "generic", "peak memory"]
    {
        assert!(printed.contains(word), "{word} in {printed}");
    }
}

#[test]
fn backends_lists_every_name() {
    let printed = ends_with(0, &["backends"]);
    for name in dyconv_bench::roster::NAMES {
        assert!(printed.contains(name), "{name} in {printed}");
    }
}

fn picture(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("small.png");
    RgbImage::from_fn(24, 16, |x, y| Rgb([x as u8 * 10, y as u8 * 15, 90])).save(&path).unwrap();
    path
}

#[test]
fn run_writes_the_sheet_and_a_result_for_each_copy() {
    let folder = folder();
    let (picture, out) = (picture(&folder), folder.path().join("results"));
    let arguments = ["run", text(&picture), "--backend", "reference", "--out", text(&out)];
    let printed = ends_with(0, &arguments);
    assert!(printed.contains("attention weights"), "{printed}");
    for name in ["run-sheet", "run-original", "run-darkened", "run-noisy", "run-blue", "run-green"] {
        assert!(image::open(out.join(format!("{name}.png"))).is_ok(), "{name}");
    }
    assert_eq!(image::open(out.join("run-original.png")).unwrap().width(), 24);
    ends_with(0, &[&arguments[..], &["--experts", "1", "--temperature", "2"]].concat());
    let printed = ends_with(0, &[&arguments[..], &["--experts", "8", "--size", "12"]].concat());
    assert!(printed.contains("reduced") && printed.contains("motion blur"), "{printed}");
    for wrong in [["--experts", "9"], ["--experts", "0"], ["--temperature", "0"], ["--size", "0"]] {
        let message = ends_with(2, &[&arguments[..], &wrong].concat());
        assert!(message.contains(&wrong[0][2..]), "{message}");
    }
}

#[test]
fn run_takes_a_layer_from_a_case_file() {
    let folder = folder();
    let (picture, out) = (picture(&folder), folder.path().join("results"));
    let file = write(&folder, "colour.safetensors", &case(small(3), 0.0));
    let arguments = ["run", text(&picture), "--backend", "reference", "--out", text(&out), "--case"];
    let printed = ends_with(0, &[&arguments[..], &[text(&file)]].concat());
    assert!(printed.contains("1×3×14×22"), "{printed}");
    assert!(image::open(out.join("run-case.png")).is_ok());
    ends_with(0, &[&arguments[..], &[text(&file), "--pi", "0.5,-0.25"]].concat());
    let message = ends_with(2, &[&arguments[..], &[text(&file), "--pi", "1"]].concat());
    assert!(message.contains("pi is 1 numbers"), "{message}");
    let message = ends_with(2, &[&arguments[..], &[text(&file), "--pi", "0.5,nan"]].concat());
    assert!(message.contains("pi[1] is NaN; expected a finite number"), "{message}");
    // Grey in, five channels out: three rows of two, two pixels apart.
    let options = Options::new(1, 5).experts(2).attention(Attention::Given);
    let grey = write(&folder, "grey.safetensors", &given_case(options.build().unwrap()));
    let message = ends_with(2, &[&arguments[..], &[text(&grey)]].concat());
    assert!(message.contains("pi is missing"), "{message}");
    let printed = ends_with(0, &[&arguments[..], &[text(&grey), "--pi", "1,0"]].concat());
    assert!(printed.contains("5 channels side by side"), "{printed}");
    let grid = image::open(out.join("run-case.png")).unwrap();
    assert_eq!((grid.width(), grid.height()), (2 * 26, 3 * 18));
    let many = write(&folder, "many.safetensors", &case(small(4), 0.0));
    let message = ends_with(2, &[&arguments[..], &[text(&many)]].concat());
    assert!(message.contains("in_channels") && message.contains("is 4"), "{message}");
}

#[test]
fn run_refuses_what_is_no_picture() {
    let folder = folder();
    let out = folder.path().join("out");
    let good = fs::read(picture(&folder)).unwrap();
    // A header that claims 2^31 − 1 pixels each way: width and height stand at 16 and 20 of a PNG.
    let mut huge = good.clone();
    huge[16..24].copy_from_slice(&[0x7f, 255, 255, 255, 0x7f, 255, 255, 255]);
    for (name, bytes) in
        [("empty.png", &b""[..]), ("text.png", b"hello"), ("cut.png", &good[..60]), ("huge.png", &huge)]
    {
        let path = write(&folder, name, bytes);
        let message = ends_with(2, &["run", text(&path), "--backend", "reference", "--out", text(&out)]);
        assert!(message.contains(name) && message.contains("expected a PNG or JPEG picture"), "{message}");
    }
    // A file without an end, where the system has one.
    for path in [folder.path().join("missing.png"), PathBuf::from("/dev/zero")] {
        ends_with(2, &["run", text(&path), "--backend", "reference", "--out", text(&out)]);
    }
}

#[test]
fn a_negative_temperature_is_a_value_and_refused_as_one() {
    let folder = folder();
    let picture = picture(&folder);
    let message = ends_with(2, &["run", text(&picture), "--temperature", "-1", "--out", text(folder.path())]);
    assert!(message.contains("temperature is -1; expected"), "{message}");
}

#[test]
fn results_that_cannot_be_written_are_an_error() {
    let folder = folder();
    let blocked = write(&folder, "file", b"in the way").join("out");
    let picture = picture(&folder);
    for arguments in [&["--out"][..], &["run", text(&picture), "--backend", "reference", "--out"]] {
        let message = ends_with(2, &[arguments, &[text(&blocked)]].concat());
        assert!(message.contains(text(&blocked)), "{message}");
    }
}

#[test]
fn help_has_examples() {
    for command in [&[][..], &["run"], &["train"], &["verify"], &["bench"], &["explain"], &["backends"]] {
        let help = ends_with(0, &[command, &["--help"]].concat());
        assert!(help.contains("Examples:\n  dyconv"), "{help}");
    }
}

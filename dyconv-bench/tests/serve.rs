//! `dyconv serve` and `dyconv workloads`: what another program builds on.

use std::io::Write;
use std::process::{Command, Stdio};

use dyconv_bench::workloads::WORKLOADS;
use serde_json::{Value, json};

/// Everything that was printed for these lines of input, and the exit code.
fn serve(arguments: &[&str], input: &str) -> (Vec<Value>, i32, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_dyconv"))
        .arg("serve")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that refuses its arguments doesn't read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (lines, output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn request(changes: Value) -> String {
    let mut request =
        json!({"workload": "mbv2-dw-960x7", "batch": 1, "mode": "dynamic", "layout": "nhwc", "ms": 1});
    for (key, value) in changes.as_object().unwrap() {
        request[key] = value.clone();
    }
    format!("{request}\n")
}

#[test]
fn every_request_gets_one_line_and_the_first_line_says_who_answers() {
    let requests = [
        request(json!({})),
        "\n".into(),
        request(json!({"mode": "static", "layout": "nchw"})),
        request(json!({"workload": "mbv2-dw-384x14", "batch": 2, "cold": true, "ms": 0})),
        request(json!({"pass": "training"})),
    ];
    let (lines, code, errors) = serve(&["--backend", "simd-portable"], &requests.concat());
    assert_eq!((code, lines.len()), (0, 5), "{lines:?} {errors}");
    let greeting = &lines[0];
    assert_eq!((&greeting["version"], &greeting["kind"]), (&json!(1), &json!("serve")));
    assert_eq!((&greeting["backend"], &greeting["threads"]), (&json!("simd-portable"), &json!(1)));
    assert!(greeting["machine"]["cpu"].as_str().is_some_and(|cpu| !cpu.is_empty()));
    for (answer, (workload, batch, mode, layout, cold)) in lines[1..].iter().zip([
        ("mbv2-dw-960x7", 1, "dynamic", "nhwc", false),
        ("mbv2-dw-960x7", 1, "static", "nchw", false),
        ("mbv2-dw-384x14", 2, "dynamic", "nhwc", true),
        ("mbv2-dw-960x7", 1, "dynamic", "nhwc", false),
    ]) {
        let got = ["workload", "batch", "mode", "layout", "cold", "precision"].map(|key| answer[key].clone());
        let want = [json!(workload), json!(batch), json!(mode), json!(layout), json!(cold), json!("f32")];
        assert_eq!(got, want, "{answer}");
        let durations = answer["durations_us"].as_array().unwrap();
        assert!(durations.iter().all(|us| us.as_f64().unwrap() > 0.0) && !durations.is_empty());
        assert!(answer["worst_error"].as_f64().unwrap() < 1e-5, "{answer}");
        assert!(answer["peak_gflops"].as_f64().unwrap() > 0.1);
        assert!(!answer["plan"].as_str().unwrap().is_empty());
    }
    assert_eq!(lines[3]["durations_us"].as_array().unwrap().len(), 1, "no time was given but for one call");
}

#[test]
fn a_request_that_cannot_be_answered_says_why_and_the_next_one_is_answered() {
    for (wrong, word) in [
        ("{\n".to_string(), "request"),
        (request(json!({"workload": "resnet19"})), "resnet18-64x56"),
        // A group is no workload.
        (request(json!({"workload": "mbv2-dw"})), "mbv2-dw-960x7"),
        (request(json!({"batch": 0})), "batch is 0"),
        (request(json!({"batch": 100_000})), "batch is 100000"),
        (request(json!({"batch": -1})), "request"),
        (request(json!({"mode": "both"})), "dynamic"),
        (request(json!({"layout": "chwn"})), "nhwc"),
        (request(json!({"precision": "f8"})), "bf16"),
        (request(json!({"ms": 60_001})), "ms is 60001"),
        (request(json!({"time": 1})), "time"),
    ] {
        let (lines, code, errors) =
            serve(&["--backend", "simd-portable"], &(wrong.clone() + &request(json!({}))));
        assert_eq!((code, lines.len()), (0, 3), "{wrong} {errors}");
        assert!(
            lines[1]["error"].as_str().is_some_and(|error| error.contains(word)),
            "{wrong}: {}",
            lines[1]
        );
        assert!(lines[1]["durations_us"].is_null());
        assert!(lines[2]["error"].is_null() && lines[2]["durations_us"].is_array(), "{wrong}: {}", lines[2]);
    }
}

#[test]
fn serve_refuses_backends_and_threads_that_it_cannot_use_and_endless_lines() {
    for (arguments, word) in [
        (&["--backend", "cuda"][..], "simd-avx512"),
        (&["--backend", "all"], "one backend"),
        (&["--threads", "0"], "threads is 0"),
    ] {
        let (_, code, errors) = serve(arguments, "");
        assert_eq!(code, 2);
        assert!(errors.contains(word), "{errors}");
    }
    let (_, code, errors) = serve(&["--backend", "simd-portable"], &"x".repeat(1 << 17));
    assert_eq!(code, 2);
    assert!(errors.contains("longer than 64 KiB"), "{errors}");
}

#[test]
fn the_reference_serves_too_and_has_no_peak() {
    let (lines, code, _) = serve(&["--backend", "reference"], &request(json!({})));
    assert_eq!(code, 0);
    assert_eq!((&lines[1]["worst_error"], &lines[1]["peak_gflops"]), (&json!(0.0), &Value::Null));
}

#[test]
fn workloads_are_listed_with_what_others_need_to_build_them() {
    let list = |arguments: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_dyconv")).arg("workloads").args(arguments).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let text = list(&[]);
    assert!(WORKLOADS.iter().all(|workload| text.contains(workload.name)));
    let listed: Value = serde_json::from_str(&list(&["--json"])).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), WORKLOADS.len());
    let strided = listed.as_array().unwrap().iter().find(|one| one["name"] == "mbv2-dw-96x112-s2").unwrap();
    let keys = ["in_channels", "out_channels", "kernel", "stride", "groups", "extent", "experts", "hidden"];
    assert_eq!(keys.map(|key| strided[key].as_u64().unwrap()), [96, 96, 3, 2, 96, 112, 4, 24]);
    assert_eq!(strided["batches"], json!([1]));
}

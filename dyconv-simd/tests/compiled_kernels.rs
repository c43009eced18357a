//! Looks at the machine code of the kernels in this very program: inner loops that multiply and add must neither call
//! anything nor keep vectors on the stack, and no operation of the lanes may be a function of its own. A kernel that
//! breaks this is correct and many times too slow.

#![cfg(target_arch = "x86_64")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::Command;

use dyconv_core::{
    Backend, Backward, Call, DyConv2d, Layout, Options, Params, Prepare, Shape, Tensor, Train,
};
use dyconv_simd::{Isa, SimdBackend};

/// An instruction: its address and text.
type Line = (u64, String);

/// The functions of this program, by symbol.
fn functions() -> Option<BTreeMap<String, Vec<Line>>> {
    let skip = |why: &str| {
        let _ = writeln!(std::io::stderr(), "SKIPPED compiled kernels: {why}");
    };
    if cfg!(debug_assertions) {
        skip("they are only looked at in a release build");
        return None;
    }
    let program = std::env::current_exe().ok()?;
    let output = Command::new("objdump").args(["-d", "-w", "--no-show-raw-insn"]).arg(program).output();
    let Some(output) = output.ok().filter(|output| output.status.success()) else {
        skip("objdump (Debian's package binutils) isn't there");
        return None;
    };
    let mut functions = BTreeMap::<String, Vec<Line>>::new();
    let mut current = String::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Some((_, symbol)) = line.strip_suffix(">:").and_then(|line| line.split_once(" <")) {
            current = symbol.to_owned();
        } else if let Some((address, text)) = line.trim_start().split_once(':')
            && let Ok(address) = u64::from_str_radix(address, 16)
        {
            functions.entry(current.clone()).or_default().push((address, text.trim().to_owned()));
        }
    }
    Some(functions)
}

/// The bodies of loops that hold no other loop.
fn inner_loops(lines: &[Line]) -> Vec<&[Line]> {
    let mut loops: Vec<(usize, usize)> = Vec::new();
    for (end, (_, text)) in lines.iter().enumerate() {
        let target = text.split_whitespace().nth(1).and_then(|target| u64::from_str_radix(target, 16).ok());
        if text.starts_with('j')
            && let Some(target) = target
            && let Ok(start) = lines[..=end].binary_search_by_key(&target, |line| line.0)
        {
            loops.push((start, end));
        }
    }
    let holds = |a: &(usize, usize), b: &(usize, usize)| a != b && a.0 <= b.0 && b.1 <= a.1;
    loops
        .iter()
        .filter(|outer| !loops.iter().any(|inner| holds(outer, inner)))
        .map(|&(start, end)| &lines[start..=end])
        .collect()
}

fn multiply_adds(body: &[Line]) -> usize {
    body.iter().filter(|(_, text)| text.starts_with("vfmadd") && text.contains("ps")).count()
}

/// A vector that goes to the stack or comes back.
fn spills(text: &str) -> bool {
    text.starts_with("vmov") && text.contains("(%rsp") && (text.contains("%zmm") || text.contains("%ymm"))
}

/// So that every kernel is linked in.
fn use_backend() {
    let params = Params { weight: vec![1.0], bias: None, attention: None, batch_norm: None };
    let layer = DyConv2d::new(Options::new(1, 1).build().unwrap(), params).unwrap();
    let x = Tensor::zeros(Shape::new(1, 1, 1, 1).unwrap(), Layout::Nchw);
    let backend = SimdBackend::new().unwrap();
    assert_eq!(backend.run(&layer, &x).unwrap().data(), [0.0]);
    let mut stream = backend.stream().unwrap();
    let mut layer = backend.prepare(&layer, &Prepare::default().trainable(true)).unwrap();
    let x = backend.upload(&mut stream, x.view()).unwrap();
    let (y, tape) = backend.forward_train(&mut stream, &mut layer, &Call::new(&x)).unwrap();
    let gradients = backend.backward(&mut stream, &layer, tape, &Backward::new(&y.output), None).unwrap();
    assert_eq!(gradients.input.unwrap().data(), [0.0]);
}

#[test]
fn inner_loops_neither_call_nor_spill() {
    use_backend();
    let Some(functions) = functions() else { return };
    // Multiply-adds and broadcasts of a step of each tile: 14 × 2 and 12 × 2 vectors, which broadcast their pixels; 24
    // channels × a vector of pixels; two pixels × 2 vectors of 4 experts; 10 × 2
    // that aggregate 4 experts as they go. With AVX2 6 × 2, 4 × 3 and one pixel. Backwards, nine taps of a depthwise kernel,
    // and an expert's share of four samples; correlations are as large as the first tiles. Three taps of narrow groups are
    // picked from vectors: 12 × 3 and 10 × 3.
    let tiles: [(Isa, &str, &str, &[[usize; 2]]); 2] = [
        (
            Isa::Avx512,
            "avx512",
            "%zmm",
            &[[28, 14], [24, 12], [24, 24], [16, 2], [26, 10], [9, 0], [8, 0], [36, 0]],
        ),
        (Isa::Avx2, "avx2", "%ymm", &[[12, 6], [12, 4], [8, 1], [9, 0], [8, 0], [30, 0]]),
    ];
    for (isa, module, register, tiles) in tiles {
        let kernels =
            functions.iter().filter(|(name, _)| name.contains("vectorize") && name.contains(module));
        let mut found = BTreeSet::new();
        for (name, lines) in kernels {
            for body in inner_loops(lines).into_iter().filter(|body| multiply_adds(body) >= 4) {
                let text: Vec<&str> = body.iter().map(|(_, text)| text.as_str()).collect();
                let listing = || format!("simd-{isa}, {name}:\n{}", text.join("\n"));
                assert!(!text.iter().any(|text| text.starts_with("call")), "a call in {}", listing());
                // Tiles broadcast. Depthwise kernels keep some of their twenty-five weights on the stack, and Winograd's
                // transforms, which broadcast constants, some of their thirty-six points.
                let broadcasts = text
                    .iter()
                    .filter(|text| text.contains("{1to") || text.starts_with("vbroadcastss"))
                    .filter(|text| !text.contains("(%rip)"))
                    .count();
                let picks = text.iter().any(|text| text.starts_with("vpermps"));
                let spilled = (broadcasts > 0 || picks) && text.iter().any(|text| spills(text));
                assert!(!spilled, "a vector on the stack in {}", listing());
                if text.iter().any(|text| text.starts_with("vfmadd") && text.contains(register)) {
                    found.insert([multiply_adds(body), broadcasts]);
                }
            }
        }
        for tile in tiles {
            assert!(found.contains(tile), "no tile of simd-{isa} has {tile:?}: {found:?}");
        }
    }
}

#[test]
fn no_operation_of_the_lanes_is_a_function_of_its_own() {
    use_backend();
    let Some(functions) = functions() else { return };
    let outside =
        |name: &&String| name.contains("core_arch") && (name.contains("_mm256_") || name.contains("_mm512_"));
    let outside: Vec<_> = functions.keys().filter(outside).collect();
    assert!(outside.is_empty(), "not inlined: {outside:#?}");
}

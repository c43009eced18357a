//! The workloads at batch 1 on every backend that is present, one thread, for criterion's statistics and baselines:
//! `cargo bench -p dyconv-bench`, or with a filter, `cargo bench -p dyconv-bench -- simd-avx512/resnet18`.
//!
//! The reference, and a GPU that may be a program, run the depthwise layers only: whole minutes would be spent on
//! figures that `dyconv bench` gives with fewer calls.

use std::time::Duration;

use criterion::{Bencher, Criterion, criterion_group, criterion_main};
use dyconv_bench::data::{SEED, random_layer, random_tensor};
use dyconv_bench::roster::Wanted;
use dyconv_bench::workloads::select;
use dyconv_core::{AnyBackend, Backend, Call, DyConv2d, Layout, Prepare, Result, Tensor};

fn layers(criterion: &mut Criterion) -> Result<()> {
    for candidate in Wanted::all().open(Some(1))? {
        let Ok(backend) = candidate.backend else {
            println!("absent: {}", candidate.name);
            continue;
        };
        let mut group = criterion.benchmark_group(&backend.info().id);
        group
            .sample_size(20)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1));
        let names = if candidate.name.starts_with("simd") { "all" } else { "mbv2-dw" };
        for workload in select(&[names.into()])? {
            let config = workload.config(Layout::Nchw)?;
            for (form, config) in [("dynamic", config), ("static", config.static_form())] {
                let layer = random_layer(&config, SEED)?;
                let input = random_tensor(workload.input_shape(1)?, Layout::Nchw, SEED);
                group.bench_function(format!("{}/{form}", workload.name), |bencher| {
                    if let Err(error) = forward(bencher, &backend, &layer, &input) {
                        panic!("{} on {}: {error}", workload.name, backend.info().id);
                    }
                });
            }
        }
        group.finish();
    }
    Ok(())
}

/// Times calls, each waited for by reading the attention weights back.
fn forward(bencher: &mut Bencher<'_>, backend: &AnyBackend, layer: &DyConv2d, input: &Tensor) -> Result<()> {
    let mut stream = backend.stream()?;
    let prepared = backend.prepare(layer, &Prepare::default().input(input.shape()))?;
    let x = backend.upload(&mut stream, input.view())?;
    let mut ending = Ok(());
    bencher.iter(|| {
        let call = Call::new(&x).return_attention(true);
        let waited = backend
            .forward(&mut stream, &prepared, &call)
            .and_then(|output| output.attention.map(|pi| backend.download(&mut stream, &pi)).transpose());
        if let Err(error) = waited {
            ending = Err(error);
        }
    });
    ending
}

fn all(criterion: &mut Criterion) {
    if let Err(error) = layers(criterion) {
        panic!("{error}");
    }
}

criterion_group!(benches, all);
criterion_main!(benches);

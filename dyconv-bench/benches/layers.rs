//! Every workload at batch 1 on every backend that is present, for criterion's statistics and baselines:
//! `cargo bench -p dyconv-bench`, or with a filter, `cargo bench -p dyconv-bench -- simd-avx512/resnet18`.

use criterion::{Criterion, criterion_group, criterion_main};
use dyconv_bench::data::{SEED, random_layer, random_tensor};
use dyconv_bench::roster::Wanted;
use dyconv_bench::workloads::WORKLOADS;
use dyconv_core::{Backend, Call, Layout, Prepare, Result};

fn layers(criterion: &mut Criterion) -> Result<()> {
    for candidate in Wanted::parse(&["all".into()])?.open(Some(1))? {
        let Ok(backend) = candidate.backend else { continue };
        // A wrong bench shows in one call; the paper's layers on a software GPU or the reference take minutes.
        let mut group = criterion.benchmark_group(&backend.info().id);
        group.sample_size(10);
        for workload in WORKLOADS {
            let shape = workload.input_shape(1)?;
            let input = random_tensor(shape, Layout::Nchw, SEED);
            let config = workload.config(Layout::Nchw)?;
            for (form, config) in [("dynamic", config), ("static", config.static_form())] {
                let layer = random_layer(&config, SEED)?;
                group.bench_function(format!("{}/{form}", workload.name), |bencher| {
                    let mut run = || -> Result<()> {
                        let mut stream = backend.stream()?;
                        let prepared = backend.prepare(&layer, &Prepare::default().input(shape))?;
                        let x = backend.upload(&mut stream, input.view())?;
                        let mut failed = Ok(());
                        bencher.iter(|| {
                            let call = Call::new(&x).return_attention(true);
                            let waited = backend.forward(&mut stream, &prepared, &call).and_then(|output| {
                                output.attention.map(|pi| backend.download(&mut stream, &pi)).transpose()
                            });
                            if let Err(error) = waited {
                                failed = Err(error);
                            }
                        });
                        failed
                    };
                    if let Err(error) = run() {
                        panic!("{}: {error}", workload.name);
                    }
                });
            }
        }
        group.finish();
    }
    Ok(())
}

fn all(criterion: &mut Criterion) {
    if let Err(error) = layers(criterion) {
        panic!("{error}");
    }
}

criterion_group!(benches, all);
criterion_main!(benches);

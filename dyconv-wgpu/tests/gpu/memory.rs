//! Memory: the budget, reuse in recorded order, and that nothing is kept.

use dyconv_core::{Backend, Call, Error, Layout, Prepare, Reference, Shape};
use dyconv_wgpu::Choice;

use crate::support::{agrees, chain, close, image, layer, options, with_backend};

#[test]
fn a_budget_is_kept() {
    with_backend(
        |builder| builder.memory_budget(64 << 10),
        |backend| {
            let layer = layer(options(3, 4));
            agrees(&backend, &layer, &image(Shape::new(1, 3, 8, 8).unwrap(), Layout::Nchw, 1));
            let large = image(Shape::new(1, 3, 100, 100).unwrap(), Layout::Nchw, 1);
            let error = backend.run(&layer, &large).unwrap_err();
            let Error::OutOfMemory { requested, in_use, budget } = error else { panic!("{error}") };
            assert_eq!((requested, budget), (131_072, 64 << 10), "the size class of 3·100·100 floats");
            assert!(in_use < budget);
            // The error left nothing behind.
            agrees(&backend, &layer, &image(Shape::new(1, 3, 8, 8).unwrap(), Layout::Nchw, 2));
        },
    );
}

#[test]
fn kernels_are_aggregated_for_as_many_samples_as_the_budget_holds() {
    with_backend(
        |builder| builder.memory_budget(1 << 20).force(Choice::Aggregated),
        |backend| {
            // 37 KB of kernels for each of 32 samples are more than the whole budget.
            let wide = layer(options(32, 32));
            agrees(&backend, &wide, &image(Shape::new(32, 32, 2, 2).unwrap(), Layout::Nchw, 1));
        },
    );
}

#[test]
fn idle_buffers_make_way_within_the_budget() {
    with_backend(
        |builder| builder.memory_budget(128 << 10),
        |backend| {
            // Each size leaves idle buffers of another class; together they exceed the budget.
            for extent in [16, 20, 24, 28, 32, 36, 40] {
                let input = image(Shape::new(1, 3, extent, extent).unwrap(), Layout::Nchw, extent);
                agrees(&backend, &layer(options(3, 4)), &input);
            }
            let usage = backend.memory();
            assert!(usage.in_use + usage.idle <= 128 << 10, "{usage:?}");
        },
    );
}

#[test]
fn two_hundred_runs_leave_memory_flat() {
    with_backend(
        |builder| builder,
        |backend| {
            let layers = [layer(options(3, 8)), layer(options(8, 4))];
            let input = image(Shape::new(2, 3, 7, 7).unwrap(), Layout::Nchw, 1);
            let first = chain(&backend, &layers, &input).unwrap();
            let after_one = backend.memory();
            assert_eq!(after_one.in_use, 0, "everything was dropped");
            for _ in 0..200 {
                // Also the same bits, every time.
                assert_eq!(chain(&backend, &layers, &input).unwrap(), first);
            }
            assert_eq!((backend.memory().in_use, backend.memory().idle > 0), (0, true));
            assert!(
                backend.memory().idle <= 4 * after_one.idle,
                "{:?} after {after_one:?}",
                backend.memory()
            );
        },
    );
}

/// Dropped tensors' buffers serve later commands of the same recording: each must run in its turn.
#[test]
fn a_dropped_buffer_is_reused_in_recorded_order() {
    with_backend(
        |builder| builder,
        |backend| {
            let layer = layer(options(4, 4));
            let prepared = backend.prepare(&layer, &Prepare::default()).unwrap();
            let mut stream = backend.stream().unwrap();
            let inputs: Vec<_> =
                (0..6).map(|seed| image(Shape::new(1, 4, 6, 6).unwrap(), Layout::Nchw, seed)).collect();
            let mut outputs = Vec::new();
            for input in &inputs {
                let x = backend.upload(&mut stream, input.view()).unwrap();
                outputs.push(backend.forward(&mut stream, &prepared, &Call::new(&x)).unwrap().output);
                // x is dropped here, unsubmitted; the next upload may take its buffer.
            }
            assert_eq!(backend.submissions(), 0);
            assert!(backend.memory().created < 40, "{:?}: buffers are reused", backend.memory());
            for (input, output) in inputs.iter().zip(&outputs) {
                let want = Reference::default().run(&layer, input).unwrap();
                close(&backend.download(&mut stream, output).unwrap(), &want);
            }
        },
    );
}

/// A buffer that an open recording still reads may not go to another stream.
#[test]
fn a_buffer_in_an_open_recording_is_not_given_away() {
    with_backend(
        |builder| builder,
        |backend| {
            let layer = layer(options(4, 4));
            let prepared = backend.prepare(&layer, &Prepare::default()).unwrap();
            let shape = Shape::new(1, 4, 6, 6).unwrap();
            let (first, second) = (image(shape, Layout::Nchw, 1), image(shape, Layout::Nchw, 2));
            let (mut one, mut other) = (backend.stream().unwrap(), backend.stream().unwrap());
            let x = backend.upload(&mut one, first.view()).unwrap();
            let y = backend.forward(&mut one, &prepared, &Call::new(&x)).unwrap().output;
            drop(x);
            // Submitted before stream `one`: had it taken x's buffer, y would be wrong.
            let z = backend.upload(&mut other, second.view()).unwrap();
            assert_eq!(backend.download(&mut other, &z).unwrap(), second);
            let want = Reference::default().run(&layer, &first).unwrap();
            close(&backend.download(&mut one, &y).unwrap(), &want);
            assert_eq!(backend.download(&mut other, &z).unwrap(), second);
        },
    );
}

//! The steady state: layers that run again find everything that they need, and nothing grows.

use dyconv_core::{
    Activation, Backend, Call, Error, Layout, Options, Precision, Prepare, Reference, Shape, Tensor, round,
};
use dyconv_wgpu::{Choice, WgpuBackend, WgpuLayer, WgpuStream, WgpuTensor};

use crate::support::{agrees, close, image, layer, options, with_backend, with_shared};

/// A chain of every kind of convolution.
fn kinds() -> [Options; 4] {
    let activated = |options: Options| options.activation(Activation::Silu);
    [
        activated(options(3, 16)),
        activated(options(16, 16).groups(16)),
        activated(options(16, 24).kernel_size([1, 1])),
        Options { experts: 1, attention: None, ..options(24, 8).stride([2, 2]) },
    ]
}

fn prepared(backend: &WgpuBackend) -> Vec<WgpuLayer> {
    kinds().map(|kind| backend.prepare(&layer(kind), &Prepare::default()).unwrap()).into()
}

fn input() -> Tensor {
    image(Shape::new(2, 3, 9, 9).unwrap(), Layout::Nchw, 1)
}

fn forward(
    backend: &WgpuBackend,
    stream: &mut WgpuStream,
    layers: &[WgpuLayer],
    x: &WgpuTensor,
) -> WgpuTensor {
    layers.iter().fold(x.clone(), |x, layer| {
        backend.forward(stream, layer, &Call::new(&x).emit_sums(true)).unwrap().output
    })
}

/// Everything that was ever made: buffers (parameters are buffers), bind groups, pipelines.
fn made(backend: &WgpuBackend) -> [u64; 3] {
    let usage = backend.memory();
    [usage.created, usage.bind_groups, backend.pipelines() as u64]
}

/// A chain in the steady state, and what it gives.
fn a_chain_makes_nothing_when_it_runs_again(activations: Precision, holds: impl FnOnce(&Tensor)) {
    with_backend(
        |builder| builder.activations(activations),
        |backend| {
            let layers = prepared(&backend);
            let mut stream = backend.stream().unwrap();
            let x = backend.upload(&mut stream, input().view()).unwrap();
            let mut run = || {
                let y = forward(&backend, &mut stream, &layers, &x);
                backend.download(&mut stream, &y).unwrap()
            };
            let first = run();
            assert_eq!(run(), first);
            let (settled, submitted) = (made(&backend), backend.submissions());
            for _ in 0..20 {
                assert_eq!(run(), first, "the same bits");
            }
            assert_eq!(made(&backend), settled, "buffers, bind groups, pipelines");
            assert_eq!(backend.submissions(), submitted + 20, "one each");
            holds(&first);
        },
    );
}

#[test]
fn a_chain_that_runs_again_makes_nothing() {
    a_chain_makes_nothing_when_it_runs_again(Precision::F32, |first| {
        let want =
            kinds().iter().fold(input(), |x, &kind| Reference::default().run(&layer(kind), &x).unwrap());
        close(first, &want);
    });
}

#[test]
fn a_chain_of_f16_activations_that_runs_again_makes_nothing() {
    a_chain_makes_nothing_when_it_runs_again(Precision::F16, |first| {
        assert!(first.data().iter().all(|y| round::from_half(round::half(*y)) == *y));
    });
}

/// The same with an upload each, as a program has it that is fed image by image: staging is used again, too.
#[test]
fn a_loop_that_uploads_and_downloads_makes_nothing() {
    with_backend(
        |builder| builder,
        |backend| {
            let layers = prepared(&backend);
            let mut stream = backend.stream().unwrap();
            let mut run = |host: &Tensor| {
                let x = backend.upload(&mut stream, host.view()).unwrap();
                let y = forward(&backend, &mut stream, &layers, &x);
                backend.download(&mut stream, &y).unwrap()
            };
            let other = image(input().shape(), Layout::Nchw, 2);
            let (first, second) = (run(&input()), run(&other));
            assert_ne!(first, second);
            let settled = made(&backend);
            for _ in 0..20 {
                assert_eq!(run(&input()), first);
                assert_eq!(run(&other), second, "and not what the buffer held before");
            }
            assert_eq!(made(&backend), settled, "buffers, bind groups, pipelines");
        },
    );
}

/// Uploads in a row, of which none waits for the one before: each needs a buffer of its own until the device has read it.
#[test]
fn uploads_in_flight_dont_overwrite_each_other() {
    with_backend(
        // Enough for the three tensors of 192 KiB and the staging of one.
        |builder| builder.memory_budget(900 << 10),
        |backend| {
            let hosts: Vec<_> =
                (0..3).map(|seed| image(Shape::new(1, 3, 128, 128).unwrap(), Layout::Nchw, seed)).collect();
            let mut stream = backend.stream().unwrap();
            for round in 0..8 {
                let xs: Vec<_> = hosts
                    .iter()
                    .map(|host| {
                        let x = backend.upload(&mut stream, host.view()).unwrap();
                        backend.finish(&mut stream).unwrap();
                        x
                    })
                    .collect();
                for (x, host) in xs.iter().zip(&hosts).rev() {
                    assert_eq!(&backend.download(&mut stream, x).unwrap(), host, "round {round}");
                }
            }
            let usage = backend.memory();
            assert!(usage.in_use == 0 && usage.idle <= 900 << 10, "{usage:?}");
        },
    );
}

/// Bytes that the driver has given, where wgpu knows.
fn allocated(backend: &WgpuBackend) -> Option<u64> {
    // What was dropped is let go when the device is looked after.
    backend.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
    backend.device().generate_allocator_report().map(|report| report.total_allocated_bytes)
}

#[test]
fn hundreds_of_runs_leave_the_drivers_bytes_flat() {
    with_backend(
        |builder| builder,
        |backend| {
            let layers = prepared(&backend);
            let run = || {
                // Also what a new stream and a new upload need.
                let mut stream = backend.stream().unwrap();
                let x = backend.upload(&mut stream, input().view()).unwrap();
                let y = forward(&backend, &mut stream, &layers, &x);
                backend.download(&mut stream, &y).unwrap()
            };
            (0..3).for_each(|_| drop(run()));
            let settled = (backend.memory().in_use, backend.memory().idle, allocated(&backend));
            (0..300).for_each(|_| drop(run()));
            assert_eq!((backend.memory().in_use, backend.memory().idle, allocated(&backend)), settled);
        },
    );
}

/// A bind group keeps its buffers alive: those of a layer that is dropped must go with it.
#[test]
fn a_dropped_layers_memory_goes_back_to_the_driver() {
    with_backend(
        |builder| builder,
        |backend| {
            // 4 experts of 256·256·9 numbers are 9.4 MB; the input is small.
            let large = layer(options(256, 256));
            let small = image(Shape::new(1, 256, 2, 2).unwrap(), Layout::Nchw, 1);
            agrees(&backend, &large, &small);
            let before = allocated(&backend);
            let prepared = backend.prepare(&large, &Prepare::default()).unwrap();
            let mut stream = backend.stream().unwrap();
            let x = backend.upload(&mut stream, small.view()).unwrap();
            let y = backend.forward(&mut stream, &prepared, &Call::new(&x)).unwrap().output;
            backend.finish(&mut stream).unwrap();
            assert!(before.is_none() || allocated(&backend) > before.map(|bytes| bytes + (9 << 20)));
            drop((prepared, x, y));
            assert_eq!(allocated(&backend), before);
        },
    );
}

#[test]
fn many_shapes_leave_bounded_caches() {
    with_backend(
        // Idle buffers of all these shapes don't fit the budget together: their bind groups must go with them.
        |builder| builder.memory_budget(512 << 10),
        |backend| {
            // wgpu has some buffers of its own.
            let own = allocated(&backend);
            let layers = prepared(&backend);
            for extent in 3..36 {
                let host = image(Shape::new(1, 3, extent, extent).unwrap(), Layout::Nchw, extent);
                let mut stream = backend.stream().unwrap();
                let x = backend.upload(&mut stream, host.view()).unwrap();
                drop(forward(&backend, &mut stream, &layers, &x));
                backend.finish(&mut stream).unwrap();
                let held = backend.memory().in_use + backend.memory().idle;
                assert!(held <= 512 << 10);
                // The driver rounds up.
                let allocated = allocated(&backend).zip(own).map_or(0, |(all, own)| all - own);
                assert!(allocated <= held + (64 << 10), "{allocated}, not {held}, at {extent}");
            }
        },
    );
}

#[test]
fn timed_kernels_are_those_of_the_stages_and_give_the_same_bits() {
    with_backend(
        |builder| builder.timestamps(true).force(Choice::Aggregated),
        |backend| {
            let layers = prepared(&backend);
            let mut stream = backend.stream().unwrap();
            let x = backend.upload(&mut stream, input().view()).unwrap();
            let y = backend.forward(&mut stream, &layers[0], &Call::new(&x)).unwrap().output;
            let plain = backend.download(&mut stream, &y).unwrap();

            let y = backend.forward(&mut stream, &layers[0], &Call::new(&x)).unwrap().output;
            let times = backend.finish_timed(&mut stream).unwrap();
            let mut stages: Vec<_> = times.iter().map(|time| time.stage).collect();
            stages.dedup();
            assert_eq!(stages, ["pool", "attention", "aggregate", "convolve"]);
            assert!(times.iter().all(|time| time.seconds >= 0.0 && !time.kernel.is_empty()));
            let seconds: f64 = times.iter().map(|time| time.seconds).sum();
            assert!(seconds > 0.0 && seconds < 60.0, "{seconds}");
            // The convolution reads 2·3·81 and writes 2·16·81 numbers, and its kernels.
            let convolve = times.iter().filter(|time| time.stage == "convolve").map(|time| time.bytes);
            assert!(convolve.sum::<u64>() >= 4 * 2 * (3 + 16) * 81);
            assert_eq!(backend.download(&mut stream, &y).unwrap(), plain);
            // Nothing recorded, nothing timed.
            assert_eq!(backend.finish_timed(&mut stream).unwrap(), []);
        },
    );
}

#[test]
fn a_device_without_timestamps_says_so() {
    with_shared(|backend| {
        let mut stream = backend.stream().unwrap();
        let x = backend.upload(&mut stream, input().view()).unwrap();
        let error = backend.finish_timed(&mut stream).unwrap_err();
        assert!(
            matches!(&error, Error::Unsupported { what, .. } if what.contains("TIMESTAMP_QUERY")),
            "{error}"
        );
        // Nothing was lost by asking.
        assert_eq!(backend.download(&mut stream, &x).unwrap(), input());
    });
}

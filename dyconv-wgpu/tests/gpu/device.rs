//! Devices: found, missing, brought by the caller, lost, slow.

use std::time::Duration;

use dyconv_core::{Backend, Call, Error, Layout, Pool, Precision, Prepare, Reference, Result, Shape, Tensor};
use dyconv_wgpu::WgpuBackend;

use crate::support::{agrees, chain, image, layer, options, with_backend, with_shared};

fn input() -> Tensor {
    image(Shape::new(2, 3, 6, 6).unwrap(), Layout::Nchw, 1)
}

#[test]
fn the_adapter_says_who_it_is() {
    with_shared(|backend| {
        let info = backend.info();
        println!("adapter: {} ({})", info.device, info.id);
        assert!(info.id.starts_with("wgpu-") && !info.device.is_empty());
        let listed = dyconv_wgpu::adapters();
        assert!(listed.iter().any(|adapter| info.device.starts_with(&adapter.name)), "{listed:?}");
    });
}

#[test]
fn an_adapter_that_isnt_there_is_unavailable() {
    let error = WgpuBackend::builder().adapter("no such adapter").build().unwrap_err();
    let Error::Unavailable { backend, reason, hint } = error else { panic!("{error}") };
    assert_eq!(backend, "wgpu");
    assert!(!reason.is_empty() && !hint.is_empty());
}

#[test]
fn an_adapter_is_found_by_a_part_of_its_name() {
    with_shared(|backend| {
        let name = backend.info().device.to_uppercase();
        let part: String = name.chars().take(4).collect();
        with_backend(|builder| builder.adapter(part), |found| assert_eq!(found.info(), backend.info()));
    });
}

#[test]
fn the_callers_device_serves() {
    with_shared(|ours| {
        let (device, queue) = (ours.device().clone(), ours.queue().clone());
        let info = device.adapter_info();
        let backend = WgpuBackend::builder().build_on(device, queue, &info).unwrap();
        agrees(&backend, &layer(options(3, 4)), &input());
        // Two backends on one device keep their tensors apart.
        let mut stream = ours.stream().unwrap();
        let x = ours.upload(&mut stream, input().view()).unwrap();
        ours.finish(&mut stream).unwrap();
        assert!(backend.download(&mut backend.stream().unwrap(), &x).is_err());
    });
}

/// Half precision needs no feature; what does need one is refused by its name, on a device of the caller's, too.
#[test]
fn a_callers_device_without_features_does_what_needs_none() {
    with_backend(
        |builder| builder.default_limits(true),
        |bare| {
            let (device, queue) = (bare.device().clone(), bare.queue().clone());
            assert!(!device.features().contains(wgpu::Features::SHADER_F16));
            let info = device.adapter_info();
            let backend = WgpuBackend::builder().timestamps(true).build_on(device, queue, &info).unwrap();
            let mut stream = backend.stream().unwrap();
            let half = Prepare::default().precision(Precision::F16);
            let prepared = backend.prepare(&layer(options(3, 4)), &half).unwrap();
            let x = backend.upload(&mut stream, input().view()).unwrap();
            let y = backend.forward(&mut stream, &prepared, &Call::new(&x)).unwrap().output;
            let want = Reference::default().run(&layer(options(3, 4)), &input()).unwrap();
            let got = backend.download(&mut stream, &y).unwrap();
            let off = |(a, b): (&f32, &f32)| (a - b).abs();
            assert!(got.data().iter().zip(want.data()).map(off).all(|off| off < 1e-2));
            let error = backend.finish_timed(&mut stream).unwrap_err();
            let Error::Unsupported { what, .. } = error else { panic!("{error}") };
            assert!(what.contains("TIMESTAMP_QUERY"), "{what}");
        },
    );
}

#[test]
fn a_lost_device_is_an_error_from_every_call() {
    with_backend(
        |builder| builder.timestamps(true),
        |backend| {
            let layer = layer(options(3, 4));
            let prepared = backend.prepare(&layer, &Prepare::default()).unwrap();
            let mut stream = backend.stream().unwrap();
            let x = backend.upload(&mut stream, input().view()).unwrap();
            backend.finish(&mut stream).unwrap();
            let y = backend.forward(&mut stream, &prepared, &Call::new(&x)).unwrap().output;

            backend.device().destroy();
            fn lost<T>(result: Result<T>) {
                assert!(matches!(result, Err(Error::DeviceLost { .. })), "{:?}", result.err());
            }
            lost(backend.finish(&mut stream));
            lost(backend.download(&mut stream, &y));
            lost(backend.download(&mut stream, &x));
            lost(backend.upload(&mut stream, input().view()));
            lost(backend.forward(&mut stream, &prepared, &Call::new(&x)));
            lost(backend.pool(&mut stream, &x, &Pool::GlobalMean));
            lost(backend.relayout(&mut stream, &x, Layout::Nhwc));
            lost(backend.stream());
            lost(backend.prepare(&layer, &Prepare::default()));
            lost(backend.finish_timed(&mut stream));
            lost(backend.time_pass(|_| {}));
            drop((x, y, prepared, stream));

            // A new backend from the host's copies.
            with_backend(|builder| builder, |again| agrees(&again, &layer, &input()));
        },
    );
}

/// A device has one callback, and all backends on it hear of it.
#[test]
fn every_backend_on_a_lost_device_is_told() {
    with_backend(
        |builder| builder,
        |first| {
            let on_the_same = || {
                let (device, queue) = (first.device().clone(), first.queue().clone());
                let info = device.adapter_info();
                WgpuBackend::builder().build_on(device, queue, &info).unwrap()
            };
            let backends = [first.clone(), on_the_same(), on_the_same()];
            // One on a device of its own isn't.
            with_backend(
                |builder| builder,
                |apart| {
                    first.device().destroy();
                    for backend in &backends {
                        let told = backend.stream().map(drop);
                        assert!(matches!(told, Err(Error::DeviceLost { .. })), "{told:?}");
                    }
                    agrees(&apart, &layer(options(3, 4)), &input());
                },
            );
        },
    );
}

/// Whether anybody heard of the loss before or not.
#[test]
fn a_backend_on_a_device_lost_before_is_told_by_its_first_call() {
    with_backend(
        |builder| builder,
        |first| {
            first.device().destroy();
            let late = || {
                let (device, queue) = (first.device().clone(), first.queue().clone());
                let info = device.adapter_info();
                WgpuBackend::builder().build_on(device, queue, &info).unwrap()
            };
            let lost = |result: Result<()>| {
                assert!(matches!(result, Err(Error::DeviceLost { .. })), "{result:?}");
            };
            for _ in 0..2 {
                lost(late().prepare(&layer(options(3, 4)), &Prepare::default()).map(drop));
                lost(late().stream().map(drop));
                lost(first.stream().map(drop));
            }
        },
    );
}

#[test]
fn a_device_lost_between_recording_and_download_is_an_error() {
    with_backend(
        |builder| builder,
        |backend| {
            let prepared = backend.prepare(&layer(options(3, 4)), &Prepare::default()).unwrap();
            let mut stream = backend.stream().unwrap();
            let x = backend.upload(&mut stream, input().view()).unwrap();
            let y = backend.forward(&mut stream, &prepared, &Call::new(&x)).unwrap().output;
            backend.device().destroy();
            let error = backend.download(&mut stream, &y).unwrap_err();
            assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
        },
    );
}

/// What other work on the device does wrong isn't lost, and isn't ours for ever.
#[test]
fn an_error_that_no_scope_caught_is_reported_once() {
    with_backend(
        |builder| builder,
        |backend| {
            let layer = layer(options(3, 4));
            agrees(&backend, &layer, &input());
            let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::STORAGE;
            let wrong = wgpu::BufferDescriptor { label: None, size: 4, usage, mapped_at_creation: false };
            let _ = backend.device().create_buffer(&wrong);
            let Err(Error::Device { what, reason }) = backend.stream() else { panic!("no error") };
            assert_eq!(what, "queued work");
            assert!(reason.contains("MAP_READ"), "{reason}");
            agrees(&backend, &layer, &input());
        },
    );
}

#[test]
fn a_wait_ends_with_a_timeout() {
    with_backend(
        |builder| builder.timeout(Duration::from_nanos(1)),
        |backend| {
            let layers = [layer(options(3, 64)), layer(options(64, 64)), layer(options(64, 64))];
            let input = image(Shape::new(2, 3, 64, 64).unwrap(), Layout::Nchw, 1);
            let error = chain(&backend, &layers, &input).unwrap_err();
            assert_eq!(error, Error::Timeout { what: "work on the device".into(), seconds: 0 });
        },
    );
}

//! Streams: one submission each, and handles that cross from one to another.

use dyconv_core::{
    Activation, Backend, Call, Error, Handle, Layout, Pool, Precision, Prepare, Reference, Shape, Tensor,
};

use crate::support::{chain, close, image, layer, options, with_backend, with_shared};

#[test]
fn a_chain_is_one_submission() {
    // A backend of its own, since others submit too.
    with_backend(
        |builder| builder,
        |backend| {
            let layers = [
                layer(options(3, 8).activation(Activation::Relu)),
                layer(options(8, 12).stride([2, 2]).activation(Activation::Gelu)),
                layer(options(12, 5)),
            ];
            let input = image(Shape::new(2, 3, 9, 9).unwrap(), Layout::Nchw, 1);
            let got = chain(&backend, &layers, &input).unwrap();
            assert_eq!(backend.submissions(), 1, "upload, three layers and download");
            let want = layers.iter().fold(input, |x, layer| Reference::default().run(layer, &x).unwrap());
            close(&got, &want);
        },
    );
}

#[test]
fn emitted_means_replace_the_next_pool() {
    with_shared(|backend| {
        let prepared = backend.prepare(&layer(options(3, 8)), &Prepare::default()).unwrap();
        let mut stream = backend.stream().unwrap();
        let input = image(Shape::new(2, 3, 5, 5).unwrap(), Layout::Nchw, 1);
        let x = backend.upload(&mut stream, input.view()).unwrap();
        let y = |stream: &mut _, emit| {
            let call = Call::new(&x).emit_sums(emit);
            backend.forward(stream, &prepared, &call).unwrap().output
        };
        let (plain, emitted) = (y(&mut stream, false), y(&mut stream, true));
        let [from_plain, from_emitted] =
            [&plain, &emitted].map(|y| backend.pool(&mut stream, y, &Pool::GlobalMean).unwrap());
        let want = backend.download(&mut stream, &from_plain).unwrap();
        close(&backend.download(&mut stream, &from_emitted).unwrap(), &want);
    });
}

#[test]
fn a_handle_waits_for_its_stream() {
    with_shared(|backend| {
        let prepared = backend.prepare(&layer(options(3, 4)), &Prepare::default()).unwrap();
        let input = image(Shape::new(1, 3, 4, 4).unwrap(), Layout::Nchw, 1);
        let (mut one, mut other) = (backend.stream().unwrap(), backend.stream().unwrap());
        let x = backend.upload(&mut one, input.view()).unwrap();
        let error = backend.forward(&mut other, &prepared, &Call::new(&x)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "input is a tensor of another stream that hasn't finished; expected one of this stream, or of a stream \
             that was finished"
        );
        backend.finish(&mut one).unwrap();
        let y = backend.forward(&mut other, &prepared, &Call::new(&x)).unwrap().output;
        let want = Reference::default().run(&layer(options(3, 4)), &input).unwrap();
        close(&backend.download(&mut other, &y).unwrap(), &want);
    });
}

#[test]
fn a_handle_whose_stream_was_dropped_is_refused() {
    with_shared(|backend| {
        let input = image(Shape::new(1, 3, 4, 4).unwrap(), Layout::Nchw, 1);
        let mut lost = backend.stream().unwrap();
        let x = backend.upload(&mut lost, input.view()).unwrap();
        drop(lost);
        let mut stream = backend.stream().unwrap();
        let error = backend.download(&mut stream, &x).unwrap_err();
        assert!(error.to_string().contains("dropped before it finished"), "{error}");
    });
}

#[test]
fn streams_of_several_threads_dont_meet() {
    with_shared(|backend| {
        let layers = [layer(options(3, 8)), layer(options(8, 3))];
        std::thread::scope(|scope| {
            for seed in 0..4 {
                let (backend, layers) = (&backend, &layers);
                scope.spawn(move || {
                    let input = image(Shape::new(1, 3, 6, 6).unwrap(), Layout::Nchw, seed);
                    let want =
                        layers.iter().fold(input.clone(), |x, l| Reference::default().run(l, &x).unwrap());
                    for _ in 0..5 {
                        close(&chain(backend, layers, &input).unwrap(), &want);
                    }
                });
            }
        });
    });
}

#[test]
fn an_empty_batch_owns_nothing() {
    with_backend(
        |builder| builder,
        |backend| {
            let prepared = backend.prepare(&layer(options(3, 4)), &Prepare::default()).unwrap();
            let before = backend.memory();
            let mut stream = backend.stream().unwrap();
            let empty = Tensor::zeros(Shape::new(0, 3, 4, 4).unwrap(), Layout::Nchw);
            let x = backend.upload(&mut stream, empty.view()).unwrap();
            let y = backend.forward(&mut stream, &prepared, &Call::new(&x).emit_sums(true)).unwrap().output;
            let y = backend.relayout(&mut stream, &y, Layout::Nhwc).unwrap();
            assert_eq!(backend.download(&mut stream, &y).unwrap().shape(), Shape::new(0, 4, 4, 4).unwrap());
            assert_eq!((backend.memory(), backend.submissions()), (before, 0));
        },
    );
}

#[test]
fn what_belongs_elsewhere_is_refused() {
    with_shared(|backend| {
        with_backend(
            |builder| builder,
            |other| {
                let prepared = other.prepare(&layer(options(3, 4)), &Prepare::default()).unwrap();
                let input = image(Shape::new(1, 3, 4, 4).unwrap(), Layout::Nchw, 1);
                let (mut stream, mut foreign) = (backend.stream().unwrap(), other.stream().unwrap());
                let x = backend.upload(&mut stream, input.view()).unwrap();
                let error = backend.forward(&mut stream, &prepared, &Call::new(&x)).unwrap_err();
                assert!(error.to_string().starts_with("layer is one prepared on another device"), "{error}");
                let error = other.forward(&mut foreign, &prepared, &Call::new(&x)).unwrap_err();
                assert!(error.to_string().starts_with("input is a tensor of another device"), "{error}");
                let error = backend.finish(&mut foreign).unwrap_err();
                assert!(error.to_string().starts_with("stream is one of another device"), "{error}");
            },
        );
    });
}

#[test]
fn training_in_half_precision_is_refused_by_name() {
    with_shared(|backend| {
        let how = Prepare::default().precision(Precision::Bf16).trainable(true);
        let error = backend.prepare(&layer(options(3, 4)), &how).unwrap_err();
        let what = "a trainable layer in precision bf16; train it in f32".to_owned();
        assert_eq!(error, Error::Unsupported { backend: backend.info().id.clone(), what });
    });
}

#[test]
fn relayout_of_one_channel_keeps_the_bytes() {
    with_shared(|backend| {
        let input = image(Shape::new(2, 1, 3, 5).unwrap(), Layout::Nchw, 1);
        let mut stream = backend.stream().unwrap();
        let x = backend.upload(&mut stream, input.view()).unwrap();
        let y = backend.relayout(&mut stream, &x, Layout::Nhwc).unwrap();
        assert_eq!(Handle::layout(&y), Layout::Nhwc);
        assert_eq!(backend.download(&mut stream, &y).unwrap(), input.to_layout(Layout::Nhwc));
    });
}

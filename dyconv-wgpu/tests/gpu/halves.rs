//! Activations in f16 beside what the conformance suite says of them: where they are refused, and what stays f32.

use dyconv_core::{
    Activation, Attention, Backend, Call, Error, Layout, Options, Padding, Pool, Precision, Prepare,
    Reference, Shape, Tensor, Train, round,
};
use dyconv_wgpu::{WgpuBackend, WgpuBuilder};

use crate::support::{close, image, layer, options, with_backend};

fn in_f16(builder: WgpuBuilder) -> WgpuBuilder {
    builder.activations(Precision::F16)
}

/// Two halves to a word, whatever the adapter has.
fn packed(builder: WgpuBuilder) -> WgpuBuilder {
    in_f16(builder).default_limits(true)
}

fn rounded(tensor: &Tensor) -> Tensor {
    let data = tensor.data().iter().map(|x| round::from_half(round::half(*x))).collect();
    Tensor::new(tensor.shape(), tensor.layout(), data).unwrap()
}

#[test]
fn a_backend_says_how_it_stores_activations() {
    with_backend(in_f16, |backend| {
        assert_eq!(backend.info().activations, Precision::F16);
        let layer = backend.prepare(&layer(options(8, 16)), &Prepare::default()).unwrap();
        let shape = Shape::new(2, 8, 40, 40).unwrap();
        let plan = backend.plan(&layer, shape).unwrap();
        assert!(plan.name.contains(", activations in f16"), "{}", plan.name);
        with_backend(
            |builder| builder,
            |floats| {
                assert_eq!(floats.info().activations, Precision::F32);
                let layer =
                    floats.prepare(&crate::support::layer(options(8, 16)), &Prepare::default()).unwrap();
                let peak = floats.plan(&layer, shape).unwrap().peak_bytes;
                // Half of input and output.
                assert_eq!(peak - plan.peak_bytes, 2 * 2 * (8 + 16) * 1600);
            },
        );
    });
}

#[test]
fn bf16_and_training_are_refused_by_name() {
    let refused = WgpuBackend::builder().activations(Precision::Bf16).build();
    if !matches!(refused, Err(Error::Unavailable { .. })) {
        let error = Error::Invalid {
            parameter: "activations".into(),
            value: "bf16".into(),
            expected: "f32 or f16".into(),
        };
        assert_eq!(refused.map(|_| ()), Err(error));
    }
    with_backend(in_f16, |backend| {
        let trainable = Prepare::default().trainable(true);
        let error = backend.prepare(&layer(options(3, 4)), &trainable).map(|_| ()).unwrap_err();
        let said = "a trainable layer beside activations in f16; train it on a backend with f32";
        assert!(matches!(&error, Error::Unsupported { what, .. } if what == said), "{error}");
        let mut stream = backend.stream().unwrap();
        let x = Tensor::zeros(Shape::new(1, 2, 2, 2).unwrap(), Layout::Nchw);
        let x = backend.upload(&mut stream, x.view()).unwrap();
        let error = backend.pool_backward(&mut stream, &x, &Pool::GlobalMean, &x).map(|_| ()).unwrap_err();
        assert!(matches!(&error, Error::Unsupported { what, .. } if what.contains("f16")), "{error}");
    });
}

/// Parts of a sum are floats between dispatches: an output is rounded once.
#[test]
fn sums_that_continue_are_rounded_once() {
    let long = Options { experts: 1, attention: None, ..options(64, 3) };
    let long = long.kernel_size([32, 33]).padding(Padding::Valid);
    let depthwise = Options { in_channels: 2, out_channels: 2, groups: 2, ..long }.kernel_size([300, 301]);
    for activations in [packed, in_f16] {
        with_backend(activations, |backend| {
            for (options, shape) in [(long, [2, 64, 33, 34]), (depthwise, [1, 2, 301, 302])] {
                let [n, c, h, w] = shape;
                let input = image(Shape::new(n, c, h, w).unwrap(), Layout::Nchw, 1);
                let got = backend.run(&layer(options), &input).unwrap();
                let want = Reference::default().run(&layer(options), &rounded(&input)).unwrap();
                let largest = want.data().iter().fold(0.0f32, |largest, y| largest.max(y.abs()));
                for (got, want) in got.data().iter().zip(want.data()) {
                    // Half a unit in the last place, and what f32 sums are off by.
                    let bound = want.abs() / 2048.0 + 3e-5 * largest;
                    assert!((got - want).abs() <= bound, "{got}, not {want}");
                }
            }
        });
    }
}

/// What is computed in f32 stays so, and serves where activations are taken.
#[test]
fn attention_and_means_stay_f32() {
    for activations in [packed, in_f16] {
        with_backend(activations, |backend| {
            let head = options(6, 5).activation(Activation::Silu);
            let input = image(Shape::new(3, 6, 7, 5).unwrap(), Layout::Nhwc, 1);
            let head = layer(head.layout(Layout::Nhwc));
            let prepared = backend.prepare(&head, &Prepare::default()).unwrap();
            let mut stream = backend.stream().unwrap();
            let x = backend.upload(&mut stream, input.view()).unwrap();
            let call = Call::new(&x).return_attention(true);
            let ran = backend.forward(&mut stream, &prepared, &call).unwrap();
            let pi = ran.attention.unwrap();
            let means = backend.pool(&mut stream, &x, &Pool::GlobalMean).unwrap();

            // As π of another call, bit for bit.
            let given = Call::new(&x).attention(&pi);
            let again = backend.forward(&mut stream, &prepared, &given).unwrap().output;
            let [first, again] = [&ran.output, &again].map(|y| backend.download(&mut stream, y).unwrap());
            assert_eq!(first, again);
            // As input and residual of a 1×1 layer, where they are rounded first.
            let square = layer(Options::new(6, 6));
            let last = backend.prepare(&square, &Prepare::default()).unwrap();
            let call = Call::new(&means).residual(&means);
            let y = backend.forward(&mut stream, &last, &call).unwrap().output;
            let y = backend.download(&mut stream, &y).unwrap();
            let host = backend.download(&mut stream, &means).unwrap();
            let is_half = |x: &f32| round::from_half(round::half(*x)) == *x;
            assert!(!host.data().iter().all(is_half) && y.data().iter().all(is_half));
            let mut want =
                Reference::default().run(&square, &rounded(&host).to_layout(Layout::Nchw)).unwrap();
            let sums = want.data_mut().iter_mut().zip(rounded(&host).data().to_vec());
            sums.for_each(|(y, residual)| *y += residual);
            for (got, want) in y.data().iter().zip(want.data()) {
                assert!((got - want).abs() <= want.abs() / 2048.0 + 1e-5, "{got}, not {want}");
            }
            let want = dyconv_core::reference::pool(rounded(&input).view(), &Pool::GlobalMean).unwrap();
            close(&host, &want);
        });
    }
}

/// The device's own f16 and halves of words are the same bits.
#[test]
fn both_forms_give_the_same_bits() {
    let given = options(4, 8).attention(Attention::mlp(2)).activation(Activation::HardSwish);
    for (options, shape) in [(given, [2, 4, 9, 7]), (given.groups(4), [3, 4, 5, 5])] {
        let [n, c, h, w] = shape;
        let input = image(Shape::new(n, c, h, w).unwrap(), Layout::Nchw, 5);
        let mut outputs = Vec::new();
        for activations in [packed, in_f16] {
            with_backend(activations, |backend| outputs.push(backend.run(&layer(options), &input).unwrap()));
        }
        assert!(outputs.windows(2).all(|pair| pair[0] == pair[1]));
    }
}

//! Splitting and folding under artificially small limits, and typed errors where neither helps.

use dyconv_core::{
    Activation, Attention, Backend, BatchNorm, Call, Error, Layout, Options, Padding, Pool, Prepare,
    Reference, Shape, Tensor, reference,
};

use dyconv_wgpu::Choice;

use crate::support::{agrees, close, image, layer, options, with_backend};

/// The limits that every WebGPU device must have, from the specification; nothing more may be asked for.
#[test]
fn default_limits_are_exactly_webgpus() {
    with_backend(
        |builder| builder.default_limits(true),
        |backend| {
            let limits = backend.device().limits();
            assert_eq!(limits, wgpu::Limits::default());
            assert_eq!(limits.max_storage_buffer_binding_size, 128 << 20);
            assert_eq!(limits.max_buffer_size, 256 << 20);
            assert_eq!(limits.max_storage_buffers_per_shader_stage, 8);
            assert_eq!(limits.max_compute_workgroup_storage_size, 16 << 10);
            assert_eq!(limits.max_compute_invocations_per_workgroup, 256);
            assert_eq!(limits.max_compute_workgroup_size_x, 256);
            assert_eq!(limits.max_compute_workgroups_per_dimension, 65535);
            assert_eq!(limits.max_immediate_size, 0);
            assert!(backend.device().features().is_empty(), "{:?}", backend.device().features());
        },
    );
}

/// Also that the suite's module of that name tests what it says.
#[test]
fn deeper_steps_are_for_devices_that_allow_them() {
    for default_limits in [true, false] {
        with_backend(
            |builder| builder.default_limits(default_limits).force(Choice::Deep),
            |backend| {
                let prepared = backend.prepare(&layer(options(3, 5)), &Prepare::default()).unwrap();
                let plan = backend.plan(&prepared, Shape::new(1, 3, 9, 9).unwrap()).unwrap();
                let allows = backend.device().limits().max_compute_workgroup_storage_size >= 32 << 10;
                assert_eq!(plan.name.contains("tiled 128×128×32"), allows, "{}", plan.name);
                assert!(!(default_limits && allows));
            },
        );
    }
}

#[test]
fn batches_beyond_a_binding_are_split() {
    with_backend(
        |builder| builder.default_limits(true).max_binding_bytes(5120),
        |backend| {
            for layout in Layout::ALL {
                // 972 bytes per input sample: bindings start between alignments.
                let input = image(Shape::new(7, 3, 9, 9).unwrap(), layout, 1);
                let small = options(3, 5).layout(layout).activation(Activation::Silu);
                agrees(&backend, &layer(small), &input);
                agrees(&backend, &layer(Options { experts: 1, attention: None, ..small }), &input);
                agrees(&backend, &layer(Options { out_channels: 6, groups: 3, ..small }), &input);
                let grouped = Options { in_channels: 4, out_channels: 6, groups: 2, ..small };
                let input = image(Shape::new(7, 4, 9, 9).unwrap(), layout, 1);
                agrees(&backend, &layer(grouped), &input);
            }
            let prepared = backend.prepare(&layer(options(3, 5)), &Prepare::default()).unwrap();
            let plan = backend.plan(&prepared, Shape::new(7, 3, 9, 9).unwrap()).unwrap();
            // Which kernel it is depends on how many threads a device keeps busy.
            assert!(plan.name.ends_with(", 3 parts"), "{}", plan.name);
        },
    );
}

#[test]
fn every_tensor_stage_is_split() {
    with_backend(
        |builder| builder.default_limits(true).max_binding_bytes(4096),
        |backend| {
            let shape = Shape::new(7, 3, 7, 7).unwrap();
            for layout in Layout::ALL {
                let normalized =
                    options(3, 3).layout(layout).batch_norm(BatchNorm::PYTORCH).activation(Activation::Elu);
                let (input, residual) = (image(shape, layout, 1), image(shape, layout, 2));
                let got = trained(&backend, normalized, &input, &residual);
                let want = trained(&Reference::default(), normalized, &input, &residual);
                got.iter().zip(&want).for_each(|(got, want)| close(got, want));

                let mut stream = backend.stream().unwrap();
                let x = backend.upload(&mut stream, input.view()).unwrap();
                let kind = Pool::Max { window: [3, 2], stride: [2, 1], padding: [1, 0] };
                for kind in [Pool::GlobalMean, kind] {
                    let pooled = backend.pool(&mut stream, &x, &kind).unwrap();
                    let want = reference::pool(input.view(), &kind).unwrap();
                    close(&backend.download(&mut stream, &pooled).unwrap(), &want);
                }
                let to = Layout::ALL[usize::from(layout == Layout::Nchw)];
                let other = backend.relayout(&mut stream, &x, to).unwrap();
                assert_eq!(backend.download(&mut stream, &other).unwrap(), input.to_layout(to));
            }
        },
    );
}

/// Output, mean and variance with the batch's statistics and a residual.
fn trained<B: Backend>(backend: &B, options: Options, input: &Tensor, residual: &Tensor) -> Vec<Tensor> {
    let prepared = backend.prepare(&layer(options), &Prepare::default().trainable(true)).unwrap();
    let mut stream = backend.stream().unwrap();
    let x = backend.upload(&mut stream, input.view()).unwrap();
    let r = backend.upload(&mut stream, residual.view()).unwrap();
    let call = Call::new(&x).residual(&r).batch_statistics(true);
    let got = backend.forward(&mut stream, &prepared, &call).unwrap();
    let [mean, variance] = got.statistics.expect("batch statistics");
    [got.output, mean, variance].iter().map(|t| backend.download(&mut stream, t).unwrap()).collect()
}

#[test]
fn dispatches_beyond_a_dimension_are_folded() {
    with_backend(
        // Seven divides no grid of these: the last row is longer than needed.
        |builder| builder.max_workgroups(7),
        |backend| {
            for layout in Layout::ALL {
                let input = image(Shape::new(3, 8, 11, 9).unwrap(), layout, 1);
                let plain = options(8, 9).layout(layout).activation(Activation::Tanh);
                agrees(&backend, &layer(plain), &input);
                agrees(&backend, &layer(Options { out_channels: 8, groups: 8, ..plain }), &input);
                let residual = image(Shape::new(3, 9, 11, 9).unwrap(), layout, 2);
                let normalized = plain.batch_norm(BatchNorm::KERAS);
                let got = trained(&backend, normalized, &input, &residual);
                let want = trained(&Reference::default(), normalized, &input, &residual);
                got.iter().zip(&want).for_each(|(got, want)| close(got, want));
            }
        },
    );
}

#[test]
fn sums_too_long_for_one_dispatch_continue_in_the_next() {
    with_backend(
        |builder| builder,
        |backend| {
            // Mesa's software driver ends the loops of an invocation after 65535 steps.
            let long =
                options(64, 3).kernel_size([32, 33]).padding(Padding::Valid).activation(Activation::Elu);
            agrees(&backend, &layer(long), &image(Shape::new(2, 64, 32, 33).unwrap(), Layout::Nchw, 1));
            let depthwise =
                Options { in_channels: 2, out_channels: 2, groups: 2, ..long }.kernel_size([300, 301]);
            agrees(&backend, &layer(depthwise), &image(Shape::new(1, 2, 300, 301).unwrap(), Layout::Nchw, 2));
            for (layout, channels, extent) in [(Layout::Nchw, 1, 2100), (Layout::Nhwc, 33, 300)] {
                let x = image(Shape::new(1, channels, extent, extent).unwrap(), layout, 3);
                let mut stream = backend.stream().unwrap();
                let handle = backend.upload(&mut stream, x.view()).unwrap();
                let means = backend.pool(&mut stream, &handle, &Pool::GlobalMean).unwrap();
                let want = reference::pool(x.view(), &Pool::GlobalMean).unwrap();
                close(&backend.download(&mut stream, &means).unwrap(), &want);
            }
            let head = Options { in_channels: 5000, ..options(5000, 1) }.attention(Attention::mlp(1250));
            let x = image(Shape::new(1, 5000, 1, 1).unwrap(), Layout::Nchw, 4);
            match backend.run(&layer(head), &x) {
                Ok(_) => agrees(&backend, &layer(head), &x),
                Err(Error::LimitExceeded { limit, .. }) => {
                    assert_eq!(limit, "loop steps of the attention head")
                }
                Err(other) => panic!("{other}"),
            }
        },
    );
}

#[test]
fn what_cannot_be_split_is_named() {
    let exceeded = |limit: &str, value, max| Error::LimitExceeded { limit: limit.into(), value, max };
    let head = Options::new(2, 1).experts(2).attention(Attention::mlp(1));
    let table = [
        // A part of a batch may start 252 bytes after an aligned offset.
        (Options::new(1, 1), [2, 1, 33, 33], exceeded("bytes of one sample of the input", 4356 + 252, 4096)),
        (Options::new(1, 40), [1, 1, 6, 6], exceeded("bytes of one sample of the output", 5760, 4096)),
        (
            options(16, 16),
            [1, 16, 1, 1],
            exceeded("bytes of the packed experts", 16 * (16 * 16 * 9 + 16), 4096),
        ),
        // The pool takes a workgroup for each of 60 samples; seven rows of seven hold 49.
        (head, [60, 2, 1, 1], exceeded("workgroups of one dispatch", 60, 49)),
    ];
    with_backend(
        |builder| builder.default_limits(true).max_binding_bytes(4096).max_workgroups(7),
        |backend| {
            for (options, [n, c, h, w], expected) in table {
                let input = image(Shape::new(n, c, h, w).unwrap(), Layout::Nchw, 1);
                assert_eq!(backend.run(&layer(options), &input).map(|y| y.shape()), Err(expected));
            }
        },
    );
}

#[test]
fn absurd_padding_is_refused_by_name() {
    crate::support::with_shared(|backend| {
        let far = (1 << 30) + 1;
        let padding = Padding::Explicit { top: far, bottom: far, left: 0, right: 0 };
        let options = Options::new(1, 1).stride([1 << 30, 1]).padding(padding);
        let input = image(Shape::new(1, 1, 1, 1).unwrap(), Layout::Nchw, 1);
        let error = backend.run(&layer(options), &input).unwrap_err();
        let limit = "extent of the padded input".to_owned();
        assert_eq!(error, Error::LimitExceeded { limit, value: (1 << 31) + 3, max: (1 << 31) - 1 });
        // Large strides and dilations by themselves are fine.
        let given = Options::new(2, 3)
            .stride([1 << 30, 1 << 30])
            .dilation([1 << 30, 1])
            .attention(Attention::mlp(1))
            .experts(2);
        agrees(&backend, &layer(given), &image(Shape::new(2, 2, 4, 4).unwrap(), Layout::Nchw, 1));
    });
}

/// Software drivers may end long loops early: what isn't split must be right or refused.
#[test]
fn loops_too_long_for_a_driver_are_right_or_refused() {
    crate::support::with_shared(|backend| {
        let mut stream = backend.stream().unwrap();
        let refused = |error: Error| assert!(matches!(error, Error::LimitExceeded { .. }), "{error}");

        let host = Tensor::from_fn(Shape::new(1, 1, 300, 300).unwrap(), Layout::Nchw, |[.., y, x]| {
            (y * 300 + x) as f32
        });
        let x = backend.upload(&mut stream, host.view()).unwrap();
        let window = Pool::Max { window: [300, 300], stride: [1, 1], padding: [0, 0] };
        match backend.pool(&mut stream, &x, &window) {
            Ok(y) => assert_eq!(backend.download(&mut stream, &y).unwrap().data(), [89_999.0]),
            Err(error) => refused(error),
        }

        let normalized = layer(Options::new(1, 1).batch_norm(BatchNorm::KERAS));
        let normalized = backend.prepare(&normalized, &Prepare::default().trainable(true)).unwrap();
        let numbers = Tensor::from_fn(Shape::new(70_000, 1, 1, 1).unwrap(), Layout::Nchw, |[n, ..]| n as f32);
        let x = backend.upload(&mut stream, numbers.view()).unwrap();
        match backend.forward(&mut stream, &normalized, &Call::new(&x).batch_statistics(true)) {
            Ok(ran) => {
                let y = backend.download(&mut stream, &ran.output).unwrap();
                // Normalized numbers lie evenly around beta.
                let [first, last] = [y.data()[0], y.data()[69_999]];
                let beta = (first + last) / 2.0;
                let mean = y.data().iter().sum::<f32>() / 70_000.0;
                assert!((mean - beta).abs() < 0.01 * (last - first).abs(), "{mean}, not {beta}");
            }
            Err(error) => refused(error),
        }
    });
}

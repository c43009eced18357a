//! Training: the suite's laws on all that the adapter allows, and on WebGPU's default limits with batches split and
//! dispatches folded; sizes beyond one tile and one dispatch; and what is this backend's own affair.

use dyconv_core::{
    Activation, Attention, Backend, Backward, BatchNorm, Call, Constraint, DyConv2d, Error, Layout,
    Optimizer, Options, Padding, ParamMap, Params, Pool, Prepare, Reference, Regularizer, Result, Rule,
    Rules, Shape, Step, Tensor, Train, reference,
};
use dyconv_wgpu::{Choice, WgpuBackend};

use crate::support::{backend, close, image, is_required, layer, options, with_backend, with_shared};

dyconv_core::training_tests!(adapter, backend(), cases = 128, required = is_required());

dyconv_core::training_tests!(
    split_and_folded,
    WgpuBackend::builder().default_limits(true).max_part_samples(2).max_workgroups(50).build(),
    cases = 128,
    required = is_required(),
);

// Derivatives of what another plan of the forward computed.
dyconv_core::training_tests!(
    winograd_f4,
    WgpuBackend::builder().default_limits(true).force(Choice::WinogradF4).build(),
    cases = 64,
    required = is_required(),
);

/// Small integers without a pattern that a wrong index could fit.
fn integers(shape: Shape, layout: Layout, seed: usize) -> Tensor {
    let reals = image(shape, layout, seed);
    let data = reals.data().iter().map(|value| (value * 2.0).round()).collect();
    Tensor::new(shape, layout, data).expect("as many")
}

/// A layer of integers, with given attention where it is dynamic.
fn integral(options: Options) -> DyConv2d {
    let dynamic = options.attention.is_some();
    let (config, mut params) =
        layer(Options { attention: dynamic.then_some(Attention::Given), ..options }).into_parts();
    for data in [&mut params.weight].into_iter().chain(&mut params.bias) {
        data.iter_mut().enumerate().for_each(|(i, value)| *value = (i * 7 % 5) as f32 - 2.0);
    }
    DyConv2d::new(config, params).expect("matching parameters")
}

/// π in quarters.
fn quarters(batch: usize, experts: usize) -> Tensor {
    let data = (0..batch * experts).map(|i| (i * 3 % 5) as f32 / 4.0 - 0.25).collect();
    Tensor::attention(batch, experts, data).expect("as many")
}

/// Every gradient of one run, in host memory.
#[derive(Debug, PartialEq)]
struct Found {
    input: Tensor,
    attention: Option<Tensor>,
    params: ParamMap,
}

fn learn<B: Train>(backend: &B, layer: &DyConv2d, input: &Tensor, statistics: bool) -> Result<Found> {
    let (config, batch) = (layer.config(), input.shape().batch());
    let given = config.attention() == Some(Attention::Given);
    let mut prepared = backend.prepare(layer, &Prepare::default().trainable(true))?;
    let mut stream = backend.stream()?;
    let x = backend.upload(&mut stream, input.view())?;
    let pi =
        given.then(|| backend.upload(&mut stream, quarters(batch, config.experts()).view())).transpose()?;
    let call = Call::new(&x).attention(pi.as_ref()).batch_statistics(statistics);
    let (_, tape) = backend.forward_train(&mut stream, &mut prepared, &call)?;
    let g = integers(config.output_shape(input.shape())?, config.layout(), 99);
    let g = backend.upload(&mut stream, g.view())?;
    // Its slope is the sign of integers, zeros among them.
    let penalty = Regularizer { l1: 1.0, l2: 0.0 };
    let call = Backward::new(&g).activity(Some(penalty).filter(|_| given));
    let found = backend.backward(&mut stream, &prepared, tape, &call, None)?;
    let mut home = |tensor: &Option<B::Tensor>| {
        tensor.as_ref().map(|tensor| backend.download(&mut stream, tensor)).transpose()
    };
    let (input, attention) = (home(&found.input)?.expect("wanted"), home(&found.attention)?);
    Ok(Found { input, attention, params: backend.gradients(&mut stream, &prepared, &found.params)? })
}

/// Integers: every gradient is the reference's.
fn learns_exactly(backend: &WgpuBackend, options: Options, shape: [usize; 4]) {
    let [n, c, h, w] = shape;
    let layer = integral(options);
    let input = integers(Shape::new(n, c, h, w).unwrap(), options.layout, 1);
    let got = learn(backend, &layer, &input, false).unwrap();
    let want = learn(&Reference::default(), &layer, &input, false).unwrap();
    assert!(got == want, "gradients of {options:?} for {shape:?} differ");
}

/// Reals: every gradient is close to the reference's.
fn learns(backend: &WgpuBackend, options: Options, input: &Tensor, statistics: bool) {
    let layer = layer(options);
    let got = learn(backend, &layer, input, statistics).unwrap();
    let want = learn(&Reference::default(), &layer, input, statistics).unwrap();
    close(&got.input, &want.input);
    got.attention.iter().zip(&want.attention).for_each(|(got, want)| close(got, want));
    for ((name, got), want) in got.params.iter().zip(want.params.values()) {
        println!("{name}");
        let row = |data: &[f32]| Tensor::attention(1, data.len(), data.to_vec()).unwrap();
        close(&row(got), &row(want));
    }
}

#[test]
fn gradients_beyond_one_tile_are_exact() {
    with_shared(|backend| {
        for layout in Layout::ALL {
            let base = options(20, 70).layout(layout).experts(5);
            // More rows than a tile, columns of dW~ and of dx over several tiles, ragged everywhere.
            learns_exactly(&backend, base, [3, 20, 7, 9]);
            learns_exactly(&backend, Options { in_channels: 70, out_channels: 20, ..base }, [2, 70, 6, 7]);
            learns_exactly(&backend, base.stride([2, 3]).dilation([2, 1]), [3, 20, 11, 9]);
            // A phase is reached by every other tap, from outputs three apart.
            learns_exactly(&backend, base.stride([2, 1]).dilation([3, 2]), [3, 20, 11, 9]);
            learns_exactly(&backend, base.groups(2), [2, 20, 6, 6]);
            learns_exactly(&backend, base.kernel_size([1, 1]).stride([2, 2]), [9, 20, 5, 5]);
            // A static layer's samples share one kernel's gradient.
            learns_exactly(&backend, Options { experts: 1, attention: None, ..base }, [11, 20, 5, 5]);
            // Few tiles of many products: dW~ is summed in sections.
            learns_exactly(&backend, base, [3, 20, 26, 27]);
            learns_exactly(&backend, Options { experts: 1, attention: None, ..base }, [41, 20, 5, 5]);
            let depthwise = Options { in_channels: 70, groups: 70, out_channels: 140, ..base };
            learns_exactly(&backend, depthwise, [3, 70, 7, 5]);
            let alone = Options { experts: 1, attention: None, ..depthwise }.stride([2, 1]);
            learns_exactly(&backend, alone, [11, 70, 7, 5]);
            learns_exactly(
                &backend,
                Options { in_channels: 4, groups: 4, out_channels: 8, ..base },
                [2, 4, 27, 26],
            );
        }
    });
}

#[test]
fn batches_beyond_a_binding_learn_in_parts() {
    with_backend(
        |builder| builder.default_limits(true).max_binding_bytes(8192).max_workgroups(7),
        |backend| {
            for layout in Layout::ALL {
                let base = options(3, 5).layout(layout);
                learns_exactly(&backend, base, [7, 3, 11, 9]);
                learns_exactly(&backend, Options { out_channels: 6, groups: 3, ..base }, [7, 3, 11, 9]);
                learns_exactly(&backend, Options { experts: 1, attention: None, ..base }, [7, 3, 11, 9]);
                let input = image(Shape::new(7, 3, 11, 9).unwrap(), layout, 1);
                let normalized = base.activation(Activation::Silu).batch_norm(BatchNorm::PYTORCH);
                learns(&backend, normalized, &input, true);
                learns(&backend, normalized, &input, false);
            }
            let prepared =
                backend.prepare(&layer(options(3, 5)), &Prepare::default().trainable(true)).unwrap();
            let plan = backend.plan_backward(&prepared, Shape::new(7, 3, 11, 9).unwrap()).unwrap();
            assert_eq!(plan.name, "tiled 64×64 backward in 2 parts");
        },
    );
}

#[test]
fn gradients_too_long_for_one_dispatch_continue_in_the_next() {
    with_shared(|backend| {
        for layout in Layout::ALL {
            // Mesa's software driver ends the loops of an invocation after 65535 steps: many pixels for dW~ and biases …
            let wide = options(1, 2).layout(layout).experts(2);
            learns_exactly(&backend, wide, [1, 1, 200, 190]);
            let alone = Options { experts: 1, attention: None, ..wide };
            learns_exactly(&backend, alone, [9, 1, 130, 160]);
            // Also where sixteen sections aren't enough.
            let pointwise = Options { in_channels: 2, out_channels: 3, ..alone }.kernel_size([1, 1]);
            learns_exactly(&backend, pointwise, [2, 2, 520, 510]);
            let depthwise = Options { in_channels: 2, groups: 2, ..wide };
            learns_exactly(&backend, depthwise.kernel_size([2, 1]), [1, 2, 600, 600]);
            // … and many taps and output channels for dx.
            let large = wide.kernel_size([16, 17]).padding(Padding::Valid);
            learns_exactly(&backend, Options { out_channels: 130, ..large }, [1, 1, 17, 18]);
            let depthwise = depthwise.kernel_size([100, 101]).padding(Padding::Valid);
            learns_exactly(&backend, depthwise, [1, 2, 101, 103]);
        }
    });
}

/// Gradients, moments and parameters stay where they are: a training step is one submission, and one like the last makes
/// no buffer, bind group or pipeline, though at another rate, and with AdamW at every step, it brings three numbers along.
#[test]
fn a_step_like_the_last_makes_nothing() {
    for optimizer in [Optimizer::MOMENTUM, Optimizer::ADAMW] {
        with_backend(|builder| builder, |backend| steady(&backend, optimizer));
    }
}

fn steady(backend: &WgpuBackend, optimizer: Optimizer) {
    let options = options(3, 8).batch_norm(BatchNorm::PYTORCH).activation(Activation::HardSwish);
    let mut prepared = backend.prepare(&layer(options), &Prepare::default().trainable(true)).unwrap();
    let mut stream = backend.stream().unwrap();
    let shape = Shape::new(4, 3, 9, 9).unwrap();
    let x = backend.upload(&mut stream, image(shape, Layout::Nchw, 1).view()).unwrap();
    let g = image(Shape::new(4, 8, 9, 9).unwrap(), Layout::Nchw, 2);
    let g = backend.upload(&mut stream, g.view()).unwrap();
    let rules = Rules {
        experts: Rule { constraint: Some(Constraint::UnitNorm { axes: vec![1, 2, 3] }), ..Rule::decay(0.1) },
        ..Rules::default()
    };
    let step = Step::new(optimizer, 0.01).rules(rules);
    let mut moments = backend.moments(&prepared, &step.optimizer).unwrap();
    let mut seen = Vec::new();
    for _ in 0..8 {
        let call = Call::new(&x).batch_statistics(true);
        let (_, tape) = backend.forward_train(&mut stream, &mut prepared, &call).unwrap();
        let call = Backward::new(&g).activity(Regularizer { l1: 0.0, l2: 0.1 });
        let found = backend.backward(&mut stream, &prepared, tape, &call, None).unwrap();
        backend.step(&mut stream, &mut prepared, &found.params, &mut moments, &step).unwrap();
        drop(found);
        backend.finish(&mut stream).unwrap();
        // A step that doesn't wait for the one before may need staging of its own.
        backend.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
        let usage = backend.memory();
        let made = [usage.created, usage.bind_groups, backend.pipelines() as u64];
        seen.push((backend.submissions(), made, usage.in_use + usage.idle));
    }
    for (before, after) in seen[3..].iter().zip(&seen[4..]) {
        assert_eq!(after.0 - before.0, 1, "submissions of a step");
        assert_eq!(after.1, before.1, "buffers, bind groups, pipelines");
        assert_eq!(after.2, before.2, "bytes held");
    }
    let params = backend.params(&mut stream, &prepared).unwrap();
    assert!(params.weight.iter().all(|value| value.is_finite()));
}

/// Of equal maxima the first takes all, of several NaN the last.
#[test]
fn pools_choose_as_the_host_does() {
    with_shared(|backend| {
        for layout in Layout::ALL {
            let shape = Shape::new(2, 3, 6, 7).unwrap();
            let mut x = integers(shape, layout, 1);
            x.data_mut().iter_mut().step_by(3).for_each(|value| *value = f32::NAN);
            x.data_mut().iter_mut().skip(1).step_by(5).for_each(|value| *value = -0.0);
            let kind = Pool::Max { window: [3, 4], stride: [2, 1], padding: [1, 2] };
            let g = integers(kind.output_shape(shape).unwrap(), layout, 2);
            let mut stream = backend.stream().unwrap();
            let [on_device, gradient] =
                [&x, &g].map(|host| backend.upload(&mut stream, host.view()).unwrap());
            let dx = backend.pool_backward(&mut stream, &on_device, &kind, &gradient).unwrap();
            let want = reference::pool_backward(x.view(), &kind, g.view()).unwrap();
            assert_eq!(backend.download(&mut stream, &dx).unwrap(), want);
        }
    });
}

/// A norm over more numbers than one workgroup adds.
#[test]
fn norms_of_many_numbers_are_summed_in_sections() {
    with_shared(|backend| {
        let layer = integral(options(40, 30).experts(2));
        let rule = Rule {
            rate: 0.0,
            constraint: Some(Constraint::MaxNorm { max: 3.0, axes: vec![0, 1, 2, 3] }),
            ..Rule::default()
        };
        let step = Step::new(Optimizer::SGD, 0.1).rules(Rules { experts: rule, ..Rules::default() });
        let row = |params: Params| Tensor::attention(1, params.weight.len(), params.weight).unwrap();
        let got = row(stepped(&backend, &layer, &step).unwrap());
        close(&got, &row(stepped(&Reference::default(), &layer, &step).unwrap()));
        for expert in got.data().chunks_exact(30 * 40 * 9) {
            let norm = expert.iter().map(|&w| f64::from(w * w)).sum::<f64>().sqrt();
            assert!((norm - 3.0).abs() < 1e-5, "{norm}");
        }
    });
}

/// The parameters after one step from a batch of nothing.
fn stepped<B: Train>(backend: &B, layer: &DyConv2d, step: &Step) -> Result<Params> {
    let config = layer.config();
    let mut prepared = backend.prepare(layer, &Prepare::default().trainable(true))?;
    let mut stream = backend.stream()?;
    let upload = |stream: &mut _, [c, h, w]: [usize; 3]| {
        backend.upload(stream, Tensor::zeros(Shape::new(0, c, h, w)?, config.layout()).view())
    };
    let x = upload(&mut stream, [config.in_channels(), 3, 3])?;
    let pi = upload(&mut stream, [config.experts(), 1, 1])?;
    let (_, tape) = backend.forward_train(&mut stream, &mut prepared, &Call::new(&x).attention(&pi))?;
    let g = upload(&mut stream, [config.out_channels(), 3, 3])?;
    let found = backend.backward(&mut stream, &prepared, tape, &Backward::new(&g), None)?;
    let mut moments = backend.moments(&prepared, &step.optimizer)?;
    backend.step(&mut stream, &mut prepared, &found.params, &mut moments, step)?;
    backend.params(&mut stream, &prepared)
}

/// A step may not change what another stream has recorded a use of, nor be read before it was submitted.
#[test]
fn a_step_waits_for_other_streams() {
    with_shared(|backend| {
        let mut prepared =
            backend.prepare(&layer(options(3, 4)), &Prepare::default().trainable(true)).unwrap();
        let (mut one, mut other) = (backend.stream().unwrap(), backend.stream().unwrap());
        let input = image(Shape::new(1, 3, 4, 4).unwrap(), Layout::Nchw, 1);
        let x = backend.upload(&mut one, input.view()).unwrap();
        backend.finish(&mut one).unwrap();
        let mut moments = backend.moments(&prepared, &Optimizer::SGD).unwrap();
        let step = Step::new(Optimizer::SGD, 0.1);
        let y = backend.forward(&mut other, &prepared, &Call::new(&x)).unwrap().output;
        let (z, tape) = backend.forward_train(&mut one, &mut prepared, &Call::new(&x)).unwrap();
        let found = backend.backward(&mut one, &prepared, tape, &Backward::new(&z.output), None).unwrap();
        let before = backend.params(&mut one, &prepared).unwrap();
        let error = backend.step(&mut one, &mut prepared, &found.params, &mut moments, &step).unwrap_err();
        let Error::Invalid { parameter, value, .. } = error else { panic!("{error}") };
        assert_eq!((&*parameter, &*value), ("layer", "in use by another stream that hasn't finished"));
        assert_eq!(backend.params(&mut one, &prepared).unwrap(), before);

        backend.finish(&mut other).unwrap();
        backend.step(&mut one, &mut prepared, &found.params, &mut moments, &step).unwrap();
        let error = backend.forward(&mut other, &prepared, &Call::new(&x)).unwrap_err();
        assert!(
            error.to_string().starts_with("layer is a layer of another stream that hasn't finished"),
            "{error}"
        );
        backend.finish(&mut one).unwrap();
        backend.forward(&mut other, &prepared, &Call::new(&x)).unwrap();
        let want = Reference::default().run(&layer(options(3, 4)), &input).unwrap();
        close(&backend.download(&mut other, &y).unwrap(), &want);
    });
}

//! What callers can get wrong, and what they are told; slices, pools and plans.

use std::sync::Arc;

use dyconv_core::{
    Attention, Backend, BatchNorm, BatchNormParams, Call, DyConv2d, Error, Handle, Layout, Options, Padding,
    Params, Pool, Precision, Prepare, Shape, Tensor,
};
use dyconv_simd::{Isa, SimdBackend};

fn ramp(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7) % 13) as f32 * 0.25 - 1.5).collect()
}

/// 3×3, 5 → 40 channels, two experts, π given.
fn layer() -> DyConv2d {
    let options = Options::new(5, 40).kernel_size([3, 3]).padding(Padding::Same).experts(2);
    let config = options.bias(true).attention(Attention::Given).layout(Layout::Nhwc).build().unwrap();
    let bias = Some(ramp(80));
    let weight = ramp(2 * config.expert_len());
    DyConv2d::new(config, Params { weight, bias, attention: None, batch_norm: None }).unwrap()
}

fn input(batch: usize, image: usize) -> Tensor {
    let shape = Shape::new(batch, 5, image, image).unwrap();
    Tensor::new(shape, Layout::Nhwc, ramp(shape.len())).unwrap()
}

#[test]
fn slices_give_what_tensors_give() {
    let backend = SimdBackend::new().unwrap();
    let mut stream = backend.stream().unwrap();
    let prepared = backend.prepare(&layer(), &Prepare::default()).unwrap();
    let (x, pi) = (input(2, 6), Tensor::attention(2, 2, vec![0.5, 0.25, -1.0, 2.0]).unwrap());
    let (x_there, pi_there) =
        (backend.upload(&mut stream, x.view()).unwrap(), backend.upload(&mut stream, pi.view()).unwrap());
    let call = Call::new(&x_there).attention(&pi_there);
    let want = backend.forward(&mut stream, &prepared, &call).unwrap().output;
    let want = backend.download(&mut stream, &want).unwrap();

    let (x, given) = (x.view(), pi.view());
    let call = Call::new(&x).attention(&given).return_attention(true);
    let mut y = vec![f32::NAN; want.data().len()];
    let written = backend.forward_into(&mut stream, &prepared, &call, &mut y).unwrap();
    assert_eq!((written.shape, y.as_slice()), (want.shape(), want.data()));
    assert_eq!(written.attention, Some(pi));
    assert!(written.statistics.is_none());
}

#[test]
fn a_dropped_output_is_where_the_next_one_goes() {
    let backend = SimdBackend::new().unwrap();
    let mut stream = backend.stream().unwrap();
    let prepared = backend.prepare(&layer(), &Prepare::default()).unwrap();
    let x = backend.upload(&mut stream, input(1, 6).view()).unwrap();
    let pi = backend.upload(&mut stream, Tensor::attention(1, 2, vec![0.5, 0.5]).unwrap().view()).unwrap();
    let call = Call::new(&x).attention(&pi);
    let first = backend.forward(&mut stream, &prepared, &call).unwrap().output;
    let (place, elements) = (first.data().as_ptr(), first.data().to_vec());
    let second = backend.forward(&mut stream, &prepared, &call).unwrap().output;
    assert_ne!(second.data().as_ptr(), place);
    drop(first);
    let third = backend.forward(&mut stream, &prepared, &call).unwrap().output;
    assert_eq!((third.data().as_ptr(), third.data()), (place, elements.as_slice()));
}

#[test]
fn slices_carry_batch_statistics_too() {
    let config = Options::new(1, 1).batch_norm(BatchNorm::KERAS).build().unwrap();
    let one = || vec![1.0];
    let norm = BatchNormParams { weight: one(), bias: one(), running_mean: one(), running_var: one() };
    let params = Params { weight: vec![2.0], bias: None, attention: None, batch_norm: Some(norm) };
    let layer = DyConv2d::new(config, params).unwrap();
    let backend = SimdBackend::new().unwrap();
    let mut stream = backend.stream().unwrap();
    let prepared = backend.prepare(&layer, &Prepare::default().trainable(true)).unwrap();
    let x = Tensor::new(Shape::new(1, 1, 1, 2).unwrap(), Layout::Nchw, vec![1.0, 3.0]).unwrap();
    let x = x.view();
    let call = Call::new(&x).batch_statistics(true);
    let written = backend.forward_into(&mut stream, &prepared, &call, &mut [0.0; 2]).unwrap();
    let [mean, variance] = written.statistics.unwrap();
    assert_eq!((mean.data(), variance.data()), ([4.0].as_slice(), [4.0].as_slice()));
}

#[test]
fn what_slices_cannot_do_is_refused_by_name() {
    let backend = SimdBackend::new().unwrap();
    let mut stream = backend.stream().unwrap();
    let prepared = backend.prepare(&layer(), &Prepare::default()).unwrap();
    let (x, pi) = (input(1, 4), Tensor::attention(1, 2, vec![1.0, 0.0]).unwrap());
    let (x, pi) = (x.view(), pi.view());
    let mut refused = |call: &Call<'_, _>, len: usize| {
        backend.forward_into(&mut stream, &prepared, call, &mut vec![0.0; len]).unwrap_err().to_string()
    };
    let call = Call::new(&x).attention(&pi);
    assert_eq!(refused(&call, 7), "output is 7 elements; expected 640, for 1×40×4×4 (N×C×H×W)");
    assert_eq!(
        refused(&call.emit_sums(true), 640),
        "emit_sums is true; expected false, since a slice can't carry sums"
    );
    assert!(refused(&Call::new(&x), 640).starts_with("attention is missing"));
}

#[test]
fn a_sample_has_the_same_bits_alone_as_in_a_batch_that_shares_its_experts() {
    let number = |i: usize| ((i * 2_654_435_761) % 1009) as f32 / 1009.0 - 0.5;
    for layout in Layout::ALL {
        for kernel_size in [[3, 3], [1, 1]] {
            let options = Options::new(72, 80).kernel_size(kernel_size).padding(Padding::Same).layout(layout);
            let config = options.experts(4).attention(Attention::Given).build().unwrap();
            let weight = (0..4 * config.expert_len()).map(number).collect();
            let layer = Params { weight, bias: None, attention: None, batch_norm: None };
            let layer = DyConv2d::new(config, layer).unwrap();
            let run = |samples: std::ops::Range<usize>| {
                let of = |len: usize| -> Vec<f32> {
                    (samples.start * len..samples.end * len).map(number).collect()
                };
                let shape = Shape::new(samples.len(), 72, 2, 3).unwrap();
                let x = Tensor::new(shape, layout, of(72 * 6)).unwrap();
                let pi = Tensor::attention(samples.len(), 4, of(4)).unwrap();
                let backend = SimdBackend::new().unwrap();
                let prepared = backend.prepare(&layer, &Prepare::default().input(shape)).unwrap();
                let (x, pi) = (x.view(), pi.view());
                let call = Call::new(&x).attention(&pi);
                let mut y = vec![0.0; samples.len() * 80 * 6];
                backend.forward_into(&mut backend.stream().unwrap(), &prepared, &call, &mut y).unwrap();
                y
            };
            let together = run(0..6);
            for n in 0..6 {
                assert_eq!(run(n..n + 1), together[n * 480..(n + 1) * 480], "sample {n}, {layout}");
            }
        }
    }
}

#[test]
fn sixteen_bits_halve_the_experts_and_are_refused_only_where_they_cannot_hold_them() {
    let backend = SimdBackend::new().unwrap();
    let wide = |weight: f32| {
        let config = Options::new(64, 64).experts(4).attention(Attention::Given).build().unwrap();
        let weight = vec![weight; 4 * 64 * 64];
        DyConv2d::new(config, Params { weight, bias: None, attention: None, batch_norm: None }).unwrap()
    };
    let peak = |how| {
        let shape = Shape::new(1, 64, 4, 4).unwrap();
        let plan = backend.plan(&backend.prepare(&wide(0.5), &how).unwrap(), shape).unwrap();
        plan.peak_bytes
    };
    for precision in [Precision::Bf16, Precision::F16] {
        let how = Prepare::default().precision(precision);
        assert_eq!(peak(Prepare::default()) - peak(how), 2 * 4 * 64 * 64);
        let error = backend.prepare(&layer(), &how.trainable(true)).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }));
        assert!(
            error.to_string().contains(&format!("a trainable layer in precision {precision}")),
            "{error}"
        );
        let error = backend.prepare(&wide(f32::MAX), &how).unwrap_err();
        assert!(error.to_string().starts_with("a weight of expert 0, output channel 0 is 3402"), "{error}");
    }
}

#[test]
fn a_layer_prepared_for_other_instructions_is_refused() {
    let Some(&other) = Isa::available().get(1) else { return };
    let [a, b] = [Isa::Portable, other].map(|isa| SimdBackend::builder().isa(isa).build().unwrap());
    let prepared = a.prepare(&layer(), &Prepare::default()).unwrap();
    let mut stream = b.stream().unwrap();
    let x = b.upload(&mut stream, input(1, 4).view()).unwrap();
    let pi = b.upload(&mut stream, Tensor::attention(1, 2, vec![1.0, 0.0]).unwrap().view()).unwrap();
    let error = b.forward(&mut stream, &prepared, &Call::new(&x).attention(&pi)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("layer is one that simd-portable prepared; expected one that simd-{other} prepared")
    );
}

#[test]
fn a_hint_that_cannot_fit_is_refused() {
    let shape = Shape::new(1, 6, 4, 4).unwrap();
    let error = SimdBackend::new().unwrap().prepare(&layer(), &Prepare::default().input(shape)).unwrap_err();
    assert!(error.to_string().starts_with("input is 1×6×4×4"), "{error}");
}

#[test]
fn impossible_threads_are_refused_and_a_callers_pool_is_used() {
    let error = SimdBackend::builder().threads(0).build().unwrap_err();
    assert_eq!(error.to_string(), "threads is 0; expected a whole number from 1 to 1024");

    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap());
    let backend = SimdBackend::builder().pool(pool).serial_below(0).build().unwrap();
    assert_eq!(backend.info().threads, 2);
    let alone = SimdBackend::builder().threads(1).build().unwrap();
    let config = Options::new(9, 70).layout(Layout::Nhwc).build().unwrap();
    let params = Params { weight: ramp(630), bias: None, attention: None, batch_norm: None };
    let layer = DyConv2d::new(config, params).unwrap();
    let shape = Shape::new(3, 9, 5, 5).unwrap();
    let x = Tensor::new(shape, Layout::Nhwc, ramp(shape.len())).unwrap();
    assert_eq!(backend.run(&layer, &x).unwrap(), alone.run(&layer, &x).unwrap());
}

#[test]
fn plans_name_their_kernel_and_count_their_memory() {
    let backend = SimdBackend::builder().threads(1).build().unwrap();
    let prepared = backend.prepare(&layer(), &Prepare::default()).unwrap();
    let shape = Shape::new(2, 5, 8, 8).unwrap();
    let plan = backend.plan(&prepared, shape).unwrap();
    assert_eq!(plan.name, "winograd F(4×4)");
    let least = 4 * (shape.len() + 2 * 40 * 64 + 2 * 5 * 40 * 9) as u64;
    // Four tiles of 36 products.
    let winograd = 4 * 36 * (2 * 4 * 5 + 4 * 40 + 5 * 40);
    assert!(plan.peak_bytes > least + winograd && plan.peak_bytes < 2 * (least + winograd), "{plan:?}");
    assert!((2 * 4 * 36 * 5 * 40..2 * 40 * 64 * 45).contains(&plan.multiply_adds), "{plan:?}");
    assert!(backend.plan(&prepared, Shape::new(1, 4, 8, 8).unwrap()).is_err());
}

#[test]
fn max_pool_refuses_what_the_reference_refuses() {
    let backend = SimdBackend::new().unwrap();
    let mut stream = backend.stream().unwrap();
    let x = backend.upload(&mut stream, input(1, 4).view()).unwrap();
    let kind = Pool::Max { window: [5, 1], stride: [1, 1], padding: [0, 0] };
    let error = backend.pool(&mut stream, &x, &kind).unwrap_err();
    assert_eq!(error.to_string(), "pool window[0] is 5; expected at most the padded input, 4");
    let back = backend.relayout(&mut stream, &x, Layout::Nchw).unwrap();
    assert_eq!((back.layout(), back.shape()), (Layout::Nchw, x.shape()));
}

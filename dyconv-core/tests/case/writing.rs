//! What is written, and what the writer has no words for.

use dyconv_core::case::{Case, Expected, Mode};
use dyconv_core::{
    Activation, Attention, BatchNorm, DyConv2d, Error, Layout, Options, Reference, Shape, Tensor,
};

use crate::sample::{case, case_of, options, params, tensor};

/// A case without gradients, of any options.
fn plain(options: Options) -> Result<Case, Error> {
    let config = options.build()?;
    let input = Shape::new(1, config.in_channels(), 3, 2)?;
    let expected = Expected {
        output: Tensor::zeros(config.output_shape(input)?, config.layout()),
        attention: Tensor::zeros(Shape::new(1, config.experts(), 1, 1)?, Layout::Nchw),
        gradients: None,
    };
    let layer = DyConv2d::new(config, params(&config))?;
    Case::new(layer, Mode::Inference, tensor(input, config.layout()), None, expected)
}

#[test]
fn what_the_format_cannot_express_is_refused_by_name() {
    for (options, expected) in [
        (
            options().activation(Activation::LeakyRelu { slope: 0.2 }),
            "activation.slope is 0.2; expected 0.01 in a case file",
        ),
        (
            options().activation(Activation::KerasHardSigmoid),
            "activation is keras_hard_sigmoid; expected one that case files have; this isn't the `hard_sigmoid` of case files",
        ),
        (
            options().batch_norm(BatchNorm::PYTORCH),
            "batch_norm.unbiased is true; expected false in a case file",
        ),
    ] {
        assert_eq!(plain(options).unwrap_err().to_string(), expected);
    }
    plain(options()).unwrap();
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let good = case();
    let config = *good.layer().config();
    let build = |input: &Tensor, pi: Option<Tensor>, expected: Expected| {
        Case::new(good.layer().clone(), Mode::Inference, input.clone(), pi, expected)
            .map(|_| "accepted".to_owned())
            .unwrap_or_else(|e| e.to_string())
    };
    let pi = Tensor::attention(2, 2, vec![0.5; 4]).unwrap();
    assert_eq!(
        build(good.input(), Some(pi.clone()), good.expected().clone()),
        "pi is present; expected no such tensor, since attention isn't `given`"
    );
    let other = good.input().to_layout(Layout::Nchw);
    assert_eq!(build(&other, None, good.expected().clone()), "layout of input is nchw; expected nhwc");
    let mut expected = good.expected().clone();
    expected.output = tensor(Shape::new(2, 3, 2, 1).unwrap(), Layout::Nhwc);
    assert_eq!(
        build(good.input(), None, expected),
        "expect.output is 2×3×2×1 (N×C×H×W); expected 2×3×2×2 (N×C×H×W)"
    );
    let mut expected = good.expected().clone();
    expected.gradients.as_mut().unwrap().params.insert("bn.running_var", vec![0.0; 3]);
    assert_eq!(
        build(good.input(), None, expected),
        "expect.grad.bn.running_var is present; expected no such tensor for this layer"
    );
    let mut expected = good.expected().clone();
    expected.gradients.as_mut().unwrap().params.insert("bias", vec![0.0; 5]);
    assert_eq!(build(good.input(), None, expected), "expect.grad.bias is 5 elements; expected [2, 3]");
    assert_eq!(config.experts(), 2);
}

#[test]
fn static_layers_have_no_gradient_of_pi() {
    let mut expected = case_of(Options::new(2, 3), 1).expected().clone();
    let static_case = case_of(Options::new(2, 3), 1);
    expected.gradients.as_mut().unwrap().attention = Some(Tensor::attention(1, 1, vec![0.0]).unwrap());
    let error =
        Case::new(static_case.layer().clone(), Mode::Inference, static_case.input().clone(), None, expected);
    let message = error.unwrap_err().to_string();
    assert_eq!(message, "expect.grad.pi is present; expected no such tensor, since the layer is static");
}

#[test]
fn an_empty_batch_has_no_statistics_of_its_own() {
    let empty = |mode| {
        let config = options().build().unwrap();
        let input = Shape::new(0, 2, 3, 2).unwrap();
        let expected = Expected {
            output: Tensor::zeros(config.output_shape(input).unwrap(), config.layout()),
            attention: Tensor::attention(0, 2, vec![]).unwrap(),
            gradients: None,
        };
        let layer = DyConv2d::new(config, params(&config)).unwrap();
        Case::new(layer, mode, Tensor::zeros(input, config.layout()), None, expected)
    };
    let error = empty(Mode::Training).unwrap_err().to_string();
    assert_eq!(error, "mode is training; expected inference, since the batch is empty");
    let case = empty(Mode::Inference).unwrap();
    assert_eq!(Case::from_bytes(&case.to_bytes().unwrap()).unwrap(), case);
}

#[test]
fn files_are_replaced_whole_and_read_back_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    case_of(options().attention(Attention::mlp(1)), 1).save(&path).unwrap();
    case().save(&path).unwrap();
    assert_eq!(Case::open(&path).unwrap(), case());
    let names: Vec<_> = folder.path().read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["a.safetensors"]);
    let missing = folder.path().join("no/such/folder/a.safetensors");
    assert!(matches!(case().save(missing), Err(Error::File { .. })));
    assert!(matches!(Case::open(folder.path().join("none")), Err(Error::File { .. })));
}

#[test]
fn a_computed_case_expects_what_the_backend_computed() {
    let reference = Reference::default();
    for (options, pi) in [
        (options(), None),
        (
            options().attention(Attention::Given),
            Some(Tensor::attention(2, 2, vec![0.5, 1.5, -2.0, 0.25]).unwrap()),
        ),
        (Options::new(2, 3), None),
    ] {
        let config = options.build().unwrap();
        let layer = DyConv2d::new(config, params(&config)).unwrap();
        let input = tensor(Shape::new(2, 2, 3, 2).unwrap(), config.layout());
        for mode in [Mode::Inference, Mode::Training] {
            let case = Case::compute(&reference, layer.clone(), mode, input.clone(), pi.clone()).unwrap();
            let report = case.check(&reference).unwrap();
            assert!(report.passed && report.skipped.is_empty());
            let again = Case::from_bytes(&case.to_bytes().unwrap()).unwrap();
            assert_eq!(again.check(&reference).unwrap(), report);
        }
    }
}

#[test]
fn the_public_reader_of_the_container_accepts_what_is_written() {
    let bytes = case().to_bytes().unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.tensor("weight").unwrap().shape(), [2, 3, 2, 2, 1]);
    assert_eq!((bytes.len() - file.iter().map(|(_, t)| t.data().len()).sum::<usize>()) % 8, 0);
}

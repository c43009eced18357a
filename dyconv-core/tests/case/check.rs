//! What a check says of right and wrong results, by a backend that returns what it is told to.

use dyconv_core::case::Report;
use dyconv_core::{
    Accuracy, Backend, Call, Config, DyConv2d, Info, Layout, Output, Prepare, Prepared, Result, Shape,
    Tensor, TensorView,
};

use crate::sample::case;

#[derive(Debug)]
struct Canned {
    info: Info,
    output: Tensor,
    attention: Option<Tensor>,
}

#[derive(Debug)]
struct Layer(Config, Prepare);

impl Prepared for Layer {
    fn config(&self) -> &Config {
        &self.0
    }

    fn how(&self) -> &Prepare {
        &self.1
    }
}

impl Backend for Canned {
    type Tensor = Tensor;
    type Layer = Layer;
    type Stream = ();

    fn info(&self) -> &Info {
        &self.info
    }

    fn stream(&self) -> Result<()> {
        Ok(())
    }

    fn prepare(&self, layer: &DyConv2d, how: &Prepare) -> Result<Layer> {
        Ok(Layer(*layer.config(), *how))
    }

    fn upload(&self, (): &mut (), host: TensorView<'_>) -> Result<Tensor> {
        Ok(host.to_layout(host.layout()))
    }

    fn forward(&self, (): &mut (), layer: &Layer, call: &Call<'_, Tensor>) -> Result<Output<Tensor>> {
        let checked = call.check(layer)?;
        assert!(checked.batch_statistics && call.return_attention, "as the case says");
        Ok(Output::new(self.output.clone()).attention(self.attention.clone()))
    }

    fn finish(&self, (): &mut ()) -> Result<()> {
        Ok(())
    }

    async fn download_async<'a>(&'a self, (): &'a mut (), tensor: &'a Tensor) -> Result<Tensor> {
        Ok(tensor.clone())
    }
}

fn check(output: Tensor, attention: impl Into<Option<Tensor>>) -> Report {
    let info = Info::new("canned", "none", 1, Accuracy::Cpu);
    case().check(&Canned { info, output, attention: attention.into() }).unwrap()
}

fn right() -> (Tensor, Tensor) {
    let case = case();
    (case.expected().output.clone(), case.expected().attention.clone())
}

#[test]
fn right_results_pass() {
    let (output, attention) = right();
    let report = check(output.clone(), attention);
    assert!(report.passed);
    let names: Vec<_> = report.tensors.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["expect.output", "expect.pi"]);
    let largest = f64::from(*output.data().last().unwrap());
    assert_eq!(report.tensors[0].tolerance, 1e-6 + 2e-5 * largest);
    assert_eq!(report.tensors[0].worst_error, 0.0);
}

#[test]
fn gradients_are_skipped_by_name() {
    let (output, attention) = right();
    let skipped = check(output, attention).skipped;
    assert_eq!(skipped.len(), 2 + 8, "{skipped:?}");
    assert!(skipped.contains(&"expect.grad.input".into()) && skipped.contains(&"expect.grad.bn.bias".into()));
}

#[test]
fn an_error_within_the_tolerance_passes_and_beyond_it_fails() {
    let (output, attention) = right();
    for (factor, passed) in [(0.9, true), (1.1, false)] {
        let mut wrong = output.clone();
        let tolerance = check(output.clone(), attention.clone()).tensors[0].tolerance;
        wrong.data_mut()[0] += (factor * tolerance) as f32;
        let report = check(wrong, attention.clone());
        assert_eq!(report.passed, passed);
        assert!(report.tensors[1].passed);
        assert!((report.tensors[0].worst_error / tolerance - factor).abs() < 0.01);
    }
}

#[test]
fn wrong_attention_fails() {
    let (output, mut attention) = right();
    attention.data_mut()[1] += 0.01;
    let report = check(output, attention);
    assert_eq!((report.passed, report.tensors[0].passed, report.tensors[1].passed), (false, true, false));
}

#[test]
fn nan_fails_wherever_it_is() {
    let (output, attention) = right();
    for i in 0..output.data().len() {
        let mut wrong = output.clone();
        wrong.data_mut()[i] = f32::NAN;
        let report = check(wrong, attention.clone());
        assert!(!report.passed && report.tensors[0].worst_error.is_nan());
        assert_eq!(report.tensors[0].reason, Some(format!("element {i} is NaN")));
    }
}

#[test]
fn another_shape_or_layout_or_nothing_fails() {
    let (output, attention) = right();
    let short = Tensor::zeros(Shape::new(2, 3, 1, 2).unwrap(), Layout::Nhwc);
    let report = check(short, attention.clone());
    let reason = "shape is 2×3×1×2 (N×C×H×W); expected 2×3×2×2 (N×C×H×W)";
    assert_eq!((report.passed, report.tensors[0].reason.as_deref()), (false, Some(reason)));
    let report = check(output.to_layout(Layout::Nchw), attention);
    assert_eq!(report.tensors[0].reason.as_deref(), Some("layout is nchw; expected nhwc"));
    let report = check(output, None);
    assert_eq!(report.tensors[1].reason.as_deref(), Some("it didn't come back"));
    assert!(!report.passed);
}

#[test]
fn the_report_is_json() {
    let (output, attention) = right();
    let json = serde_json::to_value(check(output, attention)).unwrap();
    assert_eq!(json["passed"], true);
    assert_eq!(json["tensors"][1]["name"], "expect.pi");
    assert_eq!(json["tensors"][1]["worst_error"], 0.0);
}

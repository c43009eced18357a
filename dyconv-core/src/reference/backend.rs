//! The reference as a backend: the f64 evaluation, rounded to f32 once.

use std::future::{Future, ready};
use std::sync::Arc;

use super::evaluate::{Evaluation, F64Layer};
use super::pool;
use super::tensor::F64Tensor;
use crate::{
    Accuracy, Backend, Call, Config, DyConv2d, Error, Generation, Handle, Info, Layout, MaybeSend, Output,
    ParamSpec, Pool, Precision, Prepare, Prepared, Result, Shape, Tensor, TensorView,
};

/// The backend that defines right: one thread, f64 accumulation, every option but reduced precision.
///
/// ```
/// use dyconv_core::{Backend, DyConv2d, Layout, Options, Params, Reference, Shape, Tensor};
///
/// let params = Params { weight: vec![2.0], bias: None, attention: None, batch_norm: None };
/// let layer = DyConv2d::new(Options::new(1, 1).build()?, params)?;
/// let x = Tensor::new(Shape::new(1, 1, 1, 2)?, Layout::Nchw, vec![1.0, -3.0])?;
/// assert_eq!(Reference::default().run(&layer, &x)?.data(), [2.0, -6.0]);
/// # Ok::<(), dyconv_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Reference {
    info: Info,
}

impl Default for Reference {
    fn default() -> Self {
        Self { info: Info::new("reference", "one thread in f64", 1, Accuracy::Reference) }
    }
}

/// A shared host tensor.
///
/// A call with `emit_sums` attaches the output's channel sums, in f64 over the rounded elements; a
/// later pool of the handle, in a layer's head or by itself, takes them instead of adding again.
#[derive(Clone, Debug)]
pub struct ReferenceTensor {
    tensor: Arc<Tensor>,
    sums: Option<Arc<[f64]>>,
}

/// A layer's numbers in f64, and which state of them this is.
#[derive(Clone, Debug)]
pub struct ReferenceLayer {
    pub(super) numbers: F64Layer,
    pub(super) generation: Generation,
}

impl ReferenceLayer {
    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        self.numbers.config()
    }

    /// Runs the layer below [`Backend`].
    pub(super) fn evaluate(&self, call: &Call<'_, ReferenceTensor>) -> Result<Evaluation> {
        // Before anything is copied.
        call.check(self)?;
        let input = call.input.widen();
        let attention = call.attention.map(ReferenceTensor::widen);
        let residual = call.residual.map(ReferenceTensor::widen);
        self.numbers.evaluate(&Call {
            input: &input,
            attention: attention.as_ref(),
            residual: residual.as_ref(),
            temperature: call.temperature,
            batch_statistics: call.batch_statistics,
            emit_sums: call.emit_sums,
            return_attention: call.return_attention,
        })
    }

    /// The parameters that it has and learns.
    pub(super) fn learned(&self) -> Vec<ParamSpec> {
        let mut specs = ParamSpec::all(self.config());
        specs.retain(|spec| spec.learned() && self.numbers.tensor(spec.name).is_some());
        specs
    }
}

impl Prepared for ReferenceLayer {
    fn config(&self) -> &Config {
        self.numbers.config()
    }

    fn how(&self) -> &Prepare {
        self.numbers.how()
    }
}

/// Nothing: the reference works at once and keeps no scratch.
#[derive(Debug, Default)]
pub struct ReferenceStream(());

impl ReferenceTensor {
    pub(super) fn new(tensor: Tensor) -> Self {
        Self { tensor: Arc::new(tensor), sums: None }
    }

    fn with_sums(mut self) -> Self {
        self.sums = Some(pool::sums(&self.widen()).into());
        self
    }

    pub(super) fn host(&self) -> &Tensor {
        &self.tensor
    }

    pub(super) fn widen(&self) -> F64Tensor {
        let wide = F64Tensor::from(self.tensor.view());
        match &self.sums {
            Some(sums) => wide.clone().with_sums(sums.to_vec()).unwrap_or(wide),
            None => wide,
        }
    }
}

impl Handle for ReferenceTensor {
    fn shape(&self) -> Shape {
        self.tensor.shape()
    }

    fn layout(&self) -> Layout {
        self.tensor.layout()
    }
}

impl Backend for Reference {
    type Tensor = ReferenceTensor;
    type Layer = ReferenceLayer;
    type Stream = ReferenceStream;

    fn info(&self) -> &Info {
        &self.info
    }

    fn stream(&self) -> Result<ReferenceStream> {
        Ok(ReferenceStream::default())
    }

    fn prepare(&self, layer: &DyConv2d, how: &Prepare) -> Result<ReferenceLayer> {
        match how.precision {
            Precision::F32 => {
                Ok(ReferenceLayer { numbers: F64Layer::new(layer, how), generation: Generation::new() })
            }
            precision @ (Precision::Bf16 | Precision::F16) => Err(Error::Unsupported {
                backend: self.info.id.clone(),
                what: format!("experts in precision {precision}"),
            }),
        }
    }

    fn upload(&self, _: &mut ReferenceStream, host: TensorView<'_>) -> Result<ReferenceTensor> {
        Ok(ReferenceTensor::new(host.to_layout(host.layout())))
    }

    fn forward(
        &self,
        _: &mut ReferenceStream,
        layer: &ReferenceLayer,
        call: &Call<'_, ReferenceTensor>,
    ) -> Result<Output<ReferenceTensor>> {
        rounded(layer, &layer.evaluate(call)?, call)
    }

    fn pool(&self, _: &mut ReferenceStream, x: &ReferenceTensor, kind: &Pool) -> Result<ReferenceTensor> {
        let pooled = match kind {
            Pool::GlobalMean => pool::mean_tensor(&x.widen())?.to_f32(),
            Pool::Max { .. } => pool::pool(x.tensor.view(), kind)?,
        };
        Ok(ReferenceTensor::new(pooled))
    }

    fn relayout(&self, _: &mut ReferenceStream, x: &ReferenceTensor, to: Layout) -> Result<ReferenceTensor> {
        Ok(ReferenceTensor { tensor: Arc::new(x.tensor.to_layout(to)), sums: x.sums.clone() })
    }

    fn finish(&self, _: &mut ReferenceStream) -> Result<()> {
        Ok(())
    }

    fn download_async<'a>(
        &'a self,
        _: &'a mut ReferenceStream,
        tensor: &'a ReferenceTensor,
    ) -> impl Future<Output = Result<Tensor>> + MaybeSend + 'a {
        ready(Ok(tensor.tensor.as_ref().clone()))
    }
}

/// `[batch, columns]`, row-major.
pub(super) fn rows(batch: usize, columns: usize, data: &[f64]) -> Result<ReferenceTensor> {
    let wide = F64Tensor::new(Shape::new(batch, columns, 1, 1)?, Layout::Nchw, data.to_vec())?;
    Ok(ReferenceTensor::new(wide.to_f32()))
}

pub(super) fn rounded(
    layer: &ReferenceLayer,
    evaluation: &Evaluation,
    call: &Call<'_, ReferenceTensor>,
) -> Result<Output<ReferenceTensor>> {
    let config = layer.config();
    let output = ReferenceTensor::new(evaluation.output.to_f32());
    let attention = match call.return_attention {
        true => Some(rows(call.input.shape().batch(), config.experts(), &evaluation.attention)?),
        false => None,
    };
    let statistics = match &evaluation.statistics {
        Some([mean, variance]) => {
            Some([rows(1, config.out_channels(), mean)?, rows(1, config.out_channels(), variance)?])
        }
        None => None,
    };
    let output = if call.emit_sums { output.with_sums() } else { output };
    Ok(Output::new(output).attention(attention).statistics(statistics))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Activation, Attention, BatchNorm, BatchNormParams, Dense, HeadParams, Options, Params};

    /// 1×1, two experts of one channel with weights 2 and −4 and biases 1 and 3; logits are (z, −z).
    fn mixed(options: Options, batch_norm: Option<BatchNormParams>) -> DyConv2d {
        let config = options.experts(2).bias(true).build().unwrap();
        let head = HeadParams { fc1: None, fc2: Dense { weight: vec![1.0, -1.0], bias: None } };
        let attention = config.attention().filter(|a| *a != Attention::Given).map(|_| head);
        let params = Params { weight: vec![2.0, -4.0], bias: Some(vec![1.0, 3.0]), attention, batch_norm };
        DyConv2d::new(config, params).unwrap()
    }

    fn column(values: &[f32]) -> Tensor {
        Tensor::attention(values.len(), 1, values.to_vec()).unwrap()
    }

    struct Ran {
        output: Vec<f32>,
        attention: Vec<f32>,
        statistics: Option<[Vec<f32>; 2]>,
    }

    fn run(
        layer: &DyConv2d,
        input: &Tensor,
        set: impl for<'a> FnOnce(Call<'a, ReferenceTensor>, &'a [ReferenceTensor]) -> Call<'a, ReferenceTensor>,
        extra: &[Tensor],
    ) -> Ran {
        let backend = Reference::default();
        let mut stream = backend.stream().unwrap();
        let layer = backend.prepare(layer, &Prepare::default().trainable(true)).unwrap();
        let mut upload = |tensor: &Tensor| backend.upload(&mut stream, tensor.view()).unwrap();
        let (x, extra) = (upload(input), extra.iter().map(upload).collect::<Vec<_>>());
        let call = set(Call::new(&x).return_attention(true), &extra);
        let ran = backend.forward(&mut stream, &layer, &call).unwrap();
        let mut data = |t: &ReferenceTensor| backend.download(&mut stream, t).unwrap().into_data();
        Ran {
            output: data(&ran.output),
            attention: data(&ran.attention.unwrap()),
            statistics: ran.statistics.map(|[mean, variance]| [data(&mean), data(&variance)]),
        }
    }

    #[test]
    fn given_attention_mixes_kernel_and_bias() {
        let layer = mixed(Options::new(1, 1).attention(Attention::Given), None);
        let pi = Tensor::attention(2, 2, vec![0.5, 0.25, -1.0, 0.0]).unwrap();
        let ran = run(&layer, &column(&[3.0, 5.0]), |call, extra| call.attention(&extra[0]), &[pi]);
        // (0·x + 1.25) and (−2·x − 1).
        assert_eq!(ran.output, [1.25, -11.0]);
        assert_eq!(ran.attention, [0.5, 0.25, -1.0, 0.0]);
    }

    #[test]
    fn given_attention_overrides_a_head() {
        let head = Attention::Linear { squash: crate::Squash::Sigmoid };
        let layer = mixed(Options::new(1, 1).attention(head), None);
        let pi = Tensor::attention(1, 2, vec![1.0, 0.0]).unwrap();
        let ran = run(&layer, &column(&[3.0]), |call, extra| call.attention(&extra[0]), &[pi]);
        assert_eq!(ran.output, [7.0]);
    }

    #[test]
    fn heads_squash_and_temperature_overrides() {
        let ln3 = 3f32.ln();
        let softmax =
            mixed(Options::new(1, 1).attention(Attention::Linear { squash: crate::Squash::SOFTMAX }), None);
        let near = |got: &[f32], want: &[f32]| {
            assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-6), "{got:?}, not {want:?}");
        };
        near(&run(&softmax, &column(&[ln3 / 2.0]), |call, _| call, &[]).attention, &[0.75, 0.25]);
        let sharper = run(&softmax, &column(&[ln3 / 2.0]), |call, _| call.temperature(0.5), &[]);
        near(&sharper.attention, &[0.9, 0.1]);
        let sigmoid =
            mixed(Options::new(1, 1).attention(Attention::Linear { squash: crate::Squash::Sigmoid }), None);
        near(&run(&sigmoid, &column(&[ln3]), |call, _| call, &[]).attention, &[0.75, 0.25]);
    }

    #[test]
    fn batch_norm_residual_and_activation_come_in_this_order() {
        let bn = BatchNormParams {
            weight: vec![2.0],
            bias: vec![1.0],
            running_mean: vec![3.0],
            running_var: vec![3.75],
        };
        let norm = BatchNorm { epsilon: 0.25, keep: 0.9, unbiased: false };
        let options =
            Options::new(1, 1).attention(Attention::Given).batch_norm(norm).activation(Activation::Relu);
        let layer = mixed(options, Some(bn));
        let pi = Tensor::attention(2, 2, vec![1.0, 0.0, 1.0, 0.0]).unwrap();
        let residual = column(&[-4.0, -4.0]);
        let inputs = [pi, residual];
        let x = column(&[3.0, 1.0]);
        // y = 7, 3 → (y − 3)/2·2 + 1 = 5, 1 → −4 → 1, −3 → relu.
        let running = run(&layer, &x, |call, e| call.attention(&e[0]).residual(&e[1]), &inputs);
        assert_eq!(running.output, [1.0, 0.0]);
        assert!(running.statistics.is_none());
        let batch =
            run(&layer, &x, |call, e| call.attention(&e[0]).residual(&e[1]).batch_statistics(true), &inputs);
        assert_eq!(batch.statistics, Some([vec![5.0], vec![4.0]]));
        // (7 − 5)/√4.25·2 + 1 − 4 < 0.
        assert_eq!(batch.output, [0.0, 0.0]);
    }

    #[test]
    fn a_static_layer_has_attention_one() {
        let config = Options::new(1, 1).build().unwrap();
        let params = Params { weight: vec![2.0], bias: None, attention: None, batch_norm: None };
        let layer = DyConv2d::new(config, params).unwrap();
        let ran = run(&layer, &column(&[1.0, 2.0]), |call, _| call, &[]);
        assert_eq!((ran.output, ran.attention), (vec![2.0, 4.0], vec![1.0, 1.0]));
    }

    #[test]
    fn nan_stays_in_its_sample() {
        let head = Attention::Linear { squash: crate::Squash::SOFTMAX };
        let layer = mixed(Options::new(1, 1).attention(head).activation(Activation::Relu), None);
        let clean = run(&layer, &column(&[1.0, 2.0, 3.0]), |call, _| call, &[]);
        let dirty = run(&layer, &column(&[1.0, f32::NAN, 3.0]), |call, _| call, &[]);
        assert!(dirty.output[1].is_nan() && dirty.attention[2].is_nan() && dirty.attention[3].is_nan());
        assert_eq!([dirty.output[0], dirty.output[2]], [clean.output[0], clean.output[2]]);
    }

    #[test]
    fn an_empty_batch_gives_an_empty_output() {
        let head = Attention::Linear { squash: crate::Squash::SOFTMAX };
        let layer = mixed(Options::new(1, 1).attention(head), None);
        let x = Tensor::zeros(Shape::new(0, 1, 2, 2).unwrap(), Layout::Nchw);
        let ran = run(&layer, &x, |call, _| call, &[]);
        assert!(ran.output.is_empty() && ran.attention.is_empty());
    }

    #[test]
    fn emitted_sums_are_what_the_next_pool_takes() {
        let backend = Reference::default();
        let mut stream = backend.stream().unwrap();
        let layer = mixed(Options::new(1, 1).attention(Attention::Given), None);
        let layer = backend.prepare(&layer, &Prepare::default()).unwrap();
        let shape = Shape::new(1, 1, 1, 2).unwrap();
        let x = Tensor::new(shape, Layout::Nchw, vec![1.0, 2.0]).unwrap();
        let x = backend.upload(&mut stream, x.view()).unwrap();
        let pi = Tensor::attention(1, 2, vec![1.0, 0.0]).unwrap();
        let pi = backend.upload(&mut stream, pi.view()).unwrap();
        let call = Call::new(&x).attention(&pi).emit_sums(true);
        let mut y = backend.forward(&mut stream, &layer, &call).unwrap().output;
        assert_eq!(y.sums.as_deref(), Some([8.0].as_slice()));
        // Other sums than the elements' show who is asked.
        y.sums = Some([20.0].into());
        let mean = backend.pool(&mut stream, &y, &Pool::GlobalMean).unwrap();
        assert_eq!(mean.tensor.data(), [10.0]);
    }

    #[test]
    fn reduced_precision_is_refused() {
        let layer = mixed(Options::new(1, 1).attention(Attention::Given), None);
        let error =
            Reference::default().prepare(&layer, &Prepare::default().precision(Precision::F16)).unwrap_err();
        assert_eq!(error.to_string(), "reference doesn't support experts in precision f16");
    }
}

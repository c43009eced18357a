//! A small f32 backend with one fault, or none.

use std::future::{Future, ready};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};

use dyconv_core::{
    Accuracy, Backend, Call, CheckedCall, Config, DyConv2d, Error, Generation, Handle, Info, Layout,
    MaybeSend, Output, Pool, Precision, Prepare, Prepared, Result, Shape, Tensor, TensorView, reference,
    round,
};

use crate::backward::HeadValues;
use crate::fault::Fault;
use crate::stages;

#[derive(Debug)]
pub(crate) struct Faulty {
    info: Info,
    fault: Option<Fault>,
    flip: AtomicBool,
    last_output: Mutex<Option<Tensor>>,
}

#[derive(Debug)]
pub(crate) struct FaultyLayer {
    pub(crate) layer: DyConv2d,
    how: Prepare,
    pub(crate) first_temperature: OnceLock<f64>,
    /// Which state of the parameters this is.
    pub(crate) generation: Generation,
}

/// What a run computed on its way.
pub(crate) struct Values {
    pub(crate) fits: CheckedCall,
    pub(crate) pi: Vec<f32>,
    pub(crate) head: Option<HeadValues>,
    pub(crate) convolved: Tensor,
    pub(crate) normalized_by: Option<[Vec<f32>; 2]>,
    pub(crate) preactivation: Tensor,
}

/// A host tensor with, perhaps, channel sums `[N, C]`.
#[derive(Clone, Debug)]
pub(crate) struct FaultyTensor {
    pub(crate) host: Tensor,
    pub(crate) sums: Option<Vec<f32>>,
}

impl Faulty {
    pub(crate) fn new(fault: Option<Fault>) -> Self {
        Self::storing(Precision::F32, fault)
    }

    /// A backend that stores activations so.
    pub(crate) fn storing(activations: Precision, fault: Option<Fault>) -> Self {
        let info = Info::new("faulty", "one thread in f32", 1, Accuracy::Cpu).activations(activations);
        Self { info, fault, flip: AtomicBool::new(false), last_output: Mutex::new(None) }
    }

    /// An activation as it comes back from where it is stored.
    fn stored(&self, x: f32) -> f32 {
        let bits = round::half(x);
        let nearest = round::from_half(bits);
        match self.info.activations {
            Precision::F32 => x,
            _ if self.has(Fault::StoredTowardsZero) && nearest.abs() > x.abs() => round::from_half(bits - 1),
            _ if self.has(Fault::InfinityStoredAsLargest) && x.is_infinite() => 65504f32.copysign(x),
            _ if self.has(Fault::BeyondTheRangeStoredAsZero) && x.is_finite() && nearest.is_infinite() => 0.0,
            _ => nearest,
        }
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// Whether this run is one that sums backwards, by this fault.
    pub(crate) fn backwards(&self, fault: Fault) -> bool {
        self.has(fault) && self.flip.fetch_xor(true, Ordering::Relaxed)
    }

    /// Whether the layer that was prepared last is one whose gradients are summed backwards.
    pub(crate) fn learns_backwards(&self) -> bool {
        self.has(Fault::OrderChangesBetweenLayers) && self.flip.load(Ordering::Relaxed)
    }

    pub(crate) fn run(
        &self,
        layer: &FaultyLayer,
        call: &Call<'_, FaultyTensor>,
    ) -> Result<(Output<FaultyTensor>, Values)> {
        let call = if self.has(Fault::MisfitAccepted) && call.attention.is_some() {
            (*call).temperature(None)
        } else {
            *call
        };
        let fits = call.check(layer)?;
        if self.has(Fault::EmptyBatchRefused) && fits.input.is_empty() {
            return Err(Error::invalid("batch", 0, "at least 1"));
        }
        if self.has(Fault::LayoutLabelDemanded) && call.input.layout() != layer.config().layout() {
            return Err(Error::invalid("layout of input", call.input.layout(), "the layer's"));
        }
        let (pi, head) = stages::attention(self, layer, &fits, &call);
        let mut y = stages::convolve(self, &layer.layer, &fits, &pi, &call.input.host);
        if self.has(Fault::PartialSumsStored) {
            y.data_mut().iter_mut().for_each(|y| *y = self.stored(*y));
        }
        let convolved = y.clone();
        let statistics = stages::normalize(self, &layer.layer, &fits, &mut y)?;
        let normalized_by = match (&statistics, &layer.layer.params().batch_norm) {
            (Some(both), _) => Some(both.clone().map(Tensor::into_data)),
            (None, norm) => norm.as_ref().map(|bn| [bn.running_mean.clone(), bn.running_var.clone()]),
        };
        let shared = call.residual.is_some_and(|residual| std::ptr::eq(residual, call.input));
        let lost = self.has(Fault::ResidualIgnored) || (shared && self.has(Fault::SharedHandleTakenForOne));
        let residual = call.residual.filter(|_| !lost);
        let add = |y: &mut Tensor| {
            let residual = residual.map(|r| r.host.data()).unwrap_or_default();
            y.data_mut().iter_mut().zip(residual).for_each(|(y, r)| *y += r);
        };
        let late = self.has(Fault::ResidualAfterActivation);
        if !late {
            add(&mut y);
        }
        let preactivation = y.clone();
        let before = call.emit_sums.then(|| stages::sums(&y));
        stages::activate(self, layer.config().activation(), &mut y);
        if late {
            add(&mut y);
        }
        let unrounded = call.emit_sums.then(|| stages::sums(&y));
        y.data_mut().iter_mut().for_each(|y| *y = self.stored(*y));
        let after = if self.has(Fault::SumsBeforeStoring) {
            unrounded
        } else {
            call.emit_sums.then(|| stages::sums(&y))
        };
        let sums = if self.has(Fault::SumsBeforeActivation) { before } else { after };
        if let Ok(mut last) = self.last_output.lock() {
            *last = Some(y.clone());
        }
        let weights = Tensor::attention(fits.input.batch(), layer.config().experts(), pi.clone())?;
        let output = Output::new(FaultyTensor { host: y, sums })
            .attention(call.return_attention.then(|| weights.into()))
            .statistics(statistics.map(|both| both.map(FaultyTensor::from)));
        Ok((output, Values { fits, pi, head, convolved, normalized_by, preactivation }))
    }
}

impl From<Tensor> for FaultyTensor {
    fn from(host: Tensor) -> Self {
        Self { host, sums: None }
    }
}

impl Handle for FaultyTensor {
    fn shape(&self) -> Shape {
        self.host.shape()
    }

    fn layout(&self) -> Layout {
        self.host.layout()
    }
}

impl Prepared for FaultyLayer {
    fn config(&self) -> &Config {
        self.layer.config()
    }

    fn how(&self) -> &Prepare {
        &self.how
    }
}

impl Backend for Faulty {
    type Tensor = FaultyTensor;
    type Layer = FaultyLayer;
    type Stream = ();

    fn info(&self) -> &Info {
        &self.info
    }

    fn stream(&self) -> Result<()> {
        Ok(())
    }

    fn prepare(&self, layer: &DyConv2d, how: &Prepare) -> Result<FaultyLayer> {
        self.backwards(Fault::OrderChangesBetweenLayers);
        Ok(FaultyLayer {
            layer: layer.clone(),
            how: *how,
            first_temperature: OnceLock::new(),
            generation: Generation::new(),
        })
    }

    fn upload(&self, (): &mut (), host: TensorView<'_>) -> Result<FaultyTensor> {
        let mut tensor = host.to_layout(host.layout());
        if !self.has(Fault::UploadsNotStored) {
            tensor.data_mut().iter_mut().for_each(|x| *x = self.stored(*x));
        }
        Ok(tensor.into())
    }

    fn forward(
        &self,
        (): &mut (),
        layer: &FaultyLayer,
        call: &Call<'_, FaultyTensor>,
    ) -> Result<Output<FaultyTensor>> {
        Ok(self.run(layer, call)?.0)
    }

    fn pool(&self, (): &mut (), x: &FaultyTensor, kind: &Pool) -> Result<FaultyTensor> {
        if let Pool::Max { window, stride, padding } = *kind
            && self.has(Fault::MaximumPadsWithZero)
            && reference::pool(x.host.view(), kind).is_ok()
        {
            let kind = Pool::Max { window, stride, padding: [0, 0] };
            return Ok(reference::pool(stages::padded(&x.host, padding)?.view(), &kind)?.into());
        }
        Ok(reference::pool(x.host.view(), kind)?.into())
    }

    fn relayout(&self, (): &mut (), x: &FaultyTensor, to: Layout) -> Result<FaultyTensor> {
        if self.has(Fault::RelayoutOnlyRelabels) {
            return Ok(Tensor::new(x.shape(), to, x.host.data().to_vec())?.into());
        }
        Ok(x.host.to_layout(to).into())
    }

    fn finish(&self, (): &mut ()) -> Result<()> {
        Ok(())
    }

    fn download_async<'a>(
        &'a self,
        (): &'a mut (),
        tensor: &'a FaultyTensor,
    ) -> impl Future<Output = Result<Tensor>> + MaybeSend + 'a {
        let last = self.last_output.lock().ok().and_then(|last| last.clone());
        let shared =
            last.filter(|last| self.has(Fault::StreamsShareAnOutput) && last.shape() == tensor.shape());
        ready(Ok(shared.unwrap_or_else(|| tensor.host.clone())))
    }
}

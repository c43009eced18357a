//! The backend itself: calls checked, memory found, stages run.

use std::future::{Future, ready};

use dyconv_core::{
    Backend, Call, CheckedCall, Cost, DyConv2d, Error, Handle, Info, Layout, MaybeSend, Output, Plan, Pool,
    Precision, Prepare, Prepared, Result, Shape, Tensor, TensorView,
};

use crate::builder::Builder;
use crate::forward::{Kept, Run, Statistics, sample_sums};
use crate::isa::{Isa, OnLanes, Token};
use crate::kernels::pool::max_pool;
use crate::lanes::{Lanes, transpose};
use crate::layer::SimdLayer;
use crate::plan::Kernel;
use crate::stream::SimdStream;
use crate::tensor::{Described, Recycled, SimdTensor, Source, writable};
use crate::threads::Threads;

/// Dynamic convolution on the CPU, with one instruction set and some threads.
///
/// ```
/// use dyconv_core::{Backend, DyConv2d, Layout, Options, Params, Shape, Tensor};
/// use dyconv_simd::SimdBackend;
///
/// let params = Params { weight: vec![2.0], bias: None, attention: None, batch_norm: None };
/// let layer = DyConv2d::new(Options::new(1, 1).build()?, params)?;
/// let x = Tensor::new(Shape::new(1, 1, 1, 2)?, Layout::Nchw, vec![1.0, -3.0])?;
/// assert_eq!(SimdBackend::new()?.run(&layer, &x)?.data(), [2.0, -6.0]);
/// # Ok::<(), dyconv_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SimdBackend {
    pub(crate) info: Info,
    pub(crate) isa: Isa,
    pub(crate) token: Token,
    pub(crate) threads: Threads,
    pub(crate) serial_below: u64,
    pub(crate) forced: Option<Kernel>,
}

/// What a run on slices gives beside the output it wrote.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Written {
    /// The output's shape.
    pub shape: Shape,
    /// π `[N, K]`, where it was asked for.
    pub attention: Option<Tensor>,
    /// The batch's mean and biased variance, where batch norm took them.
    pub statistics: Option<[Tensor; 2]>,
}

impl SimdBackend {
    /// What the environment says, or else this machine's best instructions and rayon's current pool.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn new() -> Result<Self> {
        Builder::default().build()
    }

    /// Chooses instruction set and threads.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The instruction set in use.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Runs a prepared layer from slices into a slice, without an upload or a download: `output` holds exactly the
    /// output's elements and is written whole.
    ///
    /// ```
    /// use dyconv_core::{Backend, Call, DyConv2d, Layout, Options, Params, Prepare, Shape, TensorView};
    /// use dyconv_simd::SimdBackend;
    ///
    /// let params = Params { weight: vec![2.0], bias: None, attention: None, batch_norm: None };
    /// let layer = DyConv2d::new(Options::new(1, 1).build()?, params)?;
    ///
    /// let backend = SimdBackend::new()?;
    /// let (layer, mut stream) = (backend.prepare(&layer, &Prepare::default())?, backend.stream()?);
    /// let x = TensorView::new(Shape::new(1, 1, 1, 2)?, Layout::Nchw, &[1.0, -3.0])?;
    /// let mut y = [0.0; 2];
    /// backend.forward_into(&mut stream, &layer, &Call::new(&x), &mut y)?;
    /// assert_eq!(y, [2.0, -6.0]);
    /// # Ok::<(), dyconv_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the call doesn't fit the layer, `output` has another length, or `emit_sums` is set, since a slice can't
    /// carry sums.
    pub fn forward_into(
        &self,
        stream: &mut SimdStream,
        layer: &SimdLayer,
        call: &Call<'_, TensorView<'_>>,
        output: &mut [f32],
    ) -> Result<Written> {
        if call.emit_sums {
            return Err(Error::invalid("emit_sums", true, "false, since a slice can't carry sums"));
        }
        let describe = |view: &TensorView<'_>| Described(view.shape(), view.layout());
        let (input, attention, residual) =
            (describe(call.input), call.attention.map(describe), call.residual.map(describe));
        let described = Call::new(&input)
            .attention(attention.as_ref())
            .residual(residual.as_ref())
            .temperature(call.temperature)
            .batch_statistics(call.batch_statistics);
        let checked = described.check(layer)?;
        let expected = checked.output.len();
        if output.len() != expected {
            let value = format!("{} elements", output.len());
            return Err(Error::invalid("output", value, format!("{expected}, for {}", checked.output)));
        }
        let slices = Slices {
            input: Source::from(*call.input),
            attention: call.attention.map(|pi| pi.data()),
            residual: call.residual.map(|r| r.data()),
        };
        let into = Target { output, sums: None, kept: Kept::default() };
        let statistics = self.run_slices(stream, layer, checked, slices, into)?;
        let statistics = statistics.map(|s| s.map(|values| channel_row(&values))).map(both).transpose()?;
        let attention = call.return_attention.then(|| returned_attention(stream, layer, checked));
        Ok(Written { shape: checked.output, attention: attention.transpose()?, statistics })
    }

    fn run_slices(
        &self,
        stream: &mut SimdStream,
        layer: &SimdLayer,
        call: CheckedCall,
        slices: Slices<'_>,
        into: Target<'_>,
    ) -> Result<Option<Statistics>> {
        self.check_own(layer)?;
        let threads = self.threads_of(layer, call.input)?;
        let plan = layer.plan(call.geometry.input)?;
        let Slices { input, attention: given, residual } = slices;
        let Target { output, sums, kept } = into;
        let run = Run {
            layer,
            plan,
            call,
            threads,
            stream,
            input,
            given,
            residual,
            output,
            sums,
            offset: None,
            kept,
        };
        Ok(self.token.dispatch(run))
    }

    /// Refuses a layer that was packed for other instructions.
    pub(crate) fn check_own(&self, layer: &SimdLayer) -> Result<()> {
        if layer.isa == self.isa {
            return Ok(());
        }
        let expected = format!("one that {} prepared", self.info.id);
        Err(Error::invalid("layer", format!("one that {} prepared", layer.isa.id()), expected))
    }

    /// Spreads a run where it is worth it.
    pub(crate) fn threads_of(&self, layer: &SimdLayer, input: Shape) -> Result<&Threads> {
        let work = Cost::new(layer.config(), input)?.total().multiply_adds;
        Ok(if work < self.serial_below { &Threads::Serial } else { &self.threads })
    }

    /// Spreads per-sample work where it is worth it; a pass over memory counts an element as a multiply-add.
    pub(crate) fn threads_for(&self, elements: usize) -> &Threads {
        if (elements as u64) < self.serial_below { &Threads::Serial } else { &self.threads }
    }
}

struct Slices<'a> {
    input: Source<'a>,
    attention: Option<&'a [f32]>,
    residual: Option<&'a [f32]>,
}

struct Target<'a> {
    output: &'a mut [f32],
    sums: Option<&'a mut [f32]>,
    kept: Kept<'a>,
}

impl Backend for SimdBackend {
    type Tensor = SimdTensor;
    type Layer = SimdLayer;
    type Stream = SimdStream;

    fn info(&self) -> &Info {
        &self.info
    }

    fn stream(&self) -> Result<SimdStream> {
        Ok(SimdStream::default())
    }

    fn prepare(&self, layer: &DyConv2d, how: &Prepare) -> Result<SimdLayer> {
        let unsupported = |what| Err(Error::Unsupported { backend: self.info.id.clone(), what });
        match how.precision {
            Precision::Bf16 | Precision::F16 if how.trainable => {
                unsupported(format!("a trainable layer in precision {}; train it in f32", how.precision))
            }
            Precision::F32 | Precision::Bf16 | Precision::F16 => {
                SimdLayer::new(layer, how, self.isa, self.token.traits(), self.forced)
            }
            precision => unsupported(format!("experts in precision {precision}")),
        }
    }

    fn plan(&self, layer: &SimdLayer, input: Shape) -> Result<Plan> {
        layer.config().output_shape(input)?;
        let plan = layer.plan([input.height(), input.width()])?;
        plan.describe(input, self.threads.count(), layer.bytes())
    }

    fn upload(&self, stream: &mut SimdStream, host: TensorView<'_>) -> Result<SimdTensor> {
        let data = stream.recycled.fill(host.data().len(), |data| data.copy_from_slice(host.data()));
        Ok(SimdTensor::new(host.shape(), host.layout(), data))
    }

    fn forward(
        &self,
        stream: &mut SimdStream,
        layer: &SimdLayer,
        call: &Call<'_, SimdTensor>,
    ) -> Result<Output<SimdTensor>> {
        let checked = call.check(layer)?;
        Ok(self.run_tensors(stream, layer, call, checked, Kept::default())?.0)
    }

    fn pool(&self, stream: &mut SimdStream, x: &SimdTensor, kind: &Pool) -> Result<SimdTensor> {
        let threads = self.threads_for(x.data().len());
        match *kind {
            Pool::GlobalMean => self.mean(threads, &mut stream.recycled, x),
            Pool::Max { .. } => max_pool(threads, &mut stream.recycled, x, kind),
            _ => Err(Error::Unsupported { backend: self.info.id.clone(), what: format!("pool {kind:?}") }),
        }
    }

    fn relayout(&self, stream: &mut SimdStream, x: &SimdTensor, to: Layout) -> Result<SimdTensor> {
        let (shape, from) = (x.shape(), x.layout());
        if from == to || shape.pixels() == 1 || shape.channels() == 1 {
            return Ok(x.relabel(to));
        }
        let (rows, columns) = match from {
            Layout::Nchw => (shape.channels(), shape.pixels()),
            Layout::Nhwc => (shape.pixels(), shape.channels()),
        };
        let turn = |data: &mut [f32]| {
            self.token.dispatch(Relayout { from: x.data(), to: data, rows, columns });
        };
        let data = stream.recycled.fill(shape.len(), turn);
        Ok(SimdTensor::new(shape, to, data).with_sums(x.sums().cloned()))
    }

    fn finish(&self, _: &mut SimdStream) -> Result<()> {
        Ok(())
    }

    fn download_async<'a>(
        &'a self,
        _: &'a mut SimdStream,
        tensor: &'a SimdTensor,
    ) -> impl Future<Output = Result<Tensor>> + MaybeSend + 'a {
        ready(Tensor::new(tensor.shape(), tensor.layout(), tensor.data().to_vec()))
    }
}

impl SimdBackend {
    /// Runs a call that fits its layer; the batch's statistics come a second time in f64.
    pub(crate) fn run_tensors(
        &self,
        stream: &mut SimdStream,
        layer: &SimdLayer,
        call: &Call<'_, SimdTensor>,
        checked: CheckedCall,
        kept: Kept<'_>,
    ) -> Result<(Output<SimdTensor>, Option<Statistics>)> {
        let shape = checked.output;
        let mut output = stream.recycled.take(shape.len());
        let mut sums = call.emit_sums.then(|| stream.recycled.take(shape.batch() * shape.channels()));
        let slices = Slices {
            input: call.input.source(),
            attention: call.attention.map(SimdTensor::data),
            residual: call.residual.map(SimdTensor::data),
        };
        let into = Target { output: writable(&mut output), sums: sums.as_mut().map(writable), kept };
        let statistics = self.run_slices(stream, layer, checked, slices, into)?;
        [&output].into_iter().chain(&sums).for_each(|piece| stream.recycled.keep(piece));
        let output = SimdTensor::new(shape, layer.config().layout(), output).with_sums(sums);
        let attention = call.return_attention.then(|| {
            let SimdStream { recycled, pi, .. } = stream;
            let shape = Shape::new(checked.input.batch(), layer.config().experts(), 1, 1)?;
            Ok(SimdTensor::new(shape, Layout::Nchw, recycled.fill(pi.len(), |data| data.copy_from_slice(pi))))
        });
        let rows = statistics.as_ref().map(|s| s.each_ref().map(|values| channel_row(values)));
        let rows = rows.map(both).transpose()?.map(|s| s.map(SimdTensor::from));
        Ok((Output::new(output).attention(attention.transpose()?).statistics(rows), statistics))
    }

    fn mean(&self, threads: &Threads, recycled: &mut Recycled, x: &SimdTensor) -> Result<SimdTensor> {
        let shape = x.shape();
        let means = recycled.fill(shape.batch() * shape.channels(), |means| {
            match x.source().sums {
                Some(sums) => means.copy_from_slice(sums),
                None => self.token.dispatch(Sums { x, threads, out: means }),
            }
            means.iter_mut().for_each(|sum| *sum /= shape.pixels() as f32);
        });
        Ok(SimdTensor::new(Shape::new(shape.batch(), shape.channels(), 1, 1)?, x.layout(), means))
    }
}

struct Sums<'a> {
    x: &'a SimdTensor,
    threads: &'a Threads,
    out: &'a mut [f32],
}

impl OnLanes for Sums<'_> {
    type Output = ();

    fn run<L: Lanes>(self, lanes: L) {
        let Self { x, threads, out } = self;
        sample_sums(lanes, threads, x.data(), x.shape(), x.layout(), out);
    }
}

/// Every sample turned over.
struct Relayout<'a> {
    from: &'a [f32],
    to: &'a mut [f32],
    rows: usize,
    columns: usize,
}

impl OnLanes for Relayout<'_> {
    type Output = ();

    fn run<L: Lanes>(self, lanes: L) {
        let Self { from, to, rows, columns } = self;
        let samples = from.chunks_exact(rows * columns).zip(to.chunks_exact_mut(rows * columns));
        for (from, to) in samples {
            transpose(lanes, (from, columns), (to, rows), [rows, columns]);
        }
    }
}

/// π as the run left it in the stream.
fn returned_attention(stream: &SimdStream, layer: &SimdLayer, call: CheckedCall) -> Result<Tensor> {
    Tensor::attention(call.input.batch(), layer.config().experts(), stream.pi.clone())
}

/// 1×C×1×1
fn channel_row(values: &[f64]) -> Result<Tensor> {
    Tensor::attention(1, values.len(), values.iter().map(|&value| value as f32).collect())
}

fn both<T>([a, b]: [Result<T>; 2]) -> Result<[T; 2]> {
    Ok([a?, b?])
}

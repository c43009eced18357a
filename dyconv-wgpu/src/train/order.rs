//! The order of everything that has a number for each parameter: parameters themselves, their gradients, moments.
//!
//! ```text
//! experts      [K][packed kernel], see `crate::pack`
//! head         [A1][c1][A2][c2], absent biases as zeros
//! gamma_beta   [gamma][beta]
//! ```

use dyconv_core::{Error, MomentValues, Optimizer, ParamMap, ParamSpec, Prepared, Result};

use crate::context::Context;
use crate::layer::{Training, WgpuLayer};
use crate::memory::{Allocation, Purpose};
use crate::origin::Origin;
use crate::pack::Packing;
use crate::stream::WgpuStream;

/// One of the three arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Array {
    Experts,
    Head,
    GammaBeta,
}

/// A number for each parameter, in three arrays of which the last two may be absent.
pub(super) type Arrays<'a> = [Option<&'a Allocation>; 3];

/// How a layer's parameters lie.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Order {
    packing: Packing,
    experts: usize,
    segments: Vec<Segment>,
    lens: [usize; 3],
}

/// Where the numbers of one learned tensor lie: `length` of them from `first` on, for every expert again after
/// `stride`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Segment {
    pub(super) spec: ParamSpec,
    pub(super) array: Array,
    pub(super) first: usize,
    pub(super) length: usize,
    pub(super) stride: usize,
    pub(super) repeats: usize,
}

impl Order {
    pub(super) fn new(layer: &WgpuLayer, training: &Training) -> Self {
        let (config, packing) = (layer.config(), layer.packing);
        let mut segments = Vec::new();
        let mut lens = [config.experts() * packing.stride, 0, 0];
        for spec in ParamSpec::all(config).into_iter().filter(ParamSpec::learned) {
            let (array, first, length) = match spec.name {
                "weight" => (Array::Experts, 0, packing.bias),
                "bias" => (Array::Experts, packing.bias, config.out_channels()),
                name => {
                    let array = if name.starts_with("bn.") { Array::GammaBeta } else { Array::Head };
                    let first = lens[array as usize];
                    lens[array as usize] += spec.len();
                    (array, first, spec.len())
                }
            };
            let repeats = if array == Array::Experts { config.experts() } else { 1 };
            let stride = if array == Array::Experts { packing.stride } else { length };
            if training.learned.contains(&spec) {
                segments.push(Segment { spec, array, first, length, stride, repeats });
            }
        }
        Self { packing, experts: config.experts(), segments, lens }
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Elements of an array.
    pub(super) fn len(&self, array: Array) -> usize {
        self.lens[array as usize]
    }

    /// The arrays that there are, with their elements.
    pub(super) fn parts<'a>(&self, arrays: Arrays<'a>) -> Vec<(&'a Allocation, usize)> {
        arrays.into_iter().zip(self.lens).filter_map(|(array, len)| Some((array?, len))).collect()
    }

    /// The learned tensors in their own order, from the arrays one after the other.
    pub(super) fn by_name(&self, elements: &[f32]) -> ParamMap {
        let tensors = self.segments.iter().map(|segment| {
            let start = self.lens[..segment.array as usize].iter().sum::<usize>() + segment.first;
            let runs =
                (0..segment.repeats).map(|i| &elements[start + i * segment.stride..][..segment.length]);
            let data = match segment.spec.name {
                "weight" => runs.flat_map(|run| self.packing.unpack(run)).collect(),
                _ => runs.flatten().copied().collect(),
            };
            (segment.spec.name, data)
        });
        tensors.collect()
    }

    /// The three arrays, from the learned tensors in their own order.
    fn packed(&self, tensors: &ParamMap) -> [Vec<f32>; 3] {
        let mut arrays = self.lens.map(|len| vec![0.0; len]);
        for segment in &self.segments {
            let data = tensors.get(segment.spec.name).map(Vec::as_slice).unwrap_or_default();
            let array = &mut arrays[segment.array as usize];
            for (i, own) in data.chunks_exact((data.len() / segment.repeats).max(1)).enumerate() {
                let run = &mut array[segment.first + i * segment.stride..][..segment.length];
                match segment.spec.name {
                    "weight" => run.copy_from_slice(&self.packing.pack(own, None)[..segment.length]),
                    _ => run.copy_from_slice(own),
                }
            }
        }
        arrays
    }
}

/// Three arrays in a layer's order.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) experts: Allocation,
    pub(super) head: Option<Allocation>,
    pub(super) gamma_beta: Option<Allocation>,
}

impl Packed {
    /// Makes each array that there is, by its number of elements.
    fn new(order: &Order, mut make: impl FnMut(Array, usize) -> Result<Allocation>) -> Result<Self> {
        let mut some = |array| {
            let len = order.len(array);
            (len > 0).then(|| make(array, len)).transpose()
        };
        let (head, gamma_beta) = (some(Array::Head)?, some(Array::GammaBeta)?);
        Ok(Self { experts: make(Array::Experts, order.len(Array::Experts))?, head, gamma_beta })
    }

    pub(super) fn arrays(&self) -> Arrays<'_> {
        [Some(&self.experts), self.head.as_ref(), self.gamma_beta.as_ref()]
    }
}

impl WgpuLayer {
    /// Its own numbers.
    pub(super) fn arrays(&self) -> Arrays<'_> {
        [Some(&self.experts), self.head.as_ref(), self.unfolded().map(|norm| &norm.gamma_beta)]
    }
}

/// The gradients of a layer's parameters, in the order of its packed parameters.
#[derive(Debug)]
pub struct WgpuParamGradients {
    pub(super) packed: Packed,
    order: Order,
    origin: Origin,
}

impl WgpuParamGradients {
    /// Gradients that the stream's next commands write.
    pub(super) fn new(stream: &WgpuStream, order: Order) -> Result<Self> {
        let packed = Packed::new(&order, |_, len| stream.take(len))?;
        Ok(Self { packed, order, origin: Origin::new(stream) })
    }

    /// Those of `stream`'s next commands, onto these.
    pub(super) fn renewed(self, stream: &WgpuStream) -> Self {
        Self { origin: Origin::new(stream), ..self }
    }

    pub(super) fn check(&self, name: &str, order: &Order, stream: &WgpuStream) -> Result<()> {
        self.origin.check(name, "gradients", stream)?;
        check_order(name, &self.order, order)
    }

    /// Makes an array 0.
    pub(super) fn clear(&self, stream: &mut WgpuStream, array: Array) {
        if let Some(allocation) = self.packed.arrays()[array as usize] {
            stream.clear(allocation, self.order.len(array));
        }
    }
}

/// An optimiser's state for one layer, in the order of its packed parameters.
#[derive(Debug)]
pub struct WgpuMoments {
    pub(super) steps: u64,
    pub(super) slots: Vec<Packed>,
    /// What the last step's kernels were told beside their uniforms, and what it was.
    pub(super) numbers: Option<(Allocation, [f32; 3])>,
    order: Order,
    pub(super) origin: Origin,
}

impl WgpuMoments {
    pub(super) fn zeros(context: &Context, order: Order, optimizer: &Optimizer) -> Result<Self> {
        let zeros = |len| context.memory.zeros(context, Purpose::Parameters, len);
        let slots = (0..optimizer.slots()).map(|_| Packed::new(&order, |_, len| zeros(len)));
        Ok(Self::new(context, 0, slots.collect::<Result<_>>()?, order))
    }

    pub(super) fn load(context: &Context, order: Order, values: &MomentValues) -> Result<Self> {
        let slots = values.slots.iter().map(|slot| {
            let arrays = order.packed(slot);
            Packed::new(&order, |array, len| {
                let data = arrays[array as usize].as_slice();
                context.memory.filled(context, Purpose::Parameters, len, [data.into()])
            })
        });
        Ok(Self::new(context, values.steps, slots.collect::<Result<_>>()?, order))
    }

    fn new(context: &Context, steps: u64, slots: Vec<Packed>, order: Order) -> Self {
        Self { steps, slots, numbers: None, order, origin: Origin::host(context) }
    }

    pub(super) fn check(&self, order: &Order, stream: &WgpuStream) -> Result<()> {
        self.origin.check("moments", "moments", stream)?;
        check_order("moments", &self.order, order)
    }
}

fn check_order(name: &str, found: &Order, expected: &Order) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::invalid(name, "those of a layer with other parameters", "this layer's"))
}

//! A prepared layer and its calls, one timed after the other.

use std::time::{Duration, Instant};

use dyconv_core::{
    AnyBackend, AnyLayer, AnyStream, AnyTensor, Backend, Backward, Call, DyConv2d, Plan, Prepare, Result,
    Shape, Tensor, Train,
};
use serde::{Deserialize, Serialize};

use crate::precision::Storage;

/// How often more than the last-level cache cold copies of a layer take: caches don't evict in strict order.
const TIMES_CACHE: u64 = 3;

/// What a timed call is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pass {
    /// A forward.
    #[default]
    Forward,
    /// A forward that is recorded and its backward: the gradients of input, π and parameters, for the output as its own
    /// gradient. No step.
    Training,
}

impl Pass {
    /// How often the convolution's multiply-adds are needed: for y, and for dx and dW.
    #[must_use]
    pub fn convolutions(self) -> u64 {
        match self {
            Self::Forward => 1,
            Self::Training => 3,
        }
    }
}

/// A layer as one backend has it: once, or so many times that each call finds experts which no cache holds any more.
#[derive(Debug)]
pub struct Ready {
    first: AnyLayer,
    more: Vec<AnyLayer>,
    /// Whose turn it is: 0 the first's.
    next: usize,
    pass: Pass,
}

impl Ready {
    /// One copy, called again and again.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn warm(
        backend: &AnyBackend,
        layer: &DyConv2d,
        (storage, pass): (Storage, Pass),
        input: Shape,
    ) -> Result<Self> {
        Self::copies(backend, layer, (storage, pass), input, 1)
    }

    /// As many copies as exceed the last-level cache, called in turn.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn cold(
        backend: &AnyBackend,
        layer: &DyConv2d,
        (storage, pass): (Storage, Pass),
        input: Shape,
        cache_bytes: u64,
    ) -> Result<Self> {
        let count = copies_beyond(cache_bytes, weight_bytes(layer, storage));
        Self::copies(backend, layer, (storage, pass), input, count)
    }

    fn copies(
        backend: &AnyBackend,
        layer: &DyConv2d,
        (storage, pass): (Storage, Pass),
        input: Shape,
        count: usize,
    ) -> Result<Self> {
        let how = Prepare::default().input(input).precision(storage.into()).trainable(pass == Pass::Training);
        let first = backend.prepare(layer, &how)?;
        let more = (1..count).map(|_| backend.prepare(layer, &how)).collect::<Result<_>>()?;
        Ok(Self { first, more, next: 0, pass })
    }

    /// The copy whose turn it is.
    fn turn(&mut self) -> &mut AnyLayer {
        let turn = self.next;
        self.next = (turn + 1) % (1 + self.more.len());
        turn.checked_sub(1).and_then(|i| self.more.get_mut(i)).unwrap_or(&mut self.first)
    }

    /// The plan for inputs of this shape: the forward's, whose name goes on with the backward's.
    ///
    /// # Errors
    /// Where the input doesn't fit the layer.
    pub fn plan(&self, backend: &AnyBackend, input: Shape) -> Result<Plan> {
        let mut plan = backend.plan(&self.first, input)?;
        if self.pass == Pass::Training {
            plan.name += &format!("; backward: {}", backend.plan_backward(&self.first, input)?.name);
        }
        Ok(plan)
    }

    /// One call, and its output on the host.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn output(
        &mut self,
        backend: &AnyBackend,
        stream: &mut AnyStream,
        input: &AnyTensor,
    ) -> Result<Tensor> {
        let output = backend.forward(stream, self.turn(), &Call::new(input))?.output;
        backend.download(stream, &output)
    }

    /// One call, from the moment it is made until its results exist. A GPU is waited for by reading the attention
    /// weights back: N·K numbers, behind everything else in the stream.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn timed(
        &mut self,
        backend: &AnyBackend,
        stream: &mut AnyStream,
        input: &AnyTensor,
    ) -> Result<Duration> {
        let pass = self.pass;
        let layer = self.turn();
        let start = Instant::now();
        let waited_for = match pass {
            Pass::Forward => {
                backend.forward(stream, layer, &Call::new(input).return_attention(true))?.attention
            }
            Pass::Training => {
                let (output, tape) = backend.forward_train(stream, layer, &Call::new(input))?;
                let gradients =
                    backend.backward(stream, layer, tape, &Backward::new(&output.output), None)?;
                gradients.attention
            }
        };
        match &waited_for {
            Some(attention) => drop(backend.download(stream, attention)?),
            None => backend.finish(stream)?,
        }
        Ok(start.elapsed())
    }
}

/// Bytes of the experts as they are stored.
fn weight_bytes(layer: &DyConv2d, storage: Storage) -> u64 {
    storage.bytes() * layer.params().weight.len() as u64
}

/// At least two copies, or else none is ever left.
fn copies_beyond(cache_bytes: u64, layer_bytes: u64) -> usize {
    let wanted = cache_bytes.saturating_mul(TIMES_CACHE);
    usize::try_from(wanted.div_ceil(layer_bytes.max(1))).unwrap_or(usize::MAX).max(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_exceed_the_cache() {
        assert_eq!(copies_beyond(1000, 100), 30);
        assert_eq!(copies_beyond(1000, 7), 429);
        assert_eq!(copies_beyond(1000, 1 << 30), 2);
        assert_eq!(copies_beyond(0, 0), 2);
    }
}

//! What a backward is asked, and what it gives.

use super::{Generation, Recorded, check_tensor, check_trainable};
use crate::{Error, Handle, Prepared, Regularizer, Result};

/// One backward.
#[derive(Debug)]
#[non_exhaustive]
#[must_use]
pub struct Backward<'a, T> {
    /// g = dL/d output: the output's shape and layout.
    pub gradient: &'a T,
    /// Added to the input's gradient: what reaches the input by other ways, as around a residual block.
    pub add_to_input: Option<&'a T>,
    /// A penalty on the layer's output, l1·Σ|y| + l2·Σy², whose gradient is added to g: the Keras layer's activity
    /// regulariser. (Keras divides it by the batch; so may who sets it.)
    pub activity: Option<Regularizer>,
    /// Whether the input's gradient is wanted; true. A network's first layer needs none.
    pub input: bool,
}

// Derived, these would ask the same of `T`, of which a call holds only references.
impl<T> Clone for Backward<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Backward<'_, T> {}

impl<'a, T> Backward<'a, T> {
    /// Everything, from the output's gradient.
    pub fn new(gradient: &'a T) -> Self {
        Self { gradient, add_to_input: None, activity: None, input: true }
    }

    /// Adds a tensor to the input's gradient.
    pub fn add_to_input(mut self, other: impl Into<Option<&'a T>>) -> Self {
        self.add_to_input = other.into();
        self
    }

    /// Adds the gradient of a penalty on the output to g.
    pub fn activity(mut self, activity: impl Into<Option<Regularizer>>) -> Self {
        self.activity = activity.into();
        self
    }

    /// Sets whether the input's gradient is wanted.
    pub fn input(mut self, input: bool) -> Self {
        self.input = input;
        self
    }
}

impl<T: Handle> Backward<'_, T> {
    /// Holds the backward against its layer and tape. Every backend starts with this, so all refuse the same ones.
    ///
    /// # Errors
    /// The first misfit, by name.
    pub fn check(&self, layer: &impl Prepared, generation: Generation, recorded: &Recorded) -> Result<()> {
        check_trainable(layer)?;
        if generation != recorded.generation {
            return Err(Error::invalid(
                "tape",
                "one of another layer, or from before a step",
                "one that this layer recorded since its last step",
            ));
        }
        let layout = layer.config().layout();
        check_tensor("gradient", self.gradient, recorded.call.output, layout)?;
        match self.add_to_input {
            Some(_) if !self.input => Err(Error::invalid(
                "add_to_input",
                "present",
                "none, since the input's gradient isn't wanted",
            )),
            Some(other) => check_tensor("add_to_input", other, recorded.call.input, layout),
            None => Ok(()),
        }?;
        self.activity.map_or(Ok(()), |activity| activity.check("activity"))
    }
}

/// The gradients of one run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Gradients<T, P> {
    /// Of the input: by the convolution and, where a head computed π from it, dz/(H·W) by the pool. Where it was wanted.
    pub input: Option<T>,
    /// Of the residual, where there was one: g after the activation's derivative.
    pub residual: Option<T>,
    /// Of π `[N, K]`, after the squash, for every kind of attention; `None` for a static layer.
    pub attention: Option<T>,
    /// Of the parameters.
    pub params: P,
}

impl<T, P> Gradients<T, P> {
    /// Gradients of the parameters alone.
    pub fn new(params: P) -> Self {
        Self { input: None, residual: None, attention: None, params }
    }

    /// Adds the input's.
    #[must_use]
    pub fn input(mut self, input: impl Into<Option<T>>) -> Self {
        self.input = input.into();
        self
    }

    /// Adds the residual's.
    #[must_use]
    pub fn residual(mut self, residual: impl Into<Option<T>>) -> Self {
        self.residual = residual.into();
        self
    }

    /// Adds π's.
    #[must_use]
    pub fn attention(mut self, attention: impl Into<Option<T>>) -> Self {
        self.attention = attention.into();
        self
    }
}

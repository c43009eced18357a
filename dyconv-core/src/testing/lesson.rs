//! A lesson: a problem's call, the gradient that comes back for its output, and the runs of both on a backend that trains.

use super::fill::Fill;
use super::instance::{Instance, Ran};
use super::problem::{Data, Problem};
use crate::{
    Accuracy, Backward, Gradients, Output, ParamMap, Params, Precision, Regularizer, Result, Shape, Tape,
    Tensor, Train,
};

/// A layer, one call and its backward, in host memory.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Lesson {
    /// The layer, prepared as trainable, and the call.
    pub instance: Instance,
    /// g, the output's gradient.
    pub gradient: Tensor,
    /// Added to the input's gradient.
    pub add_to_input: Option<Tensor>,
    /// A penalty on the output.
    pub activity: Option<Regularizer>,
    /// Whether the input's gradient is wanted.
    pub input: bool,
}

/// What came of a lesson.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Learned {
    /// What the forward gave.
    pub ran: Ran,
    /// Every gradient, those of the parameters by name.
    pub gradients: Gradients<Tensor, ParamMap>,
    /// The bytes that the tape kept alive.
    pub tape_bytes: u64,
    /// The contracts of the plans that it took.
    pub contracts: Contracts,
}

/// The error contracts of the plans for a layer's forward and for its backward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contracts {
    /// Of what the tape keeps.
    pub forward: Accuracy,
    /// Of what is made of it.
    pub backward: Accuracy,
}

impl Contracts {
    /// Whether gradients obey the exact law: derivatives depend on the forward's numbers, too.
    #[must_use]
    pub fn is_exact(self) -> bool {
        self.forward.is_exact() && self.backward.is_exact()
    }
}

impl Problem {
    /// A lesson on this problem's layer; sometimes with a tensor to add to the input's gradient.
    ///
    /// # Errors
    /// Where the input doesn't fit the layer.
    pub fn lesson(&self) -> Result<Lesson> {
        let problem = Self { trainable: true, ..self.clone().at(Precision::F32) };
        let instance = problem.build()?;
        let mut fill = Fill::new(self.seed, "lesson");
        let mut draw = |shape| {
            Tensor::from_fn(shape, self.config.layout(), |_| match self.data {
                // Sums over batch, pixels and channels stay below 2²⁴.
                Data::Integers => fill.integer(1),
                Data::Reals => fill.real(),
            })
        };
        let gradient = draw(self.config.output_shape(instance.input.shape())?);
        let other = draw(instance.input.shape());
        let add_to_input = (fill.below(3) == 0).then_some(other);
        Ok(Lesson { gradient, add_to_input, activity: None, input: true, instance })
    }
}

impl Lesson {
    /// Prepares a layer and takes the lesson once.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn run<B: Train>(&self, backend: &B) -> Result<Learned> {
        Trainee::new(backend, &self.instance)?.learn(self)
    }
}

/// A layer in training on a backend.
#[derive(Debug)]
pub struct Trainee<'a, B: Train> {
    /// Where it computes.
    pub backend: &'a B,
    /// In which order.
    pub stream: B::Stream,
    /// What learns.
    pub layer: B::Layer,
}

impl<'a, B: Train> Trainee<'a, B> {
    /// Prepares the layer on a stream of its own.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn new(backend: &'a B, instance: &Instance) -> Result<Self> {
        let layer = backend.prepare(&instance.layer, &instance.how)?;
        Ok(Self { backend, stream: backend.stream()?, layer })
    }

    /// The lesson's forward.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn forward(&mut self, lesson: &Lesson) -> Result<(Output<B::Tensor>, B::Tape)> {
        let Instance { input, attention, residual, .. } = &lesson.instance;
        let mut upload = |tensor: &Tensor| self.backend.upload(&mut self.stream, tensor.view());
        let input = upload(input)?;
        let attention = attention.as_ref().map(&mut upload).transpose()?;
        let residual = residual.as_ref().map(&mut upload).transpose()?;
        let call = lesson.instance.call(&input, attention.as_ref(), residual.as_ref());
        self.backend.forward_train(&mut self.stream, &mut self.layer, &call)
    }

    /// The lesson's backward.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn backward(
        &mut self,
        lesson: &Lesson,
        tape: B::Tape,
        onto: Option<B::ParamGradients>,
    ) -> Result<Gradients<B::Tensor, B::ParamGradients>> {
        let mut upload = |tensor: &Tensor| self.backend.upload(&mut self.stream, tensor.view());
        let gradient = upload(&lesson.gradient)?;
        let add_to_input = lesson.add_to_input.as_ref().map(&mut upload).transpose()?;
        let call = Backward::new(&gradient)
            .add_to_input(add_to_input.as_ref())
            .activity(lesson.activity)
            .input(lesson.input);
        self.backend.backward(&mut self.stream, &self.layer, tape, &call, onto)
    }

    /// Both, one after the other; the gradients stay where they are.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn gradients(&mut self, lesson: &Lesson) -> Result<Gradients<B::Tensor, B::ParamGradients>> {
        let (_, tape) = self.forward(lesson)?;
        self.backward(lesson, tape, None)
    }

    /// Both, and everything that came of them in host memory.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn learn(&mut self, lesson: &Lesson) -> Result<Learned> {
        let input = lesson.instance.input.shape();
        let (output, tape) = self.forward(lesson)?;
        let tape_bytes = tape.bytes();
        let gradients = self.backward(lesson, tape, None)?;
        let gradients = self.home(&gradients)?;
        let ran = Ran::download(self.backend, &mut self.stream, &self.layer, input, output)?;
        Ok(Learned { ran, gradients, tape_bytes, contracts: self.contracts(input)? })
    }

    /// Brings gradients to host memory.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn home(
        &mut self,
        gradients: &Gradients<B::Tensor, B::ParamGradients>,
    ) -> Result<Gradients<Tensor, ParamMap>> {
        let params = self.backend.gradients(&mut self.stream, &self.layer, &gradients.params)?;
        let mut download = |tensor: &B::Tensor| self.backend.download(&mut self.stream, tensor);
        Ok(Gradients::new(params)
            .input(gradients.input.as_ref().map(&mut download).transpose()?)
            .residual(gradients.residual.as_ref().map(&mut download).transpose()?)
            .attention(gradients.attention.as_ref().map(&mut download).transpose()?))
    }

    /// The layer's numbers as they are.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn params(&mut self) -> Result<Params> {
        self.backend.params(&mut self.stream, &self.layer)
    }

    /// The contracts of the plans for an input of this shape.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn contracts(&self, input: Shape) -> Result<Contracts> {
        Ok(Contracts {
            forward: self.backend.plan(&self.layer, input)?.accuracy,
            backward: self.backend.plan_backward(&self.layer, input)?.accuracy,
        })
    }
}

//! Training by a backend chosen at run time, where it trains.

use std::any::Any;
use std::fmt::{self, Debug};
use std::future::Future;

use super::{AnyBackend, AnyLayer, AnyStream, AnyTensor, BoxFuture, ErasedShared, erase, foreign};
use super::{erase_output, inner_call, layer_of, stream_of, tensor_of};
use crate::backend::{
    Backward, Call, Gradients, MomentValues, Optimizer, Output, ParamMap, Plan, Pool, Recorded, Step, Tape,
    Train,
};
use crate::{Error, MaybeSend, MaybeSync, Params, Result, Shape};

/// A tape of any backend that trains.
pub struct AnyTape(Box<dyn ErasedTape>);

/// Parameters' gradients of any backend that trains.
pub struct AnyParamGradients(Box<dyn ErasedShared>);

/// Moments of any backend that trains.
pub struct AnyMoments(Box<dyn ErasedShared>);

/// A tape that may also be taken back as what it is.
trait ErasedTape: Tape {
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

impl<T: Tape> ErasedTape for T {
    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl Debug for AnyTape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnyTape").field(self.0.recorded()).finish()
    }
}

impl Tape for AnyTape {
    fn recorded(&self) -> &Recorded {
        self.0.recorded()
    }

    fn bytes(&self) -> u64 {
        self.0.bytes()
    }
}

impl Debug for AnyParamGradients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyParamGradients")
    }
}

impl Debug for AnyMoments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyMoments")
    }
}

impl AnyBackend {
    /// The inner one's training, where it has it.
    fn learner(&self) -> Result<&dyn ObjectSafeTrain> {
        self.learner.as_deref().ok_or_else(|| Error::Unsupported {
            backend: self.inner.info().id.clone(),
            what: "training".to_owned(),
        })
    }
}

impl Train for AnyBackend {
    type Tape = AnyTape;
    type ParamGradients = AnyParamGradients;
    type Moments = AnyMoments;

    fn trains(&self) -> bool {
        self.learner.as_ref().is_some_and(|learner| learner.trains())
    }

    fn forward_train(
        &self,
        stream: &mut AnyStream,
        layer: &mut AnyLayer,
        call: &Call<'_, AnyTensor>,
    ) -> Result<(Output<AnyTensor>, AnyTape)> {
        self.learner()?.forward_train(stream, layer, call)
    }

    fn backward(
        &self,
        stream: &mut AnyStream,
        layer: &AnyLayer,
        tape: AnyTape,
        call: &Backward<'_, AnyTensor>,
        onto: Option<AnyParamGradients>,
    ) -> Result<Gradients<AnyTensor, AnyParamGradients>> {
        self.learner()?.backward(stream, layer, tape, call, onto)
    }

    fn pool_backward(
        &self,
        stream: &mut AnyStream,
        x: &AnyTensor,
        kind: &Pool,
        gradient: &AnyTensor,
    ) -> Result<AnyTensor> {
        self.learner()?.pool_backward(stream, x, kind, gradient)
    }

    fn step(
        &self,
        stream: &mut AnyStream,
        layer: &mut AnyLayer,
        gradients: &AnyParamGradients,
        moments: &mut AnyMoments,
        step: &Step,
    ) -> Result<()> {
        self.learner()?.step(stream, layer, gradients, moments, step)
    }

    fn moments(&self, layer: &AnyLayer, optimizer: &Optimizer) -> Result<AnyMoments> {
        self.learner()?.moments(layer, optimizer)
    }

    fn load_moments(
        &self,
        stream: &mut AnyStream,
        layer: &AnyLayer,
        optimizer: &Optimizer,
        values: &MomentValues,
    ) -> Result<AnyMoments> {
        self.learner()?.load_moments(stream, layer, optimizer, values)
    }

    fn params_async<'a>(
        &'a self,
        stream: &'a mut AnyStream,
        layer: &'a AnyLayer,
    ) -> impl Future<Output = Result<Params>> + MaybeSend + 'a {
        let learner = self.learner();
        async move { learner?.params_async(stream, layer).await }
    }

    fn gradients_async<'a>(
        &'a self,
        stream: &'a mut AnyStream,
        layer: &'a AnyLayer,
        gradients: &'a AnyParamGradients,
    ) -> impl Future<Output = Result<ParamMap>> + MaybeSend + 'a {
        let learner = self.learner();
        async move { learner?.gradients_async(stream, layer, gradients).await }
    }

    fn moment_values_async<'a>(
        &'a self,
        stream: &'a mut AnyStream,
        layer: &'a AnyLayer,
        moments: &'a AnyMoments,
    ) -> impl Future<Output = Result<MomentValues>> + MaybeSend + 'a {
        let learner = self.learner();
        async move { learner?.moment_values_async(stream, layer, moments).await }
    }

    fn plan_backward(&self, layer: &AnyLayer, input: Shape) -> Result<Plan> {
        self.learner()?.plan_backward(layer, input)
    }
}

/// [`Train`] over erased handles, implemented for every backend that trains.
pub(super) trait ObjectSafeTrain: MaybeSend + MaybeSync {
    fn trains(&self) -> bool;
    fn forward_train(
        &self,
        stream: &mut AnyStream,
        layer: &mut AnyLayer,
        call: &Call<'_, AnyTensor>,
    ) -> Result<(Output<AnyTensor>, AnyTape)>;
    fn backward(
        &self,
        stream: &mut AnyStream,
        layer: &AnyLayer,
        tape: AnyTape,
        call: &Backward<'_, AnyTensor>,
        onto: Option<AnyParamGradients>,
    ) -> Result<Gradients<AnyTensor, AnyParamGradients>>;
    fn pool_backward(
        &self,
        stream: &mut AnyStream,
        x: &AnyTensor,
        kind: &Pool,
        gradient: &AnyTensor,
    ) -> Result<AnyTensor>;
    fn step(
        &self,
        stream: &mut AnyStream,
        layer: &mut AnyLayer,
        gradients: &AnyParamGradients,
        moments: &mut AnyMoments,
        step: &Step,
    ) -> Result<()>;
    fn moments(&self, layer: &AnyLayer, optimizer: &Optimizer) -> Result<AnyMoments>;
    fn load_moments(
        &self,
        stream: &mut AnyStream,
        layer: &AnyLayer,
        optimizer: &Optimizer,
        values: &MomentValues,
    ) -> Result<AnyMoments>;
    fn params_async<'a>(
        &'a self,
        stream: &'a mut AnyStream,
        layer: &'a AnyLayer,
    ) -> BoxFuture<'a, Result<Params>>;
    fn gradients_async<'a>(
        &'a self,
        stream: &'a mut AnyStream,
        layer: &'a AnyLayer,
        gradients: &'a AnyParamGradients,
    ) -> BoxFuture<'a, Result<ParamMap>>;
    fn moment_values_async<'a>(
        &'a self,
        stream: &'a mut AnyStream,
        layer: &'a AnyLayer,
        moments: &'a AnyMoments,
    ) -> BoxFuture<'a, Result<MomentValues>>;
    fn plan_backward(&self, layer: &AnyLayer, input: Shape) -> Result<Plan>;
}

impl<B: Train> ObjectSafeTrain for B {
    fn trains(&self) -> bool {
        Train::trains(self)
    }

    fn forward_train(
        &self,
        stream: &mut AnyStream,
        layer: &mut AnyLayer,
        call: &Call<'_, AnyTensor>,
    ) -> Result<(Output<AnyTensor>, AnyTape)> {
        let (stream, layer) = (stream_of(self, stream)?, layer_of_mut(self, layer)?);
        let (output, tape) = Train::forward_train(self, stream, layer, &inner_call(self, call)?)?;
        Ok((erase_output(output), AnyTape(Box::new(tape))))
    }

    fn backward(
        &self,
        stream: &mut AnyStream,
        layer: &AnyLayer,
        tape: AnyTape,
        call: &Backward<'_, AnyTensor>,
        onto: Option<AnyParamGradients>,
    ) -> Result<Gradients<AnyTensor, AnyParamGradients>> {
        let (stream, layer) = (stream_of(self, stream)?, layer_of(self, layer)?);
        let tape = tape.0.into_any().downcast::<B::Tape>().map_err(|_| foreign(self, "tape"))?;
        let onto = onto.map(|onto| owned(self, "gradients", onto.0)).transpose()?;
        let call = Backward {
            gradient: tensor_of(self, call.gradient)?,
            add_to_input: call.add_to_input.map(|other| tensor_of(self, other)).transpose()?,
            activity: call.activity,
            input: call.input,
        };
        let found = Train::backward(self, stream, layer, *tape, &call, onto)?;
        Ok(Gradients {
            input: found.input.map(erase),
            residual: found.residual.map(erase),
            attention: found.attention.map(erase),
            params: AnyParamGradients(Box::new(found.params)),
        })
    }

    fn pool_backward(
        &self,
        stream: &mut AnyStream,
        x: &AnyTensor,
        kind: &Pool,
        gradient: &AnyTensor,
    ) -> Result<AnyTensor> {
        let (x, gradient) = (tensor_of(self, x)?, tensor_of(self, gradient)?);
        Train::pool_backward(self, stream_of(self, stream)?, x, kind, gradient).map(erase)
    }

    fn step(
        &self,
        stream: &mut AnyStream,
        layer: &mut AnyLayer,
        gradients: &AnyParamGradients,
        moments: &mut AnyMoments,
        step: &Step,
    ) -> Result<()> {
        let gradients = inner(self, "gradients", &*gradients.0)?;
        let moments: &mut dyn Any = &mut *moments.0;
        let moments = moments.downcast_mut().ok_or_else(|| foreign(self, "moments"))?;
        let (stream, layer) = (stream_of(self, stream)?, layer_of_mut(self, layer)?);
        Train::step(self, stream, layer, gradients, moments, step)
    }

    fn moments(&self, layer: &AnyLayer, optimizer: &Optimizer) -> Result<AnyMoments> {
        Ok(AnyMoments(Box::new(Train::moments(self, layer_of(self, layer)?, optimizer)?)))
    }

    fn load_moments(
        &self,
        stream: &mut AnyStream,
        layer: &AnyLayer,
        optimizer: &Optimizer,
        values: &MomentValues,
    ) -> Result<AnyMoments> {
        let (stream, layer) = (stream_of(self, stream)?, layer_of(self, layer)?);
        Ok(AnyMoments(Box::new(Train::load_moments(self, stream, layer, optimizer, values)?)))
    }

    fn params_async<'a>(
        &'a self,
        stream: &'a mut AnyStream,
        layer: &'a AnyLayer,
    ) -> BoxFuture<'a, Result<Params>> {
        Box::pin(async move {
            let (stream, layer) = (stream_of(self, stream)?, layer_of(self, layer)?);
            Train::params_async(self, stream, layer).await
        })
    }

    fn gradients_async<'a>(
        &'a self,
        stream: &'a mut AnyStream,
        layer: &'a AnyLayer,
        gradients: &'a AnyParamGradients,
    ) -> BoxFuture<'a, Result<ParamMap>> {
        let gradients = inner(self, "gradients", &*gradients.0);
        Box::pin(async move {
            let (stream, layer) = (stream_of(self, stream)?, layer_of(self, layer)?);
            Train::gradients_async(self, stream, layer, gradients?).await
        })
    }

    fn moment_values_async<'a>(
        &'a self,
        stream: &'a mut AnyStream,
        layer: &'a AnyLayer,
        moments: &'a AnyMoments,
    ) -> BoxFuture<'a, Result<MomentValues>> {
        let moments = inner(self, "moments", &*moments.0);
        Box::pin(async move {
            let (stream, layer) = (stream_of(self, stream)?, layer_of(self, layer)?);
            Train::moment_values_async(self, stream, layer, moments?).await
        })
    }

    fn plan_backward(&self, layer: &AnyLayer, input: Shape) -> Result<Plan> {
        Train::plan_backward(self, layer_of(self, layer)?, input)
    }
}

fn layer_of_mut<'a, B: Train>(backend: &B, layer: &'a mut AnyLayer) -> Result<&'a mut B::Layer> {
    let inner: &mut dyn Any = &mut *layer.inner;
    inner.downcast_mut().ok_or_else(|| foreign(backend, "layer"))
}

fn inner<'a, B: Train, T: 'static>(backend: &B, what: &str, erased: &'a dyn ErasedShared) -> Result<&'a T> {
    let inner: &dyn Any = erased;
    inner.downcast_ref().ok_or_else(|| foreign(backend, what))
}

fn owned<B: Train, T: 'static>(backend: &B, what: &str, erased: Box<dyn ErasedShared>) -> Result<T> {
    let inner: Box<dyn Any> = erased;
    inner.downcast().map(|inner| *inner).map_err(|_| foreign(backend, what))
}

//! A network in training: one mini-batch after the other, in an order that the recipe's seed fixes.

mod run;
mod state;

pub use run::{End, Event};
pub use state::{EpochRecord, Progress, StepRecord};

use dyconv_core::{Error, Prepare, Result, Shape, Train};

use crate::data::{epoch_order, gather};
use crate::evaluate::check_data;
use crate::loss::cross_entropy;
use crate::{Checkpoint, Dataset, Model, Network, Position, Recipe, Tally};

/// A network in training.
///
/// [`Trainer::run`] trains to the end, or until its callback says stop; [`Trainer::step`] takes one step. Between any
/// two steps [`Trainer::checkpoint`] holds everything: training resumed from it gives the same bits as training that
/// went on.
///
/// ```
/// use std::ops::ControlFlow;
///
/// use dyconv_core::{Activation, Attention, Initializers, Layout, Options, Reference, Shape, Tensor};
/// use dyconv_nn::{Architecture, End, Event, Images, Model, Rate, Recipe, Trainer};
///
/// // Stripes along rows, or along columns.
/// let stripes = |[n, _, y, x]: [usize; 4]| if n % 2 == 0 { y % 2 } else { x % 2 } as f32;
/// let pixels = Tensor::from_fn(Shape::new(8, 1, 4, 4)?, Layout::Nchw, stripes);
/// let data = Images::new(pixels, (0..8).map(|n| n % 2).collect(), 2)?;
///
/// let dynamic = Options::new(1, 4).kernel_size([2, 2]).experts(2).attention(Attention::mlp(1));
/// let architecture =
///     Architecture::new([1, 4, 4]).convolution("stem", dynamic.activation(Activation::Relu)).classifier(4, 2);
/// let model = Model::init(architecture, &Initializers::default(), 5)?;
///
/// let recipe = Recipe { rate: Rate::constant(0.1), ..Recipe::new(40, 4) };
/// let backend = Reference::default();
/// let mut trainer = Trainer::new(&backend, &model, recipe, &data)?;
/// let end = trainer.run(None, |_, event| {
///     if let Event::Epoch(epoch) = event {
///         println!("epoch {}: loss {:.3}", epoch.epoch, epoch.train.loss);
///     }
///     Ok(ControlFlow::Continue(()))
/// })?;
/// assert_eq!(end, End::Finished);
/// assert_eq!(trainer.progress().history[39].train.accuracy, 1.0);
/// let trained = trainer.model()?;
/// assert_eq!(trained.temperature(), Some(1.0));
/// # Ok::<(), dyconv_core::Error>(())
/// ```
pub struct Trainer<'a, B: Train, D: Dataset + ?Sized> {
    data: &'a D,
    fingerprint: u64,
    recipe: Recipe,
    network: Network<'a, B>,
    stream: B::Stream,
    moments: Vec<B::Moments>,
    progress: Progress,
    /// The epoch that it is of, and the order of its samples.
    order: Option<(u64, Vec<usize>)>,
}

impl<B: Train, D: Dataset + ?Sized> std::fmt::Debug for Trainer<'_, B, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trainer")
            .field("network", &self.network)
            .field("recipe", &self.recipe)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

impl<'a, B: Train, D: Dataset + ?Sized> Trainer<'a, B, D> {
    /// Training from the start.
    ///
    /// # Errors
    /// Where the recipe is impossible for this network, the data set isn't of its shape or is empty, or the backend
    /// refuses a layer.
    pub fn new(backend: &'a B, model: &Model, recipe: Recipe, data: &'a D) -> Result<Self> {
        let progress = Progress::default();
        Self::start(backend, model, recipe, data, progress, |network, _, recipe| {
            network.moments(&recipe.optimizer)
        })
    }

    /// Training from where a checkpoint stands.
    ///
    /// # Errors
    /// As [`Trainer::new`], and where the data set isn't the one that the checkpoint was trained on.
    pub fn resume(backend: &'a B, checkpoint: Checkpoint, data: &'a D) -> Result<Self> {
        let Checkpoint { model, recipe, moments, progress, data: trained_on } = checkpoint;
        let trainer = Self::start(backend, &model, recipe, data, progress, |network, stream, recipe| {
            network.load_moments(stream, &recipe.optimizer, &moments)
        })?;
        if trainer.fingerprint != trained_on {
            let value = format!("another one (fingerprint {:016x})", trainer.fingerprint);
            return Err(Error::invalid("data set", value, format!("the checkpoint's ({trained_on:016x})")));
        }
        Ok(trainer)
    }

    fn start(
        backend: &'a B,
        model: &Model,
        recipe: Recipe,
        data: &'a D,
        progress: Progress,
        moments: impl FnOnce(&Network<'a, B>, &mut B::Stream, &Recipe) -> Result<Vec<B::Moments>>,
    ) -> Result<Self> {
        let graph = model.graph();
        recipe.check(graph)?;
        check_data(graph, data)?;
        if data.is_empty() {
            return Err(Error::invalid("data set", "empty", "at least one sample"));
        }
        let [channels, height, width] = data.shape();
        let input = Shape::new(recipe.batch.min(data.len()), channels, height, width)?;
        let network = Network::new(backend, model, &Prepare::default().trainable(true).input(input))?;
        network.check_steps(&recipe.steps(graph, recipe.rate.peak))?;
        let mut stream = backend.stream()?;
        let moments = moments(&network, &mut stream, &recipe)?;
        let fingerprint = data.fingerprint();
        let trainer = Self { data, fingerprint, recipe, network, stream, moments, progress, order: None };
        trainer.progress.check(trainer.position())?;
        Ok(trainer)
    }

    /// One step, on the next mini-batch; `None` where training is over. The step that ends an epoch adds it to the
    /// history.
    ///
    /// # Errors
    /// Where a layer or the device fails, or the loss isn't finite, in which case no parameter has moved.
    pub fn step(&mut self) -> Result<Option<StepRecord>> {
        let position = self.position();
        if self.is_finished() {
            return Ok(None);
        }
        let temperature = self.recipe.temperature.at(position);
        let rate = self.recipe.rate.at(position);
        self.network.set_temperature(Some(temperature))?;
        let tally = self.learn(position, rate)?;
        self.progress.step += 1;
        self.progress.tally.add(tally);
        let record = StepRecord {
            step: position.step,
            epoch: position.epoch(),
            rate,
            temperature,
            batch: tally.metrics(),
        };
        let now = self.position();
        if now.epoch() > position.epoch() {
            let train = std::mem::take(&mut self.progress.tally).metrics();
            let epoch = position.epoch();
            self.progress.history.push(EpochRecord { epoch, rate, temperature, train, held_out: None });
        }
        Ok(Some(record))
    }

    /// Forward, loss, backward and step on one mini-batch.
    fn learn(&mut self, position: Position, rate: f64) -> Result<Tally> {
        let indices = self.next_indices(position);
        let backend = self.network.backend();
        let (images, labels) = gather(self.data, &indices, self.network.graph().layout())?;
        let images = backend.upload(&mut self.stream, images.view())?;
        let (logits, recording) = self.network.forward_train(&mut self.stream, &images)?;
        let logits = backend.download(&mut self.stream, &logits)?;
        let (tally, gradient) = cross_entropy(logits.view(), &labels, self.recipe.label_smoothing)?;
        let gradient = backend.upload(&mut self.stream, gradient.view())?;
        let activity = self.recipe.activity(self.network.graph(), labels.len());
        let gradients = self.network.backward(&mut self.stream, recording, &gradient, &activity, false)?;
        let steps = self.recipe.steps(self.network.graph(), rate);
        self.network.step(&mut self.stream, &gradients, &mut self.moments, &steps)?;
        Ok(tally)
    }

    fn next_indices(&mut self, position: Position) -> Vec<usize> {
        let (epoch, len) = (position.epoch(), self.data.len());
        if self.order.as_ref().is_none_or(|(of, _)| *of != epoch) {
            self.order = Some((epoch, epoch_order(len, self.recipe.seed, epoch)));
        }
        let order = self.order.as_ref().map_or(&[][..], |(_, order)| order);
        let within = (position.step % position.steps_per_epoch) as usize;
        order.chunks(self.recipe.batch).nth(within).unwrap_or_default().to_vec()
    }

    /// Where the next step is.
    #[must_use]
    pub fn position(&self) -> Position {
        let steps_per_epoch = self.data.len().div_ceil(self.recipe.batch) as u64;
        Position { step: self.progress.step, steps_per_epoch, epochs: self.recipe.epochs }
    }

    /// Whether all epochs are over.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.position().epoch() >= self.recipe.epochs
    }

    /// Steps taken, and the history of finished epochs.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// How it is trained.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The network and the stream it runs on, for read-outs between steps.
    #[must_use]
    pub fn network(&mut self) -> (&Network<'a, B>, &mut B::Stream) {
        (&self.network, &mut self.stream)
    }

    /// The network as it is now, in host memory, with the temperature of its last step.
    ///
    /// # Errors
    /// Where a number has left f32, or the device fails.
    pub fn model(&mut self) -> Result<Model> {
        self.network.model(&mut self.stream)
    }

    /// Everything that training needs to go on from here with the same bits.
    ///
    /// # Errors
    /// Where a number has left f32, or the device fails.
    pub fn checkpoint(&mut self) -> Result<Checkpoint> {
        Ok(Checkpoint {
            model: self.network.model(&mut self.stream)?,
            recipe: self.recipe.clone(),
            moments: self.network.moment_values(&mut self.stream, &self.moments)?,
            progress: self.progress.clone(),
            data: self.fingerprint,
        })
    }
}

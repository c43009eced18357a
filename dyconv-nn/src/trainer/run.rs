//! Training to the end, or until somebody says stop.

use std::ops::ControlFlow;

use dyconv_core::{Result, Train};

use super::{EpochRecord, StepRecord, Trainer};
use crate::{Dataset, Run, evaluate};

/// What happened last in training.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A step was taken.
    Step(StepRecord),
    /// An epoch is over, its evaluation included.
    Epoch(EpochRecord),
}

/// Why [`Trainer::run`] came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All epochs are over.
    Finished,
    /// The callback said stop. Running again, or a checkpoint, goes on from here.
    Stopped,
}

impl<B: Train, D: Dataset + ?Sized> Trainer<'_, B, D> {
    /// Trains until all epochs are over or `on` breaks, which it may do after any step: what is due after it, as the
    /// evaluation on `held_out` when an epoch is over, is done first. `on` is handed the trainer, for checkpoints and
    /// read-outs; an error of its own ends the run, too.
    ///
    /// # Errors
    /// As [`Trainer::step`] and [`evaluate`]; and those of `on`.
    pub fn run(
        &mut self,
        held_out: Option<&dyn Dataset>,
        mut on: impl FnMut(&mut Self, &Event) -> Result<ControlFlow<()>>,
    ) -> Result<End> {
        while let Some(step) = self.step()? {
            let epoch_is_over = self.position().epoch() > step.epoch;
            let mut flow = ControlFlow::Continue(());
            if epoch_is_over {
                self.evaluate_epoch(held_out)?;
            }
            if on(self, &Event::Step(step))?.is_break() {
                flow = ControlFlow::Break(());
            }
            if let Some(&epoch) = self.progress.history.last()
                && epoch_is_over
                && on(self, &Event::Epoch(epoch))?.is_break()
            {
                flow = ControlFlow::Break(());
            }
            if flow.is_break() && !self.is_finished() {
                return Ok(End::Stopped);
            }
        }
        Ok(End::Finished)
    }

    fn evaluate_epoch(&mut self, held_out: Option<&dyn Dataset>) -> Result<()> {
        let Some(data) = held_out else { return Ok(()) };
        let (batch, smoothing) = (self.recipe.batch, self.recipe.label_smoothing);
        let metrics = evaluate(&self.network, &mut self.stream, data, batch, smoothing, &Run::default())?;
        if let Some(epoch) = self.progress.history.last_mut() {
            epoch.held_out = Some(metrics);
        }
        Ok(())
    }
}

//! One training from start or checkpoint to its end, or to where somebody interrupts it.

use std::ops::ControlFlow;
use std::path::Path;

use dyconv_core::{AnyBackend, Result};
use dyconv_nn::{End, EpochRecord, Event, Images, Metrics, Trainer};

use crate::digits::Digits;
use crate::interrupt::Interrupt;
use crate::progress::Progress;

/// A training and those who watch it.
#[derive(Debug)]
pub struct Session<'a> {
    /// The images.
    pub digits: &'a Digits,
    /// Who may end it early.
    pub interrupt: &'a Interrupt,
    /// A step of the training is one of this bar.
    pub progress: &'a Progress,
    /// Where it saves itself.
    pub checkpoint: Option<&'a Path>,
    /// Whether every epoch is printed, and not only shown beside the bar.
    pub aloud: bool,
}

impl Session<'_> {
    /// Trains. After every epoch, and when interrupted, the checkpoint is written.
    ///
    /// # Errors
    /// Where a layer, the device or the loss fails, or the checkpoint can't be written.
    pub fn run(&self, trainer: &mut Trainer<'_, AnyBackend, Images>) -> Result<End> {
        let epochs = trainer.recipe().epochs;
        trainer.run(Some(&self.digits.held_out), |trainer, event| {
            match event {
                Event::Step(_) => self.progress.step(),
                Event::Epoch(epoch) => self.tell(&line(epoch, epochs))?,
                _ => {}
            }
            let interrupted = self.interrupt.requested();
            if let Some(path) = self.checkpoint
                && (interrupted || matches!(event, Event::Epoch(_)))
            {
                trainer.checkpoint()?.save(path)?;
            }
            Ok(if interrupted { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })
    }

    fn tell(&self, line: &str) -> Result<()> {
        match self.aloud {
            true => self.progress.print(line),
            false => {
                self.progress.say(line);
                Ok(())
            }
        }
    }
}

/// An epoch in a line.
fn line(record: &EpochRecord, epochs: u64) -> String {
    let part = |name: &str, metrics: &Metrics| {
        format!("{name} loss {:.3}, {:.2} %", metrics.loss, 100.0 * metrics.accuracy)
    };
    let held_out = record.held_out.map_or_else(String::new, |metrics| part("; held out", &metrics));
    let width = epochs.to_string().len();
    format!(
        "epoch {:>width$}/{epochs}  T {:>4.1}  {}{held_out}",
        record.epoch + 1,
        record.temperature,
        part("training", &record.train)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_an_epoch_came_to() {
        let metrics = |loss, accuracy| Metrics { loss, accuracy };
        let held_out = Some(metrics(0.25, 0.9316));
        let train = metrics(0.1234, 0.5);
        let record = EpochRecord { epoch: 2, rate: 0.1, temperature: 24.2, train, held_out };
        assert_eq!(
            line(&record, 30),
            "epoch  3/30  T 24.2  training loss 0.123, 50.00 %; held out loss 0.250, 93.16 %"
        );
        let alone = EpochRecord { held_out: None, ..record };
        assert_eq!(line(&alone, 3), "epoch 3/3  T 24.2  training loss 0.123, 50.00 %");
    }
}

//! Progress of long work, on standard error and only where someone watches.

use std::borrow::Cow;

use dyconv_core::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// A bar that counts steps and says what is being done.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar of this many steps. Nothing is shown where standard error isn't a terminal.
    #[must_use]
    pub fn new(title: impl Into<Cow<'static, str>>, steps: usize) -> Self {
        let bar = ProgressBar::new(steps as u64).with_prefix(title);
        let style = ProgressStyle::with_template("{prefix} [{bar:24}] {pos}/{len} {elapsed} {wide_msg}");
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("=> "));
        }
        Self(bar)
    }

    /// Starts where this many steps are done already.
    #[must_use]
    pub fn resumed(self, steps: u64) -> Self {
        self.0.set_position(steps);
        self
    }

    /// Says what is being done.
    pub fn say(&self, what: &str) {
        self.0.set_message(what.to_string());
    }

    /// Prints a line on standard output, out of the bar's way.
    ///
    /// # Errors
    /// Where standard output can't be written to.
    pub fn print(&self, text: &str) -> Result<()> {
        self.0.suspend(|| crate::output::print(text))
    }

    /// One step is done.
    pub fn step(&self) {
        self.0.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

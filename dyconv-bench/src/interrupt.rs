//! Ctrl-C as a wish that long work looks at, so that it can save what it has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dyconv_core::{Error, Result};

/// The exit code after Ctrl-C, as shells have it: 128 + SIGINT.
pub const EXIT_CODE: u8 = 130;

/// Whether somebody wants the work to end.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens to Ctrl-C, and on Unix to SIGTERM and SIGHUP. The second time the program ends at once.
    ///
    /// # Errors
    /// Where the system refuses, or the program listens already.
    pub fn listen() -> Result<Self> {
        let interrupt = Self::default();
        let heard = interrupt.0.clone();
        let handler = move || {
            if heard.swap(true, Ordering::SeqCst) {
                std::process::exit(EXIT_CODE.into());
            }
        };
        let set = ctrlc::set_handler(handler);
        set.map(|()| interrupt)
            .map_err(|error| Error::Device { what: "listening to Ctrl-C".into(), reason: error.to_string() })
    }

    /// Whether it was pressed.
    #[must_use]
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

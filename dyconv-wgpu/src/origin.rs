//! Which recording wrote something, and who may read it.

use std::sync::Arc;

use dyconv_core::{Error, Result};

use crate::context::Context;
use crate::stream::WgpuStream;
use crate::ticket::{Ticket, unique};

/// The device and the recording that something was last written by.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    context: u64,
    made: Arc<Ticket>,
}

impl Origin {
    /// What the stream's next commands write.
    pub(crate) fn new(stream: &WgpuStream) -> Self {
        Self { context: stream.context().id, made: Arc::clone(stream.ticket()) }
    }

    /// What the host wrote: no command has to run before it is there.
    pub(crate) fn host(context: &Context) -> Self {
        let made = Ticket::new(unique());
        made.submit();
        Self { context: context.id, made }
    }

    /// Whether commands recorded on `stream` may read it. `kind` says what it is: `a tensor`.
    pub(crate) fn check(&self, name: &str, kind: &str, stream: &WgpuStream) -> Result<()> {
        if self.context != stream.context().id {
            let value = format!("{kind} of another device");
            return Err(Error::invalid(name, value, "one of this backend's device"));
        }
        if self.made.is_abandoned() {
            let value = format!("{kind} whose stream failed or was dropped before it finished");
            return Err(Error::invalid(name, value, "one whose stream finished"));
        }
        if !self.made.precedes(stream.id()) {
            let value = format!("{kind} of another stream that hasn't finished");
            return Err(Error::invalid(name, value, "one of this stream, or of a stream that was finished"));
        }
        Ok(())
    }
}

//! How a backend is asked for.

use std::sync::Arc;

use dyconv_core::{Accuracy, Info, Result};
use rayon::ThreadPool;

use crate::plan::Kernel;
use crate::threads::Threads;
use crate::{Isa, SimdBackend, env};

/// Multiply-adds below which a run stays on the caller's thread: some tens of microseconds of work, which waking
/// another thread would not shorten.
const SERIAL_BELOW: u64 = 2_000_000;

/// Chooses instruction set and threads of a [`SimdBackend`]; what is left open the environment decides
/// (`DYCONV_ISA`, `DYCONV_THREADS`), or else the machine: its best instructions, and rayon's current pool.
///
/// ```
/// use dyconv_core::Backend;
/// use dyconv_simd::{Isa, SimdBackend};
///
/// let backend = SimdBackend::builder().isa(Isa::Portable).threads(2).build()?;
/// assert_eq!((backend.info().id.as_str(), backend.info().threads), ("simd-portable", 2));
/// # Ok::<(), dyconv_core::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    isa: Option<Isa>,
    threads: Option<Asked>,
    serial_below: u64,
    forced: Option<Kernel>,
}

#[derive(Clone, Debug)]
enum Asked {
    Count(usize),
    Pool(Arc<ThreadPool>),
}

impl Default for Builder {
    fn default() -> Self {
        Self { isa: None, threads: None, serial_below: SERIAL_BELOW, forced: None }
    }
}

impl Builder {
    /// Computes with these instructions.
    pub fn isa(mut self, isa: Isa) -> Self {
        self.isa = Some(isa);
        self
    }

    /// Computes with this many threads of the backend's own; 1 is the caller's thread alone.
    pub fn threads(mut self, count: usize) -> Self {
        self.threads = Some(Asked::Count(count));
        self
    }

    /// Computes on the caller's threads.
    pub fn pool(mut self, pool: Arc<ThreadPool>) -> Self {
        self.threads = Some(Asked::Pool(pool));
        self
    }

    /// Keeps runs of fewer multiply-adds on the caller's thread. Results don't depend on it.
    pub fn serial_below(mut self, multiply_adds: u64) -> Self {
        self.serial_below = multiply_adds;
        self
    }

    /// Takes this kernel wherever it fits the layer: for tests, so that every plan is run on small shapes.
    #[doc(hidden)]
    pub fn force(mut self, kernel: Kernel) -> Self {
        self.forced = Some(kernel);
        self
    }

    /// The backend.
    ///
    /// # Errors
    /// [`dyconv_core::Error::Unavailable`] where the machine lacks the instructions; otherwise where a number of
    /// threads or an environment variable can't be used, or threads can't be started.
    pub fn build(self) -> Result<SimdBackend> {
        let isa = match self.isa {
            Some(isa) => isa,
            None => env::isa()?.unwrap_or_else(Isa::best),
        };
        let token = isa.require()?;
        let threads = match self.threads {
            Some(Asked::Count(count)) => Threads::new(count)?,
            Some(Asked::Pool(pool)) => Threads::Pool(pool),
            None => env::threads()?.map_or(Ok(Threads::Current), Threads::new)?,
        };
        let traits = token.traits();
        let info = Info::new(
            isa.id(),
            format!("CPU, {}", isa.instructions()),
            threads.count(),
            Accuracy::WinogradF4,
        )
        .limit("floats in a vector", traits.width as u64);
        Ok(SimdBackend { info, isa, token, threads, serial_below: self.serial_below, forced: self.forced })
    }
}

//! The engines, one file each.
//!
//! An engine says in how many *forms* a user could write the layer with it. Only `call` is timed; the input is in the
//! form's layout and in the engine's own tensor before any timing.

#[cfg(feature = "burn")]
mod burn;
#[cfg(feature = "candle")]
mod candle;
#[cfg(feature = "rten")]
mod rten;
#[cfg(feature = "tract")]
mod tract;

use crate::layer::{Layer, Layout, Mode};

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// One engine, kept to a number of threads.
pub trait Engine {
    fn name(&self) -> &'static str;
    fn version(&self) -> &'static str;
    fn forms<'a>(&'a self, layer: &'a Layer) -> Vec<Form<'a>>;

    /// Runs `work` on a thread of the engine's own, where it has any: a call from elsewhere would change threads first.
    fn enter(&self, work: &mut (dyn FnMut() + Send)) {
        work();
    }
}

/// One way to write the layer.
pub struct Form<'a> {
    pub variant: &'static str,
    pub mode: Mode,
    /// Of input and output.
    pub layout: Layout,
    pub build: Box<dyn FnOnce() -> Result<Box<dyn Ready>> + 'a>,
}

/// A form that was built.
pub trait Ready: Send {
    /// Computes the whole layer once.
    fn call(&mut self) -> Result<()>;
    /// What the last call computed, in the form's layout.
    fn output(&self) -> Result<Vec<f32>>;
}

/// A layer that `call` computes, as an output of which `numbers` are taken.
fn ready<T: Send + 'static>(
    call: impl FnMut() -> Result<T> + Send + 'static,
    numbers: fn(&T) -> Result<Vec<f32>>,
) -> Result<Box<dyn Ready>> {
    Ok(Box::new(Kept { output: None, call, numbers }))
}

struct Kept<T, C> {
    output: Option<T>,
    call: C,
    numbers: fn(&T) -> Result<Vec<f32>>,
}

impl<T: Send, C: FnMut() -> Result<T> + Send> Ready for Kept<T, C> {
    fn call(&mut self) -> Result<()> {
        self.output = None; // so that its memory can be used again
        self.output = Some((self.call)()?);
        Ok(())
    }

    fn output(&self) -> Result<Vec<f32>> {
        self.output.as_ref().ok_or("nothing was computed yet".into()).and_then(self.numbers)
    }
}

type Open = fn(usize) -> Result<Box<dyn Engine>>;

/// Every engine by name; those that this program was built without can't be opened.
pub const ENGINES: [(&str, Open); 4] = [
    #[cfg(feature = "tract")]
    ("tract", |threads| Ok(Box::new(tract::Tract::new(threads)))),
    #[cfg(not(feature = "tract"))]
    ("tract", left_out),
    #[cfg(feature = "rten")]
    ("rten", |threads| Ok(Box::new(rten::Rten::new(threads)))),
    #[cfg(not(feature = "rten"))]
    ("rten", left_out),
    #[cfg(feature = "candle")]
    ("candle", |threads| Ok(Box::new(candle::Candle::new(threads)?))),
    #[cfg(not(feature = "candle"))]
    ("candle", left_out),
    #[cfg(feature = "burn")]
    ("burn", |_| Ok(Box::new(burn::Burn::new()))),
    #[cfg(not(feature = "burn"))]
    ("burn", left_out),
];

#[cfg(not(all(feature = "tract", feature = "rten", feature = "candle", feature = "burn")))]
fn left_out(_: usize) -> Result<Box<dyn Engine>> {
    Err("the program was built without this feature".into())
}

/// The version of a package that this program was built with.
#[cfg(any(feature = "tract", feature = "rten", feature = "candle", feature = "burn"))]
fn locked_version(package: &str) -> &'static str {
    let entry = format!("name = \"{package}\"\nversion = \"");
    let (_, rest) = include_str!("../../Cargo.lock").split_once(&entry).unwrap_or_default();
    rest.split('"').next().unwrap_or_default()
}

//! Checkpoints: everything that a resumed training needs.

use std::path::Path;

use dyconv_core::{MomentValues, ParamMap, Result};

use super::network;
use super::sealed::{self, Named, Read, Sealed};
use crate::{Model, Progress, Recipe};

const FORMAT: &str = "dyconv.checkpoint";

/// Training between two steps, in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Architecture, numbers, running statistics, and the temperature of the last step.
    pub model: Model,
    /// Every hyper-parameter, the seed of the order of samples among them.
    pub recipe: Recipe,
    /// The optimiser's state of each layer.
    pub moments: Vec<MomentValues>,
    /// Steps taken, the present epoch's sums, the history: with seed and recipe, the order's and the schedules' state.
    pub progress: Progress,
    /// The fingerprint of the data set.
    pub data: u64,
}

impl Checkpoint {
    /// The checkpoint file's bytes.
    ///
    /// # Errors
    /// Where the header can't be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut metadata = network::metadata(&self.model)?;
        metadata.insert("recipe", sealed::json("recipe", &self.recipe)?);
        metadata.insert("progress", sealed::json("progress", &self.progress)?);
        let steps: Vec<u64> = self.moments.iter().map(|moments| moments.steps).collect();
        metadata.insert("moment_steps", sealed::json("moment_steps", &steps)?);
        metadata.insert("data", format!("{:016x}", self.data));
        let mut tensors = network::tensors(&self.model);
        tensors.extend(self.moment_tensors());
        sealed::write(FORMAT, metadata, &tensors)
    }

    /// Reads a checkpoint file's bytes.
    ///
    /// # Errors
    /// [`Error::File`](dyconv_core::Error::File) with what is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        sealed::from_bytes(bytes, FORMAT, read)
    }

    /// Writes the checkpoint file under another name in the same folder, then renames it: whenever the program ends,
    /// the file is a whole checkpoint, this one or the one before.
    ///
    /// # Errors
    /// [`Error::File`](dyconv_core::Error::File) where it can't be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        sealed::save(path.as_ref(), &self.to_bytes()?)
    }

    /// Reads a checkpoint file.
    ///
    /// # Errors
    /// [`Error::File`](dyconv_core::Error::File) with the path and what is wrong.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        sealed::open(path.as_ref(), FORMAT, read)
    }

    fn moment_tensors(&self) -> impl Iterator<Item = Named<'_>> {
        let layers = self.model.graph().layers().iter().zip(self.model.layers()).zip(&self.moments);
        layers.flat_map(|((spec, layer), moments)| {
            let learned = layer.params().learned(layer.config());
            moments.slots.iter().enumerate().flat_map(move |(i, slot)| {
                let there = learned.clone().into_iter();
                there.filter_map(move |param| {
                    let data = slot.get(param.name)?;
                    Some((moment_name(spec, param.name, i), param.shape, data.as_slice()))
                })
            })
        })
    }
}

fn moment_name(layer: &crate::LayerSpec, parameter: &str, slot: usize) -> String {
    layer.tensor_name(&format!("{parameter}/moment.{slot}"))
}

fn read(file: &mut Sealed<'_>) -> Read<Checkpoint> {
    let model = network::read(file)?;
    let recipe: Recipe = file.json("recipe")?;
    let steps: Vec<u64> = file.json("moment_steps")?;
    if steps.len() != model.layers().len() {
        return Err(format!("moment_steps has {} layers; expected {}", steps.len(), model.layers().len()));
    }
    let mut moments = Vec::with_capacity(steps.len());
    for (i, steps) in steps.into_iter().enumerate() {
        let slots = (0..recipe.optimizer.slots()).map(|slot| read_slot(file, &model, i, slot));
        moments.push(MomentValues { steps, slots: slots.collect::<Read<_>>()? });
    }
    let data = file.text("data")?;
    let data = u64::from_str_radix(data, 16).map_err(|e| format!("metadata `data`: {e}"))?;
    Ok(Checkpoint { model, recipe, moments, progress: file.json("progress")?, data })
}

fn read_slot(file: &mut Sealed<'_>, model: &Model, layer: usize, slot: usize) -> Read<ParamMap> {
    let (spec, layer) = (&model.graph().layers()[layer], &model.layers()[layer]);
    let learned = layer.params().learned(layer.config()).into_iter();
    learned
        .map(|param| {
            let name = moment_name(spec, param.name, slot);
            let data = file.tensor(&name, &param.shape)?;
            Ok((param.name, data.ok_or_else(|| format!("tensor `{name}` is missing"))?))
        })
        .collect()
}

//! A layer's numbers into their packing: batch norm's scale folded in, and rounded where weights take 16 bits.

use bytemuck::Pod;
use dyconv_core::{BatchNormParams, Config, DyConv2d, Error, Precision, Result, round};

use super::Packed;
use super::order::{Interleaving, in_pairs, out_channels, rows, singly};
use crate::buffer::Buffer;

impl Packed {
    /// Writes a layer's numbers, batch norm folded in where that is asked for.
    ///
    /// # Errors
    /// Where a weight is beyond the precision's range.
    pub(super) fn fill(&mut self, layer: &DyConv2d, fold: bool) -> Result<()> {
        let params = layer.params();
        let norm = params.batch_norm.as_ref().filter(|_| fold);
        let scale = norm.map(|norm| scale(layer.config(), norm));
        let scale = scale.as_deref();
        match self.precision {
            Precision::Bf16 => self.fill_weights(&params.weight, scale, in_pairs, round::bf16)?,
            Precision::F16 => self.fill_weights(&params.weight, scale, singly, round::f16)?,
            _ => self.fill_weights(&params.weight, scale, singly, |w| Some(w as f32))?,
        }
        self.bias = params.bias.as_ref().map(|bias| self.packed_bias(bias, scale));
        if let (Some(norm), Some(scale)) = (norm, scale) {
            let shift = |o: usize| f64::from(norm.bias[o]) - f64::from(norm.running_mean[o]) * scale[o];
            self.shift = Some(self.packed_shift(shift));
        }
        Ok(())
    }

    fn fill_weights<T: Pod>(
        &mut self,
        weight: &[f32],
        scale: Option<&[f64]>,
        interleaving: Interleaving,
        round: impl Fn(f64) -> Option<T>,
    ) -> Result<()> {
        let Self { experts, width, reduction, precision, .. } = *self;
        let channels = out_channels(&self.blocks);
        let packed = self.weights.get_mut();
        for row in rows(&self.blocks, [experts, width], reduction, interleaving) {
            let which = row.plain / reduction;
            let (expert, channel) = (which / channels, which % channels);
            for (k, &w) in weight[row.plain..][..reduction].iter().enumerate() {
                let w = scaled(w, scale, channel);
                packed[row.packed + k * row.step] =
                    round(w).ok_or_else(|| beyond(precision, w, [expert, channel]))?;
            }
        }
        Ok(())
    }

    fn packed_bias(&self, bias: &[f32], scale: Option<&[f64]>) -> Buffer {
        let channels = out_channels(&self.blocks);
        let scaled = |(i, &b): (usize, &f32)| scaled(b, scale, i % channels) as f32;
        self.pack(1, &bias.iter().enumerate().map(scaled).collect::<Vec<_>>())
    }

    fn packed_shift(&self, shift: impl Fn(usize) -> f64) -> Buffer {
        let mut buffer = Buffer::zeros(self.lanes());
        for block in &self.blocks {
            for lane in 0..block.channels {
                buffer.as_mut_slice()[block.lanes_before + lane] = shift(block.first + lane) as f32;
            }
        }
        buffer
    }
}

/// gamma / sqrt(σ² + ε)
fn scale(config: &Config, norm: &BatchNormParams) -> Vec<f64> {
    let epsilon = config.batch_norm().map_or(0.0, |norm| norm.epsilon);
    let pairs = norm.weight.iter().zip(&norm.running_var);
    pairs.map(|(&gamma, &var)| f64::from(gamma) / (f64::from(var) + epsilon).sqrt()).collect()
}

fn scaled(w: f32, scale: Option<&[f64]>, channel: usize) -> f64 {
    f64::from(w) * scale.map_or(1.0, |scale| scale[channel])
}

fn beyond(precision: Precision, w: f64, [expert, channel]: [usize; 2]) -> Error {
    let (largest, name) = round::largest(precision);
    Error::invalid(
        format!("a weight of expert {expert}, output channel {channel}"),
        w,
        format!("at most {largest:e} in magnitude, the largest {name}, with batch norm's scale folded in"),
    )
}

//! Step 4 for the input.

use std::sync::Arc;

use dyconv_core::{AttentionSource, CheckedCall, Config, Handle, Layout, Result, Shape};

use super::BackwardRun;
use crate::buffer::Buffer;
use crate::forward::{Kept, Run};
use crate::isa::OnLanes;
use crate::lanes::Lanes;
use crate::tensor::{SimdTensor, Source};
use crate::train::mirror::{Line, Phase};

impl BackwardRun<'_> {
    /// Step 4 for the input: a convolution of g with W~ as the mirror has it, to which the pool's share and what the
    /// caller adds come on the way.
    pub(super) fn convolve<L: Lanes>(
        &mut self,
        lanes: L,
        g: &SimdTensor,
        dz: Option<&[f32]>,
    ) -> Result<SimdTensor> {
        let (shape, config) = (self.call().input, *self.config());
        let mut data = self.stream.recycled.take(shape.len());
        let dx = Arc::make_mut(&mut data).as_mut_slice();
        let phases = &self.training.mirror.phases;
        let add = self.add.map(SimdTensor::data);
        let geometry = self.call().geometry;
        match phases.as_slice() {
            [phase] if config.stride() == [1, 1] && phase.reads_all(&config, &geometry) => {
                self.phase(lanes, phase, g, (dz, add), dx)?;
            }
            phases => {
                let mut out = std::mem::take(&mut self.stream.phase);
                fill_channels(shape, config.layout(), dz, dx);
                for phase in phases {
                    let lines = phase.lines(&config, &geometry);
                    if phase.reads(&config, &geometry) {
                        let len = shape.batch() * shape.channels() * lines[0].count * lines[1].count;
                        self.phase(lanes, phase, g, (dz, None), out.scratch(len))?;
                        scatter(shape, &config, &lines, out.as_slice(), dx);
                    }
                }
                self.stream.phase = out;
                let add = add.unwrap_or_default();
                dx.iter_mut().zip(add).for_each(|(dx, add)| *dx += add);
            }
        }
        self.stream.recycled.keep(&data);
        Ok(SimdTensor::new(shape, config.layout(), data))
    }

    /// dx of one phase, close together.
    fn phase<L: Lanes>(
        &mut self,
        lanes: L,
        phase: &Phase,
        g: &SimdTensor,
        (offset, residual): (Option<&[f32]>, Option<&[f32]>),
        output: &mut [f32],
    ) -> Result<()> {
        let (config, tape) = (*self.config(), self.tape);
        let lines = phase.lines(&config, &self.call().geometry);
        let own = phase.config(&lines)?;
        let left_out = lines.each_ref().map(Line::left_out);
        let mut cropped = std::mem::take(&mut self.stream.cropped);
        let (shape, data) = crop(g, left_out, &mut cropped)?;
        let image = [shape.height(), shape.width()];
        let geometry = own.geometry(image[0], image[1])?;
        let call = CheckedCall {
            input: shape,
            output: own.output_shape(shape)?,
            geometry,
            attention: match config.attention() {
                Some(_) => AttentionSource::Given,
                None => AttentionSource::Static,
            },
            batch_statistics: false,
        };
        let run = Run {
            layer: &phase.layer,
            plan: phase.layer.plan_as(&own, image)?,
            call,
            threads: self.threads,
            stream: &mut *self.stream,
            input: Source { data, sums: None },
            given: config.attention().map(|_| &tape.pi[..]),
            residual,
            output,
            sums: None,
            offset,
            kept: Kept::default(),
        };
        run.run(lanes);
        self.stream.cropped = cropped;
        Ok(())
    }
}

/// g without the rows and columns at its ends that nothing reads.
fn crop<'a>(
    g: &'a SimdTensor,
    [[top, bottom], [left, right]]: [[usize; 2]; 2],
    cropped: &'a mut Buffer,
) -> Result<(Shape, &'a [f32])> {
    let from = g.shape();
    if [top, bottom, left, right] == [0; 4] {
        return Ok((from, g.data()));
    }
    let (height, width) = (from.height() - top - bottom, from.width() - left - right);
    let shape = Shape::new(from.batch(), from.channels(), height, width)?;
    let depth = if g.layout() == Layout::Nchw { 1 } else { from.channels() };
    let out = cropped.scratch(shape.len());
    let images =
        g.data().chunks_exact(from.pixels() * depth).zip(out.chunks_exact_mut(shape.pixels() * depth));
    for (image, out) in images {
        let rows = image.chunks_exact(from.width() * depth).skip(top);
        for (row, out) in rows.zip(out.chunks_exact_mut(width * depth)) {
            out.copy_from_slice(&row[left * depth..][..width * depth]);
        }
    }
    Ok((shape, out))
}

/// Every pixel gets its channel's number, or 0.
fn fill_channels(shape: Shape, layout: Layout, numbers: Option<&[f32]>, out: &mut [f32]) {
    let Some(numbers) = numbers else { return out.fill(0.0) };
    let samples = out.chunks_exact_mut(shape.sample_len()).zip(numbers.chunks_exact(shape.channels()));
    for (sample, numbers) in samples {
        match layout {
            Layout::Nchw => {
                let planes = sample.chunks_exact_mut(shape.pixels()).zip(numbers);
                planes.for_each(|(plane, number)| plane.fill(*number));
            }
            Layout::Nhwc => {
                let rows = sample.chunks_exact_mut(shape.channels());
                rows.for_each(|row| row.copy_from_slice(numbers));
            }
        }
    }
}

/// Writes a phase's dx to its places.
fn scatter(shape: Shape, config: &Config, [rows, columns]: &[Line; 2], phase: &[f32], dx: &mut [f32]) {
    let depth = if config.layout() == Layout::Nchw { 1 } else { shape.channels() };
    let ([down, right], image) = (config.stride(), shape.pixels() * depth);
    let images = phase.chunks_exact(rows.count * columns.count * depth).zip(dx.chunks_exact_mut(image));
    for (phase, dx) in images {
        for (y, row) in phase.chunks_exact(columns.count * depth).enumerate() {
            let to = &mut dx[(rows.first + y * down) * shape.width() * depth..][..shape.width() * depth];
            for (x, pixel) in row.chunks_exact(depth).enumerate() {
                to[(columns.first + x * right) * depth..][..depth].copy_from_slice(pixel);
            }
        }
    }
}

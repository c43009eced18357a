//! Pool, backwards: a mean gives every pixel its share; of a window the first maximum takes all, of NaN the last.

use dyconv_core::{Handle, Layout, Pool, Shape};

use crate::tensor::SimdTensor;
use crate::threads::Threads;

/// Every pixel of one sample gets its channel's share.
pub(crate) fn mean_backward(shape: Shape, layout: Layout, gradient: &[f32], out: &mut [f32]) {
    let pixels = shape.pixels() as f32;
    match layout {
        Layout::Nchw => {
            let planes = out.chunks_exact_mut(shape.pixels()).zip(gradient);
            planes.for_each(|(plane, g)| plane.fill(g / pixels));
        }
        Layout::Nhwc => {
            for row in out.chunks_exact_mut(shape.channels()) {
                row.iter_mut().zip(gradient).for_each(|(out, g)| *out = g / pixels);
            }
        }
    }
}

/// The gradient of `x`, from that of its maxima, which are `[height, width]`; images are divided among threads.
pub(crate) fn max_backward(
    threads: &Threads,
    x: &SimdTensor,
    kind: &Pool,
    (gradient, [height, width]): (&[f32], [usize; 2]),
    out: &mut [f32],
) {
    let Pool::Max { window, stride, padding } = *kind else { return };
    let shape = x.shape();
    // Channels first, every plane is an image of one channel; channels last, a sample is one of many.
    let depth = if x.layout() == Layout::Nchw { 1 } else { shape.channels() };
    let image = shape.pixels() * depth;
    let covered = |o: usize, axis: usize, input: usize| {
        let first = o * stride[axis];
        first.saturating_sub(padding[axis])..(first + window[axis] - padding[axis]).min(input)
    };
    let images = x.data().chunks_exact(image).zip(gradient.chunks_exact(height * width * depth));
    threads.for_each(images.zip(out.chunks_exact_mut(image)), |((x, g), out)| {
        out.fill(0.0);
        for (i, g) in g.iter().enumerate() {
            let (c, column, row) = (i % depth, i / depth % width, i / depth / width);
            let mut best = (f32::NEG_INFINITY, None);
            for y in covered(row, 0, shape.height()) {
                for column in covered(column, 1, shape.width()) {
                    let at = (y * shape.width() + column) * depth + c;
                    if best.1.is_none() || x[at] > best.0 || x[at].is_nan() {
                        best = (x[at], Some(at));
                    }
                }
            }
            if let (_, Some(at)) = best {
                out[at] += g;
            }
        }
    });
}

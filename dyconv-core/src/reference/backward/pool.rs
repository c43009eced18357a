//! Pool, backwards: a mean gives every pixel its share, a maximum gives its own pixel everything.

use crate::reference::pool::{covered, output_shape};
use crate::reference::tensor::F64Tensor;
use crate::{Error, Handle, Layout, Pool, Result, TensorView};

/// The gradient of a pool's input `x` from that of its output, in the input's layout.
///
/// Of equal maxima the first of a window, row by row, takes all; of NaN the last, as in the forward. Windows that
/// overlap add up, in f64.
///
/// # Errors
/// Where the window doesn't fit, or the gradient isn't of the pool's output.
pub fn pool_backward(x: TensorView<'_>, kind: &Pool, gradient: TensorView<'_>) -> Result<crate::Tensor> {
    let output = output_shape(x.shape(), kind)?;
    if gradient.shape() != output {
        return Err(Error::invalid("gradient", gradient.shape(), output.to_string()));
    }
    if gradient.layout() != x.layout() && output.pixels() > 1 && output.channels() > 1 {
        return Err(Error::invalid("layout of gradient", gradient.layout(), x.layout().to_string()));
    }
    let mut dx = F64Tensor::zeros(x.shape(), x.layout());
    match *kind {
        Pool::GlobalMean => {
            let pooled = gradient.to_layout(Layout::Nchw);
            let pooled: Vec<f64> = pooled.data().iter().copied().map(f64::from).collect();
            mean_backward(&pooled, &mut dx);
        }
        Pool::Max { window, stride, padding } => {
            let strides = dx.strides();
            for [n, c, oy, ox] in indices(output) {
                let mut best = (f32::NEG_INFINITY, None);
                for row in covered(oy, x.shape().height(), window[0], stride[0], padding[0]) {
                    for column in covered(ox, x.shape().width(), window[1], stride[1], padding[1]) {
                        let value = x.at([n, c, row, column]);
                        if best.1.is_none() || value > best.0 || value.is_nan() {
                            best = (value, Some([n, c, row, column]));
                        }
                    }
                }
                if let (_, Some(index)) = best {
                    let i: usize = strides.iter().zip(index).map(|(stride, i)| stride * i).sum();
                    dx.data_mut()[i] += f64::from(gradient.at([n, c, oy, ox]));
                }
            }
        }
    }
    Ok(dx.to_f32())
}

fn indices(shape: crate::Shape) -> impl Iterator<Item = [usize; 4]> {
    let [batch, channels, height, width] = [shape.batch(), shape.channels(), shape.height(), shape.width()];
    (0..batch * channels * height * width).map(move |i| {
        let (n, rest) = (i / (channels * height * width), i % (channels * height * width));
        let (c, pixel) = (rest / (height * width), rest % (height * width));
        [n, c, pixel / width, pixel % width]
    })
}

/// Adds dz/(H·W) to every pixel; dz is `[N, C]`, row-major.
pub(super) fn mean_backward(pooled: &[f64], dx: &mut F64Tensor) {
    let (shape, strides) = (dx.shape(), dx.strides());
    for [n, c, row, column] in indices(shape) {
        let i: usize = strides.iter().zip([n, c, row, column]).map(|(stride, i)| stride * i).sum();
        dx.data_mut()[i] += pooled[n * shape.channels() + c] / shape.pixels() as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Shape, Tensor};

    fn row(values: &[f32]) -> Tensor {
        Tensor::new(Shape::new(1, 1, 1, values.len()).unwrap(), Layout::Nchw, values.to_vec()).unwrap()
    }

    fn max(x: &[f32], window: usize, stride: usize, padding: usize, g: &[f32]) -> Vec<f32> {
        let kind = Pool::Max { window: [1, window], stride: [1, stride], padding: [0, padding] };
        pool_backward(row(x).view(), &kind, row(g).view()).unwrap().into_data()
    }

    #[test]
    fn the_first_of_equal_maxima_takes_all_and_overlaps_add_up() {
        assert_eq!(max(&[1., 3., 3., 2.], 2, 1, 0, &[1., 10., 100.]), [0., 11., 100., 0.]);
        assert_eq!(max(&[5., 5., 5.], 3, 1, 0, &[7.]), [7., 0., 0.]);
        assert_eq!(max(&[-1., -2., -3.], 3, 2, 1, &[1., 10.]), [1., 10., 0.]);
        assert_eq!(max(&[1., f32::NAN, f32::NAN, 2.], 4, 1, 0, &[1.]), [0., 0., 1., 0.]);
        assert_eq!(max(&[f32::NEG_INFINITY; 2], 2, 1, 0, &[1.]), [1., 0.]);
    }

    #[test]
    fn a_mean_gives_every_pixel_its_share_in_both_layouts() {
        for layout in Layout::ALL {
            let x = Tensor::zeros(Shape::new(2, 2, 1, 2).unwrap(), layout);
            let g = Tensor::attention(2, 2, vec![1., 2., 3., 4.]).unwrap();
            let dx = pool_backward(x.view(), &Pool::GlobalMean, g.view()).unwrap().to_layout(Layout::Nchw);
            assert_eq!(dx.data(), [0.5, 0.5, 1., 1., 1.5, 1.5, 2., 2.]);
        }
    }

    #[test]
    fn a_gradient_of_something_else_is_refused() {
        let error =
            pool_backward(row(&[1., 2.]).view(), &Pool::GlobalMean, row(&[1., 2.]).view()).unwrap_err();
        assert_eq!(error.to_string(), "gradient is 1×1×1×2 (N×C×H×W); expected 1×1×1×1 (N×C×H×W)");
    }
}

//! Pool: the mean over each channel's pixels, and the windows that networks put between layers.

use super::F64Tensor;
use crate::{Error, Handle, Pool, Result, Shape, Tensor, TensorView};

/// Pools a host tensor over its pixels, in its own layout.
///
/// Padding of a maximum counts as −∞; a NaN in a window makes its maximum NaN.
///
/// # Errors
/// Where a window or stride is 0, the padding exceeds half the window, or the padded input is
/// smaller than the window.
pub fn pool(x: TensorView<'_>, kind: &Pool) -> Result<Tensor> {
    match *kind {
        Pool::GlobalMean => Ok(mean_tensor(&F64Tensor::from(x))?.to_f32()),
        Pool::Max { window, stride, padding } => max(x, window, stride, padding),
    }
}

/// z `[N, C]`: each channel's mean, from its attached sums where it has them.
pub(super) fn means(x: &F64Tensor) -> Vec<f64> {
    let pixels = x.shape().pixels() as f64;
    let computed;
    let sums = match x.sums() {
        Some(sums) => sums,
        None => {
            computed = sums(x);
            &computed
        }
    };
    sums.iter().map(|sum| sum / pixels).collect()
}

pub(super) fn mean_tensor(x: &F64Tensor) -> Result<F64Tensor> {
    let shape = Shape::new(x.shape().batch(), x.shape().channels(), 1, 1)?;
    F64Tensor::new(shape, x.layout(), means(x))
}

/// Channel sums `[N, C]`.
pub(super) fn sums(x: &F64Tensor) -> Vec<f64> {
    let shape = x.shape();
    let mut sums = Vec::with_capacity(shape.batch() * shape.channels());
    for n in 0..shape.batch() {
        for c in 0..shape.channels() {
            let mut sum = 0.0;
            for row in 0..shape.height() {
                for column in 0..shape.width() {
                    sum += x.at([n, c, row, column]);
                }
            }
            sums.push(sum);
        }
    }
    sums
}

fn max(x: TensorView<'_>, window: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Result<Tensor> {
    let input = [x.shape().height(), x.shape().width()];
    let shape = output_shape(x.shape(), &Pool::Max { window, stride, padding })?;
    Ok(Tensor::from_fn(shape, x.layout(), |[n, c, oy, ox]| {
        let mut best = f32::NEG_INFINITY;
        for row in covered(oy, input[0], window[0], stride[0], padding[0]) {
            for column in covered(ox, input[1], window[1], stride[1], padding[1]) {
                let value = x.at([n, c, row, column]);
                if value > best || value.is_nan() {
                    best = value;
                }
            }
        }
        best
    }))
}

/// The shape that a pool makes of another.
pub(crate) fn output_shape(x: Shape, kind: &Pool) -> Result<Shape> {
    let [rows, columns] = match *kind {
        Pool::GlobalMean => [1, 1],
        Pool::Max { window, stride, padding } => [
            windows(0, x.height(), window[0], stride[0], padding[0])?,
            windows(1, x.width(), window[1], stride[1], padding[1])?,
        ],
    };
    Shape::new(x.batch(), x.channels(), rows, columns)
}

/// The input positions that window `o` covers.
pub(super) fn covered(
    o: usize,
    input: usize,
    window: usize,
    stride: usize,
    padding: usize,
) -> std::ops::Range<usize> {
    let first = o * stride;
    first.saturating_sub(padding)..(first + window - padding).min(input)
}

/// How many windows fit along one axis.
fn windows(axis: usize, input: usize, window: usize, stride: usize, padding: usize) -> Result<usize> {
    for (name, extent) in [("window", window), ("stride", stride)] {
        if extent == 0 {
            return Err(Error::invalid(format!("pool {name}[{axis}]"), extent, "at least 1"));
        }
    }
    if padding > window / 2 {
        let expected = format!("at most half the window, {}", window / 2);
        return Err(Error::invalid(format!("pool padding[{axis}]"), padding, expected));
    }
    let Some(padded) = padding.checked_mul(2).and_then(|both| both.checked_add(input)) else {
        let expected = "a window whose padded input fits the address space";
        return Err(Error::invalid(format!("pool window[{axis}]"), window, expected));
    };
    if padded < window {
        let expected = format!("at most the padded input, {padded}");
        return Err(Error::invalid(format!("pool window[{axis}]"), window, expected));
    }
    Ok((padded - window) / stride + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Layout;

    fn row(values: &[f32]) -> Tensor {
        Tensor::new(Shape::new(1, 1, 1, values.len()).unwrap(), Layout::Nchw, values.to_vec()).unwrap()
    }

    fn max_of(values: &[f32], window: usize, stride: usize, padding: usize) -> Vec<f32> {
        let kind = Pool::Max { window: [1, window], stride: [1, stride], padding: [0, padding] };
        pool(row(values).view(), &kind).unwrap().into_data()
    }

    #[test]
    fn mean_is_per_sample_and_channel_in_both_layouts() {
        let shape = Shape::new(2, 2, 1, 2).unwrap();
        for layout in Layout::ALL {
            let x = Tensor::from_fn(shape, layout, |[n, c, _, x]| (100 * n + 10 * c + x) as f32);
            let mean = pool(x.view(), &Pool::GlobalMean).unwrap();
            assert_eq!(mean.data(), [0.5, 10.5, 100.5, 110.5]);
            assert_eq!(mean.layout(), layout);
        }
    }

    #[test]
    fn attached_sums_are_used() {
        let x = F64Tensor::zeros(Shape::new(1, 1, 2, 2).unwrap(), Layout::Nchw);
        assert_eq!(means(&x.with_sums(vec![8.0]).unwrap()), [2.0]);
    }

    #[test]
    fn padding_is_minus_infinity() {
        assert_eq!(max_of(&[-3.0, -1.0, -2.0, -5.0], 3, 2, 1), [-1.0, -1.0]);
        assert_eq!(max_of(&[-3.0, -1.0, -2.0, -5.0], 2, 2, 0), [-1.0, -2.0]);
        assert_eq!(max_of(&[-3.0], 2, 1, 1), [-3.0, -3.0]);
    }

    #[test]
    fn nan_stays_in_its_windows() {
        let pooled = max_of(&[f32::NAN, 1.0, 2.0, 3.0], 2, 2, 0);
        assert!(pooled[0].is_nan());
        assert_eq!(pooled[1], 3.0);
    }

    #[test]
    fn impossible_windows_are_refused_by_name() {
        let refused = |window, stride, padding| {
            let kind = Pool::Max { window: [1, window], stride: [1, stride], padding: [0, padding] };
            pool(row(&[1.0, 2.0]).view(), &kind).unwrap_err().to_string()
        };
        assert_eq!(refused(0, 1, 0), "pool window[1] is 0; expected at least 1");
        assert_eq!(refused(1, 0, 0), "pool stride[1] is 0; expected at least 1");
        assert_eq!(refused(3, 1, 2), "pool padding[1] is 2; expected at most half the window, 1");
        assert_eq!(refused(3, 1, 0), "pool window[1] is 3; expected at most the padded input, 2");
        assert!(refused(usize::MAX, 1, usize::MAX / 2 + 1).contains("pool padding[1]"));
        assert!(refused(usize::MAX, 1, usize::MAX / 2).contains("fits the address space"));
    }

    #[test]
    fn an_empty_batch_pools_to_an_empty_batch() {
        let x = Tensor::zeros(Shape::new(0, 3, 4, 4).unwrap(), Layout::Nhwc);
        let kind = Pool::Max { window: [2, 2], stride: [2, 2], padding: [0, 0] };
        assert_eq!(pool(x.view(), &kind).unwrap().shape(), Shape::new(0, 3, 2, 2).unwrap());
        assert_eq!(pool(x.view(), &Pool::GlobalMean).unwrap().shape(), Shape::new(0, 3, 1, 1).unwrap());
    }
}

//! Inputs that share a Winograd tile with an output's own.

use crate::reference::F64Tensor;
use crate::{Geometry, Handle, Result, Shape};

/// The padded input, each element the largest within `reach` of its place, rows and columns. Padding has neighbours, too:
/// what a tap there adds up to is zero only but for roundings.
pub(super) fn largest_around(x: &F64Tensor, geometry: &Geometry, reach: usize) -> Result<F64Tensor> {
    let shape = x.shape();
    let padded = [0, 1].map(|axis| geometry.before[axis] + geometry.input[axis] + geometry.after[axis]);
    let around = Shape::new(shape.batch(), shape.channels(), padded[0], padded[1])?;
    let mut largest = F64Tensor::zeros(around, x.layout());
    let [per_sample, per_channel, per_row, per_column] = largest.strides();
    let near = |axis: usize, place: usize| {
        let first = (place.saturating_sub(reach)).saturating_sub(geometry.before[axis]);
        let end = (place + reach + 1).saturating_sub(geometry.before[axis]);
        first..end.min(geometry.input[axis])
    };
    for n in 0..shape.batch() {
        for c in 0..shape.channels() {
            for row in 0..padded[0] {
                for column in 0..padded[1] {
                    let rows = near(0, row);
                    let values = rows.flat_map(|y| near(1, column).map(move |x| (y, x)));
                    let most =
                        values.fold(0.0, |most: f64, (row, column)| most.max(x.at([n, c, row, column])));
                    let at = n * per_sample + c * per_channel + row * per_row + column * per_column;
                    largest.data_mut()[at] = most;
                }
            }
        }
    }
    Ok(largest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Layout, Options, Padding};

    #[test]
    fn an_element_reaches_its_neighbours_and_the_padding() {
        let options = Options::new(1, 1).kernel_size([3, 3]).padding(Padding::Same);
        let geometry = options.build().unwrap().geometry(1, 6).unwrap();
        let x =
            F64Tensor::new(Shape::new(1, 1, 1, 6).unwrap(), Layout::Nchw, vec![2.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        let around = largest_around(&x.unwrap(), &geometry, 2).unwrap();
        for row in around.data().chunks_exact(8) {
            assert_eq!(row, [2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0]);
        }
    }
}

//! Where the kernel stands, against an oracle that counts.

use dyconv_core::{Config, Geometry, Options, Padding, Shape};
use proptest::prelude::*;

/// One axis by counting: zeros before and after, and outputs; `None` where no window fits.
fn count(input: usize, kernel: usize, stride: usize, dilation: usize, padding: Pads) -> Option<[usize; 3]> {
    // Cells under the kernel, from the first tap to the last.
    let reach = (0..kernel).map(|tap| tap * dilation).max().unwrap() + 1;
    let windows =
        |padded: usize| (0..padded).filter(|start| start % stride == 0 && start + reach <= padded).count();
    let [before, after] = match padding {
        Pads::Explicit(before, after) => [before, after],
        Pads::Same => {
            // As many outputs as inputs that a stride meets, with the fewest zeros that make them fit.
            let outputs = (0..input).filter(|x| x % stride == 0).count();
            let total = (0..).find(|total| windows(input + total) >= outputs).unwrap();
            [total / 2, total.div_ceil(2)]
        }
    };
    let outputs = windows(input + before + after);
    (outputs > 0).then_some([before, after, outputs])
}

#[derive(Clone, Copy)]
enum Pads {
    Same,
    Explicit(usize, usize),
}

fn config(options: Options) -> Config {
    options.build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn extents_are_what_counting_gives(
        input in [1..14usize, 1..14usize],
        kernel in [1..6usize, 1..6usize],
        stride in [1..6usize, 1..6usize],
        dilation in [1..4usize, 1..4usize],
        pads in [0..7usize, 0..7usize, 0..7usize, 0..7usize],
        rule in 0..3,
    ) {
        let [top, bottom, left, right] = pads;
        let (padding, rows, columns) = match rule {
            0 => (Padding::Same, Pads::Same, Pads::Same),
            1 => (Padding::Valid, Pads::Explicit(0, 0), Pads::Explicit(0, 0)),
            _ => (
                Padding::Explicit { top, bottom, left, right },
                Pads::Explicit(top, bottom),
                Pads::Explicit(left, right),
            ),
        };
        let options = Options::new(1, 1).kernel_size(kernel).stride(stride).dilation(dilation).padding(padding);
        let found = config(options).geometry(input[0], input[1]);
        let rows = count(input[0], kernel[0], stride[0], dilation[0], rows);
        let columns = count(input[1], kernel[1], stride[1], dilation[1], columns);
        match (rows, columns) {
            (Some(rows), Some(columns)) => {
                let expected = Geometry {
                    input,
                    output: [rows[2], columns[2]],
                    before: [rows[0], columns[0]],
                    after: [rows[1], columns[1]],
                };
                prop_assert_eq!(found.unwrap(), expected);
            }
            _ => prop_assert!(found.is_err()),
        }
    }
}

#[test]
fn same_gives_the_ceiling_and_the_odd_zero_to_the_bottom_and_right() {
    let config = config(Options::new(1, 1).kernel_size([3, 3]).stride([2, 2]).padding(Padding::Same));
    let geometry = config.geometry(8, 7).unwrap();
    assert_eq!((geometry.output, geometry.before, geometry.after), ([4, 4], [0, 1], [1, 1]));
}

#[test]
fn an_input_smaller_than_the_kernel_is_refused_before_a_division_hides_it() {
    let config = config(Options::new(2, 1).kernel_size([3, 5]).stride([4, 4]).dilation([1, 2]));
    let refused = |height, width| config.geometry(height, width).unwrap_err().to_string();
    assert_eq!(
        refused(2, 9),
        "input height is 2; expected at least 1, and with padding 0 + 0 at least 3, the extent of the dilated kernel"
    );
    assert_eq!(
        refused(3, 8),
        "input width is 8; expected at least 1, and with padding 0 + 0 at least 9, the extent of the dilated kernel"
    );
    assert!(refused(0, 9).starts_with("input height is 0"));
    assert!(config.geometry(usize::MAX, 9).is_ok());
    let padded = config.options().padding(Padding::symmetric([1, 1])).build().unwrap();
    let message = padded.geometry(usize::MAX, 9).unwrap_err().to_string();
    assert!(message.contains("an extent whose padded size fits the address space"), "{message}");
}

#[test]
fn a_kernel_larger_than_the_unpadded_input_is_legal() {
    let options = Options::new(1, 1).kernel_size([5, 5]).padding(Padding::symmetric([4, 4]));
    assert_eq!(config(options).geometry(1, 1).unwrap().output, [5, 5]);
}

#[test]
fn an_output_has_the_batch_and_the_filters() {
    let config = config(Options::new(2, 7).kernel_size([2, 2]));
    let shape = |n, c| Shape::new(n, c, 4, 5).unwrap();
    assert_eq!(config.output_shape(shape(3, 2)).unwrap(), Shape::new(3, 7, 3, 4).unwrap());
    assert_eq!(config.output_shape(shape(0, 2)).unwrap(), Shape::new(0, 7, 3, 4).unwrap());
    let message = config.output_shape(shape(3, 1)).unwrap_err().to_string();
    assert_eq!(message, "input is 3×1×4×5 (N×C×H×W); expected 2 channels");
    let wide = Options::new(1, i32::MAX as usize).padding(Padding::symmetric([1 << 30, 1 << 30]));
    assert!(self::config(wide).output_shape(Shape::new(1, 1, 1, 1).unwrap()).is_err());
}

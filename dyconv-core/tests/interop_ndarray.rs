//! Tensors and ndarray arrays over the same memory.
#![cfg(feature = "ndarray")]

use dyconv_core::{Attention, DyConv2d, Initializers, Layout, Options, Params, Shape, Tensor, TensorView};
use ndarray::{Array2, Array4, s};

fn tensor(layout: Layout) -> Tensor {
    let shape = Shape::new(2, 3, 4, 5).unwrap();
    Tensor::from_fn(shape, layout, |[n, c, y, x]| (n * 1000 + c * 100 + y * 10 + x) as f32)
}

#[test]
fn tensors_are_arrays_in_logical_order_without_copying() {
    for layout in Layout::ALL {
        let mut tensor = tensor(layout);
        let array = tensor.view().to_ndarray();
        assert_eq!(array.dim(), (2, 3, 4, 5));
        assert_eq!(array[[1, 2, 3, 4]], 1234.0);
        for (index, &value) in array.indexed_iter() {
            let (n, c, y, x) = index;
            assert_eq!(value, tensor.view().at([n, c, y, x]));
        }
        assert_eq!(array.as_ptr(), tensor.data().as_ptr());
        let back = TensorView::from_ndarray(array).unwrap();
        assert_eq!((back, back.data().as_ptr()), (tensor.view(), tensor.data().as_ptr()));
        tensor.to_ndarray_mut()[[0, 1, 2, 3]] = -1.0;
        assert_eq!(tensor.view().at([0, 1, 2, 3]), -1.0);
        let pointer = tensor.data().as_ptr();
        let owned = tensor.clone().into_ndarray();
        assert_eq!(owned, tensor.view().to_ndarray());
        assert_eq!(tensor.into_ndarray().as_ptr(), pointer);
    }
}

#[test]
fn arrays_become_tensors_of_the_layout_their_strides_say() {
    let array = Array4::from_shape_fn((2, 4, 5, 3), |(n, y, x, c)| (n * 1000 + c * 100 + y * 10 + x) as f32);
    let view = TensorView::from_ndarray(array.view().permuted_axes([0, 3, 1, 2])).unwrap();
    assert_eq!(view, tensor(Layout::Nhwc).view());
    assert_eq!(view.data().as_ptr(), array.as_ptr());
    let transposed = array.view().permuted_axes([0, 3, 2, 1]);
    let message = TensorView::from_ndarray(transposed).unwrap_err().to_string();
    assert_eq!(
        message,
        "strides of array is [60, 1, 3, 15]; expected those of nchw or nhwc, without gaps; or copy it"
    );
    let every_second = array.slice(s![.., ..;2, .., ..]);
    assert!(TensorView::from_ndarray(every_second).is_err());
    let backwards = array.slice(s![.., ..;-1, .., ..]);
    assert!(TensorView::from_ndarray(backwards).is_err());
}

#[test]
fn any_strides_can_be_copied() {
    let array = Array4::from_shape_fn((2, 4, 5, 3), |(n, y, x, c)| (n * 1000 + c * 100 + y * 10 + x) as f32);
    let ours = array.view().permuted_axes([0, 3, 1, 2]);
    for layout in Layout::ALL {
        assert_eq!(Tensor::from_ndarray(ours, layout).unwrap(), tensor(layout));
        let part = ours.slice(s![1.., .., ..;-1, 1..;2]);
        let copied = Tensor::from_ndarray(part, layout).unwrap();
        assert_eq!((copied.shape(), copied.layout()), (Shape::new(1, 3, 4, 2).unwrap(), layout));
        assert_eq!(copied.view().at([0, 2, 0, 1]), 1233.0);
    }
    let none = Array4::<f32>::zeros((2, 0, 4, 5));
    let message = Tensor::from_ndarray(none.view(), Layout::Nchw).unwrap_err().to_string();
    assert_eq!(message, "channels is 0; expected at least 1");
    assert!(TensorView::from_ndarray(none.view()).is_err());
}

#[test]
fn an_empty_batch_is_an_empty_array() {
    for layout in Layout::ALL {
        let empty = Tensor::zeros(Shape::new(0, 3, 4, 5).unwrap(), layout);
        let array = empty.view().to_ndarray();
        assert_eq!(array.dim(), (0, 3, 4, 5));
        assert_eq!(TensorView::from_ndarray(array).unwrap().shape(), empty.shape());
        assert_eq!(empty.clone().into_ndarray().len(), 0);
    }
}

#[test]
fn attention_weights() {
    let array = Array2::from_shape_vec((2, 3), vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
    let view = TensorView::from_attention_ndarray(array.view()).unwrap();
    assert_eq!(view.shape(), Shape::new(2, 3, 1, 1).unwrap());
    assert_eq!(view.to_attention_ndarray().unwrap(), array);
    let message = TensorView::from_attention_ndarray(array.t()).unwrap_err().to_string();
    assert_eq!(message, "strides of array is [1, 3]; expected row-major, without gaps; or copy it");
    let copied = Tensor::from_attention_ndarray(array.t()).unwrap();
    assert_eq!(copied.data(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    let message = tensor(Layout::Nchw).view().to_attention_ndarray().unwrap_err().to_string();
    assert_eq!(message, "attention is 2×3×4×5 (N×C×H×W); expected height and width 1");
}

#[test]
fn experts_and_their_biases() {
    let options = Options::new(4, 6).groups(2).kernel_size([3, 2]).experts(3).attention(Attention::Given);
    for bias in [false, true] {
        let config = options.bias(bias).build().unwrap();
        let layer =
            DyConv2d::new(config, Params::init(&config, &Initializers::default(), 0).unwrap()).unwrap();
        let weight = layer.weight_ndarray();
        assert_eq!(weight.dim(), (3, 6, 2, 3, 2));
        assert_eq!(weight[[2, 5, 1, 2, 1]], *layer.params().weight.last().unwrap());
        assert_eq!(layer.bias_ndarray().map(|bias| bias.dim()), bias.then_some((3, 6)));
    }
}

//! The layer as ONNX graphs, for tract and RTen: one graph for every way to write it.

use crate::graph::Builder;
use crate::layer::{Layer, Layout, Mode};
use crate::onnx::Attribute;

/// One way to write the layer as a graph.
pub struct Way {
    pub variant: &'static str,
    pub mode: Mode,
    pub layout: Layout,
    make: fn(&Layer, Layout) -> Vec<u8>,
}

impl Way {
    /// The ONNX file.
    pub fn bytes(&self, layer: &Layer) -> Vec<u8> {
        (self.make)(layer, self.layout)
    }
}

/// Every graph that can express the layer.
pub fn ways(layer: &Layer) -> Vec<Way> {
    use Layout::{Nchw, Nhwc};
    use Mode::{Dynamic, Static};
    let w = &layer.workload;
    let way = |variant, mode, layout, make| Way { variant, mode, layout, make };
    let mut ways = vec![way("conv", Static, Nchw, fixed), way("conv_transposed", Static, Nhwc, fixed)];
    if layer.batch == 1 {
        ways.push(way("conv", Dynamic, Nchw, dynamic));
        ways.push(way("conv_transposed", Dynamic, Nhwc, dynamic));
    } else {
        ways.push(way("conv_groups", Dynamic, Nchw, dynamic_groups));
        ways.push(way("conv_split", Dynamic, Nchw, dynamic_split));
    }
    if w.groups == 1 && layer.batch == 1 {
        ways.push(way("mixed_outputs", Dynamic, Nchw, mixed_outputs));
    }
    if w.is_pointwise() {
        ways.push(way("matmul", Static, Nchw, fixed_pixels_last));
        ways.push(way("matmul", Static, Nhwc, fixed_channels_last));
        ways.push(way("matmul", Dynamic, Nchw, dynamic_pixels_last));
        ways.push(way("matmul", Dynamic, Nhwc, dynamic_channels_last));
    }
    ways
}

/// A convolution in NCHW; in NHWC between two transpositions, which an engine may drop.
fn between_transpositions(
    mut g: Builder,
    layout: Layout,
    conv: impl FnOnce(&mut Builder, &str) -> String,
) -> Vec<u8> {
    let output = match layout {
        Layout::Nchw => conv(&mut g, "x"),
        Layout::Nhwc => {
            let x = g.node("Transpose", &["x"], "x_nchw", vec![Attribute::integers("perm", &[0, 3, 1, 2])]);
            let y = conv(&mut g, &x);
            g.node("Transpose", &[&y], "y", vec![Attribute::integers("perm", &[0, 2, 3, 1])])
        }
    };
    g.model(&output, layout)
}

/// A constant kernel.
fn fixed(layer: &Layer, layout: Layout) -> Vec<u8> {
    between_transpositions(Builder::new(layer), layout, |g, x| {
        let w = &layer.workload;
        let kernel = g.constant("w", &w.kernel_shape(1), layer.static_weight());
        let bias = g.constant("b", &[w.out_channels], layer.static_bias());
        g.conv([x, &kernel, &bias], "conv", w.groups)
    })
}

/// A kernel that is computed in the graph; one sample.
fn dynamic(layer: &Layer, layout: Layout) -> Vec<u8> {
    between_transpositions(Builder::new(layer), layout, |g, x| {
        let w = &layer.workload;
        let pi = g.attention(layout);
        let [kernels, biases] = g.aggregate(&pi, &layer.weight);
        let kernel = g.reshape(&kernels, "kernel", &w.kernel_shape(1));
        let bias = g.reshape(&biases, "bias", &[w.out_channels]);
        g.conv([x, &kernel, &bias], "conv", w.groups)
    })
}

/// A batch as groups of one convolution.
fn dynamic_groups(layer: &Layer, layout: Layout) -> Vec<u8> {
    let (mut g, w, batch) = (Builder::new(layer), &layer.workload, layer.batch);
    let pi = g.attention(layout);
    let [kernels, biases] = g.aggregate(&pi, &layer.weight);
    let x = g.reshape("x", "wide", &[1, batch * w.in_channels, w.extent, w.extent]);
    let kernel = g.reshape(&kernels, "kernel", &w.kernel_shape(batch));
    let bias = g.reshape(&biases, "bias", &[batch * w.out_channels]);
    let conv = g.conv([&x, &kernel, &bias], "conv", w.groups * batch);
    let y = g.reshape(&conv, "y", &w.output_shape(batch));
    g.model(&y, layout)
}

/// A batch as one convolution per sample.
fn dynamic_split(layer: &Layer, layout: Layout) -> Vec<u8> {
    let (mut g, w) = (Builder::new(layer), &layer.workload);
    let pi = g.attention(layout);
    let [kernels, biases] = g.aggregate(&pi, &layer.weight);
    let [xs, kernels, biases] =
        [("x", "xs"), (&kernels, "ks"), (&biases, "bs")].map(|(value, name)| g.split(value, name));
    let mut outputs = Vec::new();
    for (n, ((x, kernel), bias)) in xs.iter().zip(kernels).zip(biases).enumerate() {
        let kernel = g.reshape(&kernel, &format!("kernel_{n}"), &w.kernel_shape(1));
        let bias = g.reshape(&bias, &format!("bias_{n}"), &[w.out_channels]);
        outputs.push(g.conv([x, &kernel, &bias], &format!("conv_{n}"), w.groups));
    }
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    let y = g.node("Concat", &outputs, "y", vec![Attribute::integer("axis", 0)]);
    g.model(&y, layout)
}

/// All experts as one static convolution, outputs mixed by π; one sample.
fn mixed_outputs(layer: &Layer, layout: Layout) -> Vec<u8> {
    let (mut g, w) = (Builder::new(layer), &layer.workload);
    let pi = g.attention(layout);
    let kernels = g.constant("w", &w.kernel_shape(w.experts), &layer.weight);
    let biases = g.constant("b", &[w.experts * w.out_channels], &layer.bias);
    let every = g.conv(["x", &kernels, &biases], "conv", 1);
    let rows = g.reshape(&every, "rows", &[w.experts, w.out_channels * w.out_extent() * w.out_extent()]);
    let mixed = g.node("MatMul", &[&pi, &rows], "mixed", Vec::new());
    let y = g.reshape(&mixed, "y", &w.output_shape(1));
    g.model(&y, layout)
}

/// A pointwise layer in NCHW: a constant matrix times pixels.
fn fixed_pixels_last(layer: &Layer, layout: Layout) -> Vec<u8> {
    let (mut g, w, batch) = (Builder::new(layer), &layer.workload, layer.batch);
    let pixels = g.reshape("x", "pixels", &[batch, w.in_channels, w.extent * w.extent]);
    let kernel = g.constant("w", &[w.out_channels, w.in_channels], layer.static_weight());
    let bias = g.constant("b", &[w.out_channels, 1], layer.static_bias());
    product(g, [&kernel, &pixels], &bias, layout)
}

/// A pointwise layer in NHWC: pixels times a constant matrix.
fn fixed_channels_last(layer: &Layer, layout: Layout) -> Vec<u8> {
    let (mut g, w, batch) = (Builder::new(layer), &layer.workload, layer.batch);
    let pixels = g.reshape("x", "pixels", &[batch, w.extent * w.extent, w.in_channels]);
    let kernel = g.constant("w", &[w.in_channels, w.out_channels], &layer.kernels(layout)[..w.kernel_len()]);
    let bias = g.constant("b", &[w.out_channels], layer.static_bias());
    product(g, [&pixels, &kernel], &bias, layout)
}

/// A pointwise layer in NCHW: every sample's own matrix times its pixels.
fn dynamic_pixels_last(layer: &Layer, layout: Layout) -> Vec<u8> {
    let (mut g, w, batch) = (Builder::new(layer), &layer.workload, layer.batch);
    let pi = g.attention(layout);
    let [kernels, biases] = g.aggregate(&pi, &layer.weight);
    let pixels = g.reshape("x", "pixels", &[batch, w.in_channels, w.extent * w.extent]);
    let kernel = g.reshape(&kernels, "kernel", &[batch, w.out_channels, w.in_channels]);
    let bias = g.reshape(&biases, "bias", &[batch, w.out_channels, 1]);
    product(g, [&kernel, &pixels], &bias, layout)
}

/// A pointwise layer in NHWC: every sample's pixels times its own matrix.
fn dynamic_channels_last(layer: &Layer, layout: Layout) -> Vec<u8> {
    let (mut g, w, batch) = (Builder::new(layer), &layer.workload, layer.batch);
    let pi = g.attention(layout);
    let [kernels, biases] = g.aggregate(&pi, &layer.kernels(layout));
    let pixels = g.reshape("x", "pixels", &[batch, w.extent * w.extent, w.in_channels]);
    let kernel = g.reshape(&kernels, "kernel", &[batch, w.in_channels, w.out_channels]);
    let bias = g.reshape(&biases, "bias", &[batch, 1, w.out_channels]);
    product(g, [&pixels, &kernel], &bias, layout)
}

/// A batch of matrix products plus a bias, as images.
fn product(mut g: Builder, factors: [&str; 2], bias: &str, layout: Layout) -> Vec<u8> {
    let layer = g.layer;
    let product = g.node("MatMul", &factors, "product", Vec::new());
    let sum = g.node("Add", &[&product, bias], "sum", Vec::new());
    let y = g.reshape(&sum, "y", &layout.shape(layer.workload.output_shape(layer.batch)));
    g.model(&y, layout)
}

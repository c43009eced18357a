"""The layer as ONNX graphs, for ONNX Runtime and OpenVINO: one graph for every way to write it."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 17, 8


class Graph:
    """Collects nodes and constants; every value is called by the name it was made with."""

    def __init__(self, layer):
        self.layer, self.workload = layer, layer.workload
        self.nodes, self.constants = [], []

    def constant(self, name, value):
        value = np.ascontiguousarray(value)
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def integers(self, name, *values):
        return self.constant(name, np.array(values, np.int64))

    def node(self, op, inputs, name, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def reshape(self, value, name, *shape):
        return self.node("Reshape", [value, self.integers(f"{name}_shape", *shape)], name)

    def conv(self, inputs, name, groups):
        w = self.workload
        return self.node(
            "Conv", inputs, name, group=groups, kernel_shape=[w.kernel] * 2, strides=[w.stride] * 2, pads=[w.padding] * 4
        )

    def attention(self, x, axes=None):
        """π [N, K] of an image in NCHW, or of one whose pixels lie along `axes`."""
        layer = self.layer
        if axes is None:
            pooled = self.node("Flatten", [self.node("GlobalAveragePool", [x], "pool")], "pooled")
        else:
            pooled = self.node("ReduceMean", [x], "pooled", axes=axes, keepdims=0)
        first = [pooled, self.constant("fc1_weight", layer.fc1_weight), self.constant("fc1_bias", layer.fc1_bias)]
        hidden = self.node("Relu", [self.node("Gemm", first, "fc1", transB=1)], "hidden")
        second = [hidden, self.constant("fc2_weight", layer.fc2_weight), self.constant("fc2_bias", layer.fc2_bias)]
        return self.node("Softmax", [self.node("Gemm", second, "logits", transB=1)], "pi", axis=1)

    def aggregate(self, pi, experts):
        """One kernel and one bias per sample, still flat."""
        rows = self.constant("experts", experts.reshape(self.workload.experts, -1))
        biases = self.constant("biases", self.layer.bias)
        return self.node("MatMul", [pi, rows], "kernels"), self.node("MatMul", [pi, biases], "mixed_biases")

    def model(self, output, layout):
        """The finished model's bytes."""
        w, batch = self.workload, self.layer.batch
        shapes = [w.input_shape(batch), w.output_shape(batch)]
        if layout == "nhwc":
            shapes = [(n, h, width, c) for n, c, h, width in shapes]
        x, y = (
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in zip(("x", output), shapes)
        )
        graph = helper.make_graph(self.nodes, "layer", [x], [y], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        return model.SerializeToString()


def static(layer, layout):
    """Conv with constant weights; in NHWC between two transpositions that an engine may drop."""
    g = Graph(layer)
    x = "x" if layout == "nchw" else g.node("Transpose", ["x"], "x_nchw", perm=[0, 3, 1, 2])
    y = g.conv([x, g.constant("w", layer.static_weight), g.constant("b", layer.static_bias)], "conv", layer.workload.groups)
    return g.model(y if layout == "nchw" else g.node("Transpose", [y], "y", perm=[0, 2, 3, 1]), layout)


def dynamic(layer, layout):
    """Conv whose weights are computed in the graph; one sample."""
    g, w = Graph(layer), layer.workload
    nhwc = layout == "nhwc"
    x = g.node("Transpose", ["x"], "x_nchw", perm=[0, 3, 1, 2]) if nhwc else "x"
    kernels, biases = g.aggregate(g.attention("x", axes=[1, 2] if nhwc else None), layer.weight)
    inputs = [x, g.reshape(kernels, "kernel", *w.weight_shape[1:]), g.reshape(biases, "bias", w.out_channels)]
    y = g.conv(inputs, "conv", w.groups)
    return g.model(g.node("Transpose", [y], "y", perm=[0, 2, 3, 1]) if nhwc else y, layout)


def dynamic_group(layer, layout="nchw"):
    """A batch as groups of one convolution."""
    g, w, batch = Graph(layer), layer.workload, layer.batch
    kernels, biases = g.aggregate(g.attention("x"), layer.weight)
    inputs = [
        g.reshape("x", "wide", 1, batch * w.in_channels, w.extent, w.extent),
        g.reshape(kernels, "kernel", batch * w.out_channels, *w.weight_shape[2:]),
        g.reshape(biases, "bias", batch * w.out_channels),
    ]
    return g.model(g.reshape(g.conv(inputs, "conv", w.groups * batch), "y", *w.output_shape(batch)), layout)


def dynamic_split(layer, layout="nchw"):
    """A batch as one convolution per sample."""
    g, w, batch = Graph(layer), layer.workload, layer.batch
    kernels, biases = g.aggregate(g.attention("x"), layer.weight)

    def split(value, name):
        names = [f"{name}_{n}" for n in range(batch)]
        g.nodes.append(helper.make_node("Split", [value], names, name=name, axis=0))
        return names

    outputs = []
    for n, (x, kernel, bias) in enumerate(zip(split("x", "xs"), split(kernels, "ks"), split(biases, "bs"))):
        kernel = g.reshape(kernel, f"kernel_{n}", *w.weight_shape[1:])
        outputs.append(g.conv([x, kernel, g.reshape(bias, f"bias_{n}", w.out_channels)], f"conv_{n}", w.groups))
    return g.model(g.node("Concat", outputs, "y", axis=0), layout)


def dynamic_outputs(layer, layout="nchw"):
    """All experts' convolutions as one static convolution, outputs mixed by π."""
    g, w = Graph(layer), layer.workload
    pi = g.attention("x")
    weight = g.constant("w", layer.weight.reshape(-1, *w.weight_shape[2:]))
    every = g.conv(["x", weight, g.constant("b", layer.bias.reshape(-1))], "conv", 1)
    rows = g.reshape(every, "rows", layer.batch, w.experts, w.out_channels * w.out_extent**2)
    mixed = g.node("MatMul", [g.reshape(pi, "row", layer.batch, 1, w.experts), rows], "mixed")
    return g.model(g.reshape(mixed, "y", *w.output_shape(layer.batch)), layout)


def static_matmul(layer, layout):
    """A pointwise convolution as a matrix product with constant weights."""
    g, w = Graph(layer), layer.workload
    matrix = layer.static_weight[:, :, 0, 0]
    if layout == "nhwc":
        product = g.node("MatMul", ["x", g.constant("w", matrix.T)], "product")
        return g.model(g.node("Add", [product, g.constant("b", layer.static_bias)], "y"), layout)
    x = g.reshape("x", "pixels", layer.batch, w.in_channels, w.extent**2)
    product = g.node("MatMul", [g.constant("w", matrix), x], "product")
    y = g.node("Add", [product, g.constant("b", layer.static_bias[:, None])], "sum")
    return g.model(g.reshape(y, "y", *w.output_shape(layer.batch)), layout)


def dynamic_matmul(layer, layout):
    """A pointwise convolution as a batched matrix product with weights computed in the graph."""
    g, w, batch = Graph(layer), layer.workload, layer.batch
    nhwc = layout == "nhwc"
    matrices = layer.weight[:, :, :, 0, 0]
    pi = g.attention("x", axes=[1, 2] if nhwc else None)
    kernels, biases = g.aggregate(pi, matrices.transpose(0, 2, 1) if nhwc else matrices)
    if nhwc:
        kernel = g.reshape(kernels, "kernel", batch, w.in_channels, w.out_channels)
        pixels, bias = g.reshape("x", "pixels", batch, w.extent**2, w.in_channels), g.reshape(biases, "bias", batch, 1, w.out_channels)
        y = g.node("Add", [g.node("MatMul", [pixels, kernel], "product"), bias], "sum")
        return g.model(g.reshape(y, "y", batch, w.out_extent, w.out_extent, w.out_channels), layout)
    kernel = g.reshape(kernels, "kernel", batch, w.out_channels, w.in_channels)
    pixels, bias = g.reshape("x", "pixels", batch, w.in_channels, w.extent**2), g.reshape(biases, "bias", batch, w.out_channels, 1)
    y = g.node("Add", [g.node("MatMul", [kernel, pixels], "product"), bias], "sum")
    return g.model(g.reshape(y, "y", *w.output_shape(batch)), layout)


def graphs(layer):
    """(variant, mode, layout, function that makes the model) of every graph that can express the layer."""
    w = layer.workload
    yield "conv", "static", "nchw", static
    yield "conv_transposed", "static", "nhwc", static
    if layer.batch == 1:
        yield "conv", "dynamic", "nchw", dynamic
        yield "conv_transposed", "dynamic", "nhwc", dynamic
    else:
        yield "conv_groups", "dynamic", "nchw", dynamic_group
        yield "conv_split", "dynamic", "nchw", dynamic_split
    if w.groups == 1 and layer.batch == 1:
        yield "mixed_outputs", "dynamic", "nchw", dynamic_outputs
    if w.is_pointwise:
        for layout in ("nchw", "nhwc"):
            yield "matmul", "static", layout, static_matmul
            yield "matmul", "dynamic", layout, dynamic_matmul

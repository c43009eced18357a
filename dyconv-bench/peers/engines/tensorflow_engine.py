"""TensorFlow with channels last, as functions and, with `xla`, compiled by XLA.

`map_fn` is the form of the Keras layer that dyconv began with: one convolution per sample.
"""

import numpy as np
import tensorflow as tf

from . import Form


class Engine:
    def __init__(self, threads, compiled):
        self.compiled, self.version = compiled, tf.__version__
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)

    def forms(self, layer):
        m, w = Model(layer), layer.workload
        functions = [("conv", "static", m.static), ("conv_map_fn", "dynamic", m.map_fn)]
        if layer.batch == 1:
            functions.append(("conv", "dynamic", m.single))
        elif w.groups == 1:
            functions.append(("conv_groups", "dynamic", m.as_groups))
        if w.groups == 1:
            functions.append(("matmul", "dynamic", m.matmul))
        if w.is_pointwise:
            functions.append(("matmul", "static", m.static_matmul))
        for variant, mode, function in functions:
            yield Form(variant, mode, "nhwc", lambda function=function: build(function, m.x, xla=False))
            if self.compiled:
                yield Form(f"{variant}_xla", mode, "nhwc", lambda function=function: build(function, m.x, xla=True))


def build(function, x, xla):
    graph = tf.function(function, jit_compile=xla)
    return lambda: graph(x), lambda y: y.numpy().transpose(0, 3, 1, 2)


class Model:
    """The layer's tensors, kernels [h, w, in, out], and the ways to compute with them."""

    def __init__(self, layer):
        self.workload, self.batch = layer.workload, layer.batch
        w = layer.workload
        order = (0, 3, 4, 1, 2) if w.is_depthwise else (0, 3, 4, 2, 1)
        self.x = tf.constant(np.ascontiguousarray(layer.x.transpose(0, 2, 3, 1)))
        self.experts = tf.constant(np.ascontiguousarray(layer.weight.transpose(order)))
        self.biases = tf.constant(layer.bias)
        self.fc1 = tf.constant(np.ascontiguousarray(layer.fc1_weight.T)), tf.constant(layer.fc1_bias)
        self.fc2 = tf.constant(np.ascontiguousarray(layer.fc2_weight.T)), tf.constant(layer.fc2_bias)
        self.padding = "SAME" if w.stride == 1 else "VALID"  # TensorFlow's SAME pads otherwise where strides are 2

    def padded(self, x):
        pad = [self.workload.padding] * 2
        return x if self.workload.stride == 1 else tf.pad(x, [[0, 0], pad, pad, [0, 0]])

    def conv(self, x, kernel):
        steps = [1, self.workload.stride, self.workload.stride, 1]
        if self.workload.is_depthwise:
            return tf.nn.depthwise_conv2d(x, kernel, steps, self.padding)
        return tf.nn.conv2d(x, kernel, steps, self.padding)

    def aggregate(self, x):
        hidden = tf.nn.relu(tf.reduce_mean(x, [1, 2]) @ self.fc1[0] + self.fc1[1])
        pi = tf.nn.softmax(hidden @ self.fc2[0] + self.fc2[1])
        flat = tf.reshape(self.experts, [self.workload.experts, -1])
        return tf.reshape(pi @ flat, [self.batch, *self.experts.shape[1:]]), pi @ self.biases

    def static(self, x):
        return self.conv(self.padded(x), self.experts[0]) + self.biases[0]

    def static_matmul(self, x):
        pixels = tf.reshape(x, [-1, self.workload.in_channels])
        y = pixels @ self.experts[0, 0, 0] + self.biases[0]
        return tf.reshape(y, [self.batch, self.workload.extent, self.workload.extent, -1])

    def single(self, x):
        kernels, biases = self.aggregate(x)
        return self.conv(self.padded(x), kernels[0]) + biases[0]

    def map_fn(self, x):
        kernels, biases = self.aggregate(x)
        samples = self.padded(x), kernels
        y = tf.map_fn(lambda s: self.conv(s[0][None], s[1])[0], samples, fn_output_signature=tf.float32)
        return y + biases[:, None, None, :]

    def as_groups(self, x):
        """Samples folded into channels, one convolution of as many groups."""
        w, (kernels, biases) = self.workload, self.aggregate(x)
        x = self.padded(x)
        wide = tf.reshape(tf.transpose(x, [1, 2, 0, 3]), [1, x.shape[1], x.shape[2], self.batch * w.in_channels])
        shape = [w.kernel, w.kernel, w.in_channels, self.batch * w.out_channels]
        y = self.conv(wide, tf.reshape(tf.transpose(kernels, [1, 2, 3, 0, 4]), shape))
        y = tf.reshape(y, [w.out_extent, w.out_extent, self.batch, w.out_channels])
        return tf.transpose(y, [2, 0, 1, 3]) + biases[:, None, None, :]

    def matmul(self, x):
        """Patches and a batched matrix product; a pointwise layer needs no patches."""
        w, (kernels, biases) = self.workload, self.aggregate(x)
        patches = x
        if not w.is_pointwise:
            size, steps = [1, w.kernel, w.kernel, 1], [1, w.stride, w.stride, 1]
            patches = tf.image.extract_patches(self.padded(x), size, steps, [1] * 4, self.padding)
        rows = tf.reshape(patches, [self.batch, w.out_extent**2, -1])
        y = rows @ tf.reshape(kernels, [self.batch, -1, w.out_channels]) + biases[:, None, :]
        return tf.reshape(y, [self.batch, w.out_extent, w.out_extent, w.out_channels])

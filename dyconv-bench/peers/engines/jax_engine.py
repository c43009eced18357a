"""JAX on its CPU backend, compiled by XLA, in both layouts; batches by vmap."""

import jax
import jax.numpy as jnp
import numpy as np

from . import Form

NAMES = {"nchw": ("NCHW", "OIHW", "NCHW"), "nhwc": ("NHWC", "HWIO", "NHWC")}


class Engine:
    def __init__(self, threads, compiled):
        self.version = jax.__version__
        if jax.default_backend() != "cpu":
            raise ImportError(f"jax computes on {jax.default_backend()}, not on the CPU: set JAX_PLATFORMS=cpu")

    def forms(self, layer):
        for layout in NAMES:
            m = Model(layer, layout)
            yield Form("conv_xla", "static", layout, m.build(m.static))
            yield Form("conv_vmap_xla" if layer.batch > 1 else "conv_xla", "dynamic", layout, m.build(m.dynamic))


class Model:
    def __init__(self, layer, layout):
        self.workload, self.batch, self.layout, self.names = layer.workload, layer.batch, layout, NAMES[layout]
        self.last = layout == "nhwc"
        x, experts = layer.x, layer.weight
        if self.last:
            x, experts = x.transpose(0, 2, 3, 1), experts.transpose(0, 3, 4, 2, 1)
        self.x, self.experts, self.biases = jnp.asarray(x), jnp.asarray(experts), jnp.asarray(layer.bias)
        self.head = [jnp.asarray(a) for a in (layer.fc1_weight.T, layer.fc1_bias, layer.fc2_weight.T, layer.fc2_bias)]

    def build(self, function):
        def built():
            graph = jax.jit(function)
            order = (0, 3, 1, 2) if self.last else (0, 1, 2, 3)
            return lambda: graph(self.x).block_until_ready(), lambda y: np.asarray(y).transpose(order)

        return built

    def conv(self, x, kernel, bias):
        w = self.workload
        y = jax.lax.conv_general_dilated(
            x, kernel, (w.stride,) * 2, [(w.padding,) * 2] * 2, dimension_numbers=self.names, feature_group_count=w.groups
        )
        return y + (bias if self.last else bias[:, None, None])

    def static(self, x):
        return self.conv(x, self.experts[0], self.biases[0])

    def dynamic(self, x):
        fc1_weight, fc1_bias, fc2_weight, fc2_bias = self.head
        hidden = jax.nn.relu(x.mean((1, 2) if self.last else (2, 3)) @ fc1_weight + fc1_bias)
        pi = jax.nn.softmax(hidden @ fc2_weight + fc2_bias, 1)
        kernels, biases = jnp.tensordot(pi, self.experts, 1), pi @ self.biases
        if self.batch == 1:
            return self.conv(x, kernels[0], biases[0])
        return jax.vmap(lambda one, kernel, bias: self.conv(one[None], kernel, bias)[0])(x, kernels, biases)

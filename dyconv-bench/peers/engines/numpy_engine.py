"""NumPy in float32, as the engine of the self-test: it needs no framework, and nobody would choose it."""

import os

import numpy as np

from layer import convolve

from . import Form


class Engine:
    def __init__(self, threads, compiled):
        self.version = np.__version__

    def forms(self, layer):
        w, x = layer.workload, layer.x

        def static():
            def call():
                return np.stack([convolve(w, image, layer.static_weight, layer.static_bias) for image in x])

            return call, np.float32

        def dynamic():
            experts = layer.weight.reshape(w.experts, -1)

            def call():
                hidden = np.maximum(x.mean(axis=(2, 3)) @ layer.fc1_weight.T + layer.fc1_bias, 0)
                powers = np.exp(hidden @ layer.fc2_weight.T + layer.fc2_bias)
                pi = powers / powers.sum(axis=1, keepdims=True)
                kernels, biases = (pi @ experts).reshape(layer.batch, *w.weight_shape[1:]), pi @ layer.bias
                return np.stack([convolve(w, *one) for one in zip(x, kernels, biases)])

            return call, np.float32

        def unable():
            os.write(1, b"frameworks print what they like\n")  # which must not get among the worker's lines
            raise NotImplementedError("this form only shows how a form is refused")

        def wrong():
            call, _ = static()
            return call, lambda y: np.float32(y * 1.01)

        yield Form("plain", "static", "nchw", static)
        yield Form("plain", "dynamic", "nchw", dynamic)
        yield Form("unable", "dynamic", "nhwc", unable)
        yield Form("wrong", "static", "nhwc", wrong)

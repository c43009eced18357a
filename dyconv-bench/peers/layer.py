"""One workload with data, and what the layer makes of it: the reference that every output is held against.

Inputs and parameters are random float32 numbers of ordinary size; the reference computes in float64.
"""

import functools

import numpy as np

SEED = 1912_03458
TOLERANCE = 1e-3  # of the largest value: what the file's reader accepts, Winograd in float32 included


class Layer:
    """Data of one workload and batch; all arrays are C-contiguous float32, images [N, C, H, W]."""

    def __init__(self, workload, batch, seed=SEED):
        self.workload, self.batch = workload, batch
        rng = np.random.default_rng(seed)

        def uniform(bound, *shape):
            return rng.uniform(-bound, bound, shape).astype(np.float32)

        w, hidden = workload, workload.hidden
        fan_in = w.group_channels * w.kernel * w.kernel
        self.x = uniform(1.0, *w.input_shape(batch))
        self.weight = uniform((3.0 / fan_in) ** 0.5, *w.weight_shape)
        self.bias = uniform(1.0, w.experts, w.out_channels)
        # Pooled noise is close to 0: only large biases give every sample's experts different weights. The second
        # layer is scaled so that no expert's weight vanishes: an expert left out must be seen in the output.
        self.fc1_weight = uniform(2.0, hidden, w.in_channels)
        self.fc1_bias = uniform(2.0, hidden)
        self.fc2_weight = uniform(2.0 / hidden**0.5, w.experts, hidden)
        self.fc2_bias = uniform(1.0, w.experts)

    @property
    def static_weight(self):
        """The static layer has the first expert's kernel and bias."""
        return self.weight[0]

    @property
    def static_bias(self):
        return self.bias[0]

    @functools.cached_property
    def attention(self):
        """π [N, K] in float64."""
        pooled = self.x.mean(axis=(2, 3), dtype=np.float64)
        hidden = np.maximum(pooled @ self.fc1_weight.T.astype(np.float64) + self.fc1_bias, 0.0)
        logits = hidden @ self.fc2_weight.T.astype(np.float64) + self.fc2_bias
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def expected(self, mode):
        """The output [N, Cout, OH, OW] in float64, `mode` being dynamic or static."""
        return self._expected[mode]

    @functools.cached_property
    def _expected(self):
        weight = self.weight.astype(np.float64)
        kernels = {
            "dynamic": lambda n: (np.tensordot(self.attention[n], weight, 1), self.attention[n] @ self.bias),
            "static": lambda n: (weight[0], self.bias[0]),
        }
        return {
            mode: np.stack([convolve(self.workload, self.x[n], *kernel(n)) for n in range(self.batch)])
            for mode, kernel in kernels.items()
        }

    def worst_error(self, got, mode):
        """max |got − expected| ÷ max |expected|; infinite where the shape is wrong or anything isn't finite."""
        want = self.expected(mode)
        got = np.asarray(got)
        if got.shape != want.shape or not np.isfinite(got).all():
            return float("inf")
        return float(np.abs(got - want).max() / np.abs(want).max())


def convolve(workload, x, weight, bias):
    """One image [C, H, W] with one kernel [O, C/G, k, k]: for every tap, a shifted image times the tap's matrix."""
    w, out, pad = workload, workload.out_extent, workload.padding
    groups, step = w.groups, w.stride
    x = np.pad(x.astype(np.float64), ((0, 0), (pad, pad), (pad, pad)))
    weight = np.asarray(weight, np.float64).reshape(groups, w.out_channels // groups, w.group_channels, w.kernel, w.kernel)
    y = np.zeros((groups, w.out_channels // groups, out * out))
    for i in range(w.kernel):
        for j in range(w.kernel):
            shifted = x[:, i : i + step * (out - 1) + 1 : step, j : j + step * (out - 1) + 1 : step]
            y += weight[:, :, :, i, j] @ shifted.reshape(groups, w.group_channels, out * out)
    return y.reshape(w.out_channels, out, out) + np.asarray(bias, np.float64)[:, None, None]

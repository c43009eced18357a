"""The layer in float64 numpy, twice, by two roads that share no arithmetic.

`forward` aggregates the experts, then convolves (windows and einsum); it computes the
expected results of a case where no framework does, and cross-checks one that does.
`naive_forward` convolves with every expert, then mixes the outputs, in plain Python
loops; it is slow, obvious and there to check `forward`.

Both return {"output": in the layer's layout, "pi": [N, K]} as float64.
"""

import math

import numpy as np

from case_file import output_extent, pads


def forward(config, tensors):
    """pool, attention, aggregate, convolve, normalize, activate."""
    t = {name: np.asarray(value, dtype=np.float64) for name, value in tensors.items()}
    x = t["input"]
    if config["layout"] == "nhwc":
        x = x.transpose(0, 3, 1, 2)
    pi = attention(config, t, x.mean(axis=(2, 3)))
    weight = np.einsum("nk,koihw->noihw", pi, t["weight"])
    y = _convolve(config, x, weight)
    if config["bias"]:
        y = y + (pi @ t["bias"])[:, :, None, None]
    norm = config["batch_norm"]
    if norm is not None:
        mean, variance = t["bn.running_mean"], t["bn.running_var"]
        if config["mode"] == "training":
            mean, variance = y.mean(axis=(0, 2, 3)), y.var(axis=(0, 2, 3))
        scale = t["bn.weight"] / np.sqrt(variance + norm["epsilon"])
        y = (y - mean[:, None, None]) * scale[:, None, None] + t["bn.bias"][:, None, None]
    y = activate(config["activation"], y)
    if config["layout"] == "nhwc":
        y = y.transpose(0, 2, 3, 1)
    return {"output": np.ascontiguousarray(y), "pi": pi}


def attention(config, t, pooled):
    """pi [N, K] from the pooled input [N, Cin]."""
    head = config["attention"]
    if head is None:
        return np.ones((len(pooled), 1))
    if head["kind"] == "given":
        return t["pi"]
    hidden = pooled
    if head["kind"] == "mlp":
        hidden = pooled @ t["attention.fc1.weight"].T + t.get("attention.fc1.bias", 0.0)
        hidden = np.maximum(hidden, 0.0)
    logits = hidden @ t["attention.fc2.weight"].T + t.get("attention.fc2.bias", 0.0)
    if head["squash"] == "sigmoid":
        return _sigmoid(logits)
    logits = logits / head["temperature"]
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _convolve(config, x, weight):
    batch, c_in, height, width = x.shape
    out_h, out_w = output_extent(config, height, width)
    (kh, kw), (sh, sw), (dh, dw) = config["kernel_size"], config["stride"], config["dilation"]
    x = np.pad(x, ((0, 0), (0, 0), pads(config, 0, height), pads(config, 1, width)))
    windows = np.lib.stride_tricks.sliding_window_view(x, ((kh - 1) * dh + 1, (kw - 1) * dw + 1), axis=(2, 3))
    windows = windows[:, :, ::sh, ::sw, ::dh, ::dw][:, :, :out_h, :out_w]
    groups, c_out = config["groups"], config["out_channels"]
    windows = windows.reshape(batch, groups, c_in // groups, out_h, out_w, kh, kw)
    weight = weight.reshape(batch, groups, c_out // groups, c_in // groups, kh, kw)
    y = np.einsum("ngihwab,ngoiab->ngohw", windows, weight, optimize=batch > 0)
    return y.reshape(batch, c_out, out_h, out_w)


def _sigmoid(v):
    small = np.exp(-np.abs(v))
    return np.where(v >= 0, 1.0, small) / (1.0 + small)


def activate(name, v):
    """One of the format's activations, elementwise in float64."""
    if name == "none":
        return v
    if name == "relu":
        return np.maximum(v, 0.0)
    if name == "relu6":
        return np.clip(v, 0.0, 6.0)
    if name == "leaky_relu":
        return np.where(v >= 0, v, 0.01 * v)
    if name == "sigmoid":
        return _sigmoid(v)
    if name == "tanh":
        return np.tanh(v)
    if name == "hard_sigmoid":
        return np.clip(v + 3.0, 0.0, 6.0) / 6.0
    if name == "hard_swish":
        return v * np.clip(v + 3.0, 0.0, 6.0) / 6.0
    if name == "silu":
        return v * _sigmoid(v)
    if name == "gelu":
        erf = np.array([math.erf(s) for s in (v / math.sqrt(2.0)).ravel()]).reshape(v.shape)
        return 0.5 * v * (1.0 + erf)
    if name == "elu":
        return np.where(v > 0, v, np.expm1(np.minimum(v, 0.0)))
    raise ValueError(f"unknown activation {name!r}")


# The second road -------------------------------------------------------------------------


def naive_forward(config, tensors):
    """The same layer by loops: every expert's own convolution, outputs mixed by pi."""
    t = {name: np.asarray(value, dtype=np.float64) for name, value in tensors.items()}
    x = t["input"]
    channels_last = config["layout"] == "nhwc"
    batch = x.shape[0]
    height, width = (x.shape[1], x.shape[2]) if channels_last else (x.shape[2], x.shape[3])
    c_in, c_out, experts = config["in_channels"], config["out_channels"], config["experts"]
    per_group_in, per_group_out = c_in // config["groups"], c_out // config["groups"]
    (kh, kw), (sh, sw), (dh, dw) = config["kernel_size"], config["stride"], config["dilation"]
    out_h, out_w = output_extent(config, height, width)
    top, left = pads(config, 0, height)[0], pads(config, 1, width)[0]

    def at(n, c, h, w):
        if not (0 <= h < height and 0 <= w < width):
            return 0.0
        return float(x[n, h, w, c] if channels_last else x[n, c, h, w])

    pi = np.zeros((batch, experts))
    y = np.zeros((batch, c_out, out_h, out_w))
    for n in range(batch):
        pooled = [
            math.fsum(at(n, c, h, w) for h in range(height) for w in range(width)) / (height * width)
            for c in range(c_in)
        ]
        pi[n] = _naive_attention(config, t, pooled, n)
        for o in range(c_out):
            first = o // per_group_out * per_group_in
            for i in range(out_h):
                for j in range(out_w):
                    for k in range(experts):
                        terms = [float(t["bias"][k, o])] if config["bias"] else []
                        for c in range(per_group_in):
                            for a in range(kh):
                                for b in range(kw):
                                    pixel = at(n, first + c, i * sh + a * dh - top, j * sw + b * dw - left)
                                    terms.append(pixel * float(t["weight"][k, o, c, a, b]))
                        y[n, o, i, j] += pi[n, k] * math.fsum(terms)
    for o in range(c_out):
        if config["batch_norm"] is not None:
            if config["mode"] == "training":
                values = y[:, o].ravel().tolist()
                mean = math.fsum(values) / len(values)
                variance = math.fsum((value - mean) ** 2 for value in values) / len(values)
            else:
                mean, variance = t["bn.running_mean"][o], t["bn.running_var"][o]
            root = math.sqrt(variance + config["batch_norm"]["epsilon"])
            y[:, o] = (y[:, o] - mean) / root * t["bn.weight"][o] + t["bn.bias"][o]
        for index in np.ndindex(batch, out_h, out_w):
            place = (index[0], o, index[1], index[2])
            y[place] = _naive_activation(config["activation"], float(y[place]))
    return {"output": np.moveaxis(y, 1, 3) if channels_last else y, "pi": pi}


def _naive_attention(config, t, pooled, n):
    head = config["attention"]
    if head is None:
        return [1.0]
    if head["kind"] == "given":
        return t["pi"][n]

    def dense(name, values):
        rows = t[f"attention.{name}.weight"].tolist()
        biases = t.get(f"attention.{name}.bias", np.zeros(len(rows))).tolist()
        return [math.fsum(w * v for w, v in zip(row, values)) + bias for row, bias in zip(rows, biases)]

    values = [max(v, 0.0) for v in dense("fc1", pooled)] if head["kind"] == "mlp" else pooled
    logits = dense("fc2", values)
    if head["squash"] == "sigmoid":
        return [_naive_activation("sigmoid", v) for v in logits]
    top = max(logits)
    powers = [math.exp((v - top) / head["temperature"]) for v in logits]
    return [power / math.fsum(powers) for power in powers]


def _naive_activation(name, v):
    sigmoid = 0.5 * (1.0 + math.tanh(0.5 * v))
    hard = 0.0 if v <= -3 else 1.0 if v >= 3 else v / 6 + 0.5
    return {
        "none": v,
        "relu": v if v > 0 else 0.0,
        "relu6": min(max(v, 0.0), 6.0),
        "leaky_relu": v if v > 0 else v / 100,
        "sigmoid": sigmoid,
        "tanh": math.tanh(v),
        "hard_sigmoid": hard,
        "hard_swish": v * hard,
        "silu": v * sigmoid,
        "gelu": v * (1.0 - 0.5 * math.erfc(v / math.sqrt(2.0))),
        "elu": v if v > 0 else math.exp(min(v, 0.0)) - 1.0,
    }[name]

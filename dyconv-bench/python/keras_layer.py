"""Case files from the Keras layer DyConv2D: `from_keras`, re-exported by `export_case.py`."""

import sys

import numpy as np

from case_file import CaseError, check_config
from state_layer import PROBES, finish, pair_of, recognise, single


def from_keras(layer, input, path, *, training=False, temperature=1.0):
    """Writes a case from a built Keras layer DyConv2D; returns (config, tensors).

    The layer has `filters, kernel_size, num_experts, strides, padding, data_format,
    dilation_rate, activation, use_bias`, a `kernel` of flattened HWIO experts (or
    [K,kh,kw,I,O]), a `bias` [K, filters], two Dense layers (the attention head: relu,
    then softmax) and at most one BatchNormalization. Expected values are those of a
    float64 copy made from its get_config; numpy's where it can't be copied or its backend
    computes parts in float32 all the same (Keras on PyTorch does), checked to 1e-4.
    """
    import keras

    layout = {"channels_last": "nhwc", "channels_first": "nchw"}[layer.data_format]
    axis = 3 if layout == "nhwc" else 1
    x = single("input", _keras_numpy(keras, input))
    c_in, kernel_size = x.shape[axis], pair_of("kernel_size", layer.kernel_size)
    values = {id(v): single(v.name, _keras_numpy(keras, v)) for v in layer.weights}

    def value(variable):
        return values[id(variable)].copy()

    experts, c_out = int(layer.num_experts), int(layer.filters)
    kernel = value(layer.kernel)
    if kernel.size != experts * c_out * c_in * int(np.prod(kernel_size)):
        raise CaseError(
            f"kernel {list(kernel.shape)} doesn't hold {experts} experts of [{kernel_size[0]},{kernel_size[1]},{c_in},{c_out}]"
        )
    tensors = {"input": x}
    kernel = kernel.reshape(experts, *kernel_size, c_in, c_out).transpose(0, 4, 3, 1, 2)
    tensors["weight"] = np.ascontiguousarray(kernel)
    if layer.use_bias:
        tensors["bias"] = value(layer.bias)
    # Keras keeps sub-layers in order of assignment; under its torch backend only there.
    parts = list(getattr(layer, "_layers", None) or vars(layer).values())
    dense = [part for part in parts if isinstance(part, keras.layers.Dense)]
    norms = [part for part in parts if isinstance(part, keras.layers.BatchNormalization)]
    if len(dense) != 2 or len(norms) > 1:
        raise CaseError(f"the layer holds {len(dense)} Dense and {len(norms)} BatchNormalization: 2 and at most 1 were expected")
    for name, part in zip(("fc1", "fc2"), dense):
        tensors[f"attention.{name}.weight"] = np.ascontiguousarray(value(part.kernel).T)
        if part.use_bias:
            tensors[f"attention.{name}.bias"] = value(part.bias)
    squeeze = _keras_activation(keras, dense[0].activation)
    if squeeze != "relu":
        raise CaseError(f"the attention's first Dense has activation {squeeze!r}: the format's mlp uses relu")
    squash = "sigmoid" if dense[1].activation is keras.activations.sigmoid else "softmax"
    head = {"kind": "mlp", "hidden": int(dense[0].units), "squash": squash}
    if squash == "softmax":
        head["temperature"] = float(temperature)
    batch_norm = None
    if norms:
        norm = norms[0]
        if norm.axis not in (axis, axis - 4):
            raise CaseError(f"batch norm's axis ({norm.axis}) contradicts data_format ({layer.data_format})")
        batch_norm = {"epsilon": float(norm.epsilon), "keep": float(norm.momentum)}
        tensors["bn.weight"] = value(norm.gamma) if norm.scale else np.ones(c_out, np.float32)
        tensors["bn.bias"] = value(norm.beta) if norm.center else np.zeros(c_out, np.float32)
        tensors["bn.running_mean"] = value(norm.moving_mean)
        tensors["bn.running_var"] = value(norm.moving_variance)
    config = check_config({
        "in_channels": c_in, "out_channels": c_out, "kernel_size": kernel_size,
        "stride": pair_of("strides", layer.strides), "dilation": pair_of("dilation_rate", layer.dilation_rate),
        "padding": layer.padding, "groups": 1, "experts": experts, "bias": bool(layer.use_bias),
        "layout": layout, "attention": head, "batch_norm": batch_norm,
        "activation": _keras_activation(keras, layer.activation),
        "mode": "training" if training else "inference",
    })
    output = _keras_output(keras, layer, x, training)
    return finish(path, config, tensors, {"output": output}, loose=1e-4)


def _keras_output(keras, layer, x, training):
    """The output of a float64 copy of the layer; where it can't be copied, the layer's own. Moves no state."""
    before, values = keras.config.floatx(), layer.get_weights()
    try:
        keras.config.set_floatx("float64")
        double = keras.ops.convert_to_tensor(x.astype(np.float64), dtype="float64")
        copy = type(layer).from_config({**layer.get_config(), "dtype": "float64"})
        copy(double)
        copy.set_weights([np.asarray(value).astype(np.float32) for value in values])
        return _keras_numpy(keras, copy(double, training=training))
    except Exception as error:  # a user's class may fail in any way; the layer itself still runs
        print(f"note: no float64 copy of the layer ({error}); using its own output", file=sys.stderr)
    finally:
        keras.config.set_floatx(before)
    output = _keras_numpy(keras, layer(x, training=training))
    layer.set_weights(values)  # a training call moved the statistics
    return output


def _keras_activation(keras, function):
    if function is None:
        return "none"
    return recognise(function, lambda: _keras_numpy(keras, function(keras.ops.convert_to_tensor(PROBES, dtype="float64"))))


def _keras_numpy(keras, value):
    return value if isinstance(value, np.ndarray) else np.asarray(keras.ops.convert_to_numpy(value))

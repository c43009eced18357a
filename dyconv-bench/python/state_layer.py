"""A layer from its state dict: the names of the public PyTorch ports, and what all exporters share.

`layer_from_state_dict` turns names and shapes into a configuration and parameters,
`finish` compares what a framework computed with numpy and writes the case.
"""

import sys

import numpy as np

from case_file import ACTIVATIONS, CaseError, check_config, parameter_shapes, write_case
from numpy_layer import activate, forward

# State dict names of the public PyTorch ports: experts, expert bias, and the head's two maps.
EXPERTS = (("weight", "bias"), ("kernels_weights", "kernels_bias"))
HEADS = (
    ("attention.fc1", "attention.fc2"),
    ("attention.to_scores.0", "attention.to_scores.2"),
    ("attention.net.0", "attention.net.2"),
)
EXACT = 1e-10  # agreement of two float64 computations, relative to the largest value (at least 1)
PROBES = np.array([-9.0, -4.0, -3.0, -2.75, -1.5, -0.4, -0.01, 0.0, 0.02, 0.7, 1.3, 2.6, 3.0, 4.5, 6.0, 8.0])


def layer_from_state_dict(
    state, in_channels, *, kernel_size=None, stride=1, padding=0, dilation=1, groups=None,
    attention="auto", squash=None, temperature=None, batch_norm=None, activation="none",
    mode="inference", layout="nchw",
):
    """(config, parameters) of a layer given as {name: numpy array} under its framework's names.

    Understood: experts `weight` or `kernels_weights` as [K,O,I/g,kh,kw], flattened to
    [K, O*I/g*kh*kw] (then `kernel_size` is needed) or, static, [O,I/g,kh,kw]; heads
    `attention.fc1|fc2`, `attention.to_scores.0|2`, `attention.net.0|2`, as linear or 1x1
    convolutions, and `routing_fn` (one linear map); `bn.weight|bias|running_mean|running_var`.
    `attention="given"` says that the caller passes pi instead.
    """
    state = {name: single(name, value) for name, value in state.items()}
    for scalar in ("temperature", "attention.temperature"):
        if scalar in state:
            stored = float(state.pop(scalar).reshape(-1)[0])
            temperature = stored if temperature is None else temperature
    state.pop("bn.num_batches_tracked", None)
    names = next((pair for pair in EXPERTS if pair[0] in state), None)
    if names is None:
        raise CaseError(f"the layer has no 'weight' or 'kernels_weights' among {', '.join(state) or 'nothing'}")
    weight, bias = state.pop(names[0]), state.pop(names[1], None)
    if weight.ndim == 4:
        weight, bias = weight[None], None if bias is None else bias[None]
    elif weight.ndim == 2:
        weight = _unflatten(names[0], weight, bias, in_channels, kernel_size, groups)
    elif weight.ndim != 5:
        raise CaseError(f"{names[0]} has shape {list(weight.shape)}: [K,O,I/g,kh,kw] or its flattened form was expected")
    experts, c_out, per_group = weight.shape[:3]
    if in_channels % per_group:
        raise CaseError(f"in_channels ({in_channels}) must be a multiple of {names[0]}'s input axis ({per_group})")
    if groups not in (None, in_channels // per_group):
        raise CaseError(
            f"groups ({groups}) contradicts {names[0]} {list(weight.shape)}: {in_channels} input channels"
            f" make {in_channels // per_group}"
        )

    parameters = {"weight": weight}
    if bias is not None:
        parameters["bias"] = bias
    head = _head_from_state_dict(state, parameters, attention, squash, temperature, experts)
    norm = None
    if batch_norm is not None:
        norm = dict(batch_norm)
        for name in ("weight", "bias", "running_mean", "running_var"):
            if f"bn.{name}" not in state:
                raise CaseError(f"batch norm lacks bn.{name}")
            parameters[f"bn.{name}"] = state.pop(f"bn.{name}")
    if state:
        raise CaseError(f"the format has no place for the layer's {', '.join(sorted(state))}")
    config = check_config({
        "in_channels": in_channels, "out_channels": c_out, "kernel_size": list(weight.shape[3:]),
        "stride": pair_of("stride", stride), "dilation": pair_of("dilation", dilation),
        "padding": padding_of(padding), "groups": in_channels // per_group, "experts": experts,
        "bias": bias is not None, "layout": layout, "attention": head, "batch_norm": norm,
        "activation": activation, "mode": mode,
    })
    for name, (shape, _) in parameter_shapes(config).items():
        if name in parameters and name.startswith("attention.") and parameters[name].size == np.prod(shape):
            parameters[name] = parameters[name].reshape(shape)  # a 1x1 convolution's trailing axes
    return config, parameters


def _head_from_state_dict(state, parameters, attention, squash, temperature, experts):
    routing = [name for name in state if name.startswith("routing_fn.")]
    if attention == "given":
        unused = [name for name in state if name.startswith("attention.")] + routing
        if unused:
            raise CaseError(f"pi was given, but the layer computes its own with {', '.join(unused)}")
        _no_temperature(temperature, "given attention")
        return {"kind": "given"}
    pair = next((pair for pair in HEADS if f"{pair[1]}.weight" in state), None)
    if pair is None and routing:
        pair, squash = (None, "routing_fn"), squash or "sigmoid"
    if pair is None:
        if experts == 1:
            _no_temperature(temperature, "a static layer")
            return None
        raise CaseError(f"the layer has {experts} experts and no attention head: give a routing layer or pi")
    head = {"kind": "linear", "squash": squash or "softmax"}
    for ours, theirs in (("attention.fc1", pair[0]), ("attention.fc2", pair[1])):
        for part in ("weight", "bias"):
            value = state.pop(f"{theirs}.{part}", None)
            if value is not None:
                parameters[f"{ours}.{part}"] = value
    if "attention.fc1.weight" in parameters:
        head = {"kind": "mlp", "hidden": len(parameters["attention.fc1.weight"]), "squash": head["squash"]}
    if head["squash"] == "softmax":
        if temperature is None:
            raise CaseError("temperature is unknown: the layer doesn't store one, so it must be given (softmax needs it)")
        head["temperature"] = float(temperature)
    else:
        _no_temperature(temperature, head["squash"])
    return head


def _no_temperature(temperature, what):
    if temperature is not None:
        raise CaseError(f"temperature ({temperature}) goes with softmax, not with {what}")


def _unflatten(name, weight, bias, in_channels, kernel_size, groups):
    if kernel_size is None:
        raise CaseError(f"{name} {list(weight.shape)} is flattened: kernel_size is needed to read it")
    per_filter = in_channels // (groups or 1) * int(np.prod(pair_of("kernel_size", kernel_size)))
    c_out = weight.shape[1] // max(per_filter, 1)
    if c_out * per_filter != weight.shape[1] or (bias is not None and bias.shape[1] != c_out):
        raise CaseError(
            f"{name} {list(weight.shape)} doesn't hold filters of {per_filter} values ({in_channels} channels,"
            f" groups {groups or 1}, kernel {kernel_size})"
        )
    return weight.reshape(len(weight), c_out, in_channels // (groups or 1), *pair_of("kernel_size", kernel_size))


def from_state_dict(state, input, path, *, pi=None, **options):
    """Writes a case from a state dict alone; expected values are numpy's. Options: `layer_from_state_dict`."""
    x = single("input", input)
    channels = x.shape[3 if options.get("layout") == "nhwc" else 1]
    attention = "auto" if pi is None else "given"
    config, tensors = layer_from_state_dict(state, channels, attention=attention, **options)
    tensors["input"] = x
    if pi is not None:
        tensors["pi"] = single("pi", pi)
    return finish(path, config, tensors, {})


def finish(path, config, tensors, observed, loose=EXACT):
    """Compares what a framework observed ({"output", "pi"}) with numpy, completes the case, writes it.

    Agreement to EXACT makes the framework's values the expected ones. Agreement to `loose`
    only means that the framework computed in float32: then numpy's float64 ones are.
    """
    for name, (shape, required) in parameter_shapes(config).items():
        if required and name not in tensors or name in tensors and list(tensors[name].shape) != shape:
            found = list(tensors[name].shape) if name in tensors else "absent"
            raise CaseError(f"parameter '{name}' is {found}: shape {shape} was expected")
    computed = forward(config, tensors)
    case = {**tensors, "expect.output": computed["output"], "expect.pi": computed["pi"]}
    for name in [name for name in ("pi", "output") if name in observed]:  # pi first: its error is the better hint
        theirs, ours = observed[name], computed[name]
        if np.shape(theirs) != ours.shape:
            raise CaseError(f"the framework's {name} has shape {list(np.shape(theirs))}, this layer's {list(ours.shape)}")
        scale = float(np.abs(ours).max(initial=0.0))
        error = float(np.abs(theirs - ours).max(initial=0.0)) / max(scale, 1.0)
        if not error <= loose:
            raise CaseError(
                f"the framework's {name} differs from this configuration's by {error:.3g} (largest value"
                f" {scale:.3g}): {config} doesn't describe what the module computes; check squash,"
                " temperature, stride, padding, dilation and activation"
            )
        if error <= EXACT:
            case[f"expect.{name}"] = theirs
        else:
            print(f"note: the framework's {name} is {error:.2g} from float64; numpy's is written instead", file=sys.stderr)
    write_case(path, config, case)
    return config, case


# Shared by the exporters -----------------------------------------------------------------


def recognise(function, evaluate):
    """The format's name of an activation, found by its values: names differ, and lie."""
    values = np.asarray(evaluate(), dtype=np.float64)
    for name in ACTIVATIONS:
        if values.shape == PROBES.shape and np.abs(values - activate(name, PROBES)).max() < 1e-6:
            return name
    title = getattr(function, "__name__", None) or str(function)
    raise CaseError(
        f"activation {title} is none of the format's ({', '.join(ACTIVATIONS)}; leaky_relu's slope 0.01, gelu"
        " exact, elu's alpha 1, hard_sigmoid relu6(x + 3)/6)"
    )


def attribute_of(module, name, given, required):
    own = getattr(module, name, None)
    if own is None and given is None and required:
        raise CaseError(f"{name} is unknown: the module has no such attribute, so it must be given")
    return own if given is None else given


def single(name, value):
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise CaseError(f"{name} has type {array.dtype}: real numbers were expected")
    return array.astype(np.float32)


def to_numpy(value):
    return value.detach().cpu().double().numpy() if hasattr(value, "detach") else np.asarray(value)


def pair_of(name, value):
    if isinstance(value, (int, np.integer)):
        return [int(value)] * 2
    pair = [int(part) for part in value] if isinstance(value, (tuple, list)) else []
    if len(pair) == 1:
        pair = pair * 2
    if len(pair) != 2:
        raise CaseError(f"{name} ({value!r}) must be one or two integers")
    return pair


def padding_of(padding):
    if isinstance(padding, (str, dict)):
        return padding
    if isinstance(padding, (tuple, list)) and len(padding) == 4:
        return dict(zip(("top", "bottom", "left", "right"), (int(part) for part in padding)))
    height, width = pair_of("padding", padding)
    return {"top": height, "bottom": height, "left": width, "right": width}

"""Case files: one layer, its input and its expected results in one safetensors file.

This module is the format and nothing else: it checks a configuration and its tensors
against every rule of the format, writes them and reads them back. It computes nothing
(`numpy_layer.py` does) and knows no framework (`export_case.py` does).

    config, tensors = read_case("case.safetensors")
    write_case("copy.safetensors", config, tensors)

What is wrong is a `CaseError` that names the parameter, its value and the expectation.
"""

import json
import math
import os
import tempfile

import numpy as np
import safetensors
import safetensors.numpy

FORMAT = "dyconv.case"
VERSION = "1"
CONFIG_KEYS = (
    "in_channels", "out_channels", "kernel_size", "stride", "dilation", "padding", "groups",
    "experts", "bias", "layout", "attention", "batch_norm", "activation", "mode",
)
ACTIVATIONS = (
    "none", "relu", "relu6", "leaky_relu", "sigmoid", "tanh", "hard_sigmoid", "hard_swish",
    "silu", "gelu", "elu",
)
SIDES = ("top", "bottom", "left", "right")
BATCH_NORM = ("bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")


class CaseError(ValueError):
    """The format can't hold this: the message says what, its value and what was expected."""


# Configuration ---------------------------------------------------------------------------


def check_config(config):
    """Checks a configuration and returns a copy of it with its 14 keys in the usual order."""
    _keys("config", config, CONFIG_KEYS)
    for name in ("in_channels", "out_channels", "groups", "experts"):
        _integer(name, config[name], 1)
    for name in ("kernel_size", "stride", "dilation"):
        _pair(name, config[name])
    _padding(config["padding"])
    groups = config["groups"]
    for name in ("in_channels", "out_channels"):
        if config[name] % groups:
            raise CaseError(f"groups ({groups}) must divide {name} ({config[name]})")
    if not isinstance(config["bias"], bool):
        raise CaseError(f"bias ({config['bias']!r}) must be true or false")
    _choice("layout", config["layout"], ("nchw", "nhwc"))
    _attention(config["attention"], config["experts"])
    norm = config["batch_norm"]
    if norm is not None:
        _keys("batch_norm", norm, ("epsilon", "keep"))
        _positive("batch_norm.epsilon", norm["epsilon"])
        _number("batch_norm.keep", norm["keep"])
        if not 0 <= norm["keep"] <= 1:
            raise CaseError(f"batch_norm.keep ({norm['keep']!r}) must lie between 0 and 1")
    _choice("activation", config["activation"], ACTIVATIONS)
    _choice("mode", config["mode"], ("inference", "training"))
    ordered = {key: config[key] for key in CONFIG_KEYS}
    return json.loads(json.dumps(ordered, allow_nan=False))


def _padding(padding):
    if isinstance(padding, dict):
        _keys("padding", padding, SIDES)
        for side in SIDES:
            _integer(f"padding.{side}", padding[side], 0)
    elif padding not in ("same", "valid"):
        raise CaseError(
            f"padding ({padding!r}) must be 'same', 'valid' or an object with top, bottom, left and right"
        )


def _attention(attention, experts):
    if attention is None:
        if experts != 1:
            raise CaseError(f"attention (null) is legal only where experts is 1, not {experts}")
        return
    if not isinstance(attention, dict) or "kind" not in attention:
        raise CaseError(f"attention ({attention!r}) must be null or an object with a kind")
    kind = attention["kind"]
    _choice("attention.kind", kind, ("mlp", "linear", "given"))
    if kind == "given":
        _keys("attention (given)", attention, ("kind",))
        return
    squash = attention.get("squash")
    _choice("attention.squash", squash, ("softmax", "sigmoid"))
    keys = ["kind", "squash"] + (["hidden"] if kind == "mlp" else [])
    if squash == "softmax":
        keys.append("temperature")
    _keys(f"attention ({kind}, {squash})", attention, keys)
    if kind == "mlp":
        _integer("attention.hidden", attention["hidden"], 1)
    if squash == "softmax":
        _positive("attention.temperature", attention["temperature"])


def output_extent(config, height, width):
    """[OH, OW] of a layer for an input extent; a kernel that doesn't fit is an error."""
    extent = []
    for axis, (size, name) in enumerate(((height, "height"), (width, "width"))):
        reach = (config["kernel_size"][axis] - 1) * config["dilation"][axis] + 1
        before, after = pads(config, axis, size)
        if size + before + after < reach:
            raise CaseError(
                f"input {name} ({size}) with padding ({before} + {after}) must be at least the"
                f" dilated kernel's extent ({reach})"
            )
        extent.append((size + before + after - reach) // config["stride"][axis] + 1)
    return extent


def pads(config, axis, size):
    """(before, after) of one axis (0 height, 1 width); 'same' gives the odd one to the end."""
    padding = config["padding"]
    if padding == "valid":
        return 0, 0
    if padding == "same":
        stride = config["stride"][axis]
        reach = (config["kernel_size"][axis] - 1) * config["dilation"][axis] + 1
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        return total // 2, total - total // 2
    first, last = (("top", "bottom"), ("left", "right"))[axis]
    return padding[first], padding[last]


# Tensors ---------------------------------------------------------------------------------


def parameter_shapes(config):
    """Name -> (shape, required) of every parameter that the configuration has room for."""
    c_in, c_out, experts = config["in_channels"], config["out_channels"], config["experts"]
    shapes = {"weight": ([experts, c_out, c_in // config["groups"], *config["kernel_size"]], True)}
    if config["bias"]:
        shapes["bias"] = ([experts, c_out], True)
    attention = config["attention"] or {"kind": None}
    width = c_in
    if attention["kind"] == "mlp":
        width = attention["hidden"]
        shapes["attention.fc1.weight"] = ([width, c_in], True)
        shapes["attention.fc1.bias"] = ([width], False)
    if attention["kind"] in ("mlp", "linear"):
        shapes["attention.fc2.weight"] = ([experts, width], True)
        shapes["attention.fc2.bias"] = ([experts], False)
    if config["batch_norm"] is not None:
        shapes.update({name: ([c_out], True) for name in BATCH_NORM})
    return shapes


def check_case(config, tensors):
    """Checks everything; returns the configuration and the tensors as float32 arrays.

    Inputs and parameters must already hold float32 values (expected results are computed
    from them, so rounding them here would falsify the case); expected results are rounded.
    """
    config = check_config(config)
    arrays = {name: _array(name, value) for name, value in tensors.items()}
    if "input" not in arrays:
        raise CaseError("tensor 'input' is missing")
    shape = list(arrays["input"].shape)
    if len(shape) != 4:
        raise CaseError(f"tensor 'input' has shape {shape}: four axes ({config['layout']}) were expected")
    nchw = config["layout"] == "nchw"
    batch, channels, height, width = shape if nchw else [shape[i] for i in (0, 3, 1, 2)]
    if channels != config["in_channels"]:
        raise CaseError(
            f"tensor 'input' of shape {shape} has {channels} channels in {config['layout']}:"
            f" in_channels is {config['in_channels']}"
        )
    if height < 1 or width < 1:
        raise CaseError(f"tensor 'input' of shape {shape} must have a height and a width of at least 1")
    if batch == 0 and config["batch_norm"] is not None and config["mode"] == "training":
        raise CaseError("an empty batch has no statistics: training batch norm needs at least one sample")
    out = output_extent(config, height, width)
    c_out, experts = config["out_channels"], config["experts"]
    output = [batch, c_out, *out] if nchw else [batch, *out, c_out]

    parameters = parameter_shapes(config)
    expected = {"input": (shape, True), **parameters}
    if (config["attention"] or {}).get("kind") == "given":
        expected["pi"] = ([batch, experts], True)
    expected["expect.output"] = (output, True)
    expected["expect.pi"] = ([batch, experts], True)
    if "grad.output" in arrays:
        expected["grad.output"] = (output, True)
        expected["expect.grad.input"] = (shape, False)
        if config["attention"] is not None:
            expected["expect.grad.pi"] = ([batch, experts], False)
        for name, (size, _) in parameters.items():
            if not name.startswith("bn.running"):
                expected[f"expect.grad.{name}"] = (size, False)

    for name, (size, required) in expected.items():
        if name not in arrays:
            if required:
                raise CaseError(f"tensor '{name}' of shape {size} is missing")
        elif list(arrays[name].shape) != size:
            raise CaseError(f"tensor '{name}' has shape {list(arrays[name].shape)}: {size} was expected")
    for name, array in arrays.items():
        if name not in expected:
            raise CaseError(f"tensor '{name}' has no place in this layer ({_why_not(name)})")
        if not np.isfinite(array).all():
            raise CaseError(f"tensor '{name}' holds a value that is not finite in float32")
    if "bn.running_var" in arrays and (arrays["bn.running_var"] < 0).any():
        worst = float(arrays["bn.running_var"].min())
        raise CaseError(f"tensor 'bn.running_var' holds {worst}: a variance is at least 0")
    return config, arrays


def _why_not(name):
    if name == "pi":
        return "pi goes with attention of kind given, and only with it"
    if name == "bias":
        return "config says bias: false"
    if name.startswith("expect.grad."):
        return "gradients need grad.output and a parameter of that name"
    if name.startswith("bn."):
        return "batch norm is weight, bias, running_mean, running_var, where config has batch_norm"
    if name.startswith("attention."):
        return "config's attention has no such parameter"
    return "unknown name"


def _array(name, value):
    array = np.asarray(value)
    if array.dtype == np.float32:
        return np.ascontiguousarray(array).reshape(array.shape)
    if array.dtype.kind not in "fiu":
        raise CaseError(f"tensor '{name}' has type {array.dtype}: float32 was expected")
    with np.errstate(over="ignore"):
        rounded = np.ascontiguousarray(array.astype(np.float32)).reshape(array.shape)
    if not name.startswith("expect.") and not np.array_equal(rounded.astype(array.dtype), array):
        raise CaseError(
            f"tensor '{name}' ({array.dtype}) holds values that float32 can't: round it to float32"
            " first and compute the expected results from the rounded values"
        )
    return rounded


# Files -----------------------------------------------------------------------------------


def write_case(path, config, tensors):
    """Checks a case and writes it: to a temporary name in the same folder, then renamed."""
    config, arrays = check_case(config, tensors)
    metadata = {"format": FORMAT, "version": VERSION, "config": json.dumps(config, allow_nan=False)}
    write_atomically(path, to_bytes(arrays, metadata))


def to_bytes(arrays, metadata):
    """A safetensors file whose metadata is in order: the library shuffles it, so that bytes wouldn't repeat."""
    data = safetensors.numpy.save(dict(sorted(arrays.items())), metadata)
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]


def write_atomically(path, data):
    """Writes bytes so that `path` is either what it was or complete, never half a file."""
    path = os.path.abspath(os.fspath(path))
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".case-", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)  # mkstemp's own mode is private
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read_case(path):
    """Reads and checks a case file: (config, {name: float32 array})."""
    try:
        with safetensors.safe_open(os.fspath(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except safetensors.SafetensorError as error:
        raise CaseError(f"{path} is not a readable safetensors file: {error}") from None
    for key, expected in (("format", FORMAT), ("version", VERSION)):
        if metadata.get(key) != expected:
            raise CaseError(f"{path}: metadata '{key}' is {metadata.get(key)!r}: {expected!r} was expected")
    for name, array in tensors.items():
        if array.dtype != np.float32:
            raise CaseError(f"tensor '{name}' has type {array.dtype}: float32 was expected")
    try:
        config = json.loads(metadata.get("config", ""), object_pairs_hook=_no_duplicates)
    except json.JSONDecodeError as error:
        raise CaseError(f"{path}: metadata 'config' is not JSON: {error}") from None
    return check_case(config, tensors)


def _no_duplicates(pairs):
    if len(dict(pairs)) != len(pairs):
        raise CaseError(f"config repeats a key: {[key for key, _ in pairs]}")
    return dict(pairs)


# Small checks ----------------------------------------------------------------------------


def _keys(name, value, keys):
    if not isinstance(value, dict):
        raise CaseError(f"{name} ({value!r}) must be an object with {', '.join(keys)}")
    missing = [key for key in keys if key not in value]
    unknown = [str(key) for key in value if key not in keys]
    if missing:
        raise CaseError(f"{name} lacks {', '.join(missing)} (it needs {', '.join(keys)})")
    if unknown:
        raise CaseError(f"{name} has {', '.join(unknown)}, which it can't hold (it knows {', '.join(keys)})")


def _integer(name, value, least):
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise CaseError(f"{name} ({value!r}) must be an integer of at least {least}")


def _pair(name, value):
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise CaseError(f"{name} ({value!r}) must be two integers, [height, width]")
    for part in value:
        _integer(name, part, 1)


def _number(name, value):
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value):
        raise CaseError(f"{name} ({value!r}) must be a finite number")


def _positive(name, value):
    _number(name, value)
    with np.errstate(over="ignore", under="ignore"):
        single = np.float32(value)
    if not 0 < single < np.inf:
        raise CaseError(f"{name} ({value!r}) must be above 0 and finite, in float32 too")


def _choice(name, value, choices):
    if value not in choices:
        raise CaseError(f"{name} ({value!r}) must be one of {', '.join(choices)}")

"""Makes the files of dyconv-core/tests/fixtures/foreign: layers as other frameworks hold them.

Each file has the framework's own state dict (`state.` + its own name, its own shape),
`input`, `output` and, where it can be seen, `pi`, all computed by the framework in float64
from float32 parameters and rounded to float32. Metadata: `framework`, `version`, `config`
(the layer in the words of a case file's config), `arguments` (the constructor's, JSON).

    python make_fixtures.py torch     torch 2.15.0, timm 1.0.31, numpy 2.4.6, safetensors 0.8.0
    KERAS_BACKEND=tensorflow python make_fixtures.py keras
                                      keras 3.15.1 on tensorflow-cpu 2.21.0 (its torch backend computes Dense in float32)
    python make_fixtures.py configs   keras 3.15.1 and tf-keras 2.21.0 (both on tensorflow-cpu): get_config in every form
    python make_fixtures.py configs-keras-2.3.1 FOLDER
                                      FOLDER holds an unpacked Keras 2.3.1 wheel; needs six
    python make_fixtures.py check     reads everything back and recomputes it in numpy

Every number comes from a seeded numpy generator, so the values repeat exactly.
"""

import importlib
import json
import os
import sys
import types

import numpy as np
import safetensors

from case_file import check_config, to_bytes, write_atomically
from keras_layer import from_keras
from numpy_layer import forward
from torch_layer import from_torch

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../dyconv-core/tests/fixtures/foreign")
SCRATCH = os.path.join(FOLDER, ".scratch.safetensors")


def write(name, tensors, framework, version, config, arguments, **more):
    """One fixture: float32 tensors in order of name, and its metadata."""
    tensors = {key: np.ascontiguousarray(value, dtype=np.float32) for key, value in sorted(tensors.items())}
    metadata = {"framework": framework, "version": version, "config": json.dumps(check_config(config))}
    metadata["arguments"] = json.dumps(arguments)
    metadata.update({key: json.dumps(value) for key, value in more.items()})
    path = os.path.join(FOLDER, f"{name}.safetensors")
    write_atomically(path, to_bytes(tensors, metadata))
    print(f"{name}: {os.path.getsize(path)} bytes")


def fill(rng, shape, name):
    """Values of a parameter, of a size that keeps every part of the layer at work."""
    if name.endswith(("running_var", "moving_variance")):
        return (0.5 + rng.random(shape)).astype(np.float32)
    if name.endswith(("gamma", "bn.weight")):
        return (1.0 + 0.3 * rng.standard_normal(shape)).astype(np.float32)
    fan_in = max(1, int(np.prod(shape)) // (shape[0] * (shape[1] if len(shape) == 5 else 1)))
    scale = 1.0 if "attention" in name or "routing" in name or "dense" in name else min(1.0, 2.0 / fan_in**0.5)
    return (scale * rng.standard_normal(shape)).astype(np.float32)


# PyTorch and timm ------------------------------------------------------------------------


def torch_fixtures():
    import timm
    import torch
    from timm.layers import CondConv2d

    from fixture_torch import PaperDynamicConv2d, ScoresDynamicConv2d

    torch.set_num_threads(1)

    def randomise(module, rng):
        state = {key: torch.as_tensor(fill(rng, tuple(value.shape), key)) for key, value in module.state_dict().items()}
        module.load_state_dict(state)

    def save(name, framework, version, module, shape, arguments, seed, **export):
        rng = np.random.default_rng(seed)
        randomise(module, rng)
        routing = export.get("routing")
        if routing is not None:
            randomise(routing, rng)
        x = rng.standard_normal(shape).astype(np.float32) + rng.standard_normal([shape[0], shape[1], 1, 1]).astype(np.float32)
        config, case = from_torch(module, x, SCRATCH, **export)
        tensors = {f"state.{key}": value.numpy() for key, value in module.state_dict().items()}
        if routing is not None:
            tensors.update({f"state.routing_fn.{key}": value.numpy() for key, value in routing.state_dict().items()})
        tensors.update({"input": x, "output": case["expect.output"], "pi": case["expect.pi"]})
        write(name, tensors, framework, version, config, arguments)

    paper = {"in_planes": 8, "out_planes": 12, "kernel_size": 3, "ratio": 0.25, "stride": 1, "padding": 1, "dilation": 1,
             "groups": 1, "bias": True, "K": 4, "temperature": 34}
    for number, (name, change, shape) in enumerate((
        ("torch_paper", {}, [2, 8, 7, 6]),
        ("torch_paper_annealed_stride2", {"stride": 2, "K": 3, "temperature": 1}, [3, 8, 9, 8]),
        ("torch_paper_rgb_no_bias", {"in_planes": 3, "out_planes": 5, "kernel_size": 5, "padding": 2, "K": 6, "bias": False, "temperature": 4}, [2, 3, 9, 7]),
        ("torch_paper_grouped_dilated", {"groups": 2, "dilation": 2, "padding": 3, "K": 2}, [2, 8, 6, 7]),
        ("torch_paper_depthwise", {"groups": 8, "out_planes": 8, "K": 5, "stride": 2, "temperature": 31}, [2, 8, 8, 8]),
    )):
        arguments = {**paper, **change}
        save(name, "torch", torch.__version__, PaperDynamicConv2d(**arguments), shape, arguments, 100 + number)

    scores = {"nof_kernels": 4, "reduce": 4, "in_channels": 8, "out_channels": 10, "kernel_size": 3, "stride": 1,
              "padding": 1, "dilation": 1, "groups": 1, "bias": True}
    for number, (name, change, shape, temperature) in enumerate((
        ("torch_scores", {}, [2, 8, 6, 7], 30.0),
        ("torch_scores_anisotropic", {"nof_kernels": 6, "kernel_size": [3, 5], "stride": [2, 1], "padding": [0, 2], "groups": 2, "dilation": [1, 2]}, [3, 8, 8, 9], 4.5),
        ("torch_scores_pointwise_no_bias", {"nof_kernels": 3, "kernel_size": 1, "padding": 0, "bias": False, "reduce": 2}, [4, 8, 4, 4], 1.0),
    )):
        arguments = {**scores, **change}
        save(name, "torch", torch.__version__, ScoresDynamicConv2d(**arguments), shape,
             {**arguments, "temperature": temperature}, 200 + number, temperature=temperature)

    cond = {"in_channels": 8, "out_channels": 12, "kernel_size": 3, "stride": 1, "padding": "", "dilation": 1, "groups": 1,
            "bias": False, "num_experts": 4}
    for number, (name, change, shape) in enumerate((
        ("timm_condconv", {}, [2, 8, 7, 6]),
        ("timm_condconv_bias_stride2", {"bias": True, "stride": 2, "num_experts": 3, "padding": 2}, [2, 8, 8, 7]),
        ("timm_condconv_grouped", {"groups": 4, "kernel_size": [5, 3], "padding": [2, 0], "num_experts": 8}, [2, 8, 7, 7]),
        ("timm_condconv_depthwise_same", {"groups": 8, "out_channels": 8, "stride": 2, "padding": "same"}, [3, 8, 8, 7]),
        ("timm_condconv_pointwise", {"kernel_size": 1, "out_channels": 16}, [3, 8, 5, 5]),
    )):
        arguments = {**cond, **change}
        built = {key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()}
        routing = torch.nn.Linear(arguments["in_channels"], arguments["num_experts"])
        save(name, "timm", f"{timm.__version__} (torch {torch.__version__})", CondConv2d(**built), shape, arguments,
             300 + number, routing=routing)


# Keras -----------------------------------------------------------------------------------


def keras_fixtures():
    import keras

    from fixture_keras import DyConv2D

    backend = keras.backend.backend()
    version = f"{keras.__version__} ({backend} {importlib.import_module(backend).__version__} backend)"
    for number, (name, arguments, shape) in enumerate((
        ("keras_dyconv2d", {"filters": 8, "kernel_size": 3, "num_experts": 4, "activation": "relu"}, [3, 7, 6, 6]),
        ("keras_dyconv2d_strided", {"filters": 7, "kernel_size": [5, 3], "num_experts": 3, "strides": 2, "activation": "hard_silu"}, [2, 9, 8, 5]),
        ("keras_dyconv2d_valid_dilated_no_bias", {"filters": 6, "kernel_size": 3, "num_experts": 5, "padding": "valid", "dilation_rate": 2, "use_bias": False, "activation": "tanh"}, [2, 8, 7, 4]),
        ("keras_dyconv2d_channels_first", {"filters": 6, "kernel_size": [3, 2], "num_experts": 2, "strides": [1, 2], "data_format": "channels_first"}, [3, 5, 6, 8]),
    )):
        rng = np.random.default_rng(400 + number)
        layer = DyConv2D(**arguments, name="dy_conv2d")
        layer.build(shape)
        for variable in layer.weights:
            variable.assign(fill(rng, tuple(variable.shape), variable.path))
        x = rng.standard_normal(shape).astype(np.float32) + rng.standard_normal([shape[0], 1, 1, 1]).astype(np.float32)
        tensors = {f"state.{variable.path}": keras.ops.convert_to_numpy(variable) for variable in layer.weights}
        config, inference = from_keras(layer, x, SCRATCH)
        _, training = from_keras(layer, x, SCRATCH, training=True)
        keras.config.set_floatx("float64")
        double = DyConv2D.from_config({**layer.get_config(), "dtype": "float64"})
        double.build(shape)
        double.set_weights([value.astype(np.float32) for value in layer.get_weights()])
        double_x = keras.ops.convert_to_tensor(x, dtype="float64")
        pi = keras.ops.convert_to_numpy(double.attention(double_x))
        assert np.abs(pi - inference["expect.pi"]).max() < 1e-12
        double(double_x, training=True)
        keras.config.set_floatx("float32")
        for variable in double.batch_normalization.non_trainable_variables:
            tensors[f"after.{variable.path}"] = keras.ops.convert_to_numpy(variable)
        tensors.update({"input": x, "output": inference["expect.output"], "pi": pi})
        tensors["output.training"] = training["expect.output"]
        write(name, tensors, "keras", version, config, arguments, get_config=layer.get_config())


# get_config ------------------------------------------------------------------------------

INITIALIZERS = (
    ("Zeros", {}), ("Ones", {}), ("Constant", {"value": 0.25}), ("RandomNormal", {"mean": 0.5, "stddev": 0.02, "seed": 3}),
    ("RandomUniform", {"minval": -0.1, "maxval": 0.2, "seed": 4}), ("TruncatedNormal", {"mean": 0.0, "stddev": 0.3}),
    ("GlorotUniform", {}), ("GlorotNormal", {"seed": 5}), ("HeUniform", {"seed": 6}), ("HeNormal", {}),
    ("LecunUniform", {}), ("LecunNormal", {"seed": 7}),
    ("VarianceScaling", {"scale": 0.5, "mode": "fan_avg", "distribution": "uniform", "seed": 8}),
)
REGULARIZERS = (("L1", {"l1": 0.01}), ("L2", {"l2": 0.0005}), ("L1L2", {"l1": 0.001, "l2": 0.002}))
CONSTRAINTS = (
    ("MaxNorm", {"max_value": 2.0, "axis": 0}), ("NonNeg", {}), ("UnitNorm", {"axis": 1}),
    ("MinMaxNorm", {"min_value": 0.5, "max_value": 1.5, "rate": 0.9, "axis": 0}),
)
ACTIVATIONS = ("linear", "relu", "relu6", "leaky_relu", "sigmoid", "tanh", "hard_sigmoid", "hard_silu", "silu", "swish", "gelu", "elu")
UNUSUAL = (
    ("initializers", "kernel_initializer", "Orthogonal", {"gain": 1.5}),
    ("initializers", "kernel_initializer", "Identity", {"gain": 1.0}),
    ("regularizers", "kernel_regularizer", "OrthogonalRegularizer", {"factor": 0.1}),
)
OLD_NAMES = {  # functions and classes of Keras 2.3.1 behind today's names
    "GlorotUniform": "glorot_uniform", "GlorotNormal": "glorot_normal", "HeUniform": "he_uniform", "HeNormal": "he_normal",
    "LecunUniform": "lecun_uniform", "LecunNormal": "lecun_normal", "L1": "l1", "L2": "l2", "L1L2": "l1_l2",
}
STRINGS = (
    {"kernel_initializer": "glorot_uniform", "bias_initializer": "zeros"},
    {"kernel_initializer": "he_normal", "bias_initializer": "ones", "kernel_regularizer": "l2", "kernel_constraint": "max_norm"},
    {"kernel_initializer": "HeUniform", "bias_initializer": "Zeros", "bias_regularizer": "l1", "bias_constraint": "non_neg"},
    {"kernel_initializer": "lecun_normal", "activity_regularizer": "L2", "kernel_constraint": "unit_norm", "activation": "relu"},
    {"kernel_initializer": "truncated_normal", "bias_initializer": "random_uniform", "kernel_constraint": "min_max_norm"},
    {"kernel_initializer": "RandomNormal", "bias_initializer": "constant", "kernel_regularizer": "L1L2", "kernel_constraint": "MaxNorm"},
    {"kernel_initializer": "lecun_uniform", "bias_initializer": "glorot_normal", "activation": "swish"},
    {"kernel_initializer": "he_uniform", "bias_initializer": "random_normal", "kernel_regularizer": "l1_l2"},  # Keras 2 only
)
BASE = {"name": "dy_conv2d", "trainable": True, "dtype": "float32"}
OWN = {
    "filters": 16, "kernel_size": [3, 3], "num_experts": 4, "strides": [1, 1], "padding": "same",
    "data_format": "channels_last", "dilation_rate": [1, 1], "activation": "linear", "use_bias": True,
    "kernel_initializer": None, "bias_initializer": None, "kernel_regularizer": None, "bias_regularizer": None,
    "activity_regularizer": None, "kernel_constraint": None, "bias_constraint": None, "axis": -1,
}


def layer_configs(library, serialise, base, names=None, activations=True):
    """(name, config) of one layer per object, its objects made and serialised by the given Keras."""

    def made(kind, cls, arguments):
        module, name = getattr(library, kind), (names or {}).get(cls, cls)
        if name in ("l1", "l2"):  # functions of one argument, l
            arguments = {"l": value for value in arguments.values()}
        return serialise(module, getattr(module, name)(**arguments))

    def config(**changes):
        default = {key: made("initializers", cls, {}) for key, cls in (("kernel_initializer", "GlorotUniform"), ("bias_initializer", "Zeros"))}
        return {**base, **OWN, **default, **changes}

    yield "defaults", config()
    yield "geometry", config(
        filters=5, kernel_size=[5, 3], num_experts=7, strides=[2, 1], padding="valid", data_format="channels_first",
        axis=1, use_bias=False, bias_initializer=made("initializers", "Ones", {}),
    )
    yield "dilated", config(dilation_rate=[2, 3], trainable=False)
    for cls, arguments in INITIALIZERS:
        value = made("initializers", cls, arguments)
        yield f"initializer_{cls}", config(kernel_initializer=value, bias_initializer=value)
    for cls, arguments in REGULARIZERS:
        value = made("regularizers", cls, arguments)
        yield f"regularizer_{cls}", config(kernel_regularizer=value, bias_regularizer=value, activity_regularizer=value)
    for cls, arguments in CONSTRAINTS:
        value = made("constraints", cls, arguments)
        yield f"constraint_{cls}", config(kernel_constraint=value, bias_constraint=value)
    if activations:
        for name in ACTIVATIONS:
            try:
                function = library.activations.get(name)
            except ValueError:
                continue  # not in this Keras
            yield f"activation_{name}", config(activation=serialise(library.activations, function))
        yield "activation_LeakyReLU_layer", config(activation=serialise(library.activations, library.layers.LeakyReLU(name="leaky_re_lu")))
    for kind, key, cls, arguments in UNUSUAL:
        if hasattr(getattr(library, kind), cls):
            yield f"unusual_{cls}", config(**{key: made(kind, cls, arguments)})


def write_configs(name, source, entries):
    """One file per Keras: {"source": ..., "layers": [{"name": ..., "config": get_config's}, ...]}."""
    path = os.path.join(FOLDER, f"keras_get_config_{name}.json")
    lines = ",\n".join(json.dumps({"name": key, "config": config}, separators=(",", ":")) for key, config in entries)
    write_atomically(path, f'{{"source": {json.dumps(source)}, "layers": [\n{lines}\n]}}\n'.encode())
    print(f"{os.path.basename(path)}: {len(entries)} layers, {os.path.getsize(path)} bytes")


def configs():
    try:
        import tf_keras
    except ImportError:
        tf_keras = None
    import keras

    from fixture_keras import ARGUMENTS, DyConv2D

    assert tuple(OWN) == ARGUMENTS
    # Keras 3: the real layer, built from the objects and asked for its config.
    raw = layer_configs(keras, lambda module, value: module.serialize(value), {"name": "dy_conv2d", "trainable": True})
    write_configs("keras3", f"keras {keras.__version__}", [(name, DyConv2D.from_config(config).get_config()) for name, config in raw])
    strings = []
    for number, change in enumerate(STRINGS):
        config = {**BASE, **OWN, "kernel_initializer": "glorot_uniform", "bias_initializer": "zeros", **change}
        accepted = False
        for library in filter(None, (keras, tf_keras)):
            try:
                for key, value in config.items():
                    for kind in ("initializer", "regularizer", "constraint", "activation"):
                        if key.endswith(kind):
                            getattr(library, f"{kind}s").get(value)
                accepted = True
            except (ValueError, KeyError):
                pass
        assert accepted, f"no Keras accepts {change}"
        strings.append((f"strings_{number}", config))
    write_configs("strings", "identifiers as Keras accepts them", strings)
    if tf_keras is not None:
        for name, legacy in (("tf_keras", False), ("tf_keras_legacy", True)):
            entries = layer_configs(
                tf_keras, lambda module, value: module.serialize(value, use_legacy_format=legacy), BASE
            )
            write_configs(name, f"tf_keras {tf_keras.__version__}, use_legacy_format={legacy}", list(entries))


def configs_of_keras_2_3_1(folder):
    """Loads only its initializers, regularizers and constraints: they need of a backend what is below."""
    library = types.ModuleType("keras")
    library.__path__ = [os.path.join(folder, "keras")]
    utils = types.ModuleType("keras.utils")
    utils.__path__ = [os.path.join(folder, "keras", "utils")]
    backend = library.backend = types.ModuleType("keras.backend")
    backend.floatx, backend.epsilon, backend.eager = (lambda: "float32"), (lambda: 1e-7), (lambda function: function)
    backend.cast_to_floatx = lambda value: np.asarray(value, dtype=np.float32)
    sys.modules.update({"keras": library, "keras.utils": utils, "keras.backend": backend})
    for name in ("initializers", "regularizers", "constraints"):
        setattr(library, name, importlib.import_module(f"keras.{name}"))
    entries = layer_configs(library, lambda module, value: module.serialize(value), BASE, OLD_NAMES, activations=False)
    write_configs("keras2", "keras 2.3.1", list(entries))


# Check -----------------------------------------------------------------------------------


def check():
    """Rebuilds every layer from the state alone (its own code here) and recomputes it."""
    from state_layer import layer_from_state_dict

    total = 0
    for name in sorted(os.listdir(FOLDER)):
        path = os.path.join(FOLDER, name)
        total += os.path.getsize(path)
        if not name.endswith(".safetensors"):
            continue
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata()
            tensors = {key: file.get_tensor(key) for key in file.keys()}
        config = json.loads(metadata["config"])
        state = {key[len("state."):]: value for key, value in tensors.items() if key.startswith("state.")}
        if metadata["framework"] == "keras":
            parameters = keras_parameters(config, state)
        else:
            options = {"kernel_size": config["kernel_size"], "groups": config["groups"]}
            options.update({key: config[key] for key in ("stride", "padding", "dilation")})
            temperature = config["attention"].get("temperature")
            found, parameters = layer_from_state_dict(state, config["in_channels"], temperature=temperature, **options)
            assert found == config, f"{name}: {found} is not {config}"
        worst = 0.0
        for mode, output in (("inference", "output"), ("training", "output.training")):
            if output in tensors:
                result = forward({**config, "mode": mode}, {**parameters, "input": tensors["input"]})
                for ours, theirs in ((result["output"], tensors[output]), (result["pi"], tensors["pi"])):
                    worst = max(worst, float(np.abs(ours - theirs).max() / max(1.0, np.abs(ours).max())))
        assert worst < 1e-7, f"{name}: {worst}"
        assert os.path.getsize(path) < 60_000, name
        print(f"{name}: {metadata['framework']} {metadata['version']}, {os.path.getsize(path)} bytes, error {worst:.2g}")
        print("   ", ", ".join(f"{key} {list(value.shape)}" for key, value in tensors.items()))
    print(f"{total} bytes in all")


def keras_parameters(config, state):
    """The Keras state in our names and shapes."""
    k = {key.split("/", 1)[1]: value for key, value in state.items()}
    shape = [config["experts"], *config["kernel_size"], config["in_channels"], config["out_channels"]]
    parameters = {"weight": k["kernel"].reshape(shape).transpose(0, 4, 3, 1, 2)}
    if config["bias"]:
        parameters["bias"] = k["bias"]
    for ours, theirs in (("fc1", "dense"), ("fc2", "dense_1")):
        parameters[f"attention.{ours}.weight"] = k[f"{theirs}/kernel"].T
        parameters[f"attention.{ours}.bias"] = k[f"{theirs}/bias"]
    for ours, theirs in (("weight", "gamma"), ("bias", "beta"), ("running_mean", "moving_mean"), ("running_var", "moving_variance")):
        parameters[f"bn.{ours}"] = k[f"batch_normalization/{theirs}"]
    return parameters


def main(arguments):
    os.makedirs(FOLDER, exist_ok=True)
    commands = {"torch": torch_fixtures, "keras": keras_fixtures, "configs": configs, "check": check}
    try:
        if len(arguments) == 2 and arguments[0] == "configs-keras-2.3.1":
            configs_of_keras_2_3_1(arguments[1])
        elif len(arguments) == 1 and arguments[0] in commands:
            commands[arguments[0]]()
        else:
            print(__doc__)
            return 2
    finally:
        if os.path.exists(SCRATCH):
            os.unlink(SCRATCH)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`export_case.py --self-test`: random layers through the whole format, numpy and safetensors only.

Every layer is written with expected values of one implementation, read back and
recomputed by the other (`numpy_layer.py` has two that share no arithmetic). Then every
rule of the format is broken once, and the error must name what was broken.
"""

import copy
import itertools
import os
import tempfile

import numpy as np

from case_file import ACTIVATIONS, CaseError, check_case, parameter_shapes, read_case, write_case
from numpy_layer import forward, naive_forward
from state_layer import from_state_dict

PADDINGS = ("same", "valid", {"top": 2, "bottom": 0, "left": 1, "right": 3}, {"top": 4, "bottom": 4, "left": 4, "right": 4})
HEADS = (
    {"kind": "mlp", "hidden": 2, "squash": "softmax", "temperature": 4.5},
    {"kind": "mlp", "hidden": 3, "squash": "sigmoid"},
    {"kind": "linear", "squash": "sigmoid"},
    {"kind": "linear", "squash": "softmax", "temperature": 1.0},
    {"kind": "given"},
    None,
)
NORMS = ((None, "inference"), ({"epsilon": 1e-5, "keep": 0.9}, "inference"), ({"epsilon": 1e-3, "keep": 0.99}, "training"))
GROUPS = ((1, 3, 4), (2, 4, 6), (4, 4, 4), (3, 3, 6))  # groups, in, out: one, some, depthwise, with a multiplier
LEFT_BEHIND = 12  # case files that stay in --out


def random_layers(rng):
    """(name, config, parameters and input) over every option; neighbours differ in most of them."""
    heads, norms, groups = itertools.cycle(HEADS), itertools.cycle(NORMS), itertools.cycle(GROUPS)
    activations, layouts = itertools.cycle(ACTIVATIONS), itertools.cycle(("nchw", "nhwc", "nhwc", "nchw", "nhwc"))
    steps = itertools.product(PADDINGS, ((1, 1), (2, 1), (2, 3)), ((1, 1), (2, 1)), ((1, 1), (3, 3), (2, 3)))
    for number, (padding, stride, dilation, kernel) in enumerate(steps):
        head, (norm, mode), (group, c_in, c_out) = next(heads), next(norms), next(groups)
        if number % len(HEADS) == 0:  # the cycles' lengths share factors: slip
            next(norms), next(groups), next(heads)
        experts = 1 if head is None else (1, 2, 4, 5)[number % 4]
        config = {
            "in_channels": c_in, "out_channels": c_out, "kernel_size": list(kernel), "stride": list(stride),
            "dilation": list(dilation), "padding": padding, "groups": group, "experts": experts,
            "bias": number % 3 != 1, "layout": next(layouts), "attention": head, "batch_norm": norm,
            "activation": next(activations), "mode": mode,
        }
        shapes = {name: shape for name, (shape, required) in parameter_shapes(config).items() if required or number % 2}
        batch, height, width = (1, 2, 3)[number % 3], (5, 7)[number % 2], (6, 4)[number // 2 % 2]
        image = [c_in, height, width] if config["layout"] == "nchw" else [height, width, c_in]
        shapes["input"] = [batch, *image]
        if head == {"kind": "given"}:
            shapes["pi"] = [batch, experts]
        tensors = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
        if norm is not None:
            tensors["bn.running_var"] = np.abs(tensors["bn.running_var"]) + np.float32(0.1)
        words = [(head or {"kind": "static"})["kind"], config["layout"], config["activation"], mode if norm else "plain"]
        yield f"self_test_{number:02d}_" + "_".join(words), config, tensors


def self_test(out=None):
    """Runs everything; returns the process's exit status."""
    if not __debug__:
        raise SystemExit("self-test needs its assertions: run python without -O")
    rng = np.random.default_rng(20)
    worst, files, seen = 0.0, 0, set()
    with tempfile.TemporaryDirectory() as scratch:
        if out is not None:
            os.makedirs(out, exist_ok=True)
        layers = list(random_layers(rng))
        kept = {layers[i][0] for i in range(0, len(layers), max(1, len(layers) // LEFT_BEHIND))}
        for name, config, tensors in layers:
            result = forward(config, tensors)
            case = {**tensors, "expect.output": result["output"], "expect.pi": result["pi"]}
            folder = out if out is not None and name in kept else scratch
            path = os.path.join(folder, f"{name}.safetensors")
            write_case(path, config, case)
            read_config, read = read_case(path)
            assert read_config == config, f"{name}: config changed on the way: {read_config}"
            for key, value in tensors.items():
                assert np.array_equal(read[key], value), f"{name}: {key} changed on the way"
            again = naive_forward(read_config, read)
            for key in ("output", "pi"):
                scale = max(1.0, np.abs(again[key]).max())
                worst = max(worst, float(np.abs(again[key] - result[key]).max() / scale))
                rounded = np.abs(read[f"expect.{key}"] - again[key]).max() / scale
                assert rounded < 1e-7, f"{name}: expect.{key} is {rounded:.3g} from the naive path"
            seen |= {(config["attention"] or {"kind": None})["kind"], config["layout"], config["activation"], str(config["padding"])}
            seen |= {config["mode"] if config["batch_norm"] else "no norm", f"groups {config['groups']}", str(config["dilation"])}
            files += 1
        assert worst < 1e-12, f"the two numpy paths differ by {worst:.3g}"
        missing = set(ACTIVATIONS) | {"mlp", "linear", "given", None, "nchw", "nhwc", "training", "inference"} | set(map(str, PADDINGS))
        assert missing <= seen, f"never tried: {missing - seen}"
        _state_dicts(rng, scratch)
        _check_notices(rng, scratch)
        refused = _refusals(rng, scratch)
        left = [name for name in os.listdir(scratch) if name.endswith(".tmp")]
        assert not left, f"temporary files stayed: {left}"
    print(f"self-test: {files} layers written, read back and recomputed; the two numpy paths differ by {worst:.2g} at most")
    print(f"self-test: {refused} broken cases refused by name")
    if out is not None:
        print(f"self-test: {len(kept)} case files in {out}")
    return 0


def _state_dicts(rng, scratch):
    """The public ports' names make the same layer as ours."""
    path = os.path.join(scratch, "state.safetensors")
    x = rng.standard_normal([2, 4, 5, 6])
    weight, bias = rng.standard_normal([3, 6, 2, 3, 3]), rng.standard_normal([3, 6])
    fc1, fc2, c2 = rng.standard_normal([2, 4]), rng.standard_normal([3, 2]), rng.standard_normal(3)
    paper = {
        "weight": weight, "bias": bias, "attention.fc1.weight": fc1[:, :, None, None],
        "attention.fc2.weight": fc2[:, :, None, None], "attention.fc2.bias": c2,
    }
    scores = {
        "kernels_weights": weight, "kernels_bias": bias, "attention.to_scores.0.weight": fc1,
        "attention.to_scores.2.weight": fc2, "attention.to_scores.2.bias": c2,
    }
    options = {"stride": 2, "padding": (1, 0), "temperature": 3.0}
    first, second = (from_state_dict(state, x, path, **options) for state in (paper, scores))
    assert first[0] == second[0], "two ports' names gave two configurations"
    assert all(np.array_equal(first[1][key], second[1][key]) for key in first[1]), "two ports' names gave two layers"
    flat = {"weight": weight.reshape(3, -1), "routing_fn.weight": rng.standard_normal([3, 4])}
    config, tensors = from_state_dict(flat, x, path, kernel_size=3, groups=2)
    assert config["attention"] == {"kind": "linear", "squash": "sigmoid"} and config["groups"] == 2
    assert np.array_equal(tensors["weight"], weight.astype(np.float32))
    config, tensors = from_state_dict({"weight": weight}, x, path, pi=rng.standard_normal([2, 3]))
    assert config["attention"] == {"kind": "given"} and read_case(path)[0] == config
    config, _ = from_state_dict({"weight": weight[0], "bias": bias[0]}, x, path, padding="same")
    assert config["attention"] is None and config["experts"] == 1


def _check_notices(rng, scratch):
    """`check` passes a right case with a gradient and notices a wrong output, pi or gradient."""
    from export_case import check

    path = os.path.join(scratch, "check.safetensors")
    state = {"weight": rng.standard_normal([3, 6, 4, 3, 3]), "bias": rng.standard_normal([3, 6])}
    pi = rng.standard_normal([2, 3])
    config, case = from_state_dict(state, rng.standard_normal([2, 4, 5, 6]), path, pi=pi, padding="same")
    case["grad.output"] = rng.standard_normal(case["expect.output"].shape).astype(np.float32)
    case["expect.grad.bias"] = case["pi"].T.astype(np.float64) @ case["grad.output"].sum(axis=(2, 3), dtype=np.float64)
    write_case(path, config, case)
    right = check(path)[2]
    assert set(right) == {"output", "pi", "grad.bias"} and max(right.values()) < 0.1, f"a right case: {right}"
    for name, key in (("output", "expect.output"), ("pi", "expect.pi"), ("grad.bias", "expect.grad.bias")):
        write_case(path, config, {**case, key: case[key] * 1.001})
        wrong = check(path)[2]
        assert wrong[name] > 1, f"{key} off by 0.1 % went unnoticed: {wrong}"


def _refusals(rng, scratch):
    """Breaks a good case in one way at a time."""
    config = {
        "in_channels": 4, "out_channels": 6, "kernel_size": [3, 3], "stride": [1, 1], "dilation": [1, 1],
        "padding": "same", "groups": 2, "experts": 2, "bias": True, "layout": "nchw",
        "attention": {"kind": "mlp", "hidden": 2, "squash": "softmax", "temperature": 1.0},
        "batch_norm": {"epsilon": 1e-5, "keep": 0.9}, "activation": "none", "mode": "inference",
    }
    tensors = {name: rng.random(shape).astype(np.float32) for name, (shape, _) in parameter_shapes(config).items()}
    tensors["input"] = rng.random([2, 4, 5, 5]).astype(np.float32)
    result = forward(config, tensors)
    tensors.update({"expect.output": result["output"], "expect.pi": result["pi"]})
    check_case(config, tensors)

    nan = np.full([2, 6], np.nan, np.float32)
    softmax = config["attention"]
    without_temperature = {key: value for key, value in softmax.items() if key != "temperature"}
    configs = [
        ({"groups": 3}, "groups (3) must divide in_channels (4)"), ({"experts": 0}, "experts (0)"),
        ({"experts": True}, "experts (True)"), ({"stride": [1, 0]}, "stride (0)"), ({"stride": 1}, "stride (1)"),
        ({"padding": "full"}, "padding ('full')"), ({"padding": {"top": 1}}, "lacks bottom, left, right"),
        ({"padding": {"top": -1, "bottom": 0, "left": 0, "right": 0}}, "padding.top (-1)"),
        ({"layout": "hwcn"}, "layout ('hwcn')"), ({"bias": 1}, "bias (1)"), ({"activation": "selu"}, "activation ('selu')"),
        ({"mode": "eval"}, "mode ('eval')"), ({"slope": 0.2}, "config has slope"), ({"attention": None}, "experts is 1, not 2"),
        ({"attention": {"kind": "se"}}, "attention.kind ('se')"), ({"attention": without_temperature}, "lacks temperature"),
        ({"attention": {**softmax, "squash": "sigmoid"}}, "has temperature"),
        ({"attention": {**softmax, "temperature": 0.0}}, "attention.temperature (0.0)"),
        ({"attention": {**softmax, "temperature": float("nan")}}, "attention.temperature (nan)"),
        ({"attention": {"kind": "given"}}, "tensor 'pi'"), ({"batch_norm": {"epsilon": 1e-5}}, "lacks keep"),
        ({"batch_norm": {"epsilon": 0, "keep": 0.9}}, "batch_norm.epsilon (0)"),
        ({"batch_norm": {"epsilon": 1e-5, "keep": 1.5}}, "batch_norm.keep (1.5)"), ({"batch_norm": None}, "tensor 'bn."),
        ({"kernel_size": [9, 3], "padding": "valid"}, "dilated kernel's extent (9)"), ({"bias": False}, "tensor 'bias'"),
        ({"in_channels": 6}, "in_channels is 6"), ({"out_channels": 8}, "tensor 'weight' has shape"),
    ]
    arrays = [
        ({"bias": nan}, "tensor 'bias' holds a value that is not finite"), ({"pi": result["pi"]}, "tensor 'pi'"),
        ({"bn.running_var": -np.ones(6, np.float32)}, "tensor 'bn.running_var' holds -1.0"), ({"extra": nan}, "unknown name"),
        ({"bias": np.full([2, 6], 0.1)}, "tensor 'bias' (float64) holds values that float32 can't"),
        ({"bias": np.zeros([2, 6], complex)}, "tensor 'bias' has type complex128"),
        ({"expect.grad.bias": nan}, "gradients need grad.output"), ({"expect.pi": result["pi"].T[:1]}, "tensor 'expect.pi' has shape"),
        ({"input": np.ones([4, 5, 5], np.float32)}, "four axes"), ({"expect.output": None}, "tensor 'expect.output' of shape"),
    ]
    path = os.path.join(scratch, "refused.safetensors")
    for number, (change, words) in enumerate(configs + arrays):
        broken, changed = copy.deepcopy(config), dict(tensors)
        (broken if number < len(configs) else changed).update(change)
        changed = {name: value for name, value in changed.items() if value is not None}
        try:
            write_case(path, broken, changed)
        except CaseError as error:
            assert words in str(error), f"{change}: the error should say {words!r}, not {str(error)!r}"
        else:
            raise AssertionError(f"{list(change)} was accepted: {words!r} was expected")
        assert not os.path.exists(path), "a refused case left a file"
    try:
        write_case(path, {key: value for key, value in config.items() if key != "mode"}, tensors)
        raise AssertionError("a config without mode was accepted")
    except CaseError as error:
        assert "lacks mode" in str(error)
    return len(configs) + len(arrays) + 1

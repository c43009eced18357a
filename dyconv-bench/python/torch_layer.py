"""Case files from PyTorch layers: `from_torch`, re-exported by `export_case.py`."""

import copy
import inspect

import numpy as np

from case_file import ACTIVATIONS, CaseError, parameter_shapes
from state_layer import (
    EXPERTS, HEADS, PROBES, attribute_of, finish, layer_from_state_dict, recognise, single, to_numpy,
)


def from_torch(
    module, input, path, *, pi=None, routing=None, batch_norm=None, activation="none", squash=None,
    temperature=None, stride=None, padding=None, dilation=None, groups=None, layout="nchw",
    training=False, biased_update=False, grad=False, seed=0,
):
    """Writes a case from a PyTorch layer; returns (config, tensors).

    `input` is [N,C,H,W], a tensor or an array. `routing` is the linear layer that makes pi
    of the input's mean (timm), `pi` the attention weights themselves; a layer with its own
    attention needs neither. `batch_norm` (a BatchNorm2d) and `activation` (a name or a
    module) follow the layer. stride, padding, dilation, groups and temperature are read
    from the module where it has them. `training` normalises by the batch's statistics; the
    format's training updates running statistics with the biased variance and PyTorch with
    the unbiased one, so it is refused unless `biased_update` says that this is understood
    (outputs and gradients are the same). `grad` adds gradients for a random grad.output.
    `layout="nhwc"` writes the same case channels-last.
    """
    import torch

    given = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    geometry = {}
    for name, value in given.items():
        geometry[name] = attribute_of(module, name, value, required=name != "groups")
    if getattr(module, "dynamic_padding", False):  # timm: TensorFlow's rule
        geometry["padding"] = "same"
    if getattr(module, "padding_mode", "zeros") != "zeros":
        raise CaseError(f"padding_mode ({module.padding_mode!r}) must be 'zeros'")
    shape = getattr(module, "weight_shape", None)
    kernel_size = getattr(module, "kernel_size", None) if shape is None else shape[-2:]
    name, function = _torch_activation(torch, activation)

    # Everything that follows sees float32 values in float64.
    x = torch.as_tensor(single("input", to_numpy(input)).astype(np.float64)).requires_grad_(grad)
    module, routing, norm = (_double(part) for part in (module, routing, batch_norm))
    state = {key: to_numpy(value) for key, value in module.state_dict().items()}
    if routing is not None:
        state.update({f"routing_fn.{key}": to_numpy(value) for key, value in routing.state_dict().items()})
    if norm is not None:
        state.update(_torch_batch_norm(norm, training, biased_update))
    if squash != "sigmoid" and routing is None and pi is None:
        temperature = _temperature(module, temperature)
    config, tensors = layer_from_state_dict(
        state, x.shape[1], kernel_size=kernel_size, **geometry, squash=squash, temperature=temperature,
        attention="auto" if pi is None else "given", activation=name,
        batch_norm=None if norm is None else {"epsilon": norm.eps, "keep": 1.0 - norm.momentum},
        mode="training" if training else "inference",
    )

    seen = {}
    if pi is not None:
        tensors["pi"] = single("pi", to_numpy(pi))
        seen["pi"] = torch.as_tensor(tensors["pi"].astype(np.float64)).requires_grad_(grad)
    elif routing is not None:
        logits = routing(x.mean(dim=(2, 3)))
        head = config["attention"]
        soft = head["squash"] == "softmax"
        seen["pi"] = torch.softmax(logits / head["temperature"], dim=1) if soft else torch.sigmoid(logits)
    hook = None
    if isinstance(getattr(module, "attention", None), torch.nn.Module):
        hook = module.attention.register_forward_hook(lambda _module, _inputs, out: seen.update(attention=out))
    with torch.set_grad_enabled(grad):
        y = module(x, *_second_argument(module, seen.get("pi"), temperature))
        if norm is not None:
            y = norm.train(training)(y)
        y = function(y)
    if hook is not None:
        hook.remove()

    observed = {"output": to_numpy(y)}
    found = seen.pop("attention", None)
    if isinstance(found, torch.Tensor) and found.numel() == len(x) * config["experts"]:
        seen["pi"] = found
    if "pi" in seen:
        observed["pi"] = to_numpy(seen["pi"]).reshape(len(x), config["experts"])
    tensors["input"] = to_numpy(x)
    if grad:
        tensors.update(_torch_gradients(torch, config, x, y, seen.get("pi"), module, routing, norm, seed))
    if layout == "nhwc":
        config["layout"] = layout
        observed["output"] = observed["output"].transpose(0, 2, 3, 1)
        for key in ("input", "grad.output", "expect.grad.input"):
            if key in tensors:
                tensors[key] = tensors[key].transpose(0, 2, 3, 1)
    return finish(path, config, tensors, observed)


def _temperature(module, given):
    """The module's own temperature where none is given; else the module (our copy) gets the given one."""
    for holder in (getattr(module, "attention", None), module):
        own = getattr(holder, "temperature", None)
        if hasattr(own, "fill_"):  # a buffer or parameter
            own.data.fill_(own.item() if given is None else given)
            return float(own)
        if isinstance(own, (int, float)):
            holder.temperature = own if given is None else given
            return float(holder.temperature)
    return given


def _second_argument(module, pi, temperature):
    """What a forward takes after x: timm's the attention weights, another port's the temperature."""
    names = list(inspect.signature(module.forward).parameters)[1:]
    if pi is not None:
        if not names:
            raise CaseError("pi or a routing layer was given, but the module's forward takes no attention weights")
        return (pi,)
    return (temperature,) if names[:1] == ["temperature"] else ()


def _torch_gradients(torch, config, x, y, pi, module, routing, norm, seed):
    """Autograd's gradients under the format's names, for a random float32 grad.output."""
    draws = np.random.default_rng(seed).standard_normal(tuple(y.shape)).astype(np.float32)
    sources = dict(module.named_parameters())
    sources.update({f"routing_fn.{key}": value for key, value in (routing.named_parameters() if routing else ())})
    sources.update({f"bn.{key}": value for key, value in (norm.named_parameters() if norm else ())})
    sources["input"] = x
    if pi is not None:
        sources["pi"] = pi
    sources = {key: value for key, value in sources.items() if value.requires_grad}
    ours = {old: new for pair in EXPERTS for old, new in zip(pair, ("weight", "bias"))}
    for first, second in HEADS + (("", "routing_fn"),):
        for part in ("weight", "bias"):
            ours[f"{first}.{part}"] = f"attention.fc1.{part}"
            ours[f"{second}.{part}"] = f"attention.fc2.{part}"
    target = torch.as_tensor(draws.astype(np.float64))
    found = torch.autograd.grad(y, list(sources.values()), target, allow_unused=True)
    result = {"grad.output": draws}
    shapes = {name: shape for name, (shape, _) in parameter_shapes(config).items()}
    shapes.update({"input": list(x.shape), "pi": [len(x), config["experts"]]})
    for key, value in zip(sources, found):
        name = ours.get(key, key)
        if value is not None and name in shapes:
            result[f"expect.grad.{name}"] = to_numpy(value).reshape(shapes[name])
    return result


def _torch_batch_norm(norm, training, biased_update):
    if norm.momentum is None:
        raise CaseError("batch_norm.momentum (None, a cumulative average) must be a number")
    if not norm.track_running_stats or norm.running_mean is None:
        raise CaseError("batch_norm.track_running_stats (False) must be True: the format holds running statistics")
    if training and not biased_update:
        raise CaseError(
            "batch_norm in training mode updates its running variance with the unbiased variance, which the"
            " format can't express; biased_update=True writes the case of the biased layer, whose outputs"
            " and gradients are the same"
        )
    ones, zeros = np.ones(norm.num_features), np.zeros(norm.num_features)
    return {
        "bn.weight": ones if norm.weight is None else to_numpy(norm.weight),
        "bn.bias": zeros if norm.bias is None else to_numpy(norm.bias),
        "bn.running_mean": to_numpy(norm.running_mean).copy(),
        "bn.running_var": to_numpy(norm.running_var).copy(),
    }


def _torch_activation(torch, activation):
    functional = torch.nn.functional
    functions = {
        "none": lambda v: v, "relu": functional.relu, "relu6": functional.relu6,
        "leaky_relu": functional.leaky_relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh,
        "hard_sigmoid": functional.hardsigmoid, "hard_swish": functional.hardswish,
        "silu": functional.silu, "gelu": functional.gelu, "elu": functional.elu,
    }
    if isinstance(activation, str):
        if activation not in functions:
            raise CaseError(f"activation ({activation!r}) must be one of {', '.join(ACTIVATIONS)}")
        return activation, functions[activation]
    probes = torch.as_tensor(PROBES)
    name = recognise(activation, lambda: to_numpy(activation(probes.clone())))
    return name, functions[name]


def _double(module):
    """A float64 copy of a module whose values were rounded to float32 first, for inference."""
    return None if module is None else copy.deepcopy(module).cpu().float().double().eval()

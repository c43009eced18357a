#!/usr/bin/env python3
"""Writes a dyconv case file from a dynamic convolution of your own, in PyTorch or Keras.

A case file holds one layer, an input and what the layer makes of it. With it anyone can
check dyconv on your trained weights, without your code and without your framework.

From Python:

    from export_case import from_torch, from_keras, from_state_dict

    # a layer with attention inside (weight [K,O,I/g,kh,kw], attention.fc1, attention.fc2)
    from_torch(model.blocks[3].conv, x, "case.safetensors")
    # ... followed by batch norm and an activation, with gradients
    from_torch(block.conv, x, "case.safetensors", batch_norm=block.bn, activation="relu6", grad=True)
    # timm's CondConv2d and its routing layer (pi = sigmoid(routing(mean of x)))
    from_torch(block.conv_pw, x, "case.safetensors", routing=block.routing_fn)
    # ... or with pi as the network computed it elsewhere
    from_torch(block.conv_dw, x, "case.safetensors", pi=routing_weights)
    # the Keras layer DyConv2D
    from_keras(model.get_layer("dy_conv2d"), x, "case.safetensors")
    # no code at hand, only a state dict of numpy arrays
    from_state_dict(state, x, "case.safetensors", stride=1, padding=1, temperature=1.0)

From a shell, where FILE.py:NAME is a function without arguments (or a variable) that gives
the module or model, `--layer` a path inside it, and `--input` a .npy file (else `--shape`
makes a random one):

    python export_case.py torch --module net.py:build --checkpoint net.pt --layer blocks.3.conv \\
        --shape 2,16,14,14 --grad --out case.safetensors
    python export_case.py torch --module net.py:build --layer conv_pw --routing routing_fn \\
        --batch-norm bn1 --activation silu --input x.npy --out case.safetensors
    python export_case.py keras --module net.py:build --layer dy_conv2d --input x.npy --out case.safetensors
    python export_case.py state --checkpoint layer.safetensors --prefix conv. --stride 2 --padding 1 \\
        --temperature 1 --shape 2,16,14,14 --out case.safetensors
    python export_case.py check case.safetensors
    python export_case.py --self-test --out cases/

Parameters and input are rounded to float32 first. Expected values then come from a float64
copy of your module, run by your framework, and must agree with the layer recomputed in
numpy: where they don't, nothing is written. What the format can't express (a second
slope of leaky_relu, batch norm inside the attention, ...) is refused by name.

Needs numpy and safetensors; torch or keras only for layers of theirs.
"""

import argparse
import importlib
import importlib.util
import os
import sys

import numpy as np

from case_file import ACTIVATIONS, CaseError, read_case, write_case
from keras_layer import from_keras
from numpy_layer import forward
from state_layer import from_state_dict, layer_from_state_dict, to_numpy
from torch_layer import from_torch

__all__ = [
    "CaseError", "check", "from_keras", "from_state_dict", "from_torch", "layer_from_state_dict",
    "read_case", "write_case",
]


def check(path):
    """Reads a case and recomputes it: (config, tensors, {name: error}).

    output and pi: the error as a fraction of what the format allows. Gradients: the one
    along a random direction against a central difference, relative to |gradient|·|direction|,
    as a fraction of 1e-4.
    """
    config, tensors = read_case(path)
    computed, ratios = forward(config, tensors), {}
    for name in ("output", "pi"):
        want = tensors[f"expect.{name}"].astype(np.float64)
        if want.size:
            error = np.abs(computed[name] - want).max()
            ratios[name] = float(error / (1e-6 + 2e-5 * np.abs(want).max()))
    for name in tensors:
        if name.startswith("expect.grad.") and tensors[name].size:
            short = name[len("expect.grad."):]
            ratios[f"grad.{short}"] = _gradient_error(config, tensors, short, computed["pi"])
    return config, tensors, ratios


def _gradient_error(config, tensors, name, pi):
    doubles = {key: value.astype(np.float64) for key, value in tensors.items()}
    if name == "pi":  # after the squash: the layer with pi given
        config, doubles["pi"] = {**config, "attention": {"kind": "given"}}, pi
    gradient = doubles[f"expect.grad.{name}"]
    direction = np.random.default_rng(0).standard_normal(gradient.shape)
    step, loss = 1e-6, []
    for sign in (1.0, -1.0):
        moved = {**doubles, name: doubles[name] + sign * step * direction}
        loss.append(float((forward(config, moved)["output"] * doubles["grad.output"]).sum()))
    slope = (loss[0] - loss[1]) / (2.0 * step)
    scale = np.abs(gradient * direction).sum() + 1e-3
    return float(abs(slope - (gradient * direction).sum()) / scale / 1e-4)


def _load(target):
    """FILE.py:NAME or package.module:NAME, called if it can be and isn't a layer itself."""
    source, _, name = target.rpartition(":")
    if not source:
        raise CaseError(f"--module ({target!r}) must be FILE.py:NAME or package.module:NAME")
    sys.path.insert(0, os.getcwd())
    if source.endswith(".py"):
        spec = importlib.util.spec_from_file_location(os.path.splitext(os.path.basename(source))[0], source)
        found = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
    else:
        found = importlib.import_module(source)
    found = getattr(found, name)
    layer = hasattr(found, "state_dict") or hasattr(found, "get_weights")
    return found if layer and not isinstance(found, type) else found()


def _inside(get, path):
    try:
        return get(path)
    except (AttributeError, ValueError) as error:
        raise CaseError(f"no layer {path!r} in the model: {error}") from None


def _checkpoint(path):
    if path.endswith(".safetensors"):
        import safetensors.numpy

        return safetensors.numpy.load_file(path)
    if path.endswith(".npz"):
        return dict(np.load(path))
    import torch

    state = torch.load(path, map_location="cpu", weights_only=True)
    return state.get("state_dict", state)


def _numbers(text):
    return [int(part) for part in text.split(",")]


def _padding_argument(text):
    return text if text in ("same", "valid") else _numbers(text)


def _parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="export_case.py"
    )
    parser.add_argument("--self-test", action="store_true", help="check this program on random layers and exit")
    parser.add_argument("--out", metavar="DIR", help="with --self-test: leave the case files in this folder")
    commands = parser.add_subparsers(dest="command")

    def command(name, text):
        sub = commands.add_parser(name, help=text, description=text + " (examples: export_case.py --help)")
        sub.add_argument("--out", required=True, metavar="FILE", dest="file", help="the case file to write")
        sub.add_argument("--input", metavar="X.npy", help="the input; without it a random one of --shape")
        sub.add_argument("--shape", type=_numbers, metavar="N,C,H,W", help="shape of a random input, in the layer's layout")
        sub.add_argument("--seed", type=int, default=0, help="of the random input and grad.output")
        sub.add_argument("--temperature", type=float, help="softmax temperature, where the layer doesn't hold it")
        if name != "keras":
            sub.add_argument("--pi", metavar="PI.npy", help="attention weights [N,K] given instead of computed")
            sub.add_argument("--squash", choices=("softmax", "sigmoid"))
            sub.add_argument("--activation", default="none", choices=ACTIVATIONS)
            for option in ("stride", "dilation"):
                sub.add_argument(f"--{option}", type=_numbers, metavar="H,W")
            sub.add_argument("--padding", type=_padding_argument, metavar="same|valid|P|H,W|T,B,L,R")
            sub.add_argument("--groups", type=int)
        if name != "state":
            sub.add_argument("--module", required=True, metavar="FILE.py:NAME", help="what builds the module or model")
            sub.add_argument("--layer", metavar="PATH", help="the layer inside it (default: itself)")
            sub.add_argument("--training", action="store_true", help="normalise by the batch's statistics")
        return sub

    torch = command("torch", "write a case from a PyTorch layer")
    torch.add_argument("--checkpoint", help="state dict for the whole module (.pt, .safetensors)")
    torch.add_argument("--routing", metavar="PATH", help="the linear layer that makes pi (timm's routing_fn)")
    torch.add_argument("--batch-norm", metavar="PATH", help="a BatchNorm2d that follows the layer")
    torch.add_argument("--biased-update", action="store_true", help="allow --training (see from_torch)")
    torch.add_argument("--layout", choices=("nchw", "nhwc"), default="nchw", help="of the case file")
    torch.add_argument("--grad", action="store_true", help="add gradients for a random grad.output")
    command("keras", "write a case from a Keras DyConv2D layer")
    state = command("state", "write a case from a state dict alone, without its framework's code")
    state.add_argument("--checkpoint", required=True, help=".safetensors, .npz or (with torch) .pt")
    state.add_argument("--prefix", default="", help="of the layer's names in the checkpoint, for example blocks.3.conv.")
    state.add_argument("--kernel-size", type=_numbers, metavar="H,W", help="of experts stored flattened")
    state.add_argument("--layout", choices=("nchw", "nhwc"), default="nchw", help="of the input")
    sub = commands.add_parser("check", help="read a case file, recompute it in numpy, check gradients by differences")
    sub.add_argument("files", nargs="+")
    return parser


def _input(args):
    if args.input:
        return np.load(args.input)
    if not args.shape:
        raise CaseError("an input is needed: --input X.npy, or --shape for a random one")
    return np.random.default_rng(args.seed).standard_normal(args.shape).astype(np.float32)


def _run(args):
    if args.command == "check":
        for path in args.files:
            config, tensors, ratios = check(path)
            figures = ", ".join(f"{name} {ratio:.3f}" for name, ratio in ratios.items())
            print(f"{path}: {len(tensors)} tensors; error over tolerance: {figures}")
            if not all(ratio <= 1 for ratio in ratios.values()):
                raise CaseError(f"{path}: the expected values are not this layer's")
        return
    names = ("squash", "activation", "stride", "padding", "dilation", "groups", "temperature", "layout", "kernel_size")
    options = {name: getattr(args, name) for name in names if getattr(args, name, None) is not None}
    if getattr(args, "pi", None):
        options["pi"] = np.load(args.pi)
    if args.command == "state":
        cut = len(args.prefix)
        state = {k[cut:]: to_numpy(v) for k, v in _checkpoint(args.checkpoint).items() if k.startswith(args.prefix)}
        config, _ = from_state_dict(state, _input(args), args.file, **options)
    elif args.command == "torch":
        model = _load(args.module)
        if args.checkpoint:
            import torch

            model.load_state_dict({k: torch.as_tensor(v) for k, v in _checkpoint(args.checkpoint).items()})

        def part(path):
            return _inside(model.get_submodule, path) if path else None

        config, _ = from_torch(
            part(args.layer) or model, _input(args), args.file, routing=part(args.routing),
            batch_norm=part(args.batch_norm), training=args.training, biased_update=args.biased_update,
            grad=args.grad, seed=args.seed, **options,
        )
    else:
        model = _load(args.module)
        layer = _inside(model.get_layer, args.layer) if args.layer else model
        config, _ = from_keras(layer, _input(args), args.file, training=args.training, **options)
    print(f"{args.file}: {os.path.getsize(args.file)} bytes, {config}")


def main(arguments=None):
    parser = _parser()
    args = parser.parse_args(arguments)
    if args.self_test:
        from self_test import self_test

        return self_test(args.out)
    if args.command is None:
        parser.print_help()
        return 2
    try:
        _run(args)
    except (CaseError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

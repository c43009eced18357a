"""The frameworks, one file each.

An engine says in how many *forms* a user could write the layer in its framework. Building a form
gives a function without arguments that computes the whole layer once, and one that turns its
result into a [N, Cout, OH, OW] array; only the first is timed. The input is in the form's layout
and where the framework wants it before any timing.
"""

import dataclasses
import importlib
import typing

MODULES = {
    "ncnn": "ncnn_engine",
    "openvino": "openvino_engine",
    "onnxruntime": "onnxruntime_engine",
    "pytorch": "pytorch_engine",
    "tensorflow": "tensorflow_engine",
    "jax": "jax_engine",
    "numpy": "numpy_engine",  # not a peer: it lets the self-test run everything else without a framework
}
FRAMEWORKS = tuple(name for name in MODULES if name != "numpy")


class Absent(Exception):
    """The framework isn't installed here; the message says why and how to get it."""


@dataclasses.dataclass(frozen=True)
class Form:
    """One way to write the layer. `build` returns (call, fetch): `fetch(call())` is the output as an array."""

    variant: str
    mode: str  # dynamic or static
    layout: str  # of the input as it is handed over: nchw or nhwc
    build: typing.Callable


def load(framework, threads, compiled=True):
    """The engine of a framework: an object with `version` and `forms(layer)`."""
    module = importlib.import_module(f"engines.{MODULES[framework]}")
    try:
        return module.Engine(threads, compiled)
    except ImportError as error:
        raise Absent(f"{error}; see README.md for its requirements file") from None

"""ncnn: nets in its own text form, float32 throughout.

The dynamic convolution takes its kernel and bias as blobs. Variants: `packed` hands the input over
and takes the output with ncnn's interleaved channels; `winograd23` and `direct` take the choice
among Winograd's sizes away from ncnn, which doesn't count the transform of a kernel that changes
with every call; `pool` allocates blobs as ncnn's own benchmark does.
"""

import os
import tempfile

import ncnn
import numpy as np

from . import Form

PLAIN_FLOAT = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage", "use_bf16_packed")
WINOGRAD23 = {"use_winograd43_convolution": False, "use_winograd63_convolution": False}
DIRECT = {"use_winograd_convolution": False}
PACKS = (16, 8, 4)  # how many channels may be interleaved, best first


class Engine:
    def __init__(self, threads, compiled):
        self.threads, self.version = threads, ncnn.__version__
        self.pools = {"blob_allocator": ncnn.UnlockedPoolAllocator(), "workspace_allocator": ncnn.PoolAllocator()}

    def forms(self, layer):
        w = layer.workload

        def form(variant, mode, net, packed=False, **options):
            return Form(variant, mode, "nchw", lambda: self.build(layer, net(layer), packed, options))

        winograd = w.kernel == 3 and w.groups == 1 and w.stride == 1
        for mode, net in (("static", static_net), ("dynamic", dynamic_net)):
            yield form("conv", mode, net)
            yield form("packed", mode, net, packed=True)
            yield form("packed_pool", mode, net, packed=True, **self.pools)
            if winograd:
                yield form("packed_winograd23", mode, net, packed=True, **WINOGRAD23)
                yield form("packed_direct", mode, net, packed=True, **DIRECT)
        yield form("matmul", "dynamic", lambda layer: dynamic_net(layer, dense=False))
        if w.groups == 1:
            yield form("mixed_outputs", "dynamic", mixed_outputs_net)

    def build(self, layer, net_text, packed, options):
        net = self.load(*net_text, options)
        images = [ncnn.Mat(image).clone() for image in layer.x]
        kind = 0
        if packed:
            images, kind = [interleaved(image, net.opt) for image in images], 1

        def one(image):
            extractor = net.create_extractor()
            extractor.input("x", image)
            status, y = extractor.extract("y", kind)
            if status != 0:
                raise RuntimeError(f"extract returned {status}")
            return y

        def call():
            return [one(image) for image in images]  # a net takes one image

        def fetch(outputs):
            plain = [np.array(ncnn.convert_packing(y, 1, net.opt)) for y in outputs]
            return np.stack(plain).reshape(layer.workload.output_shape(layer.batch))

        return call, fetch

    def load(self, text, weights, options):
        net = ncnn.Net()
        net.opt.num_threads = self.threads
        net.opt.use_vulkan_compute = False
        for name, value in {**dict.fromkeys(PLAIN_FLOAT, False), **options}.items():
            setattr(net.opt, name, value)
        with tempfile.TemporaryDirectory() as folder:
            paths = os.path.join(folder, "net.param"), os.path.join(folder, "net.bin")
            with open(paths[0], "w", encoding="ascii") as file:
                file.write(text)
            with open(paths[1], "wb") as file:
                file.write(weights)
            if net.load_param(paths[0]) != 0 or net.load_model(paths[1]) != 0:
                raise RuntimeError("ncnn refused the net")
        return net


def interleaved(image, options):
    for pack in PACKS:
        if image.c % pack == 0:
            return ncnn.convert_packing(image, pack, options)
    raise NotImplementedError(f"{image.c} channels can't be interleaved")


# Nets ------------------------------------------------------------------------------------


class Net:
    """A net's lines and weights, in step: ncnn reads weights in the order of the lines."""

    def __init__(self):
        self.lines, self.weights, self.blobs = [], bytearray(), 0

    def line(self, kind, name, inputs, outputs, parameters=""):
        self.lines.append(f"{kind} {name} {len(inputs)} {len(outputs)} {' '.join([*inputs, *outputs])} {parameters}")
        self.blobs += len(outputs)

    def raw(self, array):
        self.weights += np.ascontiguousarray(array, np.float32).tobytes()

    def tagged(self, array):
        """Weights of a layer that could also be stored otherwise: four bytes say that they are float32."""
        self.weights += bytes(4)
        self.raw(array)

    def memory(self, name, array):
        """A constant blob of two dimensions."""
        rows, columns = array.shape
        self.line("MemoryData", name, [], [name], f"0={columns} 1={rows}")
        self.raw(array)

    def attention(self, layer, x):
        """Blob `pi`: pool, two dense layers, softmax."""
        w = layer.workload
        self.line("Pooling", "pool", [x], ["pooled"], "0=1 4=1")
        self.line("InnerProduct", "fc1", ["pooled"], ["hidden"], f"0={w.hidden} 1=1 2={w.hidden * w.in_channels} 9=1")
        self.line("InnerProduct", "fc2", ["hidden"], ["logits"], f"0={w.experts} 1=1 2={w.experts * w.hidden}")
        self.line("Softmax", "softmax", ["logits"], ["pi"], "0=0 1=1")
        self.tagged(layer.fc1_weight)
        self.raw(layer.fc1_bias)
        self.tagged(layer.fc2_weight)
        self.raw(layer.fc2_bias)

    def finished(self):
        return f"7767517\n{len(self.lines)} {self.blobs}\n" + "\n".join(self.lines) + "\n", bytes(self.weights)


def _conv(w, out_channels):
    kind, groups = ("ConvolutionDepthWise", f"7={w.groups}") if w.groups > 1 else ("Convolution", "")
    size = out_channels * w.group_channels * w.kernel**2
    return kind, f"0={out_channels} 1={w.kernel} 3={w.stride} 4={w.padding} 5=1 6={size} {groups}"


def static_net(layer):
    net = Net()
    kind, parameters = _conv(layer.workload, layer.workload.out_channels)
    net.line("Input", "x", [], ["x"])
    net.line(kind, "conv", ["x"], ["y"], parameters)
    net.tagged(layer.static_weight)
    net.raw(layer.static_bias)
    return net.finished()


def dynamic_net(layer, dense=True):
    """Experts are mixed by a dense layer whose input is π, or by a matrix product."""
    net, w = Net(), layer.workload
    experts = layer.weight.reshape(w.experts, -1)
    net.line("Input", "x", [], ["x"])
    if not dense:
        net.memory("experts", experts)
        net.memory("biases", layer.bias)
    net.line("Split", "two_xs", ["x"], ["x_pool", "x_conv"])
    net.attention(layer, "x_pool")
    net.line("Split", "two_pis", ["pi"], ["pi_experts", "pi_biases"])
    for name, rows, mixed in (("experts", experts, "flat_kernel"), ("biases", layer.bias, "bias")):
        if dense:
            net.line("InnerProduct", f"mix_{name}", [f"pi_{name}"], [mixed], f"0={rows.shape[1]} 1=0 2={rows.size}")
            net.tagged(rows.T)
        else:
            net.line("MatMul", f"mix_{name}", [f"pi_{name}", name], [mixed])
    inner = "" if w.groups > 1 else f"11={w.in_channels}"
    net.line("Reshape", "kernel", ["flat_kernel"], ["kernel"], f"0={w.kernel} 1={w.kernel} {inner} 2={w.out_channels}")
    kind, parameters = _conv(w, w.out_channels)
    net.line(kind, "conv", ["x_conv", "kernel", "bias"], ["y"], f"{parameters} 19=1")
    return net.finished()


def mixed_outputs_net(layer):
    """All experts' convolutions as one static convolution, outputs mixed by π."""
    net, w = Net(), layer.workload
    kind, parameters = _conv(w, w.experts * w.out_channels)
    net.line("Input", "x", [], ["x"])
    net.line("Split", "two_xs", ["x"], ["x_pool", "x_conv"])
    net.attention(layer, "x_pool")
    net.line(kind, "conv", ["x_conv"], ["every"], parameters)
    net.tagged(layer.weight)
    net.raw(layer.bias)
    pixels = w.out_extent**2
    net.line("Reshape", "rows", ["every"], ["rows"], f"0={w.out_channels * pixels} 1={w.experts}")
    net.line("MatMul", "mix", ["pi", "rows"], ["flat"])
    net.line("Reshape", "image", ["flat"], ["y"], f"0={w.out_extent} 1={w.out_extent} 2={w.out_channels}")
    return net.finished()

"""PyTorch, eager and compiled.

Its convolutions are oneDNN's, its matrix products MKL's. Both layouts are tried; `prepacked` hands the
static layer oneDNN's own blocked tensors, so that no call reorders anything.
"""

import torch
import torch.nn.functional as F
from torch.utils import mkldnn

from . import Form


class Engine:
    def __init__(self, threads, compiled):
        self.compiled, self.version = compiled, torch.__version__
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)

    def forms(self, layer):
        m = Model(layer)
        yield Form("conv", "static", "nchw", lambda: eager(m.static, m.x))
        yield Form("conv", "static", "nhwc", lambda: eager(m.static_last, m.x_last))
        yield Form("conv_prepacked", "static", "nchw", m.prepacked)
        yield Form("conv_groups", "dynamic", "nchw", lambda: eager(m.groups, m.x))
        yield Form("conv_loop", "dynamic", "nhwc", lambda: eager(m.loop_last, m.x_last))
        if layer.batch > 1:
            yield Form("conv_loop", "dynamic", "nchw", lambda: eager(m.loop, m.x))
        if layer.workload.groups == 1:
            yield Form("matmul", "dynamic", "nchw", lambda: eager(m.matmul, m.x))
        if layer.workload.is_pointwise:
            yield Form("matmul", "static", "nchw", lambda: eager(m.static_matmul, m.x))
            yield Form("matmul", "static", "nhwc", lambda: eager(m.static_matmul_last, m.x_last))
            yield Form("matmul", "dynamic", "nhwc", lambda: eager(m.matmul_last, m.x_last))
        if self.compiled:
            yield Form("conv_compiled", "static", "nchw", lambda: compiled(m.static_module(), m.x))
            if layer.batch == 1:
                yield Form("conv_loop_compiled", "dynamic", "nhwc", lambda: compiled(m.loop_last, m.x_last))
            else:
                yield Form("conv_groups_compiled", "dynamic", "nchw", lambda: compiled(m.groups, m.x))


    def training_forms(self, layer):
        """Forward and backward: the gradients of input and parameters, for the output as its own gradient."""
        m = Model(layer)
        m.learn()
        static, static_last = [m.x, m.kernel, m.bias], [m.x_last, m.kernel_last, m.bias]
        dynamic, dynamic_last = [m.x, m.experts, m.biases, *m.head], [m.x_last, m.experts_last, m.biases, *m.head]
        yield Form("conv", "static", "nchw", lambda: learned(m.static, static))
        yield Form("conv", "static", "nhwc", lambda: learned(m.static_last, static_last))
        yield Form("conv_groups", "dynamic", "nchw", lambda: learned(m.groups, dynamic))
        yield Form("conv_loop", "dynamic", "nhwc", lambda: learned(m.loop_last, dynamic_last))
        yield Form("conv_loop", "dynamic", "nchw", lambda: learned(m.loop, dynamic))
        if layer.workload.groups == 1:
            yield Form("matmul", "dynamic", "nchw", lambda: learned(m.matmul, dynamic))
        if self.compiled:
            yield Form("conv_compiled", "static", "nchw", lambda: compiled_to_learn(m.static, static))
            yield Form("conv_groups_compiled", "dynamic", "nchw", lambda: compiled_to_learn(m.groups, dynamic))
            yield Form("conv_loop_compiled", "dynamic", "nhwc", lambda: compiled_to_learn(m.loop_last, dynamic_last))


def learned(function, leaves):
    def call():
        with torch.enable_grad():
            y = function(leaves[0])
            torch.autograd.grad(y, leaves, y.detach())
        return y.detach()

    return call, lambda y: y.contiguous().numpy()


def compiled_to_learn(function, leaves):
    import torch._dynamo
    import torch._inductor.config

    torch._inductor.config.freezing = False
    torch._dynamo.reset()
    with torch.enable_grad():
        return learned(torch.compile(function, dynamic=False), leaves)


def eager(function, x):
    return lambda: function(x), lambda y: y.contiguous().numpy()


def compiled(function, x):
    """With weights frozen; the first call compiles."""
    import torch._dynamo
    import torch._inductor.config

    torch._inductor.config.freezing = True
    torch._dynamo.reset()
    return eager(torch.compile(function, dynamic=False), x)


class Model:
    """The layer's tensors and the ways to compute with them."""

    def __init__(self, layer):
        self.workload, self.batch = layer.workload, layer.batch
        w = layer.workload
        self.last = torch.channels_last
        self.x = torch.from_numpy(layer.x)
        self.x_last = self.x.contiguous(memory_format=self.last)
        self.kernel = torch.from_numpy(layer.static_weight.copy())
        self.kernel_last = self.kernel.contiguous(memory_format=self.last)
        self.bias = torch.from_numpy(layer.static_bias.copy())
        experts = torch.from_numpy(layer.weight)
        self.experts = experts.view(w.experts, -1)
        self.experts_last = experts.permute(0, 1, 3, 4, 2).reshape(w.experts, -1).contiguous()
        self.experts_transposed = experts.transpose(1, 2).reshape(w.experts, -1).contiguous()
        self.biases = torch.from_numpy(layer.bias)
        self.head = [torch.from_numpy(a) for a in (layer.fc1_weight, layer.fc1_bias, layer.fc2_weight, layer.fc2_bias)]

    def learn(self):
        """Makes everything a leaf that gradients are wanted of."""
        tensors = [self.x, self.x_last, self.kernel, self.kernel_last, self.bias, self.experts, self.experts_last, self.biases]
        for tensor in [*tensors, *self.head]:
            tensor.requires_grad_()

    def conv(self, x, kernel, bias, groups=None):
        w = self.workload
        return F.conv2d(x, kernel, bias, w.stride, w.padding, 1, groups or w.groups)

    def attention(self, x):
        fc1_weight, fc1_bias, fc2_weight, fc2_bias = self.head
        hidden = F.relu(F.linear(x.mean((2, 3)), fc1_weight, fc1_bias))
        return F.softmax(F.linear(hidden, fc2_weight, fc2_bias), 1)

    # Static

    def static(self, x):
        return self.conv(x, self.kernel, self.bias)

    def static_last(self, x):
        return self.conv(x, self.kernel_last, self.bias)

    def static_module(self):
        w = self.workload
        module = torch.nn.Conv2d(w.in_channels, w.out_channels, w.kernel, w.stride, w.padding, groups=w.groups).eval()
        module.weight.data, module.bias.data = self.kernel, self.bias
        return module

    def prepacked(self):
        module, x = mkldnn.to_mkldnn(self.static_module()), self.x.to_mkldnn()
        return lambda: module(x), lambda y: y.to_dense().numpy()

    def static_matmul(self, x):
        pixels = x.view(self.batch, self.workload.in_channels, -1)
        matrix = self.kernel.view(1, self.workload.out_channels, -1).expand(self.batch, -1, -1)
        return torch.baddbmm(self.bias.view(1, -1, 1), matrix, pixels).view(self.workload.output_shape(self.batch))

    def static_matmul_last(self, x):
        pixels = x.permute(0, 2, 3, 1)
        return F.linear(pixels, self.kernel.flatten(1), self.bias).permute(0, 3, 1, 2)

    # Dynamic

    def groups(self, x):
        """A batch as groups of one convolution: how ports of the paper write it."""
        w, pi = self.workload, self.attention(x)
        kernels = torch.mm(pi, self.experts).view(-1, *w.weight_shape[2:])
        wide = x.reshape(1, -1, w.extent, w.extent)
        y = self.conv(wide, kernels, torch.mm(pi, self.biases).view(-1), w.groups * self.batch)
        return y.view(w.output_shape(self.batch))

    def loop(self, x):
        """One convolution per sample."""
        pi = self.attention(x)
        kernels = torch.mm(pi, self.experts).view(self.batch, *self.workload.weight_shape[1:])
        return self._each(x, kernels, torch.mm(pi, self.biases))

    def loop_last(self, x):
        """The same with channels last: experts are stored so that mixed kernels need no transposition."""
        w, pi = self.workload, self.attention(x)
        kernels = torch.mm(pi, self.experts_last).view(self.batch, w.out_channels, w.kernel, w.kernel, w.group_channels)
        return self._each(x, kernels.permute(0, 1, 4, 2, 3), torch.mm(pi, self.biases))

    def _each(self, x, kernels, biases):
        if self.batch == 1:
            return self.conv(x, kernels[0], biases[0])
        return torch.cat([self.conv(x[n : n + 1], kernels[n], biases[n]) for n in range(self.batch)])

    def matmul(self, x):
        """Patches and a batched matrix product; a pointwise layer needs no patches."""
        w, pi = self.workload, self.attention(x)
        kernels = torch.mm(pi, self.experts).view(self.batch, w.out_channels, -1)
        if w.is_pointwise:
            columns = x.view(self.batch, w.in_channels, -1)
        else:
            columns = F.unfold(x, w.kernel, padding=w.padding, stride=w.stride)
        y = torch.baddbmm(torch.mm(pi, self.biases).unsqueeze(-1), kernels, columns)
        return y.view(w.output_shape(self.batch))

    def matmul_last(self, x):
        """A pointwise layer with channels last: pixels times the mixed [Cin, Cout]."""
        w, pi = self.workload, self.attention(x)
        kernels = torch.mm(pi, self.experts_transposed).view(self.batch, w.in_channels, w.out_channels)
        pixels = x.permute(0, 2, 3, 1).view(self.batch, -1, w.in_channels)
        y = torch.baddbmm(torch.mm(pi, self.biases).unsqueeze(1), pixels, kernels)
        return y.view(self.batch, w.out_extent, w.out_extent, w.out_channels).permute(0, 3, 1, 2)

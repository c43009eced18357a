"""Small PyTorch layers with the parameter names and the behaviour of public ports.

They exist to make fixtures: each is the layer as its users know it (names, shapes,
defaults), written from that description, and computes sample by sample with the
framework's own convolution.
"""

import torch
from torch import nn
from torch.nn import functional as F


def per_sample_convolution(x, pi, weight, bias, **geometry):
    """Aggregates the experts [K, ...] by pi [N,K] and convolves every sample with its own kernel."""
    outputs = []
    for sample, shares in zip(x, pi):
        kernel = torch.tensordot(shares, weight, dims=1)
        shift = None if bias is None else shares @ bias
        outputs.append(F.conv2d(sample[None], kernel, shift, **geometry))
    return torch.cat(outputs)


class PaperAttention(nn.Module):
    """Mean, 1x1 convolution without bias, relu, 1x1 convolution, softmax with a temperature."""

    def __init__(self, in_planes, ratios, K, temperature):
        super().__init__()
        hidden = K if in_planes == 3 else int(in_planes * ratios) + 1
        self.fc1 = nn.Conv2d(in_planes, hidden, 1, bias=False)
        self.fc2 = nn.Conv2d(hidden, K, 1)
        self.temperature = temperature  # a plain attribute: a state dict doesn't hold it

    def forward(self, x):
        logits = self.fc2(F.relu(self.fc1(F.adaptive_avg_pool2d(x, 1)))).flatten(1)
        return F.softmax(logits / self.temperature, dim=1)


class PaperDynamicConv2d(nn.Module):
    """State: weight [K,O,I/g,k,k], bias [K,O], attention.fc1.weight, attention.fc2.weight|bias."""

    def __init__(
        self, in_planes, out_planes, kernel_size, ratio=0.25, stride=1, padding=0, dilation=1, groups=1,
        bias=True, K=4, temperature=34,
    ):
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.dilation, self.groups, self.K = dilation, groups, K
        self.attention = PaperAttention(in_planes, ratio, K, temperature)
        self.weight = nn.Parameter(torch.empty(K, out_planes, in_planes // groups, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(K, out_planes)) if bias else None
        for expert in self.weight:
            nn.init.kaiming_uniform_(expert)

    def forward(self, x):
        return per_sample_convolution(
            x, self.attention(x), self.weight, self.bias, stride=self.stride, padding=self.padding,
            dilation=self.dilation, groups=self.groups,
        )


class ScoresAttention(nn.Module):
    """Mean, linear, relu, linear, softmax; the temperature comes with the call."""

    def __init__(self, in_channels, hidden, experts):
        super().__init__()
        self.to_scores = nn.Sequential(nn.Linear(in_channels, hidden), nn.ReLU(), nn.Linear(hidden, experts))

    def forward(self, x, temperature=1):
        return F.softmax(self.to_scores(x.mean(dim=(2, 3))) / temperature, dim=1)


class ScoresDynamicConv2d(nn.Module):
    """State: kernels_weights, kernels_bias, attention.to_scores.0|2.weight|bias."""

    def __init__(
        self, nof_kernels, reduce, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1,
        groups=1, bias=True,
    ):
        super().__init__()
        self.kernel_size = (kernel_size, kernel_size) if isinstance(kernel_size, int) else tuple(kernel_size)
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        self.attention = ScoresAttention(in_channels, max(1, in_channels // reduce), nof_kernels)
        self.kernels_weights = nn.Parameter(torch.empty(nof_kernels, out_channels, in_channels // groups, *self.kernel_size))
        bound = self.kernels_weights[0, 0].numel() ** -0.5
        self.kernels_bias = nn.Parameter(torch.empty(nof_kernels, out_channels).uniform_(-bound, bound)) if bias else None
        for expert in self.kernels_weights:
            nn.init.kaiming_uniform_(expert, a=5**0.5)

    def forward(self, x, temperature=1):
        return per_sample_convolution(
            x, self.attention(x, temperature), self.kernels_weights, self.kernels_bias, stride=self.stride,
            padding=self.padding, dilation=self.dilation, groups=self.groups,
        )

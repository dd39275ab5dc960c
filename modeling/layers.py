"""Layers that face and voice networks share, and two ways to make a network faster.

Shape letters: N pictures, C channels, H x W pixels.
"""

import itertools
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

Network = TypeVar("Network", bound=nn.Module)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions plus a shortcut, (N, inputs, H, W) -> (N, outputs, H / stride, W / stride), rounded up."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride > 1 or inputs != outputs:
            pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
            self.shortcut = nn.Sequential(pool, nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x_NCHW)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x_NCHW), inplace=True)


def channels_last(network: Network) -> Network:
    """Stores the channels of a pixel next to each other in memory, which makes convolutions faster on CPUs and GPUs."""
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def fold_batch_norms(network: nn.Module) -> None:
    """Merges every batch norm that directly follows a convolution, among a module's children, into that convolution.

    Only for networks in evaluation mode, and for modules that call their children in the order in which they hold them.
    """
    children = list(network.named_children())
    for (conv_name, conv), (norm_name, norm) in itertools.pairwise(children):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(network, conv_name, fuse_conv_bn_eval(conv, norm))
            setattr(network, norm_name, nn.Identity())
    for _, child in children:
        fold_batch_norms(child)

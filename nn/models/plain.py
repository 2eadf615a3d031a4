"""Nets that are layers in a row: the three for MNIST that this project is measured with, LeNet-5.

small:  conv 8 3x3 pad 1, ReLU, max-pool 2, dropout 0.3, fc
medium: conv 32 3x3, ReLU, conv 64 3x3, ReLU, max-pool 2, dropout 0.25, fc 128, ReLU, dropout 0.5,
        fc; PyTorch's MNIST example
deep:   twice (conv 32 5x5, ReLU), batch norm, max-pool 2, twice (conv 64 3x3, ReLU), batch norm,
        max-pool 2, fc; tinygrad's beautiful_mnist
lenet5: conv 6 5x5 pad 2, tanh, average-pool 2, conv 16 5x5, tanh, average-pool 2, fc 120, tanh,
        fc 84, tanh, fc; LeCun et al., "Gradient-based learning applied to document recognition"
        (1998), with the plain averages and the softmax that it is trained with today

Parameters are named by their place: "0.weight", "0.bias", ...
"""

from __future__ import annotations

from collections.abc import Callable

from tinygrad_cupy.kernels.common.windows import Shape
from tinygrad_cupy.nn.layers import Conv2d, Dropout, Flatten, Linear
from tinygrad_cupy.nn.layers.activation import ReLU, Tanh
from tinygrad_cupy.nn.layers.norm import BatchNorm2d
from tinygrad_cupy.nn.layers.pool import AvgPool2d, MaxPool2d
from tinygrad_cupy.nn.layers.sequential import Sequential
from tinygrad_cupy.nn.module import Module

from .sizes import expect_at_least


def plain(name: str, classes: int, in_channels: int, image_size: Shape) -> Sequential:
    """The net of that name, one of NETS: (N, in_channels, H, W) -> (N, classes).

    ValueError for images that are too small for it.
    """
    features, head = NETS[name]
    body = features(in_channels)
    size = [_output_size(body, axis, pixels) for axis, pixels in enumerate(image_size)]
    if min(size) < 1:
        sizes = range(1, 1000)
        least = [next(n for n in sizes if _output_size(body, axis, n) >= 1) for axis in (0, 1)]
        expect_at_least(name, image_size, (least[0], least[1]))
    channels = [layer.out_channels for layer in body if isinstance(layer, Conv2d)][-1]
    return Sequential(*body, *head(channels * size[0] * size[1], classes))


def _small(in_channels: int) -> list[Module]:
    return [Conv2d(in_channels, 8, 3, padding=1), ReLU(), MaxPool2d(2), Dropout(0.3)]


def _small_head(features: int, classes: int) -> list[Module]:
    return [Flatten(), Linear(features, classes)]


def _medium(in_channels: int) -> list[Module]:
    first = [Conv2d(in_channels, 32, 3), ReLU()]
    return [*first, Conv2d(32, 64, 3), ReLU(), MaxPool2d(2), Dropout(0.25)]


def _medium_head(features: int, classes: int) -> list[Module]:
    return [Flatten(), Linear(features, 128), ReLU(), Dropout(0.5), Linear(128, classes)]


def _deep(in_channels: int) -> list[Module]:
    first = [Conv2d(in_channels, 32, 5), ReLU(), Conv2d(32, 32, 5), ReLU()]
    second = [Conv2d(32, 64, 3), ReLU(), Conv2d(64, 64, 3), ReLU()]
    return [*first, BatchNorm2d(32), MaxPool2d(2), *second, BatchNorm2d(64), MaxPool2d(2)]


def _lenet5(in_channels: int) -> list[Module]:
    first = [Conv2d(in_channels, 6, 5, padding=2), Tanh(), AvgPool2d(2)]
    return [*first, Conv2d(6, 16, 5), Tanh(), AvgPool2d(2)]


def _lenet5_head(features: int, classes: int) -> list[Module]:
    first = [Flatten(), Linear(features, 120), Tanh()]
    return [*first, Linear(120, 84), Tanh(), Linear(84, classes)]


NETS: dict[str, tuple[Callable[[int], list[Module]], Callable[[int, int], list[Module]]]] = {
    "small": (_small, _small_head),
    "medium": (_medium, _medium_head),
    "deep": (_deep, _small_head),
    "lenet5": (_lenet5, _lenet5_head),
}


def _output_size(layers: list[Module], axis: int, size: int) -> int:
    """Height or width of what the convolutions and pools leave of an image; below 1 is nothing."""
    for layer in layers:
        if isinstance(layer, Conv2d) and not isinstance(layer.padding, str):
            reach = layer.dilation[axis] * (layer.kernel_size[axis] - 1)
            size = (size + 2 * layer.padding[axis] - reach - 1) // layer.stride[axis] + 1
        elif isinstance(layer, MaxPool2d | AvgPool2d):
            size = (size - layer.kernel_size[axis]) // layer.stride[axis] + 1
    return size

"""The three convolutional nets that this project is measured with, on MNIST.

small:  conv 8 3x3 pad 1, ReLU, max-pool 2, dropout 0.3, fc
medium: conv 32 3x3, ReLU, conv 64 3x3, ReLU, max-pool 2, dropout 0.25, fc 128, ReLU, dropout 0.5,
        fc; PyTorch's MNIST example
deep:   twice (conv 32 5x5, ReLU), batch norm, max-pool 2, twice (conv 64 3x3, ReLU), batch norm,
        max-pool 2, fc; tinygrad's beautiful_mnist
"""

from __future__ import annotations

import difflib
from collections.abc import Callable

from . import checks
from .layers import Conv2d, Dropout, Flatten, Linear
from .layers.activation import ReLU
from .layers.norm import BatchNorm2d
from .layers.pool import MaxPool2d
from .layers.sequential import Sequential
from .module import Module


def build(
    name: str,
    classes: int = 10,
    in_channels: int = 1,
    image_size: int | tuple[int, int] = (28, 28),
) -> Sequential:
    """A new net for images of one size: (N, in_channels, H, W) -> (N, classes).

    `name` is one of NAMES, `image_size` is (H, W), or one number for both; the weights come from
    random stream 0. ValueError for an unknown name (with a near match) and for images that are too
    small for the net.
    """
    if name not in _NETS:
        near = difflib.get_close_matches(str(name), NAMES, n=1)
        hint = f": did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown model {name!r}{hint} (models: {', '.join(NAMES)})")
    for argument, value in (("classes", classes), ("in_channels", in_channels)):
        checks.integer(name, argument, value)
    height, width = checks.sizes(name, "image_size", image_size, 2)
    features, head = _NETS[name]
    body = features(in_channels)
    rows, columns = _output_size(body, height), _output_size(body, width)
    if min(rows, columns) < 1:
        least = next(size for size in range(1, 1000) if _output_size(body, size) >= 1)
        raise ValueError(
            f"[{name}] images of {height}x{width} pixels are too small, expected at least "
            f"{least}x{least}"
        )
    channels = [layer.out_channels for layer in body if isinstance(layer, Conv2d)][-1]
    return Sequential(*body, *head(channels * rows * columns, classes))


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


_NETS: dict[str, tuple[Callable[[int], list[Module]], Callable[[int, int], list[Module]]]] = {
    "small": (_small, _small_head),
    "medium": (_medium, _medium_head),
    "deep": (_deep, _small_head),
}
NAMES = tuple(_NETS)


def _output_size(layers: list[Module], size: int) -> int:
    """What the convolutions and pools leave of so many rows or columns; below 1 is nothing.

    Every layer of these nets treats both alike.
    """
    for layer in layers:
        if isinstance(layer, Conv2d | MaxPool2d) and not isinstance(layer.padding, str):
            reach = layer.dilation[0] * (layer.kernel_size[0] - 1)
            size = (size + 2 * layer.padding[0] - reach - 1) // layer.stride[0] + 1
    return size

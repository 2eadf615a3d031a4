"""The three nets as lists of layers, and the same nets in PyTorch.

One description serves PyTorch, JAX and the count of operations; the models of
`tinygrad_cupy.nn.models` are compared with it by the names and shapes of their weights.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Layer(NamedTuple):
    """A layer by its kind, with what that kind needs.

    conv: (in channels, out channels, kernel size, padding); fc: (in, out); dropout: (rate,);
    norm: (channels,); relu, pool (2x2 maximum, stride 2) and flatten: ().
    """

    kind: str
    sizes: tuple[Any, ...] = ()


_RELU, _POOL, _FLATTEN = Layer("relu"), Layer("pool"), Layer("flatten")


def _conv(channels: int, out: int, kernel: int, padding: int = 0) -> list[Layer]:
    return [Layer("conv", (channels, out, kernel, padding)), _RELU]


NETS: dict[str, list[Layer]] = {
    "small": [
        *_conv(1, 8, 3, padding=1), _POOL, Layer("dropout", (0.3,)),
        _FLATTEN, Layer("fc", (1568, 10)),
    ],
    "medium": [
        *_conv(1, 32, 3), *_conv(32, 64, 3), _POOL, Layer("dropout", (0.25,)),
        _FLATTEN, Layer("fc", (9216, 128)), _RELU, Layer("dropout", (0.5,)), Layer("fc", (128, 10)),
    ],
    "deep": [
        *_conv(1, 32, 5), *_conv(32, 32, 5), Layer("norm", (32,)), _POOL,
        *_conv(32, 64, 3), *_conv(64, 64, 3), Layer("norm", (64,)), _POOL,
        _FLATTEN, Layer("fc", (576, 10)),
    ],
}  # fmt: skip


def torch_net(name: str) -> Any:
    """The net in PyTorch; its weights have the names that ours have."""
    from torch import nn

    kinds: dict[str, Any] = {
        "conv": lambda cin, cout, kernel, padding: nn.Conv2d(cin, cout, kernel, padding=padding),
        "fc": nn.Linear,
        "norm": nn.BatchNorm2d,
        "dropout": nn.Dropout,
        "relu": nn.ReLU,
        "pool": lambda: nn.MaxPool2d(2),
        "flatten": nn.Flatten,
    }
    return nn.Sequential(*[kinds[layer.kind](*layer.sizes) for layer in NETS[name]])

"""Nets that nobody tuned for, each in both libraries, and the one batch that a step of theirs sees.

The suite of `python -m benchmarks.train_step --suite wide`. The two models of a net have the same
names of weights. Dropout is off, for the libraries draw differently.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.nn import models

LEARNING_RATE, MOMENTUM, CLASSES = 1e-4, 0.9, 10
COMPILED = ("resnet18", "airbench")  # by torch.compile, which takes minutes
FIRST_LOSSES = 3
SAME = {"fp32": 1e-4, "tf32": 3e-3, "bf16": 2e-2}  # how far the first loss may differ, relative
NEAR = {"fp32": 1e-2, "tf32": 1e-2, "bf16": 3e-2}  # and the last of the first ones


class Net(NamedTuple):
    """What a net of the suite takes, and how both libraries make it.

    ``shape`` of one input; ``pixels``: a class for each of them. ``batches`` on a GPU and a CPU.
    """

    shape: tuple[int, ...]
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    pixels: bool = False
    batches: tuple[tuple[int, ...], tuple[int, ...]] = ((128, 1024), (32, 128))


def _model(name: str, side: int = 32, colours: int = 3, **options: Any) -> Net:
    def theirs() -> Any:
        twins: Any = importlib.import_module(".torch_models", __package__)
        return twins.model(name, CLASSES, (side, side), side <= 64, colours)

    ours = functools.partial(models.build, name, CLASSES, colours, side)
    return Net((colours, side, side), ours, theirs, **options)


def _layers(shape: tuple[int, ...], make: Callable[[Any], list[Any]]) -> Net:
    """A net of layers that both libraries call alike."""

    def theirs() -> Any:
        layers: Any = importlib.import_module("torch.nn")
        return layers.Sequential(*make(layers))

    return Net(shape, lambda: nn.Sequential(*make(nn)), theirs)


def _lenet(layers: Any) -> list[Any]:
    return [
        *(layers.Conv2d(3, 6, 5), layers.ReLU(), layers.MaxPool2d(2)),
        *(layers.Conv2d(6, 16, 5), layers.ReLU(), layers.MaxPool2d(2), layers.Flatten()),
        *(layers.Linear(400, 120), layers.ReLU(), layers.Linear(120, 84), layers.ReLU()),
        layers.Linear(84, CLASSES),
    ]


def _airbench(layers: Any) -> list[Any]:
    """Jordan's net for CIFAR-10 (arXiv:2404.00498): a whitening layer and three blocks."""
    parts = [layers.Conv2d(3, 24, 2), layers.GELU()]
    for inputs, outputs in ((24, 64), (64, 256), (256, 256)):
        parts += [
            *(layers.Conv2d(inputs, outputs, 3, padding=1, bias=False), layers.MaxPool2d(2)),
            *(layers.BatchNorm2d(outputs), layers.GELU()),
            *(layers.Conv2d(outputs, outputs, 3, padding=1, bias=False),),
            *(layers.BatchNorm2d(outputs), layers.GELU()),
        ]
    return [*parts, layers.MaxPool2d(3), layers.Flatten(), layers.Linear(256, CLASSES)]


def _mlp(layers: Any) -> list[Any]:
    return [
        *(layers.Linear(784, 1024), layers.LayerNorm(1024), layers.GELU()),
        *(layers.Linear(1024, 1024), layers.LayerNorm(1024), layers.GELU()),
        layers.Linear(1024, CLASSES),
    ]


def _our_lstm() -> Any:
    class Lstm(nn.Module):
        def __init__(self) -> None:
            self.lstm = nn.LSTM(64, 256, 2, batch_first=True)
            self.head = nn.Linear(256, CLASSES)

        def forward(self, x: Tensor) -> Any:
            return self.head(self.lstm(x)[0][:, -1])

    return Lstm()


def _their_lstm() -> Any:
    layers: Any = importlib.import_module("torch.nn")

    class Lstm(layers.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.lstm = layers.LSTM(64, 256, 2, batch_first=True)
            self.head = layers.Linear(256, CLASSES)

        def forward(self, x: Any) -> Any:
            return self.head(self.lstm(x)[0][:, -1])

    return Lstm()


_FEW = ((128, 1024), (8,))
NETS = {
    "resnet18": _model("resnet18"),
    "mlp": _layers((784,), _mlp),
    "vit_tiny": _model("vit_tiny", batches=_FEW),
    "vgg11_bn": _model("vgg11_bn"),
    "airbench": _layers((3, 32, 32), _airbench),
    "lenet": _layers((3, 32, 32), _lenet),
    "mobilenet_v2": _model("mobilenet_v2"),
    "unet": _model("unet", 64, 1, pixels=True, batches=_FEW),
    "lstm": Net((128, 64), _our_lstm, _their_lstm),
    "resnet50": _model("resnet50", 224, batches=((64,), (8,))),
}
# Not of the suite: with 515 MB of gradients, for what several GPUs do.
OTHERS = {"vgg11_bn_224": _model("vgg11_bn", 224)}


def is_here(name: str) -> bool:
    """Whether a net is one of these."""
    return name in NETS or name in OTHERS


def net_of(name: str) -> Net:
    """The net of that name."""
    return NETS[name] if name in NETS else OTHERS[name]


def without_dropout(model: Any) -> Any:
    """The model, of either library, whose dropout keeps everything."""
    for layer in model.modules():
        if type(layer).__name__.startswith("Dropout"):
            layer.p = 0.0
    return model


def batch_of(net: str, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (batch, *shape), float32 and normal, and their classes, int64: of each, or each pixel.

    What a step costs does not depend on them.
    """
    described, rng = net_of(net), np.random.default_rng(0)
    x = rng.standard_normal((batch, *described.shape), np.float32)
    pixels = described.shape[1:] if described.pixels else ()
    return x, rng.integers(0, CLASSES, (batch, *pixels))

"""Models to start from, by name: `build` makes them.

For pictures of digits: small, medium, deep (this project is measured with them) and lenet5; for
pictures of any size: resnet18, resnet34, resnet50, vgg11_bn and mobilenet_v2, whose parameters have
torchvision's names, vit_tiny; and unet, which gives a class for each pixel.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, Literal, overload

from tinygrad_cupy.nn import checks
from tinygrad_cupy.nn.layers.sequential import Sequential
from tinygrad_cupy.nn.module import Module

from .mobilenet import MobileNetV2, mobilenet
from .plain import NETS, plain
from .resnet import ResNet, resnet
from .sizes import image_shape
from .unet import UNet, unet
from .vgg import VGG, vgg
from .vit import ViT, vit

__all__ = [
    "CLASSIFIERS",
    "MNIST",
    "NAMES",
    "VGG",
    "MobileNetV2",
    "ResNet",
    "UNet",
    "ViT",
    "build",
]

_WITH_STEM: dict[str, Callable[..., Module]] = {
    **dict.fromkeys(("resnet18", "resnet34", "resnet50"), resnet),
    "vgg11_bn": vgg,
    "mobilenet_v2": mobilenet,
}
_BUILDERS: dict[str, Callable[..., Module]] = {
    **dict.fromkeys(NETS, plain),
    **_WITH_STEM,
    "vit_tiny": vit,
    "unet": unet,
}
NAMES = tuple(_BUILDERS)
MNIST = ("small", "medium", "deep")  # what the benchmarks measure
CLASSIFIERS = tuple(name for name in NAMES if name != "unet")  # of a picture as a whole


@overload
def build(
    name: Literal["small", "medium", "deep", "lenet5"],
    classes: int = 10,
    in_channels: int = 1,
    image_size: int | tuple[int, int] = 28,
    stem: None = None,
) -> Sequential: ...


@overload
def build(
    name: str,
    classes: int = 10,
    in_channels: int = 1,
    image_size: int | tuple[int, int] = 28,
    stem: str | None = None,
) -> Module: ...


def build(
    name: str,
    classes: int = 10,
    in_channels: int = 1,
    image_size: int | tuple[int, int] = 28,
    stem: str | None = None,
) -> Module:
    """A new model for images (N, in_channels, H, W), which gives (N, classes).

    name:
        one of NAMES; "unet" gives (N, classes, H, W).
    image_size:
        pixels of a side, or (height, width).
    stem:
        of the ResNets, vgg11_bn and mobilenet_v2: "imagenet", as torchvision's, whose weights then
        load; "small", for images that the other would leave too little of; by default that up to
        64 pixels.

    The weights come from random stream 0. ValueError for an unknown name (with a near match) and
    for images that are too small for the model.

    >>> model = nn.models.build("lenet5", classes=5, in_channels=3, image_size=(32, 48))
    >>> model(Tensor.rand(2, 3, 32, 48)).shape
    (2, 5)
    """
    if name not in _BUILDERS:
        near = difflib.get_close_matches(str(name), NAMES, n=1)
        hint = f": did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown model {name!r}{hint} (models: {', '.join(NAMES)})")
    checks.integer(name, "classes", classes)
    checks.integer(name, "in_channels", in_channels)
    how: dict[str, Any] = {}
    if name in _WITH_STEM:
        how["stem"] = stem
    elif stem is not None:
        raise ValueError(f"[{name}] has no choice of a stem, got {stem!r}")
    return _BUILDERS[name](name, classes, in_channels, image_shape(name, image_size), **how)

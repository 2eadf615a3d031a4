"""Augmentation: layers that change pictures at random while training, and are the identity in
evaluation.

They work on the device and inside a captured step: their numbers come from random stream 4, as many
for a batch whatever the numbers are, so that a seed gives the same pictures on a CPU and a GPU (up
to rounding, where pixels are interpolated or colours are mixed). Each picture of a batch has its
own. Put them into a `Sequential`, and give that to `Trainer(augment=...)` or stand it in front of a
model.

Letters in shapes: N images of a batch, C channels, H rows, W columns.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_cupy import backend, random
from tinygrad_cupy.backend import capture
from tinygrad_cupy.backend.ranks import ranks
from tinygrad_cupy.ops.class_losses import expect_classes
from tinygrad_cupy.ops.comparison import where
from tinygrad_cupy.ops.losses import host_values
from tinygrad_cupy.ops.shape import concat, stack
from tinygrad_cupy.tensor import Tensor

from . import checks
from .layers import Sequential
from .module import Module

__all__ = [
    "Augmentation",
    "ColorJitter",
    "Cutout",
    "MixUp",
    "RandomAffine",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomVerticalFlip",
    "apply",
]

Range = tuple[float, float]


class Augmentation(Module):
    """Base of the layers that change pictures x (N, C, H, W) alone: a subclass has `change`.

    A layer's numbers are read as it is called; what is captured holds for those it had.

    >>> class Noise(nn.augment.Augmentation):
    ...     def change(self, x):
    ...         return x + 0.1 * Tensor.rand(*x.shape)
    >>> x = Tensor.zeros(2, 3, 8, 8)
    >>> Noise()(x).max().item() > 0, Noise().eval()(x).max().item()
    (True, 0.0)
    """

    reads: tuple[str, ...] = ()  # the attributes that `change` reads

    def forward(self, x: Tensor) -> Tensor:
        checks.input_axes(self, x, "N, C, H, W")
        if x.dtype.kind in "biu":
            raise TypeError(f"[{type(self).__name__}] expected floats in [0, 1], got {x.dtype}")
        capture.observe(self, *self.reads)
        return self.change(x) if self.training else x

    def change(self, x: Tensor) -> Tensor:
        """The changed pictures, of the dtype of x."""
        raise NotImplementedError(f"[{type(self).__name__}] defines no change()")

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in self.reads)


def uniform(x: Tensor, *shape: int) -> Tensor:
    """float32 numbers in [0, 1) of the stream of augmentation, beside x; the last axis is N."""
    with random.along(-1):
        return Tensor(random.uniform(shape, random.STREAM_AUGMENT, x.device))


def _each(numbers: Tensor) -> Tensor:
    """One number for each picture, (N,), as (N, 1, 1, 1)."""
    return numbers.reshape(-1, 1, 1, 1)


def _between(u: Tensor, limits: Range) -> Tensor:
    return u * (limits[1] - limits[0]) + limits[0]


def _below(u: Tensor, count: int) -> Tensor:
    """Whole numbers from 0 to count - 1, from uniform ones."""
    return (u * count).astype(np.int64).clip(0, count - 1)


def numbers_to(count: int, device: str) -> Tensor:
    """0, 1, … count - 1, int64 (count,)."""
    found = _numbers_on(count, device)
    capture.keep(found)
    return Tensor(found)


@functools.lru_cache(256)
def _numbers_on(count: int, device: str) -> Any:
    return backend.constant(np.arange(count), device)


# --- where pixels are ---------------------------------------------------------------------------


class RandomHorizontalFlip(Augmentation):
    """Left and right exchanged with probability `p`, default 0.5.

    >>> nn.augment.RandomHorizontalFlip(p=1)(Tensor([[[[1.0, 2.0]]]]))
    Tensor([[[[2., 1.]]]])
    """

    reads = ("p",)
    axis = -1

    def __init__(self, p: float = 0.5) -> None:
        self.p = checks.fraction(self, "p", p)

    def change(self, x: Tensor) -> Tensor:
        flipped = x[..., ::-1] if self.axis == -1 else x[..., ::-1, :]
        return where(_each(uniform(x, x.shape[0])) < self.p, flipped, x)


class RandomVerticalFlip(RandomHorizontalFlip):
    """Top and bottom exchanged with probability `p`, default 0.5.

    >>> nn.augment.RandomVerticalFlip(p=1)(Tensor([[[[1.0], [2.0]]]])).flatten()
    Tensor([2., 1.])
    """

    axis = -2


def _edge(place: Tensor, size: int) -> Tensor:
    return place.clip(0, size - 1)


def _reflected(place: Tensor, size: int) -> Tensor:
    """Of pixels 0 1 2: 0 1 2 1 0 1 …"""
    last = size - 1
    return last - abs(last - place % max(2 * last, 1))


def _symmetric(place: Tensor, size: int) -> Tensor:
    """Of pixels 0 1 2: 0 1 2 2 1 0 0 …"""
    place = place % (2 * size)
    return place.minimum(2 * size - 1 - place)


# Which pixels of `size` in a row stand at places that may lie outside of them, by `padding_mode`.
WITHIN: dict[str, Callable[[Tensor, int], Tensor]] = {
    "constant": _edge,
    "edge": _edge,
    "reflect": _reflected,
    "symmetric": _symmetric,
}


class RandomCrop(Augmentation):
    """A window of `size` at a random place of the picture, which is padded on each side first.

    x (N, C, H, W) -> (N, C, *size). `size` is one integer or (height, width); `padding` likewise,
    default 0; what is padded is `fill`, default 0, or by `padding_mode` "edge", "reflect" or
    "symmetric" pixels of the picture, as of `numpy.pad`. Every place is equally likely. In
    evaluation x passes as it is, whatever its size. ValueError for a padded picture that is smaller
    than `size`, for one without pixels, and for a `fill` where pixels of the picture are padded.

    >>> nn.augment.RandomCrop(32, padding=4)(Tensor.rand(4, 3, 32, 32)).shape
    (4, 3, 32, 32)
    >>> moved = nn.augment.RandomCrop(32, padding=2, padding_mode="reflect")
    >>> moved(Tensor.ones(4, 3, 32, 32)).min().item()
    1.0
    """

    reads = ("size", "padding", "fill", "padding_mode")

    def __init__(
        self,
        size: int | Sequence[int],
        padding: int | Sequence[int] = 0,
        fill: float = 0.0,
        padding_mode: str = "constant",
    ) -> None:
        self.size = checks.sizes(self, "size", size, 2)
        self.padding = checks.sizes(self, "padding", padding, 2, least=0)
        self.fill = float(fill)
        self.padding_mode = checks.choice(self, "padding_mode", padding_mode, tuple(WITHIN))
        if self.fill and padding_mode != "constant":
            raise ValueError(
                f"[RandomCrop] fill must be 0 with padding_mode={padding_mode!r}, which pads by "
                f"pixels of the picture, got {fill!r}"
            )

    def change(self, x: Tensor) -> Tensor:
        n, channels, *sizes = x.shape
        if not all(sizes):
            raise ValueError(f"[RandomCrop] expected pictures with pixels, got shape {x.shape}")
        u = uniform(x, 2, n)
        places, inside = [], []
        for axis in range(2):
            room = sizes[axis] + 2 * self.padding[axis] - self.size[axis]
            if room < 0:
                raise ValueError(
                    f"[RandomCrop] expected pictures of {self.size} or more with their padding "
                    f"{self.padding}, got {tuple(sizes)}"
                )
            first = _below(u[axis], room + 1) - self.padding[axis]
            along = numbers_to(self.size[axis], x.device)
            place = first.reshape(-1, 1) + along  # (N, size)
            inside.append((place >= 0) & (place < sizes[axis]))
            places.append(WITHIN[self.padding_mode](place, sizes[axis]))
        rows, columns = places[0][:, None, :, None], places[1][:, None, None, :]
        images = numbers_to(n, x.device).reshape(-1, 1, 1, 1)
        layers = numbers_to(channels, x.device).reshape(-1, 1, 1)
        found = x[images, layers, rows, columns]  # (N, C, *size)
        if self.padding_mode != "constant" or not any(self.padding):
            return found
        return where(inside[0][:, None, :, None] & inside[1][:, None, None, :], found, self.fill)


class RandomAffine(Augmentation):
    """Each picture turned, moved, scaled and sheared about its middle, by `grid_sample`.

    degrees: of the turn, within ± this or (low, high)
    translate: how far it moves at most, as shares of (width, height) or of both; default 0
    scale: (low, high) of the factor by which it grows; default (1, 1)
    shear: of the horizontal shear, in degrees as `degrees`; default 0
    mode, padding_mode: as of `grid_sample`: "bilinear", "nearest" or "bicubic"; "zeros", "border"
        or "reflection"

    A pixel at p from the middle comes from A⁻¹(p - t), A = turn · shear · scale.

    >>> turned = nn.augment.RandomAffine(degrees=15, translate=0.1, scale=(0.9, 1.1))
    >>> turned(Tensor.rand(4, 3, 16, 16)).shape
    (4, 3, 16, 16)
    """

    reads = ("degrees", "translate", "scale", "shear", "mode", "padding_mode")

    def __init__(
        self,
        degrees: float | Range = 0.0,
        translate: float | Range = 0.0,
        scale: Range = (1.0, 1.0),
        shear: float | Range = 0.0,
        mode: str = "bilinear",
        padding_mode: str = "zeros",
    ) -> None:
        self.degrees = _limits(self, "degrees", degrees)
        shares = translate if isinstance(translate, tuple | list) else (translate, translate)
        first, second = (checks.fraction(self, "translate", share) for share in shares)
        self.translate = first, second
        self.scale = _limits(self, "scale", scale)
        if self.scale[0] <= 0:
            raise ValueError(f"[RandomAffine] scale must be above 0, got {scale!r}")
        self.shear = _limits(self, "shear", shear)
        self.mode = checks.choice(self, "mode", mode, ("bilinear", "nearest", "bicubic"))
        paddings = ("zeros", "border", "reflection")
        self.padding_mode = checks.choice(self, "padding_mode", padding_mode, paddings)

    def change(self, x: Tensor) -> Tensor:
        theta = self.matrices(x)
        found = x.grid_sample(theta.affine_grid(x.shape), self.mode, self.padding_mode)
        return found.astype(x.dtype)

    def matrices(self, x: Tensor) -> Tensor:
        """Random matrices (N, 2, 3) for `affine_grid`, float32."""
        n, _, height, width = x.shape
        u = uniform(x, 5, n)
        angle = _between(u[0], self.degrees) * (math.pi / 180)
        sheared = _between(u[1], self.shear) * (math.pi / 180)
        slope = sheared.sin() / sheared.cos()
        grown = _between(u[2], self.scale)
        right = _between(u[3], (-2 * self.translate[0], 2 * self.translate[0]))
        down = _between(u[4], (-2 * self.translate[1], 2 * self.translate[1]))
        cos, sin = angle.cos() / grown, angle.sin() / grown
        # Shear⁻¹ · turn⁻¹, between coordinates that run from -1 to 1 along each axis.
        a, b = cos + slope * sin, (sin - slope * cos) * (height / width)
        c, d = -sin * (width / height), cos
        rows = [a, b, -(a * right + b * down), c, d, -(c * right + d * down)]
        return stack(rows, axis=1).reshape(n, 2, 3)


class Cutout(Augmentation):
    """A square of `size` pixels filled with `fill`, default 0, with probability `p`, default 1.

    Its middle is anywhere in the picture; what lies outside is cut off. `size` is one integer or
    (height, width). DeVries and Taylor, "Improved regularization of convolutional neural networks
    with cutout" (2017).

    >>> y = nn.augment.Cutout(4)(Tensor.ones(5, 1, 16, 16))
    >>> (y == 0).sum((1, 2, 3)).max().item() <= 16
    True
    """

    reads = ("size", "p", "fill")

    def __init__(self, size: int | Sequence[int], p: float = 1.0, fill: float = 0.0) -> None:
        self.size = checks.sizes(self, "size", size, 2)
        self.p = checks.fraction(self, "p", p)
        self.fill = float(fill)

    def change(self, x: Tensor) -> Tensor:
        n, _, *sizes = x.shape
        u = uniform(x, 3, n)
        within = []
        for axis in range(2):
            first = _below(u[axis], sizes[axis]).reshape(-1, 1) - self.size[axis] // 2
            along = numbers_to(sizes[axis], x.device)
            within.append((along >= first) & (along < first + self.size[axis]))  # (N, H or W)
        hole = within[0][:, None, :, None] & within[1][:, None, None, :]
        return where(hole & (_each(u[2]) < self.p), self.fill, x)


# --- what colour they have ----------------------------------------------------------------------

GRAY = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)
TO_YIQ = np.array([GRAY, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)])
FROM_YIQ = np.linalg.inv(TO_YIQ)


class ColorJitter(Augmentation):
    """Brightness, contrast, saturation and hue changed by random factors, in this order.

    x (N, 3, H, W) in [0, 1], red, green and blue, or grey (N, 1, H, W), whose saturation and hue
    nothing changes; results are clipped to [0, 1]. With factors f within [1 - b, 1 + b], not below
    0, or given as (low, high):

    brightness: f · x
    contrast: f · x + (1 - f) · m, m being the mean of the picture's grey
    saturation: f · x + (1 - f) · grey
    hue: the colours turned by an angle within ± hue · 360°, hue at most 0.5, about the grey axis
        (in YIQ, which keeps the grey)

    >>> jitter = nn.augment.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
    >>> y = jitter(Tensor.rand(4, 3, 8, 8))
    >>> y.shape, y.min().item() >= 0, y.max().item() <= 1
    ((4, 3, 8, 8), True, True)
    """

    reads = ("brightness", "contrast", "saturation", "hue")

    def __init__(
        self,
        brightness: float | Range = 0.0,
        contrast: float | Range = 0.0,
        saturation: float | Range = 0.0,
        hue: float | Range = 0.0,
    ) -> None:
        self.brightness = _factors(self, "brightness", brightness)
        self.contrast = _factors(self, "contrast", contrast)
        self.saturation = _factors(self, "saturation", saturation)
        self.hue = _limits(self, "hue", hue)
        if max(map(abs, self.hue)) > 0.5:
            raise ValueError(f"[ColorJitter] hue must lie within ±0.5, got {hue!r}")

    def change(self, x: Tensor) -> Tensor:
        if x.shape[1] not in (1, 3):
            raise ValueError(f"[ColorJitter] expected 1 or 3 channels, got {x.shape[1]}")
        u, given = uniform(x, 4, x.shape[0]), x.dtype
        x = (x * _each(_between(u[0], self.brightness))).clip(0, 1)
        middle = _gray(x).mean(axis=(1, 2, 3), keepdims=True)
        x = _blend(x, middle, _each(_between(u[1], self.contrast)))
        if x.shape[1] == 3:
            x = _blend(x, _gray(x), _each(_between(u[2], self.saturation)))
            x = _turned(x, _each(_between(u[3], self.hue) * (2 * math.pi)))
        return x.astype(given)


def _gray(x: Tensor) -> Tensor:
    if x.shape[1] == 1:
        return x
    red, green, blue = GRAY
    return x[:, 0:1] * red + x[:, 1:2] * green + x[:, 2:3] * blue


def _blend(x: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return ((x - other) * factor + other).clip(0, 1)


def _turned(x: Tensor, angle: Tensor) -> Tensor:
    """Colours (N, 3, H, W) turned about grey; at angle 0 they are what they were, to rounding."""
    red, green, blue = x[:, 0:1], x[:, 1:2], x[:, 2:3]
    y, i, q = (red * row[0] + green * row[1] + blue * row[2] for row in TO_YIQ.tolist())
    cos, sin = angle.cos(), angle.sin()
    i, q = i * cos - q * sin, i * sin + q * cos
    parts = [y * row[0] + i * row[1] + q * row[2] for row in FROM_YIQ.tolist()]
    return concat(parts, axis=1).clip(0, 1)


# --- pairs --------------------------------------------------------------------------------------


class MixUp(Module):
    """Each picture mixed with another of its batch, and its target with the other's: (x, y) each.

    x = λ x + (1 - λ) x', y = λ y + (1 - λ) y', λ of a Beta(alpha, alpha) distribution, one for each
    picture, taken as the larger of λ and 1 - λ. x is (N, ...) floats, y class numbers (N,), which
    become float32 (N, classes), or floats (N, ...), probabilities or what a regression looks for.
    The loss must take such targets. In evaluation x and y pass as they are. Default alpha = 0.2.
    A number that is no class is a ValueError on the CPU; on a GPU, where looking would stall it,
    what it is mixed into is NaN.
    Zhang et al., "mixup: beyond empirical risk minimization" (2018).

    >>> x, y = nn.augment.MixUp(classes=10)(Tensor.rand(4, 3, 8, 8), Tensor([3, 1, 4, 1]))
    >>> y.shape, y.sum(1).round(3)
    ((4, 10), Tensor([1., 1., 1., 1.]))
    """

    mixes = True  # called with (x, y), it gives both

    def __init__(self, alpha: float = 0.2, classes: int | None = None) -> None:
        self.alpha = checks.positive(self, "alpha", alpha)
        self.classes = None if classes is None else checks.integer(self, "classes", classes)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        capture.observe(self, "alpha", "classes")
        if not self.training:
            return x, y
        if len(x) != len(y) or x.dtype.kind in "biu":
            raise ValueError(
                f"[MixUp] expected floats x (N, ...) and targets (N, ...), got {x.dtype} {x.shape} "
                f"and {y.shape}"
            )
        share, other = self._draw(x)
        return _mixed(x, share, other), _mixed(self._soft(y), share, other)

    def _draw(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """λ (N,), float32, and whom each is mixed with, int64 (N,)."""
        u = random.uniform_double((len(x),), random.STREAM_AUGMENT, x.device)
        drawn = backend.special_functions(u).betaincinv(self.alpha, self.alpha, u)
        xp = backend.array_module(u)
        share = xp.maximum(drawn, 1 - drawn).astype(np.float32)
        split = ranks.split  # who is mixed with whom is drawn of the whole batch
        count = len(x) if split is None else split.total
        other = random.permutation(count, x.device, random.STREAM_AUGMENT)
        return Tensor(share), Tensor(other if split is None else other[split.rows])

    def _soft(self, y: Tensor) -> Tensor:
        if y.dtype.kind not in "iu":
            return y
        if y.ndim != 1 or self.classes is None:
            raise ValueError(
                f"[MixUp] expected classes=, their number, for class numbers (N,), got "
                f"{self.classes} and {y.dtype} {y.shape}"
            )
        expect_classes("MixUp", host_values(y), self.classes, None)
        hot = (y.reshape(-1, 1) == numbers_to(self.classes, y.device)).astype("float32")
        legal = (y >= 0) & (y < self.classes)
        return where(legal.reshape(-1, 1), hot, np.nan)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}, classes={self.classes}"


def _mixed(x: Tensor, share: Tensor, other: Tensor) -> Tensor:
    share = share.reshape(-1, *[1] * (x.ndim - 1)).astype(x.dtype)
    every = x if ranks.split is None else ranks.world.whole_batch(x)
    return x * share + every[other] * (1 - share)


def apply(layers: Callable[..., Any], x: Any, y: Any) -> tuple[Any, Any]:
    """(x, y) changed by augmentations: a layer, a `Sequential` of them, or a function of (x, y).

    >>> layers = nn.Sequential(nn.augment.RandomCrop(8), nn.augment.MixUp(classes=3))
    >>> x, y = nn.augment.apply(layers, Tensor.rand(4, 3, 9, 9), Tensor([0, 1, 2, 0]))
    >>> x.shape, y.shape
    ((4, 3, 8, 8), (4, 3))
    """
    if isinstance(layers, Sequential):
        for layer in layers:
            x, y = apply(layer, x, y)
        return x, y
    if getattr(layers, "mixes", not isinstance(layers, Module)):
        x, y = layers(x, y)
        return x, y
    return layers(x), y


def pairs(layers: Callable[..., Any] | None) -> Callable[[Any, Any], tuple[Any, Any]] | None:
    """`apply` of these layers as a function of (x, y)."""
    return None if layers is None else functools.partial(apply, layers)


# --- arguments ----------------------------------------------------------------------------------


def _limits(owner: object, name: str, value: float | Range) -> Range:
    """(low, high), of a number ± that."""
    pair = value if isinstance(value, tuple | list) else (-value, value)
    if len(pair) != 2 or not all(map(math.isfinite, pair)) or not pair[0] <= pair[1]:
        raise ValueError(
            f"[{checks.name_of(owner)}] {name} must be a number of at least 0 or (low, high), got "
            f"{value!r}"
        )
    return float(pair[0]), float(pair[1])


def _factors(owner: object, name: str, value: float | Range) -> Range:
    """(low, high) of a factor, of a number 1 ± that."""
    if isinstance(value, tuple | list):
        low, high = _limits(owner, name, value)
    else:
        low, high = _limits(owner, name, value)
        low, high = max(0.0, 1 + low), 1 + high
    if low < 0:
        raise ValueError(
            f"[{checks.name_of(owner)}] {name} must be factors of at least 0, got {value!r}"
        )
    return low, high

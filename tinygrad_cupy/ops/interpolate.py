"""Resizing images and other grids: linear in them, and along one axis after the other."""

from __future__ import annotations

import functools
import math
import operator
from typing import TYPE_CHECKING, Any

from .. import kernels
from ..autograd import Op, TensorBase
from ..backend import Array, expect_memory, is_cuda
from ..backend.dtypes import is_float
from ..kernels.interpolate import Line
from .promotion import as_float, in_single

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor

# By a mode's name: how an axis is resized, and the number of axes that it is for.
MODES: dict[str, tuple[str, tuple[int, ...]]] = {
    "nearest": ("nearest", (1, 2, 3)),
    "nearest-exact": ("nearest-exact", (1, 2, 3)),
    "linear": ("linear", (1,)),
    "bilinear": ("linear", (2,)),
    "trilinear": ("linear", (3,)),
    "bicubic": ("cubic", (2,)),
    "area": ("area", (1, 2, 3)),
}


class Resize(Op):
    """The last axes of x resized, each as a `Line` says: linear, and its adjoint of the kind."""

    linear = ("x",)

    def __init__(self, lines: tuple[Line | None, ...]) -> None:
        self.lines = lines

    def forward(self, x: Array) -> Array:
        return kernels.interpolate.resize(x, self.lines)

    def backward(self, grad: Tensor) -> Tensor:
        return Resize(tuple([None if line is None else line.T for line in self.lines]))(grad)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return Resize(self.lines)(b.whole(x))


class InterpolateMixin(TensorBase):
    """Resizing as a method."""

    __slots__ = ()

    def interpolate(
        self,
        size: int | tuple[int, ...] | None = None,
        scale_factor: float | tuple[float, ...] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
        antialias: bool = False,
    ) -> Tensor:
        """self (N, C, …), of one to three axes behind the channels, resized; PyTorch's function.

        size, scale_factor:
            of the result, one number or one for each axis; one of the two. A size that a factor
            gives is rounded down. Points are as far apart as the factor says, unless
            ``recompute_scale_factor``: then as the sizes do.
        mode:
            "nearest" (rounded down, as OpenCV does), "nearest-exact" (as Pillow and scikit-image
            do), "linear" (N, C, L), "bilinear" and "bicubic" (Keys 1981, a = -0.75) (N, C, H, W),
            "trilinear" (N, C, D, H, W), or "area", the means of `adaptive_avg_pool2d`.
        align_corners:
            of the linear modes and "bicubic": whether the centres of the corners' pixels stay where
            they are; else (the default) the corners themselves do.
        antialias:
            of "bilinear" and "bicubic": kernels are stretched where the image shrinks, as Pillow
            does (there a = -0.5).

        Beyond an end the last element counts. Integers become float32 but by "nearest" and
        "nearest-exact". Linear in self, so that gradients of all orders are exact. Raises
        ``ValueError`` for axes, sizes and modes that do not fit.
        """
        x: Any = self
        how = (size, scale_factor, mode, align_corners, recompute_scale_factor, antialias)
        try:
            lines, out = _plan(x.shape, *how)
        except TypeError:  # a list among them
            lines, out = _plan(x.shape, *[tuple(a) if isinstance(a, list) else a for a in how])
        expect_memory("interpolate", (*x.shape[:2], *out), x.dtype.itemsize, is_cuda(x.data))
        if not any(lines):
            return x.clone()  # type: ignore[no-any-return]
        if mode.startswith("nearest") and not is_float(x.dtype):
            return _picked(x, lines)
        return in_single(as_float(x), Resize(lines))


@functools.lru_cache(1024)
def _plan(
    shape: tuple[int, ...],
    size: Any,
    scale_factor: Any,
    mode: str,
    align_corners: bool | None,
    recompute_scale_factor: bool | None,
    antialias: bool,
) -> tuple[tuple[Line | None, ...], tuple[int, ...]]:
    """How each axis behind the channels is resized, and to which size."""
    given, axes = shape[2:], len(shape) - 2
    kind, ranks = MODES.get(mode, ("", ()))
    if not kind:
        raise ValueError(f"[interpolate] expected mode to be one of {tuple(MODES)}, got {mode!r}")
    if axes not in ranks:
        wanted = " or ".join(f"{2 + n}" for n in ranks)
        raise ValueError(
            f"[interpolate] expected {wanted} axes (N, C, …) for mode {mode!r}, got shape {shape}"
        )
    if align_corners is not None and kind not in ("linear", "cubic"):
        raise ValueError(
            f"[interpolate] mode {mode!r} has no align_corners: leave it out, got {align_corners}"
        )
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError(
            f'[interpolate] expected mode "bilinear" or "bicubic" with antialias, got {mode!r}'
        )
    if 0 in given:
        raise ValueError(f"[interpolate] expected at least one element an axis, got shape {shape}")
    factors = _factors(scale_factor, axes)
    out = _sizes(size, factors, given)
    if mode == "area" or recompute_scale_factor or factors is None:
        factors = (None,) * axes
    how = bool(align_corners), bool(antialias)
    each = zip(given, out, factors, strict=True)
    return tuple([_line(kind, n, m, factor, *how) for n, m, factor in each]), out


def _line(
    kind: str, size: int, out: int, factor: float | None, aligned: bool, antialias: bool
) -> Line | None:
    """None where the axis stays as it is."""
    kept = aligned or factor in (None, 1) or (kind == "linear" and not antialias)
    if size == out and kept:  # PyTorch, too, looks at the sizes alone where it is linear
        return None
    return Line(kind, size, out, None if factor is None else 1 / factor, aligned, antialias)


def _picked(x: Tensor, lines: tuple[Line | None, ...]) -> Tensor:
    """Elements of integers and booleans, which are not multiplied by weights."""
    for axis, line in enumerate(lines, 2):
        if line is not None:
            x = x[(*(slice(None),) * axis, line.band.start)]
    return x


def _factors(scale_factor: Any, axes: int) -> tuple[float | None, ...] | None:
    if scale_factor is None:
        return None
    many = isinstance(scale_factor, tuple | list)
    found = tuple(scale_factor) if many else (scale_factor,) * axes
    if len(found) != axes or any(not 0 < float(f) < math.inf for f in found):
        raise ValueError(
            f"[interpolate] expected a scale_factor above 0, or one for each of {axes} axes, got "
            f"{scale_factor!r}"
        )
    return tuple([float(f) for f in found])


def _sizes(
    size: Any, factors: tuple[float | None, ...] | None, given: tuple[int, ...]
) -> tuple[int, ...]:
    if (size is None) == (factors is None):
        raise ValueError(
            f"[interpolate] expected either size or scale_factor, got size {size!r} and "
            f"scale_factor {factors!r}"
        )
    if factors is not None:
        out = tuple([math.floor(n * (f or 1)) for n, f in zip(given, factors, strict=True)])
    else:
        many = isinstance(size, tuple | list)
        out = tuple([operator.index(n) for n in (size if many else (size,) * len(given))])
    if len(out) != len(given) or min(out) < 1 or max(out) >= 1 << 31:
        raise ValueError(
            f"[interpolate] expected a size of at least 1 for each of {len(given)} axes, got {out}"
        )
    return out

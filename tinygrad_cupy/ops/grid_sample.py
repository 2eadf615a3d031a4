"""Grids sampled at points between their elements: grid_sample, affine_grid, map_coordinates."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from ..autograd import Op, TensorBase
from ..backend import Array, constant, device_of
from ..backend.capture import keep
from ..kernels.grid_sample import Points
from .comparison import where
from .padding import pad
from .promotion import as_float, in_one_dtype, single
from .rounding import Ceil, Floor
from .shape import stack
from .spline import expect_mode, expect_order, spline_filter

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor

# Letters: N batches, C channels, P points of D coordinates each, a grid of D axes.


class Sample(Op):
    """x (N, C, …) at points (N, P, D), as `Points` says, or a derivative of that: (N, C, P).

    With `Splat` a family that is closed: both are partial derivatives of the sum of a gradient
    times what is sampled, which is linear in x, and those by points are `Points` of higher order.
    """

    only_real = True
    saves = ("x", "points")
    saved_for = (1, None)

    def __init__(self, how: Points) -> None:
        self.how = how

    def forward(self, x: Array, points: Array) -> Array:
        self.sizes = tuple(x.shape[2:])
        return kernels.grid_sample.sample(x, points, self.how)

    def backward(self, grad: Tensor, x: Tensor, points: Tensor) -> tuple[Tensor | None, ...]:
        by_x = Splat(self.how, self.sizes)(grad, points) if self.needs[0] else None
        return by_x, Slopes(self.how)(grad, x, points) if self.needs[1] else None

    def jvp(self, y: Tensor, inputs: Sequence[Any], tangents: Sequence[Any]) -> Tensor:
        (x, points), (of_x, of_points) = inputs, tangents
        found = None if of_x is None else Sample(self.how)(of_x, points)
        if of_points is not None:
            for column in range(len(self.sizes)):
                how = self.how.by(column)
                if how is not None:
                    part = Sample(how)(x, points) * of_points[..., column].unsqueeze(1)
                    found = part if found is None else found + part
        return y._zeros() if found is None else found

    def batch(self, b: BatchLevel, x: Tensor, points: Tensor) -> Tensor:
        return b.split(Sample(self.how)(b.join(x, 0), b.join(points, 0)), 0)  # type: ignore[no-any-return]


class Splat(Op):
    """Values (N, C, P) added to the elements of a grid that `Sample` reads: its adjoint in x."""

    only_real = True
    saves = ("values", "points")
    saved_for = (1, None)

    def __init__(self, how: Points, sizes: tuple[int, ...]) -> None:
        self.how, self.sizes = how, sizes

    def forward(self, values: Array, points: Array) -> Array:
        return kernels.grid_sample.splat(values, points, self.how, self.sizes)

    def backward(self, grad: Tensor, values: Tensor, points: Tensor) -> tuple[Tensor | None, ...]:
        by_values = Sample(self.how)(grad, points) if self.needs[0] else None
        return by_values, Slopes(self.how)(values, grad, points) if self.needs[1] else None

    def jvp(self, y: Tensor, inputs: Sequence[Any], tangents: Sequence[Any]) -> Tensor:
        (values, points), (of_values, of_points) = inputs, tangents
        found = None if of_values is None else Splat(self.how, self.sizes)(of_values, points)
        if of_points is not None:
            for column in range(len(self.sizes)):
                how = self.how.by(column)
                if how is not None:
                    moved = values * of_points[..., column].unsqueeze(1)
                    part = Splat(how, self.sizes)(moved, points)
                    found = part if found is None else found + part
        return y._zeros() if found is None else found

    def batch(self, b: BatchLevel, values: Tensor, points: Tensor) -> Tensor:
        op = Splat(self.how, self.sizes)
        return b.split(op(b.join(values, 0), b.join(points, 0)), 0)  # type: ignore[no-any-return]


class Slopes(Op):
    """The gradient (N, P, D) by the points of Σ values · (x at the points), in one pass."""

    only_real = True
    saves = ("values", "x", "points")

    def __init__(self, how: Points) -> None:
        self.how = how

    def forward(self, values: Array, x: Array, points: Array) -> Array:
        return kernels.grid_sample.slopes(values, x, points, self.how)

    def backward(
        self, grad: Tensor, values: Tensor, x: Tensor, points: Tensor
    ) -> list[Tensor | None]:
        found: list[Any] = [None, None, None]
        for column in range(points.shape[-1]):
            how = self.how.by(column)
            if how is None:
                continue
            along = grad[..., column].unsqueeze(1)  # (N, 1, P)
            moved = values * along
            parts = (
                along * Sample(how)(x, points) if self.needs[0] else None,
                Splat(how, tuple(x.shape[2:]))(moved, points) if self.needs[1] else None,
                Slopes(how)(moved, x, points) if self.needs[2] else None,
            )
            found = [
                a if b is None else b if a is None else a + b
                for a, b in zip(found, parts, strict=True)
            ]
        inputs = (values, x, points)
        return [y._zeros() if a is None else a for a, y in zip(found, inputs, strict=True)]

    def batch(self, b: BatchLevel, values: Tensor, x: Tensor, points: Tensor) -> Tensor:
        return b.split(Slopes(self.how)(*[b.join(one, 0) for one in (values, x, points)]), 0)  # type: ignore[no-any-return]


# --- functions ----------------------------------------------------------------------------------

KINDS = {"bilinear": "linear", "nearest": "nearest", "bicubic": "cubic"}
PADDING = ("zeros", "border", "reflection")


class GridMixin(TensorBase):
    """Sampling as methods."""

    __slots__ = ()

    def grid_sample(
        self,
        grid: Tensor,
        mode: str = "bilinear",
        padding_mode: str = "zeros",
        align_corners: bool | None = None,
    ) -> Tensor:
        """self (N, C, H, W) at the points of a grid (N, OH, OW, 2): (N, C, OH, OW); PyTorch's.

        A point is (x, y), each from -1 to 1 between the image's borders, or, with
        ``align_corners``, between the middles of the pixels at its ends. Of volumes
        (N, C, D, H, W) a grid (N, OD, OH, OW, 3) has points (x, y, z).

        mode:
            "bilinear" (of volumes, too), "nearest" (of two the even one) or, of images, "bicubic"
            (Keys 1981, a = -0.75).
        padding_mode:
            what lies outside: "zeros", "border" (the pixels at the borders) or "reflection" (the
            image mirrored at its borders, or with ``align_corners`` at the last pixels' middles).

        Differentiable in both, to any order. Where points lie on pixels the slope by the grid jumps
        and is that towards the next pixel. A coordinate that is NaN gives NaN. Raises
        ``ValueError`` for shapes and names that do not fit.
        """
        x: Any = self
        axes = len(x.shape) - 2
        if axes not in (2, 3) or len(grid.shape) != axes + 2 or grid.shape[-1] != axes:
            raise ValueError(
                "[grid_sample] expected (N, C, H, W) and a grid (N, OH, OW, 2), or (N, C, D, H, W) "
                f"and (N, OD, OH, OW, 3), got {x.shape} and {grid.shape}"
            )
        if x.shape[0] != grid.shape[0] or 0 in x.shape[2:]:
            raise ValueError(
                "[grid_sample] expected one grid for each of the images, of one pixel at least, "
                f"got {x.shape} and {grid.shape}"
            )
        if mode not in KINDS or (mode == "bicubic" and axes == 3):
            names = tuple(KINDS)[: 4 - axes + 1]
            raise ValueError(f"[grid_sample] expected mode to be one of {names}, got {mode!r}")
        if padding_mode not in PADDING:
            raise ValueError(
                f"[grid_sample] expected padding_mode to be one of {PADDING}, got {padding_mode!r}"
            )
        rule = "zeros" if padding_mode == "zeros" else "clip"
        if padding_mode == "reflection":
            rule = "mirror" if align_corners else "reflect"
        scale = tuple([(n - 1 if align_corners else n) / 2 for n in x.shape[2:]])
        shift = tuple([(n - 1) / 2 for n in x.shape[2:]])
        how = Points(KINDS[mode], rule, scale, shift, (0,) * axes, backwards=True, even=True)
        x, grid = in_one_dtype(as_float(self), as_float(grid))
        dtype, (n, *out, _) = x.dtype, grid.shape
        found = Sample(how)(single(x), single(grid).reshape(n, math.prod(out), axes))
        return found.reshape(n, x.shape[1], *out).astype(dtype)

    def affine_grid(self, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
        """The grid for `grid_sample` that self (N, 2, 3) makes of the pixels (N, C, H, W) = size.

        Row i of a matrix gives coordinate i of a point from (x, y, 1) of its pixel, which run from
        -1 to 1: between the borders, or with ``align_corners`` between the middles of the pixels at
        the ends. Of volumes (N, C, D, H, W) matrices are (N, 3, 4). Raises ``ValueError`` where
        shapes do not fit.
        """
        theta: Any = self
        sizes = tuple([int(n) for n in size])
        axes = len(sizes) - 2
        if axes not in (2, 3) or theta.shape != (sizes[0], axes, axes + 1) or min(sizes) < 1:
            raise ValueError(
                "[affine_grid] expected matrices (N, 2, 3) for a size (N, C, H, W), or (N, 3, 4) "
                f"for (N, C, D, H, W), got {theta.shape} and {sizes}"
            )
        theta = as_float(self)
        wide = single(theta)
        found = wide[:, :, axes].reshape(sizes[0], *[1] * axes, axes)
        for axis in range(axes):  # the last one, x, comes first in a row
            along = wide._wrap(_middles(wide, sizes[2 + axis], bool(align_corners)))
            along = along.reshape(-1, *[1] * (axes - axis))
            column = wide[:, :, axes - 1 - axis].reshape(sizes[0], *[1] * axes, axes)
            found = found + along * column
        return found.astype(theta.dtype)


def _middles(like: Tensor, size: int, aligned: bool) -> Array:
    """Where the pixels of an axis lie between -1 and 1, as an array beside a tensor."""
    found = _middles_on(size, aligned, like.dtype, device_of(like.data))
    keep(found)
    return found


@functools.lru_cache(256)
def _middles_on(size: int, aligned: bool, dtype: Any, device: str) -> Array:
    places = np.arange(size) * 2.0 - (size - 1)
    scale = max(size - 1, 1) if aligned else size
    return constant((places / scale).astype(dtype), device)


# By SciPy's name for a mode: the rule for what lies outside, of orders 0 and 1 and of splines.
MODES = {
    "constant": ("clip", "mirror"),  # inside alone
    "grid-constant": ("zeros", "zeros"),
    "grid-mirror": ("reflect", "reflect"),
    "grid-wrap": ("wrap", "wrap"),
    "mirror": ("mirror", "mirror"),
    "nearest": ("clip", "clip"),
    "reflect": ("reflect", "reflect"),
    "wrap": ("clip", "mirror"),  # where it has been wrapped
}
AROUND = 12  # elements that SciPy adds where no spline continues as the mode does


def map_coordinates(
    input: Tensor, coordinates: Any, order: int, mode: str, cval: float, prefilter: bool = True
) -> Tensor:
    """See `tinygrad_cupy.ndimage.map_coordinates`."""
    axes, shape = len(input.shape), coordinates.shape
    if shape[:1] != (axes,) or not axes:
        raise ValueError(
            "[map_coordinates] expected one row of coordinates for each axis of the input, got "
            f"shapes {input.shape} and {shape}"
        )
    expect_order("map_coordinates", order)
    expect_mode("map_coordinates", mode)
    if 0 in input.shape:
        raise ValueError(f"[map_coordinates] expected an element an axis, got shape {input.shape}")
    x, at = in_one_dtype(as_float(input), as_float(coordinates))
    dtype = x.dtype
    x, at = single(x), single(at)
    ends = [n - 1 for n in input.shape]
    outside = None
    if mode == "constant":
        for row, end in zip(at, ends, strict=True):
            beyond = (row < 0) + (row > end)
            outside = beyond if outside is None else outside + beyond
    elif mode == "wrap":
        at = stack([_wrapped(row, end) for row, end in zip(at, ends, strict=True)])
    shifted = x - cval if mode == "grid-constant" and cval else x
    y = shifted
    if order > 1 and prefilter:
        y, at = _coefficients(shifted, at, order, mode)
    kind = f"spline{order}" if order > 1 else ("nearest", "linear")[order]
    rule = MODES[mode][order > 1]
    how = Points(kind, rule, (1.0,) * axes, (0.0,) * axes, (0,) * axes)
    points = at.reshape(1, axes, math.prod(shape[1:])).swapaxes(1, 2)
    found = Sample(how)(y.reshape(1, 1, *y.shape), points).reshape(shape[1:])
    if shifted is not x:
        found = found + cval
    if outside is not None:
        found = where(outside, cval, found)
    return found.astype(dtype)


def _coefficients(x: Tensor, at: Tensor, order: int, mode: str) -> tuple[Tensor, Tensor]:
    """Those of the spline through x, and where the coordinates lie among them."""
    if mode in ("nearest", "grid-constant"):
        x = pad(x, AROUND, "edge" if mode == "nearest" else "constant")
        at = at + AROUND
    return spline_filter(x, order, mode), at


def _wrapped(row: Tensor, end: int) -> Tensor:
    """Coordinates of a period of ``end``, at which the first element comes again."""
    if not end:
        return row * 0
    times = row.detach() / end
    times = where(times < 0, Ceil.of(times) - 1, Floor.of(times))
    return row.where((row >= 0) * (row <= end), row - times * end)

"""Splines through the elements of an array: the coefficients of B-splines, along its axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd import Op
from ..backend import Array
from ..kernels import spline
from .axes import behind_batch, normalize_axis
from .promotion import as_float, in_single

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor

# By SciPy's name for a mode: how the elements go on.
BEYOND = {
    "constant": "mirror",
    "grid-constant": "mirror",
    "grid-mirror": "reflect",
    "grid-wrap": "wrap",
    "mirror": "mirror",
    "nearest": "reflect",
    "reflect": "reflect",
    "wrap": "mirror",
}


class SplineFilter(Op):
    """The coefficients of the spline that goes through the elements of x, or the adjoint of that.

    Axis after axis, each by itself, so that the adjoint may take them in the same order.
    """

    linear = ("x",)

    def __init__(self, order: int, rule: str, axes: tuple[int, ...], adjoint: bool = False) -> None:
        self.order, self.rule, self.axes, self.adjoint = order, rule, axes, adjoint

    def forward(self, x: Array) -> Array:
        for axis in self.axes:
            x = spline.filtered(x, self.order, self.rule, axis, self.adjoint)
        return x

    def backward(self, grad: Tensor) -> Tensor:
        return SplineFilter(self.order, self.rule, self.axes, not self.adjoint)(grad)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return SplineFilter(self.order, self.rule, behind_batch(self.axes), self.adjoint)(
            b.whole(x)
        )


def spline_filter(x: Tensor, order: int, mode: str, axis: int | None = None) -> Tensor:
    """See `tinygrad_cupy.ndimage.spline_filter`: along one axis, or all of them."""
    name = "spline_filter" if axis is None else "spline_filter1d"
    expect_order(name, order, 2 if axis is None else 0)
    expect_mode(name, mode)
    x = as_float(x)
    axes = normalize_axis(axis, len(x.shape), name)
    axes = tuple([a for a in axes if x.shape[a] > 1])
    if order < 2 or not axes or 0 in x.shape:
        return x.clone()
    return in_single(x, SplineFilter(order, BEYOND[mode], axes))


def expect_order(name: str, order: Any, least: int = 0) -> None:
    """Raise ``ValueError`` for an order of splines that is not there."""
    if not isinstance(order, (int, np.integer)) or order not in range(least, 6):
        raise ValueError(f"[{name}] expected an order from {least} to 5, got {order!r}")


def expect_mode(name: str, mode: Any) -> None:
    """Raise ``ValueError`` for a mode that is not there."""
    if mode not in BEYOND:
        raise ValueError(f"[{name}] expected mode to be one of {tuple(BEYOND)}, got {mode!r}")

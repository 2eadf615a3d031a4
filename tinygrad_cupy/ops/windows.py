"""Windows that slide along axes, and views by strides: the elements may come up many times."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .. import kernels
from ..autograd import Op
from ..backend import Array
from .arrange import each_axis

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class Windows(Op):
    """Windows of ``width`` elements along an axis, as a view with their elements in a last axis."""

    view = True
    linear = ("x",)

    def __init__(self, width: int, axis: int) -> None:
        self.width, self.axis = width, axis

    def forward(self, x: Array) -> Array:
        return kernels.windows.slide(x, self.width, self.axis)

    def backward(self, grad: Tensor) -> Tensor:
        return Overlapped(self.axis)(grad)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return Windows(self.width, self.axis + 1)(b.whole(x))


class Overlapped(Op):
    """Windows (…, n, …, w) put one step apart and added up, (…, n + w - 1, …): a transpose."""

    linear = ("windows",)

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, windows: Array) -> Array:
        self.width = windows.shape[-1]
        return kernels.windows.overlap(windows, self.axis)

    def backward(self, grad: Tensor) -> Tensor:
        return Windows(self.width, self.axis)(grad)

    def batch(self, b: BatchLevel, windows: Tensor) -> Tensor:
        return Overlapped(self.axis + 1)(b.whole(windows))


class Strided(Op):
    """The elements that ``steps``, from element 0 of x in C order on, lead to along each axis."""

    view = True
    linear = ("x",)

    def __init__(self, shape: tuple[int, ...], steps: tuple[int, ...], lead: int = 0) -> None:
        self.shape, self.steps, self.lead = shape, steps, lead  # lead: axes of batches in front

    def forward(self, x: Array) -> Array:
        self.source = tuple(x.shape)
        return kernels.windows.strided(x, self.shape, self.steps, self.lead)

    def backward(self, grad: Tensor) -> Tensor:
        return StridedAdded(self.source, self.steps, self.lead)(grad)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return Strided(self.shape, self.steps, self.lead + 1)(b.whole(x))


class StridedAdded(Op):
    """Zeros of x's shape with values added where `Strided` would read them: its adjoint."""

    linear = ("values",)

    def __init__(self, shape: tuple[int, ...], steps: tuple[int, ...], lead: int = 0) -> None:
        self.shape, self.steps, self.lead = shape, steps, lead

    def forward(self, values: Array) -> Array:
        self.read = tuple(values.shape[self.lead :])
        return kernels.windows.strided_added(values, self.shape, self.steps, self.lead)

    def backward(self, grad: Tensor) -> Tensor:
        return Strided(self.read, self.steps, self.lead)(grad)

    def batch(self, b: BatchLevel, values: Tensor) -> Tensor:
        shape = (b.size, *self.shape)
        return StridedAdded(shape, self.steps, self.lead + 1)(b.whole(values))


def sliding_window_view(x: Tensor, window_shape: Any, axis: Any = None) -> Tensor:
    """Windows that slide along axes in steps of one, their elements in new last axes; a view."""
    sides = window_shape if isinstance(window_shape, tuple | list) else (window_shape,)
    sides = tuple(operator.index(n) for n in sides)
    ndim = len(x.shape)
    axes = tuple(range(ndim)) if axis is None else each_axis(axis, ndim, "sliding_window_view")
    if len(sides) != len(axes):
        raise ValueError(
            f"[sliding_window_view] expected one length of a window for each of {len(axes)} axes, "
            f"got {window_shape}"
        )
    for n, place in zip(sides, axes, strict=True):
        if not 0 <= n <= x.shape[place]:
            raise ValueError(
                f"[sliding_window_view] expected windows of 0 to {x.shape[place]} elements along "
                f"axis {place} of shape {x.shape}, got {n}"
            )
        x = Windows(n, place)(x)
    return x


def as_strided(x: Tensor, shape: Sequence[int], strides: Sequence[int]) -> Tensor:
    """A view of ``shape`` whose axes step through the elements of x, in C order, by bytes.

    Raises ``ValueError`` where a step would leave x: its memory is not left.
    """
    sizes = tuple(operator.index(n) for n in shape)
    item = x.dtype.itemsize
    if len(sizes) != len(strides) or any(n < 0 for n in sizes) or any(s % item for s in strides):
        raise ValueError(
            f"[as_strided] expected a size ≥ 0 and a stride, a multiple of {item} bytes, for each "
            f"axis, got shape {tuple(shape)} and strides {tuple(strides)}"
        )
    steps = tuple(int(s) // item for s in strides)
    ends = [(n - 1) * step for n, step in zip(sizes, steps, strict=True)]
    low, high = sum(e for e in ends if e < 0), sum(e for e in ends if e > 0)
    if 0 not in sizes and not 0 <= low <= high < max(math.prod(x.shape), 0):
        raise ValueError(
            f"[as_strided] shape {sizes} with strides {tuple(strides)} reads elements {low} to "
            f"{high} of {math.prod(x.shape)}"
        )
    return Strided(sizes, steps)(x)

"""Rearranging elements: rolling, repeating, turning, swapping axes."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from ..autograd import Op
from ..backend import Array, to_numpy
from .axes import behind_batch, in_order, normalize_axis
from .shape import ShapeMixin
from .take import Take, index_tensor

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class Roll(Op):
    """Elements moved on along axes; those that leave at the end come in again at the start."""

    linear = ("x",)

    def __init__(self, shifts: tuple[int, ...], axes: tuple[int, ...]) -> None:
        self.shifts, self.axes = shifts, axes

    def forward(self, x: Array) -> Array:
        return kernels.arrange.roll(x, self.shifts, self.axes)

    def backward(self, grad: Tensor) -> Tensor:
        return Roll(tuple(-shift for shift in self.shifts), self.axes)(grad)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return Roll(self.shifts, behind_batch(self.axes))(b.whole(x))


def axis_of_line(x: Any, axis: Any, name: str) -> tuple[Any, int]:
    """x and one of its axes; a number has axis 0 or -1, as a line of one, where NumPy's has."""
    if not x.shape and not isinstance(axis, tuple | list) and axis in (0, -1):
        return x.reshape(1), 0
    return x, one_axis(axis, len(x.shape), name)


def one_axis(axis: Any, ndim: int, name: str) -> int:
    """``axis``, which must be an integer, as a non-negative one."""
    if type(axis) is int and 0 <= axis < ndim:
        return axis
    if isinstance(axis, tuple | list) or axis is None:
        raise TypeError(f"[{name}] expected one axis, got {axis!r}")
    (place,) = normalize_axis(axis, ndim, name)
    return place


def each_axis(axis: Any, ndim: int, name: str) -> tuple[int, ...]:
    """The axes in ``axis``, in their order, as non-negative integers."""
    axes = axis if isinstance(axis, tuple | list) else (axis,)
    return tuple([one_axis(a, ndim, name) for a in axes])


# --- rolling and repeating ------------------------------------------------------------------------


def roll(x: Tensor, shift: Any, axis: Any = None) -> Tensor:
    """Elements moved on by ``shift`` along ``axis``, each axis by its own shift or all by one.

    Without an axis the flattened tensor is rolled, and given x's shape again.
    """
    shifts = shift if isinstance(shift, tuple | list) else (shift,)
    if axis is None:
        return roll(x.reshape(-1), sum(shifts), 0).reshape(x.shape)
    axes = each_axis(axis, len(x.shape), "roll")
    try:
        pairs = list(np.broadcast(np.asarray(shifts), np.asarray(axes)))
    except ValueError as error:
        raise ValueError(
            f"[roll] expected as many shifts as axes, got {shift} and {axis}"
        ) from error
    total = dict.fromkeys(axes, 0)
    for amount, place in pairs:
        total[int(place)] += operator.index(amount)
    return Roll(tuple(total.values()), tuple(total))(x)


def repeat(x: Tensor, repeats: Any, axis: int | None = None) -> Tensor:
    """Each element along ``axis`` ``repeats`` times in a row; see `ArrangeMixin.repeat`."""
    if axis is None:
        return repeat(x.reshape(-1), repeats, 0)
    x, place = axis_of_line(x, axis, "repeat")
    shape = x.shape
    counts = _counts(repeats, shape[place])
    if isinstance(counts, int) and counts == 1:
        return x.clone()
    if isinstance(counts, int):
        wide = x.unsqueeze(place + 1)
        wide = wide.broadcast_to(*shape[: place + 1], counts, *shape[place + 1 :])
        return wide.reshape(*shape[:place], shape[place] * counts, *shape[place + 1 :])
    order, made = np.repeat(np.arange(shape[place]), counts), not hasattr(repeats, "dtype")
    return Take(place)(x, index_tensor("repeat", x, order, made))


def _counts(repeats: Any, length: int) -> int | np.ndarray:
    """How often each of ``length`` elements comes: one number for all, or one for each."""
    if hasattr(repeats, "detach"):
        repeats = repeats.detach().numpy()
    counts = to_numpy(repeats) if hasattr(repeats, "dtype") else np.asarray(repeats)
    if counts.dtype.kind not in "iub" and counts.size:
        raise TypeError(f"[repeat] expected whole numbers of repeats, got {counts.dtype}")
    if counts.ndim > 1 or counts.size not in (1, length):
        raise ValueError(
            f"[repeat] expected one number of repeats or {length}, got shape {counts.shape}"
        )
    if (counts < 0).any():
        raise ValueError(f"[repeat] expected numbers of repeats ≥ 0, got {int(counts.min())}")
    return int(counts.reshape(-1)[0]) if counts.size == 1 else counts.astype(np.int64)


def tile(x: Tensor, repeats: Sequence[int]) -> Tensor:
    """x side by side with itself, that often along each axis; missing axes are put in front."""
    ndim = max(len(x.shape), len(repeats))
    shape = (1,) * (ndim - len(x.shape)) + x.shape
    counts = [1] * (ndim - len(repeats)) + [operator.index(n) for n in repeats]
    if min(counts, default=0) < 0:
        raise ValueError(f"[tile] expected numbers of repeats ≥ 0, got {tuple(repeats)}")
    if all(n == 1 for n in counts):
        return x.clone().reshape(shape)
    apart = [m for n in shape for m in (1, n)]
    wide = [m for pair in zip(counts, shape, strict=True) for m in pair]
    whole = [n * m for n, m in zip(counts, shape, strict=True)]
    return x.reshape(apart).broadcast_to(wide).reshape(whole)


# --- axes -----------------------------------------------------------------------------------------


def moveaxis(x: Tensor, source: Any, destination: Any) -> Tensor:
    """Axes moved to other places; the rest stays in its order."""
    ndim = len(x.shape)
    start = each_axis(source, ndim, "moveaxis")
    end = each_axis(destination, ndim, "moveaxis")
    if len(start) != len(end) or len(set(start)) < len(start) or len(set(end)) < len(end):
        raise ValueError(
            f"[moveaxis] expected as many places as axes, all distinct, got {source} and "
            f"{destination}"
        )
    order = [axis for axis in range(ndim) if axis not in start]
    for place, axis in sorted(zip(end, start, strict=True)):
        order.insert(place, axis)
    return x.permute(order) if order else x


def rot90(x: Tensor, k: int = 1, axes: Sequence[int] = (0, 1)) -> Tensor:
    """x turned by 90° k times in the plane of two axes, from the first towards the second."""
    places = each_axis(tuple(axes), len(x.shape), "rot90")
    if len(places) != 2 or places[0] == places[1]:
        raise ValueError(f"[rot90] expected two different axes, got {tuple(axes)}")
    first, second = places
    if k % 4 == 0:
        return x.reshape(x.shape)
    if k % 4 == 2:
        return x.flip((first, second))
    if k % 4 == 1:
        return x.flip(second).swapaxes(first, second)
    return x.swapaxes(first, second).flip(second)


def bytes_to_next(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """The strides of an array of this shape in C order."""
    steps = [itemsize]
    for n in reversed(shape[1:]):
        steps.append(steps[-1] * n)
    return tuple(reversed(steps[: len(shape)]))


class ArrangeMixin(ShapeMixin):
    """Rearranging elements as methods."""

    __slots__ = ()

    def ravel(self, order: str = "C") -> Tensor:
        """One axis of all elements, in C order or, by ``order="F"``, with the first axis fastest.

        A view where elements lie one behind the other in that order, as NumPy's is.
        """
        x: Any = self
        x = x if in_order(order, "ravel") else x.transpose()
        flat: Tensor = x.reshape(-1)
        return flat if flat.data.flags.c_contiguous else flat.clone()

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        """A view with two axes exchanged."""
        first = one_axis(axis1, len(self.shape), "swapaxes")
        second = one_axis(axis2, len(self.shape), "swapaxes")
        order = list(range(len(self.shape)))
        order[first], order[second] = second, first
        return self.permute(order)

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes from element to element along each axis in C order, which memory need not have."""
        return bytes_to_next(self.shape, self.dtype.itemsize)

    @property
    def mT(self) -> Tensor:  # noqa: N802
        """The view with the last two axes exchanged: each matrix transposed."""
        if len(self.shape) < 2:
            raise ValueError(f"[mT] expected at least two axes, got shape {self.shape}")
        return self.swapaxes(-1, -2)

    def repeat(self, repeats: Any, axis: int | None = None) -> Tensor:
        """Each element ``repeats`` times in a row along ``axis``; flattened first without one.

        ``repeats`` is a number, or one for each element, as an array or a list: how long the result
        is must be known, so a tensor of counts is read.
        """
        x: Any = self
        return repeat(x, repeats, axis)

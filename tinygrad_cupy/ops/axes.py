"""Axes of a reduction, as arguments give them and as kernels take them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ..autograd.typing import Tensor

Axis = int | tuple[int, ...] | None


def normalize_axis(axis: Axis, ndim: int, name: str) -> tuple[int, ...]:
    """``axis`` as a sorted tuple of distinct non-negative integers."""
    if type(axis) is int and 0 <= axis < ndim:
        return (axis,)
    if axis is None:
        return tuple(range(ndim))
    axes = tuple(axis) if isinstance(axis, tuple | list) else (axis,)
    for a in axes:
        if not isinstance(a, int | np.integer):
            raise TypeError(f"[{name}] expected an axis or a tuple of axes, got {axis!r}")
        if not -ndim <= a < ndim:
            raise np.exceptions.AxisError(
                f"[{name}] axis {a} is out of range for a tensor of {ndim} axes"
            )
    positive = sorted(int(a) % ndim for a in axes)
    if len(set(positive)) < len(positive):
        raise ValueError(f"[{name}] expected distinct axes, got {axes}")
    return tuple(positive)


def kept_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """``shape`` with the reduced ``axes`` kept as 1."""
    return tuple(1 if i in axes else size for i, size in enumerate(shape))


def reduced_axes(axis: Axis, ndim: int, name: str) -> tuple[int, ...]:
    """`normalize_axis` for reductions, which NumPy lets go over axis 0 or -1 of a number, too."""
    number = ndim == 0 and not isinstance(axis, tuple | list) and axis in (0, -1)
    return () if number else normalize_axis(axis, ndim, name)


def nonempty_axes(shape: tuple[int, ...], axis: Axis, name: str) -> tuple[int, ...]:
    """`reduced_axes`, or ``ValueError`` where no elements lie along it."""
    axes = reduced_axes(axis, len(shape), name)
    if 0 in [shape[a] for a in axes]:
        raise ValueError(f"[{name}] no elements to reduce along axis {axis} of {shape}")
    return axes


def behind_batch(axes: tuple[int, ...]) -> tuple[int, ...]:
    """``axes`` of one element as axes of a batch, which has the elements along axis 0."""
    return tuple([axis + 1 for axis in axes])


def as_rows(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """x with the elements along ``axes`` in one, the last; the others stay in front of it."""
    others = [i for i in range(len(x.shape)) if i not in axes]
    moved = x if axes == tuple(range(len(others), len(x.shape))) else x.permute(*others, *axes)
    if len(axes) == 1:
        return moved
    kept = moved.shape[: len(others)]
    return moved.reshape(*kept, math.prod([x.shape[axis] for axis in axes]))


def from_rows(rows: Tensor, shape: tuple[int, ...], axes: tuple[int, ...]) -> Tensor:
    """The tensor of this ``shape`` that `as_rows` makes ``rows`` of."""
    others = [i for i in range(len(shape)) if i not in axes]
    order = [*others, *axes]
    moved = rows if len(axes) == 1 else rows.reshape([shape[i] for i in order])
    if order == sorted(order):
        return moved
    return moved.permute([order.index(i) for i in range(len(shape))])


def in_order(order: Any, name: str) -> bool:
    """Whether ``order`` is "C"; False for "F"."""
    if order not in ("C", "F"):
        raise ValueError(
            f'[{name}] expected order "C" or "F", got {order!r}: how a tensor lies in memory says '
            "nothing of the order of its elements"
        )
    return bool(order == "C")

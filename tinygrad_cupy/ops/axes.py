"""Axes of a reduction, as arguments give them and as kernels take them."""

from __future__ import annotations

import numpy as np

Axis = int | tuple[int, ...] | None


def normalize_axis(axis: Axis, ndim: int, name: str) -> tuple[int, ...]:
    """``axis`` as a sorted tuple of distinct non-negative integers."""
    if axis is None:
        return tuple(range(ndim))
    axes = tuple(axis) if isinstance(axis, tuple | list) else (axis,)
    for a in axes:
        if not isinstance(a, int | np.integer):
            raise TypeError(f"[{name}] expected an axis or a tuple of axes, got {axis!r}")
        if not -ndim <= a < ndim:
            raise ValueError(f"[{name}] axis {a} is out of range for a tensor of {ndim} axes")
    positive = sorted(int(a) % ndim for a in axes)
    if len(set(positive)) < len(positive):
        raise ValueError(f"[{name}] expected distinct axes, got {axes}")
    return tuple(positive)


def kept_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """``shape`` with the reduced ``axes`` kept as 1."""
    return tuple(1 if i in axes else size for i, size in enumerate(shape))


def nonempty_axes(shape: tuple[int, ...], axis: Axis, name: str) -> tuple[int, ...]:
    """`normalize_axis`, or ``ValueError`` where no elements lie along it."""
    axes = normalize_axis(axis, len(shape), name)
    if 0 in [shape[a] for a in axes]:
        raise ValueError(f"[{name}] no elements to reduce along axis {axis} of {shape}")
    return axes


def behind_batch(axes: tuple[int, ...]) -> tuple[int, ...]:
    """``axes`` of one element as axes of a batch, which has the elements along axis 0."""
    return tuple([axis + 1 for axis in axes])

"""Indices of triangles, diagonals and grids, and places in flattened tensors."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from ..backend import device_of, to_device
from ..ops import choose as choosing
from ..ops.protocols import implements
from ..ops.take import index_tensor
from .arrays import tensor, tensors
from .creation import made_by_numpy
from .indexing import nonzero, rows_of
from .shaping import broadcast_arrays

__all__ = [
    "diag_indices",
    "diag_indices_from",
    "indices",
    "ix_",
    "mask_indices",
    "meshgrid",
    "one_hot",
    "ravel_multi_index",
    "tril_indices",
    "tril_indices_from",
    "triu_indices",
    "triu_indices_from",
    "unravel_index",
]


# --- triangles and diagonals ----------------------------------------------------------------------


def _made(array: Any, like: Any = None) -> Any:
    """A host array as a tensor where ``like`` is, or on the default device."""
    if like is None:
        return made_by_numpy(array)
    return like._plain(to_device(array, device_of(like.data)))


def _all_made(arrays: Any, like: Any = None) -> tuple[Any, ...]:
    return tuple([_made(array, like) for array in arrays])


def tril_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Any, ...]:
    """The indices (rows, columns) of the triangle at and below the diagonal k of (n, m)."""
    return _all_made(np.tril_indices(n, k, m))


def triu_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Any, ...]:
    """The indices (rows, columns) of the triangle at and above the diagonal k of (n, m)."""
    return _all_made(np.triu_indices(n, k, m))


def _sides(name: str, arr: Any) -> tuple[int, int]:
    if arr.ndim != 2:
        raise ValueError(f"[{name}] expected two axes, got shape {arr.shape}")
    rows, columns = arr.shape
    return rows, columns


@implements(np.tril_indices_from)
def tril_indices_from(arr: Any, k: int = 0) -> tuple[Any, ...]:
    """`tril_indices` of a matrix."""
    a = tensor(arr)
    rows, columns = _sides("tril_indices_from", a)
    return _all_made(np.tril_indices(rows, k, columns), a)


@implements(np.triu_indices_from)
def triu_indices_from(arr: Any, k: int = 0) -> tuple[Any, ...]:
    """`triu_indices` of a matrix."""
    a = tensor(arr)
    rows, columns = _sides("triu_indices_from", a)
    return _all_made(np.triu_indices(rows, k, columns), a)


def diag_indices(n: int, ndim: int = 2) -> tuple[Any, ...]:
    """The indices of the main diagonal of (n, n, …)."""
    return _all_made(np.diag_indices(n, ndim))


@implements(np.diag_indices_from)
def diag_indices_from(arr: Any) -> tuple[Any, ...]:
    """`diag_indices` of a tensor with equal sides."""
    a = tensor(arr)
    if a.ndim < 2 or len(set(a.shape)) > 1:
        raise ValueError(f"[diag_indices_from] expected sides of one length, got {a.shape}")
    return _all_made(np.diag_indices(a.shape[0], a.ndim), a)


def mask_indices(n: int, mask_func: Callable[..., Any], k: Any = 0) -> Any:
    """The indices of (n, n) that ``mask_func``, `triu` say, leaves other than 0."""
    ones = _made(np.ones((n, n), np.int64))
    return nonzero(mask_func(ones, k))


# --- grids and places -----------------------------------------------------------------------------


@implements(np.meshgrid)
def meshgrid(
    *xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy"
) -> tuple[Any, ...]:
    """The coordinates of a grid: each of ``xi`` along an axis of its own, the same along others.

    ``indexing="xy"`` exchanges the first two axes. ``sparse`` leaves the others of size 1.
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f'[meshgrid] expected indexing "xy" or "ij", got {indexing!r}')
    given, count = tensors(*xi), len(xi)
    swapped = indexing == "xy" and count > 1
    places = [1 - i if swapped and i < 2 else i for i in range(count)]
    lines = tuple(
        [
            x.reshape([x.size if axis == place else 1 for axis in range(count)])
            for x, place in zip(given, places, strict=True)
        ]
    )
    found = lines if sparse else broadcast_arrays(*lines)
    return tuple([x.clone() for x in found]) if copy else found


def indices(dimensions: Any, dtype: Any = int, sparse: bool = False) -> Any:
    """The index of each element along each axis of a grid, (axes, …); a tuple, if ``sparse``."""
    made: Any = np.indices(tuple(dimensions), dtype, sparse)  # type: ignore[call-overload]
    return _all_made(made) if isinstance(made, tuple) else _made(made)


@implements(np.ix_)
def ix_(*args: Any) -> tuple[Any, ...]:
    """Indices (or booleans) for each axis, shaped so that x[ix_(…)] takes all combinations."""
    shaped = []
    for i, one in enumerate(tensors(*args)):
        if one.ndim != 1:
            raise ValueError(f"[ix_] expected sequences of one axis, got shape {one.shape}")
        index = one.nonzero()[0] if one.dtype == bool else one
        index = index if index.size else index.astype(np.int64)
        shaped.append(index.reshape([index.size if axis == i else 1 for axis in range(len(args))]))
    return tuple(shaped)


def _order(name: str, shape: Any, order: str) -> list[tuple[int, int]]:
    """Length and step of each axis, in the order in which they are counted."""
    if order not in ("C", "F"):
        raise ValueError(f'[{name}] expected order "C" or "F", got {order!r}')
    sizes = [operator.index(n) for n in (shape if isinstance(shape, tuple | list) else (shape,))]
    steps = []
    for i in range(len(sizes)):
        steps.append(math.prod(sizes[i + 1 :] if order == "C" else sizes[:i]))
    return list(zip(sizes, steps, strict=True))


@implements(np.unravel_index)
def unravel_index(indices: Any, shape: Any, order: str = "C") -> tuple[Any, ...]:
    """Places in the flattened tensor of ``shape`` as an index along each axis.

    On the CPU a place out of bounds is a ``ValueError``; on a GPU it is not looked for.
    """
    a = tensor(indices)
    places = index_tensor("unravel_index", a, a)
    axes = _order("unravel_index", shape, order)
    return tuple(choosing.unravel(places, axes))


@implements(np.ravel_multi_index)
def ravel_multi_index(multi_index: Any, dims: Any, mode: Any = "raise", order: str = "C") -> Any:
    """Indices along each axis as places in the flattened tensor of shape ``dims``.

    ``mode`` as in `Tensor.take`, one for all or one for each axis.
    """
    axes = _order("ravel_multi_index", dims, order)
    listed = list(multi_index) if isinstance(multi_index, list | tuple) else rows_of(multi_index)
    if len(listed) != len(axes):
        raise ValueError(
            f"[ravel_multi_index] expected an index for each of {len(axes)} axes, got {len(listed)}"
        )
    given = tensors(*listed)
    modes = mode if isinstance(mode, tuple | list) else [mode] * len(axes)
    found = [index_tensor("ravel_multi_index", a, a) for a in given]
    return choosing.ravel(found, axes, list(modes))


def one_hot(indices: Any, num_classes: int, axis: int = -1, dtype: Any = None) -> Any:
    """1 where the new axis, of ``num_classes``, has an index's place, else 0; none out of bounds.

    ``dtype`` defaults to the class's default float.
    """
    a = tensor(indices)
    index = index_tensor("one_hot", a, a)
    classes = choosing.counted(index, operator.index(num_classes))
    place = axis if axis >= 0 else axis + index.ndim + 1
    wide = index.unsqueeze(place)
    shape = [1] * wide.ndim
    shape[place] = num_classes
    return (wide == classes.reshape(shape)).astype(index._float if dtype is None else dtype)

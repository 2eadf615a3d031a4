"""Taking, choosing and finding by index, diagonals, grids, and sums by place."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..autograd import TensorBase
from ..backend import default_device, device_of, to_device
from ..backend.dtypes import common_dtype, is_float
from ..ops import choose as choosing
from ..ops import comparison, scatter
from ..ops import diagonal as diagonals
from ..ops.protocols import implements
from ..ops.take import index_tensor
from .arrays import finished, first_tensor, ndarray, operands, tensor, tensors
from .lib.stride_tricks import as_strided, sliding_window_view
from .shaping import broadcast_arrays

__all__ = [
    "argwhere",
    "as_strided",
    "choose",
    "compress",
    "diag",
    "diag_indices",
    "diag_indices_from",
    "diagflat",
    "diagonal",
    "extract",
    "flatnonzero",
    "gather",
    "indices",
    "ix_",
    "mask_indices",
    "meshgrid",
    "nonzero",
    "one_hot",
    "ravel_multi_index",
    "scatter_add",
    "scatter_reduce",
    "segment_sum",
    "select",
    "sliding_window_view",
    "take",
    "take_along_axis",
    "trace",
    "tril",
    "tril_indices",
    "tril_indices_from",
    "triu",
    "triu_indices",
    "triu_indices_from",
    "unravel_index",
    "where",
]


# --- taking and choosing --------------------------------------------------------------------------


@implements(np.take)
def take(
    a: Any, indices: Any, axis: int | None = None, out: Any = None, mode: str = "raise"
) -> Any:
    """Elements at ``indices`` along an axis; see `Tensor.take`."""
    return finished(tensor(a, first_tensor([indices])).take(indices, axis, mode), None, out)


@implements(np.take_along_axis)
def take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Any:
    """Elements at ``indices`` along an axis, each line by its own, as `argsort` gives them.

    Both broadcast along the other axes. Indices out of bounds are as in `Tensor.take`.
    """
    return choosing.take_along_axis(tensor(arr, first_tensor([indices])), indices, axis)


@implements(np.compress)
def compress(condition: Any, a: Any, axis: int | None = None, out: Any = None) -> Any:
    """The elements along an axis where ``condition`` (one axis) holds; flattened without one.

    How many there are depends on values: under `jit` on a GPU it is refused.
    """
    return finished(tensor(a, first_tensor([condition])).compress(condition, axis), None, out)


@implements(np.extract)
def extract(condition: Any, arr: Any) -> Any:
    """The elements, in C order, where ``condition`` is not 0; refused under `jit` on a GPU."""
    a, found = tensors(arr, condition)
    return a.reshape(-1).compress(found.reshape(-1))


@implements(np.choose)
def choose(a: Any, choices: Any, out: Any = None, mode: str = "raise") -> Any:
    """At each place the element of that one of ``choices`` that ``a``, of integers, says.

    All broadcast. The gradient goes to what was chosen.
    """
    listed = list(choices) if isinstance(choices, list | tuple) else _rows(choices)
    number, *given = tensors(a, *listed)
    return finished(number.choose(given, mode), None, out)


def _rows(a: Any) -> list[Any]:
    a = tensor(a)
    return [a[i] for i in range(len(a))]


@implements(np.select)
def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Any:
    """At each place the element of the first choice whose condition holds there, or ``default``."""
    if len(condlist) != len(choicelist) or not len(condlist):
        raise ValueError(
            "[select] expected as many conditions as choices, at least one, got "
            f"{len(condlist)} and {len(choicelist)}"
        )
    like = first_tensor([*choicelist, default, *condlist])
    found = _in_one_dtype([*choicelist, default], like)
    shape = np.broadcast_shapes(*[v.shape for v in found[:-1]])
    found = [*[v.broadcast_to(shape) for v in found[:-1]], found[-1]]
    return choosing.select([tensor(c, like) for c in condlist], found[:-1], found[-1])


def _in_one_dtype(values: Sequence[Any], like: Any) -> list[Any]:
    """Tensors of their common dtype; numbers do not widen it, but make floats of integers."""
    numbers = [isinstance(v, bool | int | float | np.generic) for v in values]
    given = [tensor(v, like) for v in values]
    chosen = [v.dtype for v, number in zip(given, numbers, strict=True) if not number]
    floats = [v for v, number in zip(given, numbers, strict=True) if number and is_float(v.dtype)]
    if not chosen or (floats and not is_float(common_dtype(*chosen))):
        chosen += [v.dtype for v in floats or given]
    dtype = common_dtype(*chosen)
    return [v.astype(dtype) for v in given]


@implements(np.where)
def where(condition: Any, x: Any = None, y: Any = None, /) -> Any:
    """x where ``condition`` is not 0, else y; all three broadcast. With one argument `nonzero`.

    What is not chosen gets a gradient of 0; see `Tensor.where` for slopes of ∞ in front of it.
    """
    if x is None and y is None:
        return nonzero(condition)
    if x is None or y is None:
        raise ValueError("[where] expected x and y or neither, got one of them")
    like = first_tensor([x, y, condition])
    mask = tensor(condition, like)
    mask = mask if mask.dtype == bool else mask != 0
    a, b = x, y
    if not (isinstance(a, TensorBase) or isinstance(b, TensorBase)):
        a, b = operands(a, b) if like is None else (tensor(a, like), b)
    a, b = operands(a, b)
    return comparison.where(mask, a, b)


# --- what is not 0 --------------------------------------------------------------------------------


@implements(np.nonzero)
def nonzero(a: Any) -> Any:
    """Where ``a`` is not 0: the indices along each axis. Refused under `jit` on a GPU."""
    return tensor(a).nonzero()


@implements(np.flatnonzero)
def flatnonzero(a: Any) -> Any:
    """Where the flattened ``a`` is not 0. Refused under `jit` on a GPU."""
    return tensor(a).reshape(-1).nonzero()[0]


@implements(np.argwhere)
def argwhere(a: Any) -> Any:
    """Where ``a`` is not 0, a row of indices each. Refused under `jit` on a GPU."""
    return choosing.argwhere(tensor(a))


# --- diagonals and triangles ----------------------------------------------------------------------


@implements(np.diag)
def diag(v: Any, k: int = 0) -> Any:
    """The matrix with v (n,) on its diagonal k, or the diagonal k of a matrix, as a view."""
    return diagonals.diag(tensor(v), k)


@implements(np.diagflat)
def diagflat(v: Any, k: int = 0) -> Any:
    """The matrix with the elements of v on its diagonal k."""
    return diagonals.diag(tensor(v).reshape(-1), k)


@implements(np.diagonal)
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """A view of the diagonal of two axes, as the last axis; see `Tensor.diagonal`."""
    return tensor(a).diagonal(offset, axis1, axis2)


@implements(np.trace)
def trace(
    a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None
) -> Any:
    """The sum along the diagonal of two axes."""
    return finished(tensor(a).trace(offset, axis1, axis2, dtype), None, out)


@implements(np.tril)
def tril(m: Any, k: int = 0) -> Any:
    """With zeros above the diagonal k of the last two axes."""
    return diagonals.triangle(tensor(m), k, False, "tril")


@implements(np.triu)
def triu(m: Any, k: int = 0) -> Any:
    """With zeros below the diagonal k of the last two axes."""
    return diagonals.triangle(tensor(m), k, True, "triu")


def _made(array: Any, like: Any = None) -> Any:
    """A host array as a tensor where ``like`` is, or on the default device."""
    device = default_device() if like is None else device_of(like.data)
    kind = ndarray if like is None else like._plain
    return kind(to_device(array, device))


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
    listed = list(multi_index) if isinstance(multi_index, list | tuple) else _rows(multi_index)
    if len(listed) != len(axes):
        raise ValueError(
            f"[ravel_multi_index] expected an index for each of {len(axes)} axes, got {len(listed)}"
        )
    given = tensors(*listed)
    modes = mode if isinstance(mode, tuple | list) else [mode] * len(axes)
    found = [index_tensor("ravel_multi_index", a, a) for a in given]
    return choosing.ravel(found, axes, list(modes))


# --- by place: names of PyTorch and JAX -----------------------------------------------------------


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


def gather(x: Any, indices: Any, axis: int) -> Any:
    """x at ``indices`` along an axis, each line by its own: PyTorch's function.

    The result has the shape of the indices. They have as many axes as x, and but for ``axis`` none
    is longer than x's; of those that are shorter the first lines count.
    """
    return scatter.gather(tensor(x, first_tensor([indices])), indices, axis)


def scatter_add(x: Any, indices: Any, values: Any, axis: int) -> Any:
    """x with ``values`` added where ``indices`` say along an axis; x itself stays as it is.

    Indices as in `gather`; values broadcast to their shape. What meets at one place is added up in
    float64, in the same order in every run.
    """
    x = tensor(x, first_tensor([indices, values]))
    return scatter.scatter_add(x, indices, values, axis)


def scatter_reduce(
    x: Any, indices: Any, values: Any, axis: int, reduce: str, include_self: bool = True
) -> Any:
    """x with ``values`` reduced into it where ``indices`` say along an axis; as `scatter_add`.

    ``reduce`` is "sum", "mean", "prod", "amax" or "amin". Without ``include_self`` x counts only
    where no value goes. Equal extrema share the gradient equally.
    """
    x = tensor(x, first_tensor([indices, values]))
    return scatter.scatter_reduce(x, indices, values, axis, reduce, include_self)


def segment_sum(data: Any, segment_ids: Any, num_segments: int | None = None) -> Any:
    """The sums of the rows of ``data`` that have the same number: JAX's function.

    ``segment_ids`` (n,) need not be sorted; rows with numbers outside of 0 … ``num_segments`` - 1
    are left out. Without a number of segments it is read from the ids, one more than the largest.
    """
    return scatter.segment_sum(tensor(data, first_tensor([segment_ids])), segment_ids, num_segments)

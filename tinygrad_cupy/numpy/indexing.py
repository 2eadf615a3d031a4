"""Taking, choosing and finding by index, diagonals, and sums by place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd import TensorBase
from ..backend.dtypes import common_dtype, is_float
from ..ops import choose as choosing
from ..ops import comparison, scatter
from ..ops import diagonal as diagonals
from ..ops.protocols import implements
from .arrays import finished, first_tensor, operands, tensor, tensors, term
from .lib.stride_tricks import as_strided, sliding_window_view

__all__ = [
    "argwhere",
    "as_strided",
    "choose",
    "compress",
    "diag",
    "diagflat",
    "diagonal",
    "extract",
    "flatnonzero",
    "gather",
    "nonzero",
    "scatter_add",
    "scatter_reduce",
    "segment_sum",
    "select",
    "sliding_window_view",
    "take",
    "take_along_axis",
    "trace",
    "tril",
    "triu",
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
    listed = list(choices) if isinstance(choices, list | tuple) else rows_of(choices)
    like = first_tensor([a, *listed])
    given = [term(choice, like) for choice in listed]
    return finished(tensor(a, like).choose(given, mode), None, out)


def rows_of(a: Any) -> list[Any]:
    """The slices along the first axis."""
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
    return choosing.select([tensor(c, like) for c in condlist], found[:-1], found[-1])


def _in_one_dtype(values: Sequence[Any], like: Any) -> list[Any]:
    """Tensors of their common dtype; numbers do not widen it, but make floats of integers."""
    numbers = [isinstance(v, bool | int | float | np.generic) for v in values]
    given = [term(v, like) for v in values]
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


# --- by place: names of PyTorch and JAX -----------------------------------------------------------


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

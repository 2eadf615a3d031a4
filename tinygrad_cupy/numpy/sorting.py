"""Sorting and searching. NaN comes last."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops import sort as sorting
from ..ops.protocols import implements
from .arrays import first_tensor, operands, tensor, tensors

__all__ = ["argpartition", "argsort", "lexsort", "partition", "searchsorted", "sort", "topk"]


@implements(np.sort)
def sort(
    a: Any, axis: int | None = -1, kind: Any = None, order: Any = None, *, stable: Any = None
) -> Any:
    """In ascending order along an axis, or flattened without one.

    The gradient goes to where each element came from. Of equal elements the first stays first,
    whatever ``kind``, one of NumPy's names, and ``stable`` say: only the gradient tells.
    """
    sorting.expect_kind("sort", kind, stable, order)
    return sorting.sort(tensor(a), axis)


@implements(np.argsort)
def argsort(
    a: Any, axis: int | None = -1, kind: Any = None, order: Any = None, *, stable: Any = None
) -> Any:
    """Where the elements in ascending order along an axis stand; see `sort`."""
    return tensor(a).argsort(axis, kind, order, stable=stable)


@implements(np.partition)
def partition(
    a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect", order: Any = None
) -> Any:
    """With the ``kth`` elements (one or several) as if sorted: none before them is greater.

    In which order the others stand is not said; on a GPU they are sorted.
    """
    sorting.expect_introselect("partition", kind, order)
    return sorting.partition(tensor(a), kth, axis)


@implements(np.argpartition)
def argpartition(
    a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect", order: Any = None
) -> Any:
    """Where the elements of `partition` stand."""
    return tensor(a).argpartition(kth, axis, kind, order)


def topk(a: Any, k: int, axis: int = -1, largest: bool = True) -> tuple[Any, Any]:
    """The k largest (or smallest) elements along an axis, the most extreme first, and where.

    NaN counts as the largest. Which of equal elements are chosen is not said. The gradient goes to
    those that are.
    """
    return sorting.topk(tensor(a), k, axis, largest)


@implements(np.lexsort)
def lexsort(keys: Any, axis: int = -1) -> Any:
    """Where the elements stand, sorted by the last of ``keys``, equal ones by the one before, …"""
    if isinstance(keys, list | tuple):
        given = tensors(*keys)
    else:
        whole = tensor(keys)
        given = [whole[i] for i in range(len(whole))]
    return sorting.lexsort(given, axis)


@implements(np.searchsorted)
def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> Any:
    """Where in ascending ``a`` (n,) each element of ``v`` belongs; see `Tensor.searchsorted`."""
    first, value = operands(a, v)
    return tensor(first, first_tensor([value])).searchsorted(value, side, sorter)

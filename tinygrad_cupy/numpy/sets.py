"""Unique elements and set operations.

How many elements the results have depends on values: under `jit` on a GPU they are refused, but for
`isin`. A gradient of values goes to the first of equal elements.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..ops import sets
from ..ops.protocols import implements
from .arrays import tensor, tensors, terms

__all__ = [
    "intersect1d",
    "isin",
    "setdiff1d",
    "setxor1d",
    "union1d",
    "unique",
    "unique_all",
    "unique_counts",
    "unique_inverse",
    "unique_values",
]


@implements(np.unique)
def unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    *,
    equal_nan: bool = True,
    sorted: bool = True,
) -> Any:
    """The distinct elements, or slices along an axis, in ascending order, whatever ``sorted`` says.

    With them, if asked for, where each stands first, which of them each element is, and how often
    each comes. NaN is one of them, or one for each that there is without ``equal_nan``.
    """
    a = tensor(ar)
    if axis is None and not (return_index or return_inverse or return_counts):
        return sets.unique_values(a, equal_nan)
    found = sets.unique(a, axis, equal_nan)
    wanted = (True, return_index, return_inverse, return_counts)
    parts = tuple([part for part, there in zip(found, wanted, strict=True) if there])
    return parts[0] if len(parts) == 1 else parts


class UniqueAllResult(NamedTuple):
    """What `unique_all` gives."""

    values: Any
    indices: Any
    inverse_indices: Any
    counts: Any


class UniqueCountsResult(NamedTuple):
    """What `unique_counts` gives."""

    values: Any
    counts: Any


class UniqueInverseResult(NamedTuple):
    """What `unique_inverse` gives."""

    values: Any
    inverse_indices: Any


@implements(np.unique_all)
def unique_all(x: Any) -> UniqueAllResult:
    """The distinct elements with first places, inverse and counts; each NaN is one of its own."""
    return UniqueAllResult(*sets.unique(tensor(x), None, False))


@implements(np.unique_counts)
def unique_counts(x: Any) -> UniqueCountsResult:
    """The distinct elements and how often each comes; each NaN is one of its own."""
    found = sets.unique(tensor(x), None, False)
    return UniqueCountsResult(found.values, found.repeats)


@implements(np.unique_inverse)
def unique_inverse(x: Any) -> UniqueInverseResult:
    """The distinct elements and which of them each element is; each NaN is one of its own."""
    found = sets.unique(tensor(x), None, False)
    return UniqueInverseResult(found.values, found.inverse)


@implements(np.unique_values)
def unique_values(x: Any) -> Any:
    """The distinct elements in ascending order; each NaN is one of its own."""
    return sets.unique_values(tensor(x), False)


@implements(np.union1d)
def union1d(ar1: Any, ar2: Any) -> Any:
    """The distinct elements of both, in ascending order."""
    return sets.union1d(*terms(ar1, ar2))


@implements(np.intersect1d)
def intersect1d(
    ar1: Any, ar2: Any, assume_unique: bool = False, return_indices: bool = False
) -> Any:
    """The distinct elements that both have, in ascending order, and where each has them first.

    Gradients go to those of ``ar1``.
    """
    first, second = tensors(ar1, ar2)
    found = sets.intersect1d(first, second, assume_unique)
    return found if return_indices else found[0]


@implements(np.setdiff1d)
def setdiff1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Any:
    """The distinct elements of ``ar1`` that ``ar2`` has not, in ascending order.

    With ``assume_unique`` as they stand.
    """
    first, second = tensors(ar1, ar2)
    return sets.setdiff1d(first, second, assume_unique)


@implements(np.setxor1d)
def setxor1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Any:
    """The distinct elements that one of the two has and the other has not, in ascending order."""
    first, second = tensors(ar1, ar2)
    return sets.setxor1d(first, second, assume_unique)


@implements(np.isin)
def isin(
    element: Any,
    test_elements: Any,
    assume_unique: bool = False,
    invert: bool = False,
    *,
    kind: str | None = None,
) -> Any:
    """Whether each of ``element`` is one of ``test_elements``, or is none, if ``invert``.

    By a sorted search, whatever ``kind`` says. NaN never is one.
    """
    if kind not in (None, "sort", "table"):
        raise ValueError(f'[isin] expected kind "sort", "table" or None, got {kind!r}')
    x, among = tensors(element, test_elements)
    return sets.isin(x, among, invert)

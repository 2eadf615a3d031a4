"""Norms of vectors and matrices, of `numpy.linalg`: at 0, where they have no slope, it is 0."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd.autocast import in_wide
from ..ops import singular_values
from ..ops.axes import normalize_axis
from ..ops.distance import lengths
from ..ops.promotion import as_float, in_single
from ..ops.protocols import implements
from ..ops.take import TakeAlong
from .arrays import tensor

__all__ = ["matrix_norm", "norm", "vector_norm"]


@implements(np.linalg.norm)
@in_wide
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """The norm of all of x, of the vectors along an axis, or of the matrices along two.

    ``ord`` of vectors: any number, ±∞, 2 if None. Of matrices: "fro" (if None), ±1, ±∞, and of
    their singular values the largest (2), the smallest (-2) or the sum ("nuc"). Without an axis and
    an ``ord`` x is one vector. Integers become floats, 16-bit floats are rounded once.
    """
    x = as_float(tensor(x))
    if axis is None and (ord is None or (x.ndim, ord) in ((1, 2), (2, "fro"), (2, "f"))):
        return in_single(x, lambda x: _of_vectors(x, 2, tuple(range(x.ndim)), keepdims))
    axes = normalize_axis(axis, x.ndim, "norm")
    if len(axes) == 1:
        return in_single(x, lambda x: _of_vectors(x, 2 if ord is None else ord, axes, keepdims))
    if len(axes) != 2:
        raise ValueError(f"[norm] expected one axis or two, got {len(axes)} of shape {x.shape}")
    given = axes if axis is None else tuple([a % x.ndim for a in axis])
    return in_single(x, lambda x: _of_matrices(x, "fro" if ord is None else ord, given, keepdims))


@implements(np.linalg.vector_norm)
@in_wide
def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    """(Σ |x|^ord)^(1 / ord) over one axis, several or all, 2 the usual; see `norm`."""
    x = as_float(tensor(x))
    axes = normalize_axis(axis, x.ndim, "vector_norm")
    return in_single(x, lambda x: _of_vectors(x, ord, axes, keepdims))


@implements(np.linalg.matrix_norm)
@in_wide
def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """The norms of matrices (…, M, N); ``ord`` as in `norm`."""
    x = as_float(tensor(x))
    if x.ndim < 2:
        raise ValueError(f"[matrix_norm] expected matrices, got shape {x.shape}")
    return in_single(x, lambda x: _of_matrices(x, ord, (x.ndim - 2, x.ndim - 1), keepdims))


def _of_vectors(x: Any, ord: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    if isinstance(ord, str):
        raise ValueError(f"[norm] expected a number as the order of a vector's norm, got {ord!r}")
    return lengths(x, ord, axes, keepdims)


def _of_matrices(x: Any, ord: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    rows, columns = axes
    if rows == columns:
        raise ValueError(f"[norm] expected two axes of matrices, got {axes}")
    if ord in ("fro", "f"):
        return _of_vectors(x, 2, axes, keepdims)
    if ord in (2, -2, "nuc"):
        return _of_singular_values(x, ord, axes, keepdims)
    if ord not in (1, -1, math.inf, -math.inf):
        raise ValueError(f"[norm] expected an order of a matrix's norm, got {ord!r}")
    summed, chosen = (rows, columns) if abs(ord) == 1 else (columns, rows)
    sums = x.abs().sum(summed, True)
    found = sums.max(chosen, True) if ord > 0 else sums.min(chosen, True)
    return found if keepdims else found.squeeze(tuple(sorted(axes)))


def _of_singular_values(x: Any, ord: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    others = [i for i in range(x.ndim) if i not in axes]
    s = singular_values.svdvals(x.permute(*others, *axes), "norm")
    if ord == "nuc":
        found = s.sum(-1)
    elif not s.shape[-1] and ord == -2:
        raise ValueError("[norm] a matrix without elements has no smallest singular value")
    else:
        found = s.max(-1) if ord == 2 else s.min(-1)
    if not keepdims:
        return found
    return found.reshape(*[1 if i in axes else n for i, n in enumerate(x.shape)])


def along_last(x: Any, order: Any) -> Any:
    """Elements of x along its last axis, in the order (…, N)."""
    return TakeAlong(x.ndim - 1, True)(x, order)

"""Distances between all pairs of points, with the names of `scipy.spatial.distance`."""

from __future__ import annotations

from typing import Any

from ..numpy.arrays import terms
from ..ops import distance
from ..tensor import Tensor

__all__ = ["cdist", "pdist"]


def cdist(XA: Any, XB: Any, metric: str = "euclidean", *, p: float | None = None) -> Tensor:
    """The distances (M, N) of each of the points XA (M, D) to each of XB (N, D).

    ``metric`` is "euclidean", "sqeuclidean" (its square), "cityblock" (Σ |a - b|), "chebyshev"
    (max |a - b|), "minkowski" (the p-norm of a - b, p = 2 by default) or "cosine" (1 - cosine of
    the angle). Axes in front of the points are batches, and broadcast. Beside another metric than
    "minkowski" a p raises ``ValueError``.

    Computed from differences, M · N · D of them: nothing cancels where points lie close together.
    The gradient where two points coincide is 0, a subgradient; of "cosine", a vector of length 0
    gives NaN. Raises ``ValueError`` for shapes and metrics that do not fit.
    """
    a, b = terms(XA, XB)
    return distance.cdist(a, b, metric, p)


def pdist(X: Any, metric: str = "euclidean", *, p: float | None = None) -> Tensor:
    """The distances of all pairs of the points X (N, D): (N · (N - 1) / 2,), of i < j in C order.

    ``metric`` and gradients as `cdist` has them.
    """
    (x,) = terms(X)
    return distance.pdist(x, metric, p)

"""Counting in bins."""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd import TensorBase
from ..autograd.forward import DualMixin
from ..autograd.levels import Tracer
from ..backend import device_of, is_cuda, to_device, to_numpy
from ..backend.dtypes import is_float, is_inexact
from ..ops.comparison import where
from ..ops.histogram import BinCounts
from ..ops.promotion import as_float, constant_like, in_one_dtype
from ..ops.protocols import implements
from ..ops.sort import SearchSorted, is_followed
from ..ops.take import PutAdded
from .arrays import first_tensor, tensor, tensors

__all__ = [
    "bincount",
    "digitize",
    "histogram",
    "histogram2d",
    "histogram_bin_edges",
    "histogramdd",
]


def _host(x: Any, name: str) -> Any:
    """The values of what decides on shapes, on the host."""
    while isinstance(x, DualMixin):  # in a jvp the value is known
        x = x._primal
    if isinstance(x, Tracer):
        raise RuntimeError(f"[{name}] bins depend on values, which are not known inside of a vmap")
    array = x.data if isinstance(x, TensorBase) else x
    return to_numpy(array) if isinstance(x, TensorBase) or is_cuda(array) else x


def _limits(x: Any, name: str) -> tuple[Any, Any]:
    """The least and the largest element, on the host."""
    return _host(x.min(), name).item(), _host(x.max(), name).item()


@implements(np.bincount)
def bincount(x: Any, /, weights: Any = None, minlength: int = 0) -> Any:
    """How often each integer from 0 to the largest occurs in x, or the sums of its ``weights``.

    There are at least ``minlength``. Sums are of the weights' dtype (of integers a float), and
    differentiable in them. The largest of x is read on the host.
    """
    x = tensor(x, first_tensor([weights]))
    if x.ndim != 1 or (x.size and x.dtype.kind not in "iub"):
        raise TypeError(
            f"[bincount] expected integers along one axis, got shape {x.shape} of {x.dtype}"
        )
    if minlength < 0:
        raise ValueError(f"[bincount] expected minlength ≥ 0, got {minlength}")
    place = x.astype(np.int64)
    least, most = _limits(place, "bincount") if x.size else (0, -1)
    if least < 0:
        raise ValueError(f"[bincount] expected integers ≥ 0, got {least}")
    count = max(most + 1, int(minlength))
    if weights is None:
        return BinCounts(count)(place)
    values = tensor(weights, x)
    if values.shape != x.shape:
        raise ValueError(f"[bincount] expected weights of shape {x.shape}, got {values.shape}")
    return as_float(_bin_sums(values, place, count))


def _bin_sums(values: Any, place: Any, count: int) -> Any:
    """The sums (count,) of the values with the same place; of integers int64."""
    values = values if is_inexact(values.dtype) else values.astype(np.int64)
    return PutAdded(0, count)(values, place)


@implements(np.digitize)
def digitize(x: Any, bins: Any, right: bool = False) -> Any:
    """The bin of each element between the edges ``bins``, which rise or fall.

    bins[i - 1] ≤ x < bins[i], or with ``right`` bins[i - 1] < x ≤ bins[i]. Not differentiable.
    Edges that neither rise nor fall are a ``ValueError`` where they are on the CPU.
    """
    x = tensor(x, first_tensor([bins]))
    edges = constant_like(x, bins)
    if edges.ndim != 1:
        raise ValueError(f"[digitize] expected bins along one axis, got shape {edges.shape}")
    rising = None
    if not isinstance(edges, Tracer) and not is_cuda(edges.data):
        steps = np.diff(edges.data)
        rising = bool((steps >= 0).all())
        if not rising and not (steps <= 0).all():
            raise ValueError(f"[digitize] expected bins that rise or fall, got {edges.tolist()}")
    return _bins_of(x, edges, bool(right), rising)


def _bins_of(x: Any, edges: Any, right: bool = False, rising: bool | None = None) -> Any:
    """`digitize`; None of ``rising`` where edges may fall as well."""
    edges, x = in_one_dtype(edges.detach(), x.detach())
    found = SearchSorted(not right)(edges, x) if rising is not False else None
    if rising:
        return found
    behind = edges.size - SearchSorted(not right)(edges.flip(0), x)
    return (
        behind if found is None or not edges.size else where(edges[-1] >= edges[0], found, behind)
    )


# --- histograms ---------------------------------------------------------------------------------


@implements(np.histogram_bin_edges)
def histogram_bin_edges(a: Any, bins: Any = 10, range: Any = None, weights: Any = None) -> Any:
    """The edges of `histogram`'s bins; they move with the least and the largest element."""
    a = tensor(a, first_tensor([bins, weights]))
    return _sides(a, _edges(a, bins, range, weights, "histogram_bin_edges"), bins, range)


def _sides(a: Any, values: np.ndarray, bins: Any, range: Any) -> Any:
    """Edges of these values as a tensor beside a, with a gradient where they depend on one."""
    edges = _like(a, values)
    if isinstance(bins, TensorBase) and is_followed(bins):
        return edges + (bins - bins.detach()).astype(edges.dtype)  # type: ignore[attr-defined]
    if np.ndim(bins) or range is not None or not is_followed(a) or not a.size:
        return edges
    share = _beside(a, np.linspace(0, 1, len(values))).astype(edges.dtype)
    least, most = (x.astype(edges.dtype) for x in (a.min(), a.max()))
    return edges + (least - least.detach()) * (1 - share) + (most - most.detach()) * share


def _like(x: Any, values: np.ndarray) -> Any:
    """Edges as a constant on the device of x; where they are no integers, of `_float_of` it."""
    edges = _beside(x, values)
    return edges if values.dtype.kind in "iu" else edges.astype(_float_of(x))


def _float_of(x: Any) -> Any:
    """The dtype of x, or what its integers become."""
    return x.dtype if is_float(x.dtype) else x._float


def _beside(x: Any, values: np.ndarray) -> Any:
    return x._wrap(to_device(values, device_of(x.data)))


def _edges(a: Any, bins: Any, range: Any, weights: Any, name: str) -> np.ndarray:
    """By NumPy, which for a number of bins needs no more than the least and the largest value."""
    bins = _host(bins, name)
    if isinstance(bins, str):
        values, weights = _host(a, name), _host(weights, name)
    else:
        given = np.ndim(bins) or range is not None or not a.size
        limits = () if given else _limits(a, name)
        values, weights = np.array(limits, a.dtype), None
    found: np.ndarray = np.histogram_bin_edges(values, bins, range, weights)
    return found


@implements(np.histogram)
def histogram(
    a: Any, bins: Any = 10, range: Any = None, density: bool | None = None, weights: Any = None
) -> tuple[Any, Any]:
    """How many elements of a lie in each bin, or the sums of their ``weights``, and the edges.

    ``bins`` is a number of them, edges, or a rule by name as in `numpy.histogram_bin_edges`. With
    ``density`` the integral over all is 1. Differentiable in ``weights``, and the edges in a:
    counts do not move.
    """
    a = tensor(a, first_tensor([bins, weights]))
    edges = _edges(a, bins, range, weights, "histogram")
    found = _counted("histogram", [a], [edges], weights)
    sides = _sides(a, edges, bins, range)
    return _density(found, [sides], _float_of(a)) if density else found, sides


def _counted(name: str, columns: Sequence[Any], edges: Sequence[np.ndarray], weights: Any) -> Any:
    """How many points, or what weights, lie in each cell: an axis for each of ``columns``."""
    sizes = [len(sides) - 1 for sides in edges]
    size = math.prod(sizes)
    place: Any = 0
    inside: Any = True
    for x, sides, n in zip(columns, edges, sizes, strict=True):
        x = x.reshape(-1)
        here = (x >= sides[0]).where(x <= sides[-1], False)
        index = _bins_of(x, _beside(x, sides), rising=True) - 1
        place = index.minimum(n - 1) + place * n  # the last edge belongs to its bin
        inside = here if inside is True else inside.where(here, False)
    place = place.where(inside, size)  # a bin of their own
    if weights is None:
        found = BinCounts(size + 1)(place)
    else:
        values = tensor(weights, place).reshape(-1)
        if values.shape != place.shape:
            raise ValueError(f"[{name}] expected {place.size} weights, got {values.size}")
        found = _bin_sums(values, place, size + 1)
    return found[:size].reshape(sizes)


def _density(counts: Any, edges: Sequence[Any], dtype: Any) -> Any:
    """Counts, floats of ``dtype`` where they are integers, by their sum and the size of cells."""
    found = counts if is_float(counts.dtype) else counts.astype(dtype)
    found = found / found.sum()
    for axis, sides in enumerate(edges):
        widths = (sides[1:] - sides[:-1]).astype(dtype)
        found = found / widths.reshape([-1 if i == axis else 1 for i, _ in enumerate(edges)])
    return found


@implements(np.histogramdd)
def histogramdd(
    sample: Any,
    bins: Any = 10,
    range: Any = None,
    density: bool | None = None,
    weights: Any = None,
) -> tuple[Any, Any]:
    """As `histogram` for points (N, D), or D arrays of their coordinates: an axis for each of D.

    ``bins`` is a number, or a list of a number or edges for each axis, and ``range`` a list of the
    ends. The result is floating-point; the edges are a tuple.
    """
    columns = _columns(sample, weights)
    many = len(columns)
    each = [bins] * many if isinstance(bins, int | np.integer) else list(bins)
    ends = [None] * many if range is None else list(range)
    if len(each) != many or len(ends) != many:
        raise ValueError(f"[histogramdd] expected bins and ranges for {many} axes")
    edges = [
        _edges(x, n, end, None, "histogramdd")
        for x, n, end in zip(columns, each, ends, strict=True)
    ]
    found = _counted("histogramdd", columns, edges, weights)
    given = zip(columns, edges, each, ends, strict=True)
    sides = tuple([_sides(*arguments) for arguments in given])
    dtype = _float_of(columns[0])
    found = found if is_float(found.dtype) else found.astype(dtype)
    return _density(found, sides, dtype) if density else found, sides


def _columns(sample: Any, weights: Any) -> list[Any]:
    if isinstance(sample, list | tuple):
        return tensors(*sample)
    points = tensor(sample, first_tensor([weights]))
    points = points if points.ndim > 1 else points.reshape(-1, 1)
    return [points[:, i] for i in builtins.range(points.shape[1])]


@implements(np.histogram2d)
def histogram2d(
    x: Any,
    y: Any,
    bins: Any = 10,
    range: Any = None,
    density: bool | None = None,
    weights: Any = None,
) -> tuple[Any, Any, Any]:
    """As `histogramdd` for points with the coordinates x and y: counts and the edges of both."""
    if not isinstance(bins, int | np.integer) and len(bins) not in (1, 2):
        bins = [bins, bins]
    elif not isinstance(bins, int | np.integer) and len(bins) == 1:
        bins = [bins[0], bins[0]]
    found, (x_edges, y_edges) = histogramdd([x, y], bins, range, density, weights)
    return found, x_edges, y_edges

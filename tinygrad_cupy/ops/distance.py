"""Lengths of vectors and distances between them; where one has no slope, at 0, it is 0."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd import TensorBase
from ..autograd.autocast import in_wide
from ..autograd.tensor_base import expect_real
from ..backend import Array, constant, device_of
from ..backend.capture import keep
from ..backend.dtypes import is_complex
from .axes import normalize_axis
from .complex_numbers import squared_size
from .promotion import as_float, in_one_dtype, in_single, single
from .take import Take

if TYPE_CHECKING:
    from ..autograd.typing import Tensor


class DistanceMixin(TensorBase):
    """Functions of vectors as methods."""

    __slots__ = ()

    @in_wide
    def normalize(
        self, p: float = 2.0, axis: int | tuple[int, ...] = 1, eps: float = 1e-12
    ) -> Tensor:
        """The vectors along ``axis`` divided by their p-norm, or by ``eps`` where that is less."""
        x: Any = self
        axes = normalize_axis(axis, len(x.shape), "normalize")
        return in_single(
            as_float(self), lambda x: x / _floored(lengths(x, p, axes, keepdims=True), eps)
        )

    @in_wide
    def cosine_similarity(self, other: Tensor, axis: int = 1, eps: float = 1e-8) -> Tensor:
        """The cosine of the angle between vectors along ``axis``; other axes broadcast.

        A norm that is below ``eps`` counts as that.
        """
        a, b = in_one_dtype(as_float(self), as_float(other))
        shape = _broadcast("cosine_similarity", a.shape, b.shape)
        axes = normalize_axis(axis, len(shape), "cosine_similarity")
        expect_real("cosine_similarity", a)
        dtype = a.dtype
        units = [
            x / _floored(lengths(x, 2, axes, keepdims=True), eps)
            for x in (single(y.broadcast_to(*shape)) for y in (a, b))
        ]
        return (units[0] * units[1]).sum(axes).astype(dtype)  # type: ignore[no-any-return]

    @in_wide
    def pairwise_distance(
        self, other: Tensor, p: float = 2.0, eps: float = 1e-6, keepdims: bool = False
    ) -> Tensor:
        """The p-norm of self - other + ``eps`` along the last axis; other axes broadcast."""
        a, b = in_one_dtype(as_float(self), as_float(other))
        shape = _broadcast("pairwise_distance", a.shape, b.shape)
        dtype, last = a.dtype, (len(shape) - 1,)
        return _real(lengths(single(a) - single(b) + eps, p, last, keepdims), dtype)


def _real(found: Any, dtype: Any) -> Tensor:
    """Lengths in the dtype of the vectors, of complex ones in that of their parts."""
    return found if is_complex(dtype) else found.astype(dtype)  # type: ignore[no-any-return]


def _floored(norm: Any, eps: float) -> Any:
    """The norm, but ``eps`` at least, of which there is no gradient."""
    return norm.where(norm >= eps, eps)


def _broadcast(name: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError as error:
        text = " and ".join(map(str, shapes))
        raise ValueError(f"[{name}] expected shapes that broadcast, got {text}") from error
    if not shape:
        raise ValueError(f"[{name}] expected vectors, got shape {shape}")
    return shape


def lengths(x: Any, p: float, axes: tuple[int, ...], keepdims: bool = False) -> Any:
    """(Σ |x|^p)^(1 / p) along axes; of p = 0 how many elements are not 0."""
    if p == 2:
        return _root(squared_size(x).sum(axes, keepdims), lambda x: x.sqrt())
    if math.isinf(p):
        return x.abs().max(axes, keepdims) if p > 0 else x.abs().min(axes, keepdims)
    if p == 1:
        return x.abs().sum(axes, keepdims)
    there = x.detach() != 0
    if p == 0:
        return there.astype(x.real.dtype).sum(axes, keepdims)
    powers = (x.abs().where(there, 1) ** p).where(there, 0 if p > 0 else math.inf)
    return _root(powers.sum(axes, keepdims), lambda x: x ** (1 / p))


def _root(x: Any, root: Callable[[Any], Any]) -> Any:
    """A root of what is not negative, without a slope at 0."""
    there = x.detach() != 0
    return root(x.where(there, 1)).where(there, 0)


# --- of all pairs -------------------------------------------------------------------------------


def _minkowski(a: Any, b: Any, p: float) -> Any:
    if p <= 0:
        raise ValueError(f"[cdist] expected p > 0, got {p}")
    return _apart(a, b, p)


def _apart(a: Any, b: Any, p: float) -> Any:
    between = a - b
    return lengths(between, p, (between.ndim - 1,))


def _cosine(a: Any, b: Any) -> Any:
    expect_real("cosine", a)
    units = [x / lengths(x, 2, (x.ndim - 1,), keepdims=True) for x in (a, b)]
    return 1 - (units[0] * units[1]).sum(-1)


# By SciPy's name: the distances of vectors along the last axis, which broadcast.
METRICS: dict[str, Callable[[Any, Any, float], Any]] = {
    "chebyshev": lambda a, b, p: _apart(a, b, math.inf),
    "cityblock": lambda a, b, p: _apart(a, b, 1),
    "cosine": lambda a, b, p: _cosine(a, b),
    "euclidean": lambda a, b, p: _apart(a, b, 2),
    "minkowski": _minkowski,
    "sqeuclidean": lambda a, b, p: squared_size(a - b).sum(-1),
}


def _metric(name: str, metric: str, p: float | None) -> Callable[[Any, Any, float], Any]:
    if metric not in METRICS:
        raise ValueError(f"[{name}] expected metric to be one of {tuple(METRICS)}, got {metric!r}")
    if p is not None and metric != "minkowski":
        raise ValueError(f'[{name}] expected metric="minkowski" beside p={p}, got {metric!r}')
    return METRICS[metric]


@in_wide
def cdist(a: Tensor, b: Tensor, metric: str, p: float | None) -> Tensor:
    """See `tinygrad_cupy.spatial.distance.cdist`."""
    found = _metric("cdist", metric, p)
    a, b = in_one_dtype(as_float(a), as_float(b))
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-1]:
        raise ValueError(
            f"[cdist] expected points (M, D) and (N, D), got shapes {a.shape} and {b.shape}"
        )
    dtype = a.dtype
    power = 2.0 if p is None else p
    return _real(found(single(a).unsqueeze(-2), single(b).unsqueeze(-3), power), dtype)


@in_wide
def pdist(x: Tensor, metric: str, p: float | None) -> Tensor:
    """See `tinygrad_cupy.spatial.distance.pdist`."""
    found = _metric("pdist", metric, p)
    x = as_float(x)
    if x.ndim != 2:
        raise ValueError(f"[pdist] expected points (N, D), got shape {x.shape}")
    first, second = (x._wrap(places) for places in _pairs(x.shape[0], device_of(x.data)))
    keep(first.data, second.data)
    wide = single(x)
    power = 2.0 if p is None else p
    return _real(found(Take(0)(wide, first), Take(0)(wide, second), power), x.dtype)


@functools.lru_cache(64)
def _pairs(count: int, device: str) -> tuple[Array, Array]:
    """The numbers of the first and of the second point of each pair, row after row."""
    first, second = np.triu_indices(count, 1)
    return constant(first, device), constant(second, device)

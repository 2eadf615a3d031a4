"""Reductions over axes: sums, means, extrema, softmax, and the broadcast that is a sum's adjoint.

``axis`` is None (all axes), an integer or a tuple; negative values count from the last axis.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd import Op, TensorBase
from ..backend import Array, Elementwise, Kernel
from ..backend.dtypes import is_float, quietly
from ..kernels.common import sums
from .arithmetic import as_float, in_single

if TYPE_CHECKING:
    from ..tensor import Tensor

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


class Sum(Op):
    def __init__(self, axes: tuple[int, ...], keepdims: bool) -> None:
        self.axes, self.keepdims = axes, keepdims

    def forward(self, x: Array) -> Array:
        self.shape = tuple(x.shape)
        return sums.total(x, self.axes, self.keepdims)

    def backward(self, grad: Tensor) -> Tensor:
        return grad.reshape(kept_shape(self.shape, self.axes)).broadcast_to(self.shape)


class Mean(Op):
    def __init__(self, axes: tuple[int, ...], keepdims: bool) -> None:
        self.axes, self.keepdims = axes, keepdims

    def forward(self, x: Array) -> Array:
        self.shape, self.count = tuple(x.shape), sums.count_of(x, self.axes)
        return sums.mean(x, self.axes, self.keepdims)

    def backward(self, grad: Tensor) -> Tensor:
        shared = (grad / self.count).reshape(kept_shape(self.shape, self.axes))
        return shared.broadcast_to(self.shape)


class Centre(Op):
    """x - mean(x) along axes: what lies far from zero keeps its digits."""

    def __init__(self, axes: tuple[int, ...]) -> None:
        self.axes = axes

    def forward(self, x: Array) -> Array:
        return sums.centred(x, self.axes)

    def backward(self, grad: Tensor) -> Tensor:
        return Centre(self.axes)(grad)


class BroadcastTo(Op):
    view = True

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def forward(self, x: Array) -> Array:
        self.source = tuple(x.shape)
        return self.xp.broadcast_to(x, self.shape)

    def backward(self, grad: Tensor) -> Tensor:
        return grad.sum_to(self.source)


class SumTo(Op):
    """Sum over the axes along which ``shape`` would be broadcast to x's shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def forward(self, x: Array) -> Array:
        self.source = tuple(x.shape)
        lead = x.ndim - len(self.shape)
        stretched = (lead + i for i, n in enumerate(self.shape) if n == 1 != x.shape[lead + i])
        return sums.total(x, (*range(lead), *stretched)).reshape(self.shape)

    def backward(self, grad: Tensor) -> Tensor:
        return grad.broadcast_to(self.source)


class Extremum(Op):
    """The largest ("max") or smallest ("min") element; equal ones share the gradient equally."""

    saves = ("x", "y")

    def __init__(self, name: str, axes: tuple[int, ...]) -> None:
        self.name, self.axes = name, axes

    def forward(self, x: Array) -> Array:
        extremum = functools.partial(getattr(self.xp, self.name), axis=self.axes, keepdims=True)
        return quietly(extremum, x)

    def backward(self, grad: Tensor, x: Tensor, y: Tensor) -> Tensor:
        hits = (x.data == y.data) | (x.data != x.data)  # where there is NaN, it is the extremum
        share = hits / hits.sum(axis=self.axes, keepdims=True)
        return grad * grad._wrap(share.astype(grad.dtype))


def _position_cpu(x: Array, name: str, axis: int | None) -> Array:
    return getattr(x, name)(axis=axis)


def _position_cuda(x: Array, name: str, axis: int | None) -> Array:
    """CuPy finds one NaN or another: integers in the floats' order have no such doubts."""
    if is_float(x.dtype):
        limits = np.iinfo(np.int64)
        x = _ordered(x, np.int64(limits.max if name == "argmax" else limits.min))
    return _position_cpu(x, name, axis)


_ordered = Elementwise(
    "T x, int64 of_nan",
    "int64 key",
    """
    const double value = (double)(x);
    const long long bits = __double_as_longlong(value), size = bits & 0x7fffffffffffffffLL;
    key = value != value ? of_nan : bits < 0 ? -size : size;
    """,
    "ordered_as_integers",
)
# (x, "argmax" or "argmin", axis) → where NaN or else the extremum is first
_position = Kernel(cpu=_position_cpu, cuda=_position_cuda)


class ArgExtremum(Op):
    """The position of the first largest ("argmax") or smallest ("argmin") element, as int64."""

    differentiable = False

    def __init__(self, name: str, axis: int | None, keepdims: bool) -> None:
        self.name, self.axis, self.keepdims = name, axis, keepdims

    def forward(self, x: Array) -> Array:
        found = self.xp.asarray(_position(x, self.name, self.axis))
        if not self.keepdims:
            return found
        axes = range(x.ndim) if self.axis is None else [self.axis]
        return self.xp.expand_dims(found, tuple(axes))


class LogSumExp(Op):
    """log Σ exp(x) along axes, the largest element taken out first so that nothing overflows."""

    saves = ("x", "y")

    def __init__(self, axes: tuple[int, ...]) -> None:
        self.axes = axes

    def forward(self, x: Array) -> Array:
        xp = self.xp
        top = x.max(axis=self.axes, keepdims=True)
        top = xp.where(xp.isfinite(top), top, top.dtype.type(0))
        total = sums.total(xp.exp(x - top), self.axes, keepdims=True)
        with np.errstate(divide="ignore"):  # a row of -inf gives -inf
            return xp.log(total) + top

    def backward(self, grad: Tensor, x: Tensor, y: Tensor) -> Tensor:
        # Where y is infinite, the elements that are as infinite share the gradient.
        there = (x.data == y.data) & self.xp.isinf(y.data)
        share = there / self.xp.maximum(there.sum(axis=self.axes, keepdims=True), 1)
        softmax = (x.where(~there, 0) - y.where(y.data != -math.inf, 0)).exp().where(~there, 0)
        return grad * (softmax + grad._wrap(share.astype(grad.dtype)))


class LogSoftmax(Op):
    """(x - max) - log Σ exp(x - max): the largest goes first, so that large x lose no digits."""

    saves = ("y",)

    def __init__(self, axes: tuple[int, ...]) -> None:
        self.axes = axes

    def forward(self, x: Array) -> Array:
        shifted = x - x.max(axis=self.axes, keepdims=True)
        return shifted - self.xp.log(sums.total(self.xp.exp(shifted), self.axes, keepdims=True))

    def backward(self, grad: Tensor, y: Tensor) -> Tensor:
        return grad - y.exp() * grad.sum(axis=self.axes, keepdims=True)


class Softmax(Op):
    saves = ("y",)

    def __init__(self, axes: tuple[int, ...]) -> None:
        self.axes = axes

    def forward(self, x: Array) -> Array:
        e = self.xp.exp(x - x.max(axis=self.axes, keepdims=True))
        e /= sums.total(e, self.axes, keepdims=True)
        return e

    def backward(self, grad: Tensor, y: Tensor) -> Tensor:
        return y * (grad - (grad * y).sum(axis=self.axes, keepdims=True))


class ReduceMixin(TensorBase):
    """Reductions as methods."""

    __slots__ = ()

    def sum(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Sum over ``axis``, in self's dtype; booleans and integers are summed as int64.

        However many elements there are, the error is at most 1e-6 of Σ|x| for float32, and one
        rounding of the sum for float16 and bfloat16: all are added up in a wider type.
        """
        return Sum(normalize_axis(axis, len(self.shape), "sum"), keepdims)(self)

    def sum_to(self, shape: tuple[int, ...]) -> Tensor:
        """Summed down to ``shape``, over the axes along which it would be broadcast; as `sum`."""
        return SumTo(shape)(self)

    def broadcast_to(self, *shape: Any) -> Tensor:
        """A view stretched to ``shape`` (NumPy's rules)."""
        wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
        wanted = tuple(wanted)
        try:
            fits = np.broadcast_shapes(self.shape, wanted) == wanted
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(f"[broadcast_to] cannot stretch shape {self.shape} to {wanted}")
        return BroadcastTo(wanted)(self)

    def mean(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Arithmetic mean over ``axis``, as exact as `sum`; of integers in float32.

        It does not overflow where the sum of the elements would.
        """
        return Mean(normalize_axis(axis, len(self.shape), "mean"), keepdims)(self)

    def var(self, axis: Axis = None, correction: int = 0, keepdims: bool = False) -> Tensor:
        """Σ (x - mean)² / (n - correction) over ``axis`` (NumPy's default; PyTorch's is 1).

        Deviations are taken from the mean before that is rounded: the error does not grow with
        the mean, however large that is beside the deviations.
        """
        axes = normalize_axis(axis, len(self.shape), "var")
        count = self._count(axes)

        def spread(x: Tensor) -> Tensor:
            centred = Centre(axes)(x)
            squares = centred * centred
            if correction >= count:  # 0 / 0, or infinite
                return squares.sum(axes, keepdims) / 0
            mean = squares.mean(axes, keepdims)  # finite where the sum may not be
            return mean * (count / (count - correction)) if correction else mean

        return in_single(as_float(self), spread)

    def std(self, axis: Axis = None, correction: int = 0, keepdims: bool = False) -> Tensor:
        """Square root of `var`; where that is 0 the gradient is 0, a subgradient, as in PyTorch."""

        def root(x: Tensor) -> Tensor:
            variance = x.var(axis, correction, keepdims)
            flat = (variance == 0).data
            return variance.where(~flat, 1).sqrt().where(~flat, 0)

        return in_single(as_float(self), root)

    def max(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Largest element along ``axis``; equal ones share the gradient equally."""
        return self._extremum("max", axis, keepdims)

    def min(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Smallest element along ``axis``; equal ones share the gradient equally."""
        return self._extremum("min", axis, keepdims)

    def _extremum(self, name: str, axis: Axis, keepdims: bool) -> Tensor:
        axes = self._nonempty(axis, name)
        found = Extremum(name, axes)(self)
        return found if keepdims else found.squeeze(axes)

    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """Position of the first largest element along ``axis`` (int64); of all when None."""
        self._one_axis(axis, "argmax")
        return ArgExtremum("argmax", axis, keepdims)(self)

    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """Position of the first smallest element along ``axis`` (int64); of all when None."""
        self._one_axis(axis, "argmin")
        return ArgExtremum("argmin", axis, keepdims)(self)

    def logsumexp(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """log Σ exp(x) over ``axis``, without overflow."""
        axes = self._nonempty(axis, "logsumexp")
        total = in_single(as_float(self), LogSumExp(axes))
        return total if keepdims else total.squeeze(axes)

    def softmax(self, axis: Axis = -1) -> Tensor:
        """exp(x) / Σ exp(x), the sum over ``axis``."""
        return in_single(as_float(self), Softmax(self._nonempty(axis, "softmax")))

    def log_softmax(self, axis: Axis = -1) -> Tensor:
        """log(softmax(x)), over ``axis``, without its cancellation."""
        return in_single(as_float(self), LogSoftmax(self._nonempty(axis, "log_softmax")))

    def _count(self, axes: tuple[int, ...]) -> int:
        return math.prod(self.shape[a] for a in axes)

    def _one_axis(self, axis: int | None, name: str) -> None:
        if isinstance(axis, tuple | list):
            raise TypeError(f"[{name}] expected one axis or None, got {axis!r}")
        self._nonempty(axis, name)

    def _nonempty(self, axis: Axis, name: str) -> tuple[int, ...]:
        axes = normalize_axis(axis, len(self.shape), name)
        if self._count(axes) == 0:
            raise ValueError(f"[{name}] no elements to reduce along axis {axis} of {self.shape}")
        return axes

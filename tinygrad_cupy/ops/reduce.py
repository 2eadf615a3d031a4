"""Reductions over axes: sums, means, extrema, and the broadcast that is a sum's adjoint.

``axis`` is None (all axes), an integer or a tuple; negative values count from the last axis.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from ..autograd import Op, TensorBase
from ..backend import Array
from ..backend.dtypes import quietly
from ..kernels.common import sums
from .axes import Axis, behind_batch, kept_shape, nonempty_axes, normalize_axis
from .promotion import as_float, in_single

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class Sum(Op):
    linear = ("x",)

    def __init__(self, axes: tuple[int, ...], keepdims: bool) -> None:
        self.axes, self.keepdims = axes, keepdims

    def forward(self, x: Array) -> Array:
        self.shape = tuple(x.shape)
        return sums.total(x, self.axes, self.keepdims)

    def backward(self, grad: Tensor) -> Tensor:
        return grad.reshape(kept_shape(self.shape, self.axes)).broadcast_to(self.shape)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return Sum(behind_batch(self.axes), self.keepdims)(b.whole(x))


class Mean(Op):
    linear = ("x",)

    def __init__(self, axes: tuple[int, ...], keepdims: bool) -> None:
        self.axes, self.keepdims = axes, keepdims

    def forward(self, x: Array) -> Array:
        self.shape, self.count = tuple(x.shape), sums.count_of(x, self.axes)
        return sums.mean(x, self.axes, self.keepdims)

    def backward(self, grad: Tensor) -> Tensor:
        shared = (grad / self.count).reshape(kept_shape(self.shape, self.axes))
        return shared.broadcast_to(self.shape)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return Mean(behind_batch(self.axes), self.keepdims)(b.whole(x))


class Centre(Op):
    """x - mean(x) along axes: what lies far from zero keeps its digits."""

    linear = ("x",)

    def __init__(self, axes: tuple[int, ...]) -> None:
        self.axes = axes

    def forward(self, x: Array) -> Array:
        return sums.centred(x, self.axes)

    def backward(self, grad: Tensor) -> Tensor:
        return Centre(self.axes)(grad)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return Centre(behind_batch(self.axes))(b.whole(x))


class BroadcastTo(Op):
    view = True
    linear = ("x",)

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def forward(self, x: Array) -> Array:
        self.source = tuple(x.shape)
        return self.xp.broadcast_to(x, self.shape)

    def backward(self, grad: Tensor) -> Tensor:
        return grad.sum_to(self.source)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        whole = b.whole(x)
        missing = [1] * (len(self.shape) - len(x.shape))
        whole = whole.reshape(b.size, *missing, *x.shape) if missing else whole
        return BroadcastTo((b.size, *self.shape))(whole)


class SumTo(Op):
    """Sum over the axes along which ``shape`` would be broadcast to x's shape."""

    linear = ("x",)

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def forward(self, x: Array) -> Array:
        self.source = tuple(x.shape)
        lead = x.ndim - len(self.shape)
        stretched = (lead + i for i, n in enumerate(self.shape) if n == 1 != x.shape[lead + i])
        return sums.total(x, (*range(lead), *stretched)).reshape(self.shape)

    def backward(self, grad: Tensor) -> Tensor:
        return grad.broadcast_to(self.source)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        missing = [1] * (len(x.shape) - len(self.shape))
        y = SumTo((b.size, *missing, *self.shape))(b.whole(x))
        return y.reshape(b.size, *self.shape) if missing else y


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

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return Extremum(self.name, behind_batch(self.axes))(b.whole(x))


class ArgExtremum(Op):
    """The position of the first largest ("argmax") or smallest ("argmin") element, as int64."""

    differentiable = False

    def __init__(self, name: str, axis: int | None, keepdims: bool) -> None:
        self.name, self.axis, self.keepdims = name, axis, keepdims

    def forward(self, x: Array) -> Array:
        found = self.xp.asarray(kernels.reduce.arg_extremum(x, self.name, self.axis))
        if not self.keepdims:
            return found
        axes = range(x.ndim) if self.axis is None else [self.axis]
        return self.xp.expand_dims(found, tuple(axes))

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        whole = b.whole(x)
        if self.axis is not None:
            return ArgExtremum(
                self.name, self.axis + 1 if self.axis >= 0 else self.axis, self.keepdims
            )(whole)
        found = ArgExtremum(self.name, 1, False)(whole.reshape(b.size, -1))
        return found.reshape(b.size, *[1] * len(x.shape)) if self.keepdims else found


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
        x: Any = self if self._float is np.float32 else as_float(self)  # exact sums of integers
        return Mean(normalize_axis(axis, len(self.shape), "mean"), keepdims)(x)

    def var(self, axis: Axis = None, correction: int = 0, keepdims: bool = False) -> Tensor:
        """Σ (x - mean)² / (n - correction) over ``axis`` (NumPy's default; PyTorch's is 1).

        Deviations are taken from the mean before that is rounded: the error does not grow with
        the mean, however large that is beside the deviations.
        """
        axes = normalize_axis(axis, len(self.shape), "var")
        count = math.prod([self.shape[a] for a in axes])

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
            spread = variance != 0
            return variance.where(spread, 1).sqrt().where(spread, 0)

        return in_single(as_float(self), root)

    def max(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Largest element along ``axis``; equal ones share the gradient equally."""
        return self._extremum("max", axis, keepdims)

    def min(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Smallest element along ``axis``; equal ones share the gradient equally."""
        return self._extremum("min", axis, keepdims)

    def _extremum(self, name: str, axis: Axis, keepdims: bool) -> Tensor:
        axes = nonempty_axes(self.shape, axis, name)
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

    def _one_axis(self, axis: int | None, name: str) -> None:
        if isinstance(axis, tuple | list):
            raise TypeError(f"[{name}] expected one axis or None, got {axis!r}")
        nonempty_axes(self.shape, axis, name)

"""Reductions over axes: sums, means, variances, and the broadcast that is a sum's adjoint.

``axis`` is None (all axes), an integer or a tuple; negative values count from the last axis.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd import Op, TensorBase
from ..backend import Array
from ..kernels.common import sums
from .axes import Axis, behind_batch, kept_shape, reduced_axes
from .complex_numbers import squared_size
from .masked import delivered, mask_of, prepared
from .promotion import as_float, in_single

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class Sum(Op):
    autocast = "wide"
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


# --- the methods --------------------------------------------------------------------------------


class ReduceMixin(TensorBase):
    """Reductions as methods.

    Beside ``axis`` and ``keepdims`` they take what NumPy's do: ``dtype`` to compute in, ``out`` to
    write to, ``where``, booleans that broadcast and choose elements, and ``initial``, which is one
    element more.
    """

    __slots__ = ()

    def sum(
        self,
        axis: Axis = None,
        keepdims: bool = False,
        *,
        dtype: Any = None,
        out: Any = None,
        initial: Any = None,
        where: Any = True,
    ) -> Tensor:
        """Sum over ``axis``, in self's dtype; booleans and integers are summed as int64.

        However many elements there are, the error is at most 1e-6 of Σ|x| for float32, and one
        rounding of the sum for float16 and bfloat16: all are added up in a wider type.
        """
        axes = reduced_axes(axis, len(self.shape), "sum")
        if dtype is None and where is True and out is None and initial is None:
            return Sum(axes, keepdims)(self)
        total = Sum(axes, keepdims)(prepared(self, "sum", dtype, where, 0))
        return delivered(total if initial is None else total + initial, dtype, out)

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

    def mean(
        self,
        axis: Axis = None,
        keepdims: bool = False,
        *,
        dtype: Any = None,
        out: Any = None,
        where: Any = True,
    ) -> Tensor:
        """Arithmetic mean over ``axis``, as exact as `sum`; of integers in float32.

        It does not overflow where the sum of the elements would.
        """
        axes = reduced_axes(axis, len(self.shape), "mean")
        if dtype is None and where is True and out is None and self._float is np.float32:
            return Mean(axes, keepdims)(self)
        x = as_float(prepared(self, "mean", dtype, True, 0))
        if where is True:
            return delivered(Mean(axes, keepdims)(x), dtype, out)
        mask = mask_of(x, where, "mean")
        found = in_single(x, lambda x: _mean_where(x, axes, keepdims, mask))
        return delivered(found, dtype, out)

    def var(
        self,
        axis: Axis = None,
        correction: float = 0,
        keepdims: bool = False,
        *,
        ddof: float | None = None,
        dtype: Any = None,
        out: Any = None,
        where: Any = True,
        mean: Any = None,
    ) -> Tensor:
        """Σ (x - mean)² / (n - correction) over ``axis`` (NumPy's default; PyTorch's is 1).

        Deviations are taken from the mean before that is rounded: the error does not grow with
        the mean, however large that is beside the deviations. NumPy's ``ddof`` is another name of
        ``correction``; ``mean`` is what `mean` gives with ``keepdims``, where that is known. Of
        complex numbers it is the real Σ |x - mean|² / (n - correction).
        """
        found = self._spread("var", axis, correction, keepdims, ddof, dtype, where, mean)
        return delivered(found, dtype, out)

    def _spread(
        self,
        name: str,
        axis: Axis,
        correction: float,
        keepdims: bool,
        ddof: float | None,
        dtype: Any,
        where: Any,
        mean: Any,
    ) -> Tensor:
        """`var`, or for "std" its root; where that is 0 the root's gradient is 0."""
        axes = reduced_axes(axis, len(self.shape), name)
        if ddof is not None:
            if correction:
                raise ValueError(f"[{name}] expected correction= or ddof=, not both")
            correction = ddof
        x = as_float(prepared(self, name, dtype, True, 0))
        mask = None if where is True else mask_of(x, where, name)

        def spread(x: Tensor) -> Tensor:
            found: Tensor = _variance(x, axes, correction, keepdims, mask, mean)
            if name == "var":
                return found
            moved = found != 0
            return found.where(moved, 1).sqrt().where(moved, 0)

        return in_single(x, spread)

    def std(
        self,
        axis: Axis = None,
        correction: float = 0,
        keepdims: bool = False,
        *,
        ddof: float | None = None,
        dtype: Any = None,
        out: Any = None,
        where: Any = True,
        mean: Any = None,
    ) -> Tensor:
        """Square root of `var`; where that is 0 the gradient is 0, a subgradient, as in PyTorch."""
        found = self._spread("std", axis, correction, keepdims, ddof, dtype, where, mean)
        return delivered(found, dtype, out)


def _mean_where(x: Any, axes: tuple[int, ...], keepdims: bool, mask: Any) -> Any:
    """The mean of the elements where ``mask`` holds; NaN where there is none."""
    total, count = x.where(mask, 0).sum(axes, keepdims), mask.sum(axes, keepdims)
    return total / count.astype(x.dtype)


def _variance(
    x: Any, axes: tuple[int, ...], correction: float, keepdims: bool, mask: Any, mean: Any
) -> Any:
    """Σ (x - mean)² / (n - correction) over ``axes``, of the elements where ``mask`` holds."""
    x = x if mask is None else x.where(mask, 0)  # NaN would come back with a gradient of 0
    if mean is not None:
        centred = x - (mean.astype(x.dtype) if hasattr(mean, "astype") else mean)
    elif mask is None:
        centred = Centre(axes)(x)
    else:
        centred = x - _mean_where(x, axes, True, mask)
        centred = centred - _mean_where(centred, axes, True, mask)  # the mean itself was rounded
    squares = squared_size(centred)
    if mask is not None:
        left = (mask.sum(axes, keepdims) - correction).astype(squares.dtype).maximum(0)
        return squares.where(mask, 0).sum(axes, keepdims) / left
    count = math.prod([x.shape[a] for a in axes])
    if correction >= count:  # 0 / 0, or infinite
        return squares.sum(axes, keepdims) / 0
    found = squares.mean(axes, keepdims)  # finite where the sum may not be
    return found * (count / (count - correction)) if correction else found

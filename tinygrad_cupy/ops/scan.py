"""Scans along an axis: cumulative sums, products, extrema, log Σ exp, and what they are adjoint to.

The gradient of a cumulative sum is one that runs backwards. Those of a product and of log Σ exp
are a first-order recurrence that runs backwards (`Recurrence`), whose own gradient is the same
forwards: nothing is divided by, and one pass gives each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from ..autograd import FusedOp, Op, TensorBase
from ..backend import Array
from .axes import normalize_axis
from .promotion import as_float, in_single

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class CumSum(FusedOp):
    """Σ of x up to each element along ``axis``; with ``reverse`` from each element on."""

    autocast = "wide"
    saves = ()
    linear = ("x",)

    def __init__(self, axis: int, reverse: bool = False) -> None:
        self.axis, self.reverse = axis, reverse

    def forward(self, x: Array) -> Array:
        return kernels.scan.cumulative(x, "sum", self.axis, self.reverse)

    def backward_arrays(self, grad: Array) -> tuple[Array]:
        return (kernels.scan.cumulative(grad, "sum", self.axis, not self.reverse),)

    def backward(self, grad: Tensor) -> Tensor:
        return CumSum(self.axis, not self.reverse)(grad)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return CumSum(self.axis + 1, self.reverse)(b.whole(x))


class CumProd(Op):
    """Π of x up to each element along ``axis``.

    With y, the gradient by xᵢ is yᵢ₋₁ Sᵢ, where Sᵢ = Σₖ gₖ xᵢ₊₁ ⋯ xₖ over k ≥ i is a `Recurrence`:
    zeros are elements like any other.
    """

    autocast = "wide"
    saves = ("x", "y")

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, x: Array) -> Array:
        return kernels.scan.cumulative(x, "product", self.axis)

    def backward(self, grad: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return moved_up(y, self.axis, 1) * Recurrence(self.axis, reverse=True)(x, grad)

    def jvp(self, y: Tensor, inputs: Sequence[Any], tangents: Sequence[Any]) -> Any:
        return Recurrence(self.axis)(inputs[0], moved_up(y, self.axis, 1) * tangents[0])

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return CumProd(self.axis + 1)(b.whole(x))


class Recurrence(Op):
    """s with sᵢ = bᵢ + aᵢ sᵢ₋₁ along ``axis``; with ``reverse`` sᵢ = bᵢ + aᵢ₊₁ sᵢ₊₁.

    Each is the other's adjoint as a function of b. By aᵢ either has the gradient fᵢ₋₁ rᵢ, where f
    and r are what the two give of b and of the gradient.
    """

    saves = ("a", "y")
    saved_for = (None, 0)

    def __init__(self, axis: int, reverse: bool = False) -> None:
        self.axis, self.reverse = axis, reverse

    def forward(self, a: Array, b: Array) -> Array:
        return kernels.scan.recurrence(a, b, self.axis, self.reverse)

    def backward(self, grad: Tensor, a: Tensor, y: Any) -> tuple[Tensor | None, Tensor]:
        back = Recurrence(self.axis, not self.reverse)(a, grad)
        if not self.needs[0]:
            return None, back
        forward, reverse = (back, y) if self.reverse else (y, back)
        return moved_up(forward, self.axis, 0) * reverse, back

    def jvp(self, y: Tensor, inputs: Sequence[Any], tangents: Sequence[Any]) -> Any:
        by_a, by_b = tangents
        if by_a is not None:
            if self.reverse:
                driven = moved_down(by_a * y, self.axis)
            else:
                driven = by_a * moved_up(y, self.axis, 0)
            by_b = driven if by_b is None else driven + by_b
        return Recurrence(self.axis, self.reverse)(inputs[0], by_b)

    def batch(self, b: BatchLevel, *inputs: Tensor) -> Tensor:
        return Recurrence(self.axis + 1, self.reverse)(*[b.whole(x) for x in inputs])


class LogCumSumExp(Op):
    """log Σ exp(x) up to each element along ``axis``.

    With y, the gradient by xᵢ is exp(xᵢ - yᵢ) Tᵢ with Tᵢ = gᵢ + exp(yᵢ - yᵢ₊₁) Tᵢ₊₁: no exponent is
    above 0. What is -∞ gets none, and where y is ∞ the first that is.
    """

    only_real = True
    saves = ("x", "y")

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, x: Array) -> Array:
        return kernels.scan.cumulative(x, "logaddexp", self.axis)

    def backward(self, grad: Tensor, x: Tensor, y: Tensor) -> Tensor:
        before = moved_up(y, self.axis, -math.inf)
        share = _ratio(x, y).where(before.data != math.inf, 0)
        return share * Recurrence(self.axis, reverse=True)(_ratio(before, y), grad)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return LogCumSumExp(self.axis + 1)(b.whole(x))


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """exp(part - whole); 1 where both are ∞, 0 where the part is -∞."""
    there = part.data != -math.inf
    plain = there & ((part.data != math.inf) | (whole.data != math.inf))
    return (part.where(plain, 0) - whole.where(plain, 0)).exp().where(there, 0)


class CumExtremum(Op):
    """The largest ("maximum") or smallest ("minimum") element up to each one along ``axis``.

    Equal ones share each result's gradient equally, as those of `max` do. A NaN is what everything
    behind it is, and gets its gradient.
    """

    saves = ("x", "y")

    def __init__(self, name: str, axis: int) -> None:
        self.name, self.axis = name, axis

    def forward(self, x: Array) -> Array:
        return kernels.scan.cumulative(x, self.name, self.axis)

    def backward(self, grad: Tensor, x: Tensor, y: Tensor) -> Tensor:
        hits, starts, share = self._shares(x.data, y.data, grad.dtype)
        each = SegmentedSum(self.axis, reverse=True)(grad * grad._wrap(share), grad._wrap(starts))
        return each.where(hits, 0)

    def _shares(self, x: Array, y: Array, dtype: Any) -> tuple[Array, Array, Array]:
        """Which elements are the extremum so far, where another begins to be, and 1 / how many."""
        xp, before = self.xp, (slice(None),) * self.axis
        later, earlier = y[(*before, slice(1, None))], y[(*before, slice(None, -1))]
        starts = xp.ones(y.shape, bool)
        starts[(*before, slice(1, None))] = (later != earlier) & (earlier == earlier)
        hits = (x == y) | (x != x)
        count = kernels.scan.segmented_sum(hits.astype(dtype), starts, self.axis, False)
        return hits, starts, 1 / count

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return CumExtremum(self.name, self.axis + 1)(b.whole(x))


class SegmentedSum(Op):
    """Σ of x up to each element along ``axis``, from where a segment ``starts`` (booleans).

    With ``reverse`` from each element on to the last of its segment: each is the other's adjoint.
    """

    saves = ("starts",)
    linear = ("x",)

    def __init__(self, axis: int, reverse: bool = False) -> None:
        self.axis, self.reverse = axis, reverse

    def forward(self, x: Array, starts: Array) -> Array:
        return kernels.scan.segmented_sum(x, starts, self.axis, self.reverse)

    def backward(self, grad: Tensor, starts: Tensor) -> tuple[Tensor, None]:
        return SegmentedSum(self.axis, not self.reverse)(grad, starts), None

    def batch(self, b: BatchLevel, x: Tensor, starts: Tensor) -> Tensor:
        return SegmentedSum(self.axis + 1, self.reverse)(b.whole(x), b.whole(starts))


class Unwrapping(Op):
    """The multiples of ``period`` that unwrap x along ``axis``, see np.unwrap: a step function."""

    differentiable = False
    only_real = True

    def __init__(self, axis: int, discont: float | None, period: float) -> None:
        self.axis, self.discont, self.period = axis, discont, period

    def forward(self, x: Array) -> Array:
        xp, period = self.xp, self.period
        discont = period / 2 if self.discont is None else self.discont
        wide = x if x.dtype.kind in "iu" else x.astype(np.float64)
        steps = xp.diff(wide, axis=self.axis)
        half = period // 2 if wide.dtype.kind in "iu" else period / 2
        wrapped = (steps + half) % period - half
        if period == 2 * half:  # which of the two ends of the interval, by the sign
            wrapped = xp.where((wrapped == -half) & (steps > 0), wrapped + period, wrapped)
        added = xp.where(abs(steps) < discont, 0, wrapped - steps)
        found = xp.zeros(x.shape, wide.dtype)
        found[(*(slice(None),) * self.axis, slice(1, None))] = kernels.scan.cumulative(
            added, "sum", self.axis
        )
        return found.astype(x.dtype, copy=False)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return Unwrapping(self.axis + 1, self.discont, self.period)(b.whole(x))


def moved_up(x: Tensor, axis: int, first: float) -> Tensor:
    """x one place further along ``axis``: the last element falls out, and ``first`` comes in."""
    if not x.shape[axis]:
        return x
    width = [(int(i == axis), 0) for i in range(len(x.shape))]
    return x[(*(slice(None),) * axis, slice(None, -1))].pad(width, first)


def moved_down(x: Tensor, axis: int) -> Tensor:
    """x one place nearer along ``axis``: the first element falls out, and 0 comes in."""
    if not x.shape[axis]:
        return x
    width = [(0, int(i == axis)) for i in range(len(x.shape))]
    return x[(*(slice(None),) * axis, slice(1, None))].pad(width)


# --- the methods --------------------------------------------------------------------------------


class ScanMixin(TensorBase):
    """Scans as methods."""

    __slots__ = ()

    def _line(self, axis: int | None, name: str) -> tuple[Any, int]:
        """The tensor to scan, and along which axis: flattened where that is None."""
        x: Any = self
        if isinstance(axis, tuple | list):
            raise TypeError(f"[{name}] expected one axis or None, got {axis!r}")
        if axis is None or not x.shape:
            normalize_axis(0 if axis is None else axis, max(len(x.shape), 1), name)
            return x.reshape(-1) if len(x.shape) != 1 else x, 0
        return x, normalize_axis(axis, len(x.shape), name)[0]

    def cumsum(self, axis: int | None = None, dtype: Any = None, out: Any = None) -> Tensor:
        """Σ of the elements up to each one along ``axis`` (flattened where None).

        As exact as `sum`, in self's dtype; booleans and integers are summed as int64.
        """
        if dtype is not None or out is not None:
            return np.cumsum(self, axis, dtype, out)  # type: ignore[call-overload, no-any-return]
        x, place = self._line(axis, "cumsum")
        return CumSum(place)(x)

    def cumprod(self, axis: int | None = None, dtype: Any = None, out: Any = None) -> Tensor:
        """Π of the elements up to each one along ``axis`` (flattened where None).

        Booleans and integers are multiplied as int64. The gradient is right where elements are 0.
        """
        if dtype is not None or out is not None:
            return np.cumprod(self, axis, dtype, out)  # type: ignore[call-overload, no-any-return]
        x, place = self._line(axis, "cumprod")
        return in_single(x, CumProd(place))

    def cummax(self, axis: int | None = None) -> Tensor:
        """The largest element up to each one along ``axis``, as np.maximum.accumulate gives it.

        Equal ones share the gradient equally, as those of `max` do.
        """
        x, place = self._line(axis, "cummax")
        return in_single(x, CumExtremum("maximum", place))

    def cummin(self, axis: int | None = None) -> Tensor:
        """The smallest element up to each one along ``axis``; see `cummax`."""
        x, place = self._line(axis, "cummin")
        return in_single(x, CumExtremum("minimum", place))

    def logcumsumexp(self, axis: int | None = None) -> Tensor:
        """log Σ exp(x) up to each element along ``axis``, as np.logaddexp.accumulate gives it."""
        x, place = self._line(axis, "logcumsumexp")
        return in_single(as_float(x), LogCumSumExp(place))

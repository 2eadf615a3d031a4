"""Scans: what the elements up to each one give together, along an axis.

Whatever is carried along is float64, of integers int64, and rounded to the array's dtype once for
each element that is written. No element is added to another by chance of timing: the same array
gives the same bits.
"""

from __future__ import annotations

from ...backend import Array, kernel
from . import cpu, cuda

__all__ = ["cumulative", "recurrence", "segmented_sum"]


@kernel(cpu=cpu.cumulative, cuda=cuda.cumulative)
def cumulative(x: Array, op: str, axis: int, reverse: bool = False) -> Array:
    """x's "sum", "product", "maximum", "minimum" or "logaddexp" up to each element along ``axis``.

    In x's dtype; sums and products of booleans and integers int64. With ``reverse``, from each
    element on to the last. A NaN is what everything behind it is, too.
    """


@kernel(cpu=cpu.recurrence, cuda=cuda.recurrence)
def recurrence(a: Array, b: Array, axis: int, reverse: bool) -> Array:
    """s with sᵢ = bᵢ + aᵢ sᵢ₋₁ along ``axis``, or with ``reverse`` sᵢ = bᵢ + aᵢ₊₁ sᵢ₊₁.

    a and b are of one shape and floating-point dtype. Each of the two is the other's adjoint.
    """


@kernel(cpu=cpu.segmented_sum, cuda=cuda.segmented_sum)
def segmented_sum(x: Array, starts: Array, axis: int, reverse: bool) -> Array:
    """x's sum up to each element along ``axis`` from where a segment ``starts`` (booleans).

    With ``reverse``, from each element on to the last of its segment. What another segment holds,
    NaN say, does not count.
    """

"""Scans on the CPU: chooses C or NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend import Array
from ...backend.dtypes import by_parts_of_complex, is_float, through_single, widest
from . import native, reference

UFUNCS: dict[str, np.ufunc] = {
    "sum": np.add,
    "product": np.multiply,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "logaddexp": np.logaddexp,
}
COMPARING = ("maximum", "minimum")
MANY = 1 << 12  # elements from which on C is faster than NumPy
SOME = 1 << 7  # the same, where NumPy takes several steps


def cumulative(x: Array, op: str, axis: int, reverse: bool = False) -> Array:
    """See `kernels.scan.cumulative`."""
    if x.size < MANY and x.dtype in native.files and op in ("sum", "product"):  # the same, sooner
        return _accumulated(x, op, axis, reverse, np.float64).astype(x.dtype, copy=False)
    if x.dtype.kind == "c":
        return _accumulated(x, op, axis, reverse, np.complex128).astype(x.dtype, copy=False)
    if is_float(x.dtype):
        return _of_floats(x, op, axis, reverse)
    return _accumulated(x, op, axis, reverse, None if op in COMPARING else np.int64)


@through_single
def _of_floats(x: Array, op: str, axis: int, reverse: bool) -> Array:
    if op == "logaddexp":
        with np.errstate(invalid="ignore"):  # of NaN
            return _accumulated(x, op, axis, reverse, np.float64).astype(x.dtype, copy=False)
    if native.suits(x, MANY):
        return native.scan(op, x, axis, reverse)
    if op in COMPARING:
        return _accumulated(x, op, axis, reverse, None)
    return _accumulated(x, op, axis, reverse, np.float64).astype(x.dtype, copy=False)


def _accumulated(x: Array, op: str, axis: int, reverse: bool, dtype: Any) -> Array:
    accumulate = UFUNCS[op].accumulate
    if not reverse:
        return accumulate(x, axis, dtype)
    back = (*(slice(None),) * axis, slice(None, None, -1))
    return accumulate(x[back], axis, dtype)[back]


@through_single
def recurrence(a: Array, b: Array, axis: int, reverse: bool) -> Array:
    """See `kernels.scan.recurrence`."""
    if native.suits(b, SOME):
        return native.scan("recurrence", b, axis, reverse, factors=a)
    factors, wide = (v.astype(widest(b.dtype), copy=False) for v in (a, b))
    return reference.recurrence(factors, wide, axis, reverse).astype(b.dtype, copy=False)


@by_parts_of_complex
@through_single
def segmented_sum(x: Array, starts: Array, axis: int, reverse: bool) -> Array:
    """See `kernels.scan.segmented_sum`."""
    if native.suits(x, SOME):
        return native.scan("segmented", x, axis, reverse, starts=starts)
    wide = x.astype(np.float64, copy=False)
    return reference.segmented_sum(wide, starts, axis, reverse).astype(x.dtype, copy=False)

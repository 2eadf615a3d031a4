"""Sums of the elements of arrays, in a type that is wide enough for them.

======================  ======================  ==========================================
elements                added up in             error, of Σ|x|
======================  ======================  ==========================================
bool, integers          int64                   none (beyond 64 bits it wraps around)
float16, bfloat16       float64                 one rounding of the result
float32                 float64                 one rounding, 6e-8; on the CPU, runs of up to
                                                16 terms are added as they are: less than 1e-6
float64                 float64                 1e-16 a term at most
complex                 complex128              as its parts
======================  ======================  ==========================================

That holds for any number of terms, axes and strides. A result is of its elements' type (that of
integers int64), so it is infinite only where the sum itself is too large for that.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...backend import Array, Elementwise, is_cuda, kernel
from ...backend.dtypes import is_float, is_inexact
from . import sums_cuda, sums_native

Axes = tuple[int, ...]

_add: Any = np.add.reduce  # without what ndarray.sum does around it

LINE = 512  # elements that are added to as many others at a time, at most
LARGE = 64 * LINE  # elements of which it pays to arrange them
FEW = 16  # terms of float32 that are added as they are: 16 · 2⁻²⁴ < 1e-6


def count_of(x: Array, axes: Axes) -> int:
    """How many elements of x a sum over ``axes`` adds up."""
    return math.prod([x.shape[axis] for axis in axes])


# --- sums ---------------------------------------------------------------------------------------


def _total_cpu(x: Array, axes: Axes, keepdims: bool = False) -> Array:
    dtype = x.dtype
    if dtype.kind in "biu":
        return np.asarray(_add(x, axes, _of_integers(dtype), None, keepdims))
    if dtype.kind == "c":
        return np.asarray(_add(x, axes, np.complex128, None, keepdims), dtype)
    if dtype.itemsize == 4 and count_of(x, axes) <= FEW:
        return np.asarray(_add(x, axes, None, None, keepdims))
    if x.size >= LARGE:
        return np.asarray(_sum_in_runs(x, axes, keepdims), dtype)
    return np.asarray(_add(x, axes, np.float64, None, keepdims), dtype)


def _sum_in_runs(x: np.ndarray, axes: Axes, keepdims: bool) -> Any:
    """As `_wide_total`; of many float32, runs of `FEW` are added as they are, which takes half.

    In C, where there is a compiler.
    """
    if x.size >= LARGE and (found := sums_native.total(x, axes)) is not None:
        if np.isfinite(found).all():  # a run may leave the range where the sum does not
            return found.reshape(_kept(x.shape, axes)) if keepdims else found
        return _wide_total(x, axes, keepdims)
    width = x.size // max(count_of(x, axes), 1)
    run = FEW * width * max(LINE // max(width, 1), 1)
    if x.dtype != np.float32 or x.size < 4 * run or not _is_outer(x, axes):
        return _wide_total(x, axes, keepdims)
    runs = x.size // run
    flat = x.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        lines = _add(flat[: runs * run].reshape(runs, FEW, -1), 1)
        total = _add(lines, 0, np.float64).reshape(-1, width)
    total = total[0] if len(total) == 1 else _add(total, 0)
    if not np.isfinite(total).all():  # a run may leave the range where the sum does not
        return _wide_total(x, axes, keepdims)
    if runs * run < x.size:
        total += _add(flat[runs * run :].reshape(-1, width), 0, np.float64)
    return total.reshape(_kept(x.shape, axes) if keepdims else x.shape[len(axes) :])


def _is_outer(x: np.ndarray, axes: Axes) -> bool:
    """Whether ``axes`` are the first of a `LARGE` array that is stored in C order."""
    return bool(axes == tuple(range(len(axes))) and x.flags.c_contiguous and x.size >= LARGE)


def _wide_total(x: np.ndarray, axes: Axes, keepdims: bool) -> Any:
    """The sum in float64. NumPy adds row to row: short rows are taken many at a time."""
    width = x.size // max(count_of(x, axes), 1)
    rows = LINE // max(width, 1)
    if not 2 <= rows <= LINE // 2 or not _is_outer(x, axes):
        return _add(x, axes, np.float64, keepdims=keepdims)
    lines = x.size // (rows * width)
    whole, rest = np.split(x.reshape(-1), [lines * rows * width])
    total = _add(whole.reshape(lines, rows * width), 0, np.float64).reshape(rows, width)
    total = _add(total, 0) + _add(rest.reshape(-1, width), 0, np.float64)
    return total.reshape(_kept(x.shape, axes) if keepdims else x.shape[len(axes) :])


def _total_cuda(x: Array, axes: Axes, keepdims: bool = False) -> Array:
    dtype = x.dtype if is_inexact(x.dtype) else np.dtype(np.int64)
    return sums_cuda.sums(x, axes, keepdims, dtype)


def _of_integers(dtype: Any) -> Any:
    """What integers and booleans are added up in; None where that is int64 by itself."""
    return np.int64 if dtype.kind == "u" else None  # NumPy's uint64 turns into float64 soon


def _kept(shape: tuple[int, ...], axes: Axes) -> tuple[int, ...]:
    return tuple([1 if i in axes else size for i, size in enumerate(shape)])


@kernel(cpu=_total_cpu, cuda=_total_cuda)
def total(x: Array, axes: Axes, keepdims: bool = False) -> Array:
    """The sum of x over ``axes`` (non-negative), in x's dtype; of booleans and integers int64."""


# --- means --------------------------------------------------------------------------------------


def _wide_mean(x: np.ndarray, axes: Axes, keepdims: bool, exact: bool = True) -> Any:
    """The mean as float64; not ``exact``, with the error of `total`."""
    total = (_wide_total if exact else _sum_in_runs)(x, axes, keepdims)
    return total / count_of(x, axes)


def mean(x: Array, axes: Axes, keepdims: bool = False) -> Array:
    """The mean of x over ``axes``, in x's dtype, of integers float32; it is finite where x is."""
    if x.dtype.kind == "c":
        return total(x, axes, keepdims) / count_of(x, axes)
    dtype = x.dtype if is_float(x.dtype) else np.dtype(np.float32)
    if is_cuda(x):
        return sums_cuda.sums(x, axes, keepdims, dtype, count_of(x, axes))
    return np.asarray(_wide_mean(x, axes, keepdims, exact=False), dtype)


def _centred_cpu(x: Array, axes: Axes) -> Array:
    if x.dtype.kind == "c":
        return x - mean(x, axes, True)
    out = np.empty_like(x)
    return np.subtract(x, _wide_mean(x, axes, True), out=out, casting="same_kind")


def _centred_cuda(x: Array, axes: Axes) -> Array:
    if x.dtype.kind == "c":
        return x - mean(x, axes, True)
    wide = np.dtype(np.float64)
    return _take_off(x, sums_cuda.sums(x, axes, True, wide, count_of(x, axes)))


_take_off = Elementwise("T x, float64 mean", "T y", "y = (T)((double)x - mean)", "take_off_mean")


@kernel(cpu=_centred_cpu, cuda=_centred_cuda)
def centred(x: Array, axes: Axes) -> Array:
    """x less its mean over ``axes``, for float32, float64 or complex numbers.

    The mean is not rounded to x's dtype on the way, which would cost 2⁻²⁴ · mean: more than x has
    of spread, where it lies far from zero.
    """

"""Products, and where the extrema are."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import Array, Elementwise, kernel
from ..backend.dtypes import is_float


def _arg_extremum_cpu(x: Array, name: str, axis: int | None) -> Array:
    return getattr(x, name)(axis=axis)


def _arg_extremum_cuda(x: Array, name: str, axis: int | None) -> Array:
    """CuPy finds one NaN or another: integers in the floats' order have no such doubts."""
    if is_float(x.dtype):
        limits = np.iinfo(np.int64)
        x = _ordered(x, np.int64(limits.max if name == "argmax" else limits.min))
    return _arg_extremum_cpu(x, name, axis)


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


@kernel(cpu=_arg_extremum_cpu, cuda=_arg_extremum_cuda)
def arg_extremum(x: Array, name: str, axis: int | None) -> Array:
    """Where, by "argmax" or "argmin", NaN or else the extremum along ``axis`` is first."""


# --- products -----------------------------------------------------------------------------------

_multiply: Any = np.multiply.reduce  # without what ndarray.prod does around it


def _product_cpu(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    if x.dtype.kind == "c":
        return np.asarray(_multiply(x, axes, np.complex128, None, keepdims), x.dtype)
    if not is_float(x.dtype):
        return np.asarray(_multiply(x, axes, np.int64, None, keepdims))
    return np.asarray(_multiply(x, axes, np.float64, None, keepdims), x.dtype)


def _product_cuda(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    if x.dtype.kind == "c":
        return x.prod(axes, np.complex128, None, keepdims).astype(x.dtype)
    if not is_float(x.dtype):
        return x.prod(axes, np.int64, None, keepdims)
    wide = x.astype(np.float32) if x.dtype.kind == "V" else x  # CuPy knows bfloat16 in part
    return wide.prod(axes, np.float64, None, keepdims).astype(x.dtype)


@kernel(cpu=_product_cpu, cuda=_product_cuda)
def product(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    """The product of x over ``axes`` (non-negative), in x's dtype; of integers int64.

    It is multiplied up in float64 and rounded once.
    """

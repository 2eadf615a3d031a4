"""The Python array API standard, 2024.12, with its extensions ``linalg`` and ``fft``.

    xp = x.__array_namespace__()

Code that is written against the standard then computes with tensors: differentiably, on the CPU and
on a GPU. The functions are those of `tinygrad_cupy.numpy`, whose arrays and default dtypes
(float64, int64) it has; only the standard's names are here, so that code that runs is portable.
Data types are NumPy's. See https://data-apis.org/array-api/2024.12/.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..numpy import (
    abs,
    acos,
    acosh,
    add,
    all,
    any,
    arange,
    argmax,
    argmin,
    argsort,
    asarray,
    asin,
    asinh,
    astype,
    atan,
    atan2,
    atanh,
    bitwise_and,
    bitwise_invert,
    bitwise_left_shift,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    broadcast_arrays,
    broadcast_to,
    can_cast,
    ceil,
    clip,
    concat,
    conj,
    copysign,
    cos,
    cosh,
    count_nonzero,
    cumulative_prod,
    cumulative_sum,
    diff,
    divide,
    empty,
    empty_like,
    equal,
    exp,
    expand_dims,
    expm1,
    eye,
    flip,
    floor,
    floor_divide,
    from_dlpack,
    full,
    full_like,
    greater,
    greater_equal,
    hypot,
    imag,
    isfinite,
    isinf,
    isnan,
    less,
    less_equal,
    linspace,
    log,
    log1p,
    log2,
    log10,
    logaddexp,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    matmul,
    matrix_transpose,
    max,
    maximum,
    mean,
    meshgrid,
    min,
    minimum,
    moveaxis,
    multiply,
    negative,
    nextafter,
    nonzero,
    not_equal,
    ones,
    ones_like,
    permute_dims,
    positive,
    pow,
    prod,
    real,
    reciprocal,
    remainder,
    repeat,
    reshape,
    result_type,
    roll,
    round,
    searchsorted,
    sign,
    signbit,
    sin,
    sinh,
    sort,
    sqrt,
    square,
    squeeze,
    stack,
    std,
    subtract,
    sum,
    take,
    take_along_axis,
    tan,
    tanh,
    tensordot,
    tile,
    tril,
    triu,
    trunc,
    unique_all,
    unique_counts,
    unique_inverse,
    unique_values,
    unstack,
    var,
    vecdot,
    where,
    zeros,
    zeros_like,
)
from . import fft, linalg
from .info import Info

__array_api_version__ = "2024.12"

e, inf, nan, newaxis, pi = np.e, np.inf, np.nan, None, np.pi

bool = np.dtype(np.bool_)  # the standard's names of data types
int8, int16, int32, int64 = (np.dtype(f"int{bits}") for bits in (8, 16, 32, 64))
uint8, uint16, uint32, uint64 = (np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64))
float32, float64 = np.dtype(np.float32), np.dtype(np.float64)
complex64, complex128 = np.dtype(np.complex64), np.dtype(np.complex128)

finfo, iinfo, isdtype = np.finfo, np.iinfo, np.isdtype


def __array_namespace_info__() -> Info:
    """What can be asked of this namespace: capabilities, devices, data types."""
    return Info()


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    name
    for name in globals()
    if not name.startswith("_") and name not in ("annotations", "np", "info", "Any", "Info")
]
__all__ += ["__array_api_version__", "__array_namespace_info__"]

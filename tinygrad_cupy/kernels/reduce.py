"""Where the extrema are."""

from __future__ import annotations

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

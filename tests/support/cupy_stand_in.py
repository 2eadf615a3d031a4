"""What CuPy's functions do with an argument that is no array of theirs, without a GPU.

Written from the source of CuPy 14: `cupy._core._kernel` (ufuncs and ElementwiseKernel),
`cupy._core._reduction`, and the functions that call a method of what they are given.
"""

from __future__ import annotations

from typing import Any


class Kernel:
    """`cupy.ufunc` and `cupy.ElementwiseKernel`: every positional argument is asked."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *args: Any, **options: Any) -> Any:
        for arg in args:
            if hasattr(arg, "__cupy_override_elementwise_kernel__"):
                return arg.__cupy_override_elementwise_kernel__(self, *args, **options)
        raise AssertionError("no argument was asked")


class Reduction:
    """`_SimpleReductionKernel`: its one array is asked."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(
        self, a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False
    ) -> Any:
        if hasattr(a, "__cupy_override_reduction_kernel__"):
            return a.__cupy_override_reduction_kernel__(self, axis, dtype, out, keepdims)
        raise AssertionError("the argument was not asked")


exp, add, multiply = Kernel("cupy_exp"), Kernel("cupy_add"), Kernel("cupy_multiply")
true_divide, maximum, less = Kernel("cupy_true_divide"), Kernel("cupy_maximum"), Kernel("cupy_less")
erf, expit = Kernel("cupyx_scipy_special_erf"), Kernel("cupy_expit")
gammaln, beta = Kernel("cupyx_scipy_special_gammaln"), Kernel("cupyx_scipy_beta")
xlogy, zeta = Kernel("cupy_xlogy"), Kernel("cupyx_scipy_special_zeta")
is_close, where_kernel = Kernel("cupy_is_close"), Kernel("cupy_where")
elementwise_copy, fill_kernel = Kernel("cupy_copy"), Kernel("cupy_fill")
count_nonzero, amax_kernel = Reduction("cupy_count_nonzero"), Reduction("cupy_max")
sum_kernel = Reduction("cupy_sum_with_dtype")


def sum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = 0) -> Any:
    return a.sum(axis, dtype, out, keepdims)


def mean(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = 0) -> Any:
    return a.mean(axis=axis, dtype=dtype, out=out, keepdims=keepdims)


def amax(a: Any, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
    return a.max(axis=axis, out=out, keepdims=keepdims)


def argmax(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = 0) -> Any:
    return a.argmax(axis=axis, dtype=dtype, out=out, keepdims=keepdims)


def clip(a: Any, a_min: Any = None, a_max: Any = None, out: Any = None) -> Any:
    return a.clip(a_min, a_max, out=out)


def where(condition: Any, x: Any, y: Any) -> Any:
    return where_kernel(condition.astype("?", copy=False), x, y)

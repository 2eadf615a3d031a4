"""Which dtype arrays and scalars meet in, bfloat16 included, which NumPy and CuPy know in part."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np

from .arrays import Array, array_module


def is_float(dtype: Any) -> bool:
    """Whether ``dtype`` is a floating-point type; bfloat16, which NumPy calls void-like, is one."""
    known: np.dtype[Any] = dtype if isinstance(dtype, np.dtype) else np.dtype(dtype)
    return known.kind == "f" or known.name == "bfloat16"


def is_complex(dtype: Any) -> bool:
    """Whether ``dtype`` is complex64 or complex128."""
    return bool(dtype.kind == "c")


def is_inexact(dtype: Any) -> bool:
    """Whether ``dtype`` is of numbers that have derivatives: floating-point or complex ones."""
    return is_float(dtype) or is_complex(dtype)


def with_imaginary(dtype: Any) -> np.dtype[Any]:
    """The complex dtype whose parts hold what a ``dtype`` of reals holds: complex64 or 128."""
    return np.dtype(np.complex128 if np.result_type(dtype).itemsize == 8 else np.complex64)


def as_real_numbers(array: Array) -> Array:
    """Complex numbers in C order as twice as many real ones, a flat view; others as they are."""
    if array.dtype.kind != "c":
        return array
    return array.reshape(-1).view(array.real.dtype)


def widest(dtype: Any) -> np.dtype[Any]:
    """What numbers of an inexact ``dtype`` are computed in where digits matter: of 64 bits."""
    return np.dtype(np.complex128 if is_complex(dtype) else np.float64)


def is_bfloat16(dtype: Any) -> bool:
    """Whether ``dtype`` is that of ml_dtypes."""
    return bool(dtype.kind == "V" and dtype.name == "bfloat16")  # the name takes a microsecond


def is_narrow(dtype: Any) -> bool:
    """Whether ``dtype`` is float16 or bfloat16."""
    return bool(dtype.itemsize == 2 and (dtype.kind == "f" or is_bfloat16(dtype)))


def largest(dtype: Any) -> float:
    """The largest finite number that a floating-point ``dtype`` holds."""
    return float.fromhex("0x1.fep127") if is_bfloat16(dtype) else float(np.finfo(dtype).max)


def common_dtype(*dtypes: Any) -> np.dtype[Any]:
    """What NumPy promotes ``dtypes`` to; bfloat16 as it promotes float16, the two to float32.

    NumPy itself refuses bfloat16 beside float16 and all but the smallest integers.
    """
    bfloat16 = next((d for d in dtypes if is_bfloat16(d)), None)
    if bfloat16 is None:
        return np.result_type(*dtypes)
    half = np.dtype(np.float16)
    found = np.result_type(half, *[d for d in dtypes if d != bfloat16])
    if found != half:
        return found
    return np.dtype(np.float32) if half in dtypes else bfloat16


Body = TypeVar("Body", bound=Callable[..., Any])


# --- scalars ------------------------------------------------------------------------------------


def narrow_scalar(scalar: Any, dtype: Any) -> Any:
    """A Python scalar rounded to ``dtype``, to an infinity where it is too large."""
    try:
        value = float(scalar)  # ml_dtypes takes no integers of more than 64 bits
    except OverflowError:
        value = math.inf if scalar > 0 else -math.inf
    with np.errstate(over="ignore"):
        return dtype.type(value)


def expect_fitting(scalar: int, dtype: Any, name: str) -> None:
    """Raise ``OverflowError`` for an integer that a tensor of the integer ``dtype`` cannot hold."""
    if dtype.kind not in "iu":
        return
    limits = np.iinfo(dtype)
    if not limits.min <= scalar <= limits.max:
        raise OverflowError(
            f"[{name}] expected a number from {limits.min} to {limits.max}, which {dtype} holds, "
            f"got {scalar}; use .astype() first"
        )


# --- on arrays ----------------------------------------------------------------------------------


def rounded_once(ufunc: Any, a: Any, b: Any) -> Array:
    """``ufunc(a, b)``; an np.float32 among them is a scalar that meets an array of 16 bits."""
    if type(b) is np.float32:
        like = a
    elif type(a) is np.float32:
        like = b
    else:
        return ufunc(a, b)
    if type(like) is not np.ndarray:
        return ufunc(a, b, dtype=np.float32, casting="unsafe").astype(like.dtype)
    return ufunc(a, b, out=np.empty_like(like), dtype=np.float32, casting="unsafe")


def through_single(body: Body) -> Body:
    """``body`` computing in float32 where its first array has 16 bits, its results rounded once."""

    @functools.wraps(body)
    def wide(first: Array, *rest: Any) -> Any:
        dtype = first.dtype
        if not is_narrow(dtype):
            return body(first, *rest)
        given = (
            a.astype(np.float32) if getattr(a, "dtype", None) == dtype else a
            for a in (first, *rest)
        )
        found = body(*given)
        if not isinstance(found, tuple):
            return found.astype(dtype)
        return tuple(
            a.astype(dtype) if getattr(a, "dtype", None) == np.float32 else a for a in found
        )

    return cast(Body, wide)


def by_parts_of_complex(body: Body) -> Body:
    """``body``, linear and real in its first array, done of real and imaginary parts by itself."""

    @functools.wraps(body)
    def both(first: Array, *rest: Any, **options: Any) -> Any:
        if first.dtype.kind != "c":
            return body(first, *rest, **options)
        real = body(first.real, *rest, **options)
        found = array_module(first).empty(real.shape, first.dtype)
        found.real, found.imag = real, body(first.imag, *rest, **options)
        return found

    return cast(Body, both)


def quietly(function: Callable[..., Any], a: Array, *others: Any) -> Any:
    """``function(a, …)``, comparing elements: of NaN ml_dtypes warns and NumPy does not."""
    if a.dtype.kind != "V":
        return function(a, *others)
    with np.errstate(invalid="ignore"):
        return function(a, *others)


def choose(condition: Array, a: Any, b: Any) -> Array:
    """``a`` where the boolean ``condition`` holds, else ``b``: arrays, or one of them a scalar."""
    xp = array_module(condition)
    dtypes = [v.dtype for v in (a, b) if hasattr(v, "dtype")]
    if not any(is_bfloat16(dtype) for dtype in dtypes):
        return xp.where(condition, a, b)
    dtype = common_dtype(*dtypes)
    a, b = (
        xp.full((), v, dtype)  # a kernel's argument, where an upload could not be captured
        if not hasattr(v, "dtype")
        else v.astype(dtype, copy=False)
        for v in (a, b)
    )
    if not is_bfloat16(dtype):
        return xp.where(condition, a, b)
    # Through the bits: CuPy's where gives float32 for bfloat16.
    return xp.where(condition, a.view(np.int16), b.view(np.int16)).view(dtype)


def resolve_dtype(dtype: Any) -> np.dtype[Any]:
    """A dtype from a name or type."""
    if isinstance(dtype, np.dtype):
        return dtype
    if dtype == "bfloat16":
        from ml_dtypes import bfloat16  # few want it, and it takes as long as all of `autograd`

        dtype = bfloat16
    resolved: np.dtype[Any] = np.dtype(dtype)
    return resolved

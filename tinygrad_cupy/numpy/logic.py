"""Truth and facts: comparisons of whole arrays, what an array is, its text.

Nothing here has a derivative: the results are booleans, numbers, dtypes and text, and are the same
whether a gradient is wanted or not. What gives a Python value reads the values on the host.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import TensorBase
from ..backend import array_module, device_of, to_numpy
from ..backend.dtypes import common_dtype, is_bfloat16, resolve_dtype
from ..ops.closeness import IsClose
from ..ops.protocols import implements, is_array
from .arrays import operands, tensor, tensors, written

__all__ = [
    *("allclose", "array2string", "array_equal", "array_equiv", "array_repr", "array_str"),
    *("can_cast", "common_type", "copyto", "isclose", "iscomplex", "iscomplexobj", "isreal"),
    *("isrealobj", "isscalar", "may_share_memory", "min_scalar_type", "ndim", "real_if_close"),
    *("result_type", "shape", "shares_memory", "size"),
]


# --- whole arrays -------------------------------------------------------------------------------


@implements(np.isclose)
def isclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """Element by element, whether \\|a - b\\| ≤ atol + rtol \\|b\\|; equal infinities are close."""
    first, second = operands(a, b)
    if not isinstance(first, TensorBase):  # one of the two is a tensor
        first = tensor(first, second).astype(second.dtype)
    return IsClose(float(rtol), float(atol), bool(equal_nan))(first, second)


@implements(np.allclose)
def allclose(
    a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """Whether all elements are close; see `isclose`."""
    return _all(isclose(a, b, rtol, atol, equal_nan))


@implements(np.array_equal)
def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> bool:
    """Whether both have one shape and equal elements; with ``equal_nan`` NaN is equal to NaN."""
    a, b = tensors(a1, a2)
    if a.shape != b.shape:
        return False
    equal = a == b
    return _all(equal.where(a == a, b != b) if equal_nan else equal)


@implements(np.array_equiv)
def array_equiv(a1: Any, a2: Any) -> bool:
    """Whether both have the same elements once they are broadcast."""
    a, b = tensors(a1, a2)
    try:
        np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        return False
    return _all(a == b)


def _all(x: Any) -> bool:
    return bool(x.sum().item() == x.size)


@implements(np.copyto)
def copyto(dst: Any, src: Any, casting: Any = "same_kind", where: Any = True) -> None:
    """``dst[...] = src`` where ``where`` holds, in place; ``dst`` is a tensor or an array."""
    values = tensor(src, dst if isinstance(dst, TensorBase) else None)
    if casting == "unsafe":
        values = values.astype(dst.dtype)
    elif not (isinstance(src, int | float) or can_cast(values, dst.dtype, casting)):
        raise TypeError(
            f"[copyto] expected values that can be cast to {dst.dtype} by casting="
            f'"{casting}", got {values.dtype}'
        )
    if where is not True:
        values = values.where(tensor(where, values), tensor(dst, values))
    written("copyto", values, dst, augmented=False)


# --- what an array is ---------------------------------------------------------------------------


@implements(np.shape)
def shape(a: Any) -> tuple[int, ...]:
    """Sizes of the axes."""
    return _known(a).shape  # type: ignore[no-any-return]


@implements(np.ndim)
def ndim(a: Any) -> int:
    """Number of axes."""
    return len(shape(a))


@implements(np.size)
def size(a: Any, axis: Any = None) -> int:
    """Number of elements, or of those along ``axis`` (an integer or a tuple)."""
    sizes = shape(a)
    axes = range(len(sizes)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    count = 1
    for i in axes:
        count *= sizes[i]
    return count


def _known(a: Any) -> Any:
    return a if isinstance(a, TensorBase) or is_array(a) else tensor(a)


@implements(np.iscomplexobj)
def iscomplexobj(x: Any) -> bool:
    """Whether the dtype is one of complex numbers."""
    return bool(_known(x).dtype.kind == "c")


@implements(np.isrealobj)
def isrealobj(x: Any) -> bool:
    """Whether the dtype is none of complex numbers."""
    return not iscomplexobj(x)


@implements(np.isreal)
def isreal(x: Any) -> Any:
    """Of each element, whether its imaginary part is 0."""
    return tensor(x).imag == 0


@implements(np.iscomplex)
def iscomplex(x: Any) -> Any:
    """Of each element, whether its imaginary part is not 0."""
    return tensor(x).imag != 0


@implements(np.real_if_close)
def real_if_close(a: Any, tol: float = 100) -> Any:
    """The real part where no imaginary part is over ``tol`` (units of the rounding if > 1).

    It is looked for on the host.
    """
    x = tensor(a)
    if x.dtype.kind != "c":
        return x
    limit = tol * float(np.finfo(x.dtype).eps) if tol > 1 else tol
    return x.real if bool((abs(x.imag.detach()) < limit).all()) else x


def isscalar(element: Any) -> bool:
    """Whether it is a number or text alone, no array and no tensor (NumPy asks for its type)."""
    return bool(np.isscalar(element))


# --- dtypes -------------------------------------------------------------------------------------


@implements(np.result_type)
def result_type(*arrays_and_dtypes: Any) -> np.dtype[Any]:
    """The dtype that operations of these give; numbers, NumPy's too, do not widen."""
    kinds = [_kind(x) for x in arrays_and_dtypes]
    dtypes = [x for x in kinds if isinstance(x, np.dtype)]
    if any(is_bfloat16(x) for x in dtypes):
        return common_dtype(*dtypes)
    return np.result_type(*kinds)


def _kind(x: Any) -> Any:
    if isinstance(x, TensorBase) or is_array(x):
        return x.dtype
    if isinstance(x, np.generic):
        return x.item()
    return x if isinstance(x, bool | int | float | complex) else resolve_dtype(x)


@implements(np.can_cast)
def can_cast(from_: Any, to: Any, casting: Any = "safe") -> bool:
    """Whether values of ``from_``, an array or a dtype, can be cast to the dtype ``to``."""
    source = from_.dtype if hasattr(from_, "dtype") else resolve_dtype(from_)
    target = resolve_dtype(to)
    if is_bfloat16(source) or is_bfloat16(target):
        widened = common_dtype(source, target) == target
        same = target.kind in "fV" if casting == "same_kind" else casting == "unsafe"
        return source == target or (casting != "no" and (widened or same))
    return bool(np.can_cast(source, target, casting))


@implements(np.min_scalar_type)
def min_scalar_type(a: Any, /) -> np.dtype[Any]:
    """The smallest dtype that holds a single number; that of an array with axes."""
    return np.min_scalar_type(_values(a) if isinstance(a, TensorBase) else to_numpy(a))


@implements(np.common_type)
def common_type(*arrays: Any) -> type:
    """The floating-point type that all arrays can be cast to; integers count as float64."""
    return np.common_type(*[np.empty(0, _known(x).dtype) for x in arrays])


# --- memory -------------------------------------------------------------------------------------


@implements(np.may_share_memory)
def may_share_memory(a: Any, b: Any, /, max_work: int = 0) -> bool:
    """Whether the bounds of both in memory overlap."""
    return _overlap("may_share_memory", a, b, *([max_work] if max_work else []))


@implements(np.shares_memory)
def shares_memory(a: Any, b: Any, /, max_work: int = -1) -> bool:
    """Whether both have an element in common."""
    return _overlap("shares_memory", a, b, *([max_work] if max_work != -1 else []))


def _overlap(name: str, a: Any, b: Any, *work: int) -> bool:
    x, y = (v.data if isinstance(v, TensorBase) else v for v in (a, b))
    if device_of(x) != device_of(y):
        return False
    return bool(getattr(array_module(x), name)(x, y, *work))


# --- text ---------------------------------------------------------------------------------------


def _values(x: Any) -> np.ndarray:
    """The values on the host: what prints them needs no gradient."""
    found: np.ndarray = tensor(x).detach().numpy()
    return found


@implements(np.array_repr)
def array_repr(
    arr: Any, max_line_width: int | None = None, precision: int | None = None,
    suppress_small: bool | None = None,
) -> str:  # fmt: skip
    """The values as NumPy writes an array: ``array([1., 2.])``."""
    return np.array_repr(_values(arr), max_line_width, precision, suppress_small)


@implements(np.array_str)
def array_str(
    a: Any, max_line_width: int | None = None, precision: int | None = None,
    suppress_small: bool | None = None,
) -> str:  # fmt: skip
    """The values in brackets: ``[1. 2.]``."""
    return np.array_str(_values(a), max_line_width, precision, suppress_small)


@implements(np.array2string)
def array2string(
    a: Any, max_line_width: int | None = None, precision: int | None = None,
    suppress_small: bool | None = None, separator: str = " ", prefix: str = "", *,
    formatter: Any = None, threshold: int | None = None, edgeitems: int | None = None,
    sign: Any = None, floatmode: Any = None, suffix: str = "", legacy: Any = None,
) -> str:  # fmt: skip
    """The values as text, as NumPy's options say."""
    return np.array2string(
        _values(a), max_line_width, precision, suppress_small, separator, prefix,
        formatter=formatter, threshold=threshold, edgeitems=edgeitems, sign=sign,
        floatmode=floatmode, suffix=suffix, legacy=legacy,
    )  # fmt: skip

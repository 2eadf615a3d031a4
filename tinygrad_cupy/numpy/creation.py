"""Making arrays: zeros, ranges, grids, copies.

What takes its shape from a tensor (``zeros_like``) is of that tensor's class and on its device; all
else is an `ndarray` on ``device``, `tinygrad_cupy.default_device()` where nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..autograd import TensorBase
from ..autograd.fused import Alias
from ..autograd.levels import Tracer
from ..backend import (
    array_module,
    default_device,
    device_of,
    expect_memory,
    import_cupy,
    is_cuda,
    on_device_of,
)
from ..backend.dtypes import common_dtype, is_narrow, resolve_dtype
from ..ops import shape as joining
from ..ops.promotion import as_float, in_single, single
from ..ops.protocols import implements, is_array
from .arrays import finished, first_tensor, ndarray, tensor, tensors, terms

__all__ = [
    *("arange", "array", "asanyarray", "asarray", "ascontiguousarray", "astype", "c_", "copy"),
    *("empty", "empty_like", "eye", "from_dlpack", "fromfunction", "fromiter", "full"),
    *("full_like", "geomspace", "identity", "linspace", "logspace", "mgrid", "ogrid", "ones"),
    *("ones_like", "r_", "tri", "vander", "zeros", "zeros_like"),
]


# --- from data ----------------------------------------------------------------------------------


def array(
    object: Any,
    dtype: Any = None,
    *,
    copy: bool | None = True,
    order: Any = "K",
    subok: bool = False,
    ndmin: int = 0,
    device: str | None = None,
    requires_grad: bool = False,
) -> Any:
    """A new `ndarray` of a number, an array, a tensor, or a nested list with tensors in it.

    What is computed from tensors stays in their graph. ``requires_grad`` makes a leaf, as
    `Tensor`'s does.
    """
    found = asarray(object, dtype, device=device, copy=copy)
    missing = ndmin - found.ndim
    found = found.reshape(*[1] * missing, *found.shape) if missing > 0 else found
    return found.detach().requires_grad_() if requires_grad else found


def asarray(
    a: Any, dtype: Any = None, order: Any = None, *, device: str | None = None, copy: Any = None
) -> Any:
    """``a`` as an `ndarray`: itself where it is one of that dtype, on that device, else a copy.

    A tensor's memory and graph are shared, an array's memory too.
    """
    if isinstance(a, list | tuple) and first_tensor(a) is not None:
        found = _as_ndarray(tensor(a))
    elif isinstance(a, TensorBase):
        found = _as_ndarray(a)
    else:
        found = ndarray(a, dtype, device)
        if copy and (isinstance(a, np.ndarray) or hasattr(a, "__cuda_array_interface__")):
            return found.clone() if found.dtype == getattr(a, "dtype", None) else found
    made = found is not a and not isinstance(a, TensorBase)
    given = found
    found = found if dtype is None else found.astype(dtype)
    found = found if device is None else found.to(device)
    if copy is False and found is not given:
        raise ValueError("[asarray] expected an array that needs no copy, for copy=False")
    return found.clone() if copy and found is given and not made else found


asanyarray = asarray


def ascontiguousarray(a: Any, dtype: Any = None) -> Any:
    """``a`` in C order and with an axis at least: a copy where it is not."""
    found = asarray(a, dtype)
    found = found.reshape(1) if found.ndim == 0 else found
    return found if found.data.flags.c_contiguous else found.clone()


def made_by_numpy(values: np.ndarray, device: str | None = None) -> Any:
    """What NumPy has made, on ``device`` or the default one."""
    return asarray(values, device=device or default_device())


def _as_ndarray(x: Any) -> Any:
    """The tensor ``x`` as an `ndarray` on the same memory, in the same graph."""
    if isinstance(x, ndarray | Tracer):
        return x
    same: Any = Alias()(x)
    same.__class__ = ndarray
    return same


@implements(np.copy)
def copy(a: Any, order: Any = "K", subok: bool = False) -> Any:
    """A copy in memory of its own, in the graph of ``a``."""
    return tensor(a).clone()


@implements(np.astype)
def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: str | None = None) -> Any:
    """``x`` in another dtype; a copy, unless it has it already and ``copy`` is False."""
    found = tensor(x).astype(dtype)
    found = found if device is None else found.to(device)
    return found.clone() if copy and found is x else found


def from_dlpack(x: Any, /, *, device: str | None = None, copy: bool | None = None) -> Any:
    """An array of another library (its ``__dlpack__``) on the same memory, outside any graph.

    Raises ``RuntimeError`` where that library says that the array is in a graph.
    """
    on_cpu = x.__dlpack_device__()[0] == 1
    found = np.from_dlpack(x) if on_cpu else import_cupy().from_dlpack(x)
    return asarray(found, device=device, copy=copy)


def fromfunction(
    function: Callable[..., Any], shape: Any, *, dtype: Any = float, **options: Any
) -> Any:
    """``function`` of the index of each element, one tensor for each axis."""
    places = [made_by_numpy(part) for part in np.indices(shape, dtype=dtype)]
    return function(*places, **options)


def fromiter(iter: Iterable[Any], dtype: Any, count: int = -1) -> Any:
    """A vector of what an iterable gives."""
    values = list(iter) if count < 0 else [x for x, _ in zip(iter, range(count), strict=False)]
    if len(values) < count:
        raise ValueError(f"[fromiter] expected {count} elements, got {len(values)}")
    return asarray(values, dtype) if values else zeros(0, dtype)


# --- of one value -------------------------------------------------------------------------------


def full(
    shape: Any, fill_value: Any, dtype: Any = None, order: Any = "C", *, device: str | None = None
) -> Any:
    """Every element ``fill_value``, which broadcasts and may be a tensor."""
    sizes = _sizes(shape)
    fill = tensor(fill_value)
    if dtype is not None:
        fill = fill.astype(dtype)
    place = device or (device_of(fill.data) if fill is fill_value else default_device())
    expect_memory("full", sizes, fill.dtype.itemsize, place != "cpu")
    return _as_ndarray(fill).to(place).broadcast_to(sizes).clone()


def zeros(shape: Any, dtype: Any = float, order: Any = "C", *, device: str | None = None) -> Any:
    """Every element 0."""
    return _plain(shape, 0, dtype, device)


def ones(shape: Any, dtype: Any = float, order: Any = "C", *, device: str | None = None) -> Any:
    """Every element 1."""
    return _plain(shape, 1, dtype, device)


def empty(shape: Any, dtype: Any = float, order: Any = "C", *, device: str | None = None) -> Any:
    """To be written to: of zeros, so that what was forgotten is found again."""
    return _plain(shape, 0, dtype, device)


def _sizes(shape: Any) -> tuple[int, ...]:
    return tuple(shape) if isinstance(shape, list | tuple) else (int(shape),)


def _plain(shape: Any, value: int, dtype: Any, device: str | None) -> Any:
    return ndarray.full(_sizes(shape), value, dtype or float, device)


@implements(np.full_like)
def full_like(
    a: Any, fill_value: Any, dtype: Any = None, order: Any = "K", subok: bool = True,
    shape: Any = None, *, device: str | None = None,
) -> Any:  # fmt: skip
    """``fill_value``, which may be a tensor, in the shape and dtype of ``a``."""
    a, fill = tensors(a, fill_value)
    sizes = a.shape if shape is None else _sizes(shape)
    place = device or device_of(a.data)
    return fill.to(place).astype(a.dtype if dtype is None else dtype).broadcast_to(sizes).clone()


@implements(np.zeros_like)
def zeros_like(
    a: Any, dtype: Any = None, order: Any = "K", subok: bool = True, shape: Any = None, *,
    device: str | None = None,
) -> Any:  # fmt: skip
    """Zeros in the shape and dtype of ``a``."""
    return full_like(a, 0, dtype, shape=shape, device=device)


@implements(np.ones_like)
def ones_like(
    a: Any, dtype: Any = None, order: Any = "K", subok: bool = True, shape: Any = None, *,
    device: str | None = None,
) -> Any:  # fmt: skip
    """Ones in the shape and dtype of ``a``."""
    return full_like(a, 1, dtype, shape=shape, device=device)


@implements(np.empty_like)
def empty_like(
    prototype: Any, /, dtype: Any = None, order: Any = "K", subok: bool = True, shape: Any = None,
    *, device: str | None = None,
) -> Any:  # fmt: skip
    """To be written to, in the shape and dtype of ``prototype``: of zeros."""
    return full_like(prototype, 0, dtype, shape=shape, device=device)


def eye(
    N: int, M: int | None = None, k: int = 0, dtype: Any = float, order: Any = "C", *,
    device: str | None = None,
) -> Any:  # fmt: skip
    """Ones on diagonal ``k`` of a matrix (N, M), zeros elsewhere."""
    expect_memory("eye", (N, N if M is None else M), 8, (device or default_device()) != "cpu")
    return made_by_numpy(np.eye(N, M, k, dtype), device)


def identity(n: int, dtype: Any = None) -> Any:
    """The identity matrix (n, n)."""
    return eye(n, dtype=dtype or float)


def tri(N: int, M: int | None = None, k: int = 0, dtype: Any = float) -> Any:
    """Ones at and below diagonal ``k`` of a matrix (N, M), zeros elsewhere."""
    return made_by_numpy(np.tri(N, M, k, dtype))


@implements(np.vander)
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """Powers of the vector ``x`` as columns, from N - 1 down to 0, or up from 0."""
    x = tensor(x)
    if x.ndim != 1:
        raise ValueError(f"[vander] expected a vector, got shape {x.shape}")
    count = len(x.data) if N is None else N
    powers = range(count) if increasing else range(count - 1, -1, -1)
    if not count:
        return x[:0].reshape(len(x.data), 0)
    return in_single(x, lambda x: joining.stack([x**power for power in powers], 1))


# --- ranges -------------------------------------------------------------------------------------


def arange(
    start: Any, stop: Any = None, step: Any = 1, dtype: Any = None, *, device: str | None = None
) -> Any:
    """start, start + step, … below stop; from 0 where one number is given."""
    first, last = (0, start) if stop is None else (start, stop)
    numpys: Any = np.arange
    return made_by_numpy(numpys(first, last, step, dtype), device)


@implements(np.linspace)
def linspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, retstep: bool = False,
    dtype: Any = None, axis: int = 0, *, device: str | None = None,
) -> Any:  # fmt: skip
    """``num`` numbers at equal steps from ``start`` to ``stop``, which may be tensors."""
    start, stop = _ends(start, stop)
    if first_tensor((start, stop)) is None:
        numpys: Any = np.linspace
        plain = numpys(start, stop, num, endpoint, retstep, dtype, axis)
        values, gap = plain if retstep else (plain, None)
        found = made_by_numpy(values, device)
        return (found, gap) if retstep else found
    (start, stop), narrow = _in_single(*map(as_float, terms(*_in_double(dtype, start, stop))))
    count = num - 1 if endpoint else num
    gap = (stop - start) / count if count > 0 else (stop - start) * np.nan
    steps = _counted(num, gap)
    found = steps * (gap if count > 0 else stop - start) + start
    found = _placed(_ending(found, stop, num, endpoint), axis)
    rounded = narrow if dtype is None else dtype
    found = finished(found if device is None else found.to(device), rounded)
    return (found, gap if narrow is None else gap.astype(narrow)) if retstep else found


def _ends(start: Any, stop: Any) -> tuple[Any, Any]:
    """Both ends, CuPy's arrays as tensors: NumPy's functions would not take them."""
    first, last = (tensor(x) if is_cuda(x) else x for x in (start, stop))
    return first, last


def _counted(num: int, like: Any) -> Any:
    """0 … num - 1 along a new first axis, made where ``like`` is: no copy from the host."""
    with on_device_of(like.data):
        counted = array_module(like.data).arange(num).reshape(-1, *[1] * like.ndim)
    return like._plain._wrap(counted).astype(like.dtype)


def _ending(found: Any, stop: Any, num: int, endpoint: bool) -> Any:
    """``found``, the last of which is exactly ``stop``."""
    if not endpoint or num < 2:
        return found
    return found.where(_counted(num, found[0]) < num - 1, stop)


def _placed(found: Any, axis: int) -> Any:
    """``found`` with its first axis at ``axis``."""
    places = list(range(1, found.ndim))
    places.insert(axis if axis >= 0 else found.ndim + axis, 0)
    return found.permute(*places) if axis else found


@implements(np.logspace)
def logspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: Any = 10.0,
    dtype: Any = None, axis: int = 0,
) -> Any:  # fmt: skip
    """``base`` to the powers of `linspace`."""
    (start, stop), narrow = _in_single(*_in_double(dtype, *_ends(start, stop)))
    powers = base ** linspace(start, stop, num, endpoint, axis=axis)
    return finished(powers, narrow if dtype is None else dtype)


@implements(np.geomspace)
def geomspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0
) -> Any:
    """``num`` numbers at equal ratios from ``start`` to ``stop``, of one sign."""
    start, stop = _ends(start, stop)
    if first_tensor((start, stop)) is None:
        return made_by_numpy(np.geomspace(start, stop, num, endpoint, dtype, axis))
    ends = map(as_float, terms(*_in_double(dtype, start, stop)))
    (start, stop), narrow = _in_single(*ends)
    powers = linspace(start * 0, (stop / start).log(), num, endpoint)
    found = _placed(_ending(powers.exp() * start, stop, num, endpoint), axis)
    return finished(found, narrow if dtype is None else dtype)


def _in_double(dtype: Any, *ends: Any) -> list[Any]:
    """The ends in float64 where that is asked for: rounded steps would show."""
    wide = dtype is not None and resolve_dtype(dtype) == np.float64
    return [tensor(x).astype(np.float64) if wide and isinstance(x, TensorBase) else x for x in ends]


def _in_single(start: Any, stop: Any) -> tuple[list[Any], Any]:
    """Both ends in float32 where they have 16 bits, and the dtype to round to at the end."""
    ends: list[Any] = [start, stop]
    dtypes = [x.dtype for x in ends if isinstance(x, TensorBase)]
    if not dtypes or not all(is_narrow(dtype) for dtype in dtypes):
        return ends, None
    return [single(x) if hasattr(x, "requires_grad") else x for x in ends], common_dtype(*dtypes)


# --- by slices ----------------------------------------------------------------------------------


class _Joiner:
    """``r_[1:4, 0, x]`` and ``c_[x, y]``: NumPy's, of tensors too."""

    def __init__(self, numpys: Any, columns: bool) -> None:
        self.numpys, self.columns = numpys, columns

    def __getitem__(self, key: Any) -> Any:
        parts = [
            tensor(x) if is_cuda(x) else x for x in (key if isinstance(key, tuple) else (key,))
        ]
        if first_tensor(parts) is None:
            here = any(is_array(part) for part in parts)  # and stays here
            return asarray(self.numpys[key]) if here else made_by_numpy(self.numpys[key])
        if any(isinstance(part, str) for part in parts):
            raise TypeError("[r_] expected arrays, numbers and slices beside tensors, got a string")
        like = first_tensor(parts)
        found = [tensor(np.r_[p] if isinstance(p, slice) else p, like) for p in parts]
        found = [x.to(device_of(like.data)) for x in found]
        found = [x.reshape(1) if x.ndim == 0 else x for x in found]
        if self.columns:
            found = [x.unsqueeze(1) if x.ndim == 1 else x for x in found]
        return joining.concat(found, -1 if self.columns else 0)


class _Grid:
    """``mgrid[0:3, 0:4]``: NumPy's, as tensors."""

    def __init__(self, numpys: Any) -> None:
        self.numpys = numpys

    def __getitem__(self, key: Any) -> Any:
        found = self.numpys[key]
        return (
            tuple(map(made_by_numpy, found)) if isinstance(found, tuple) else made_by_numpy(found)
        )


r_, c_ = _Joiner(np.r_, False), _Joiner(np.c_, True)
mgrid, ogrid = _Grid(np.mgrid), _Grid(np.ogrid)

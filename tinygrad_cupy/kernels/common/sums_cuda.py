"""Sums over axes on a GPU, the kernel in sums.cu: at the speed of memory in any layout.

CuPy's own reductions take a hundred times as long where the summed axes are the outer ones in
memory, as for the gradient of a convolution's bias: images lie N, H, W, C, and C alone is kept.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ...backend import Array, CudaSource, import_cupy, null, strides_of
from ...backend.block_counter import ticket_of
from ...backend.cuda_source import float64s, number_macros, struct
from ...backend.dtypes import is_float
from .headers import LAST_BLOCK, VECTOR
from .layout import contiguous
from .sums_plan import AXES, Axes, Plan, plan_of

_kernels = CudaSource(__file__, LAST_BLOCK, VECTOR, "sums.cu", defines=(f"AXES={AXES}",))
_LAYOUT = np.dtype([("numbers", np.int64, 5 + 6 * AXES)])
_OUT = {"float32": "float", "float64": "double", "int64": "i64"}
_OUT |= {"float16": "__half", "bfloat16": "__nv_bfloat16"}
_WIDE = {"i": np.int64, "c": np.complex128}


def suits(x: Array) -> bool:
    """Whether `relu_backward_and_sum` is for x."""
    return bool(x.size and is_float(x.dtype))


def relu_backward_and_sum(grad: Array, y: Array | None) -> tuple[Array, Array]:
    """``grad`` (N, O) where y, ReLU's output, is positive, and the sums (O,) of that over N."""
    grad = contiguous(grad)
    if y is None:
        return grad, sums(grad, (0,), False, grad.dtype)
    masked = import_cupy().empty_like(grad)
    total = sums(grad, (0,), False, grad.dtype, gate=(contiguous(y), masked))
    return masked, total


def sums(
    x: Array,
    axes: Axes,
    keepdims: bool,
    dtype: Any,
    divisor: float = 1.0,
    gate: tuple[Array, Array] | None = None,
) -> Array:
    """The sum of x over ``axes``, over ``divisor`` and rounded once to ``dtype``.

    It is added up in float64; of integers in int64 where ``dtype`` is that; of complex numbers
    real and imaginary parts by themselves. ``gate``: y and masked, as in sums.cu, where x is in C
    order and aligned as they are.
    """
    plan = _plan(x, axes, keepdims) if x.size else None
    if plan is not None:
        return _launch(plan, x, dtype, divisor, gate)
    single = x.astype(np.float32) if x.dtype.kind == "V" else x  # CuPy knows bfloat16 in part
    total = single.sum(axes, _WIDE.get(dtype.kind, np.float64), None, keepdims)
    return (total if dtype.kind in _WIDE else total / divisor).astype(dtype)


def _plan(x: Array, axes: Axes, keepdims: bool) -> Plan | None:
    shape, strides, itemsize = x.shape, strides_of(x), x.itemsize
    if x.dtype.kind == "c":  # two numbers side by side
        itemsize //= 2
        shape, strides = (*shape, 2), (*strides, itemsize)
    return plan_of(shape, strides, axes, keepdims, itemsize, x.data.ptr % 16)


def _launch(
    plan: Plan, x: Array, dtype: Any, divisor: float, gate: tuple[Array, Array] | None
) -> Array:
    cupy, (_, parts), real = import_cupy(), plan.grid, _real(dtype)
    total: Array = cupy.empty(plan.shape if plan.order is None else plan.stored, real)
    partials = ticket = null()
    if parts > 1:
        partials = cupy.empty((parts, plan.outputs), np.int64 if dtype.kind == "i" else np.float64)
        ticket = ticket_of(partials)
    y, masked = gate or (null(), null())
    given = (x, y, masked, total, partials, ticket, *float64s(divisor), _layout(plan.numbers))
    defines = _defines(plan.macros, _real(x.dtype), real, gate is not None)
    _kernels.launch("axis_sums", plan.grid, given, defines=defines)
    order, shape = plan.order, plan.shape
    if dtype.kind == "c":
        total, order, shape = total.view(dtype)[..., 0], order and order[:-1], shape[:-1]
    return total if order is None else total.transpose(order).reshape(shape)


@functools.cache
def _real(dtype: Any) -> Any:
    """The dtype of the parts of complex numbers; others as they are."""
    return np.dtype(f"f{dtype.itemsize // 2}") if dtype.kind == "c" else dtype


@functools.lru_cache(4096)
def _layout(numbers: tuple[int, ...]) -> Any:
    return struct(numbers, _LAYOUT)


@functools.cache
def _defines(plan: tuple[str, ...], given: Any, made: Any, gated: bool) -> tuple[str, ...]:
    """The macros of a kernel from one dtype to another."""
    found = [*number_macros(given), *plan, f"OUT={_OUT[made.name]}"]
    found.append("SUM=i64" if made.kind == "i" else "SUM=double")
    return (*found, *["WHOLE"][: not is_float(given)], *["GATED"][:gated])

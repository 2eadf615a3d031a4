"""Sums over axes on a GPU, the kernel in sums.cu: at the speed of memory in any layout.

CuPy's own reductions take a hundred times as long where the summed axes are the outer ones in
memory, as for the gradient of a convolution's bias: images lie N, H, W, C, and C alone is kept.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from ...backend import Array, CudaSource, import_cupy, null, strides_of
from ...backend.block_counter import ticket_of
from ...backend.cuda_source import float64s, number_macros, struct
from ...backend.dtypes import is_float
from .headers import LAST_BLOCK, VECTOR
from .layout import ALIGNED, contiguous
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
    if x.size:
        place = (x.shape, strides_of(x), x.data.ptr % ALIGNED)
        ready = _ready(place, axes, keepdims, x.dtype, dtype, divisor, gate is not None)
        if ready is not None:
            return _launch(ready, x, dtype, gate or (null(), null()))
    single = x.astype(np.float32) if x.dtype.kind == "V" else x  # CuPy knows bfloat16 in part
    total = single.sum(axes, _WIDE.get(dtype.kind, np.float64), None, keepdims)
    return (total if dtype.kind in _WIDE else total / divisor).astype(dtype)


class _Ready(NamedTuple):
    """What of a launch follows from where its array lies."""

    plan: Plan
    made: Any  # the dtype of the result, of complex numbers that of their parts
    wide: Any  # and what is added up in
    numbers: tuple[Any, ...]
    defines: tuple[str, ...]


Place = tuple[tuple[int, ...], tuple[int, ...], int]  # shape, strides, alignment


@functools.lru_cache(4096)
def _ready(
    place: Place,
    axes: Axes,
    keepdims: bool,
    given: Any,
    made: Any,
    divisor: float,
    gated: bool,
) -> _Ready | None:
    """Of sums from one dtype to another; None where there is no plan."""
    shape, strides, alignment = place
    if given.kind == "c":  # two numbers side by side
        given, made = (np.dtype(f"f{dtype.itemsize // 2}") for dtype in (given, made))
        shape, strides = (*shape, 2), (*strides, given.itemsize)
    plan = plan_of(shape, strides, axes, keepdims, given.itemsize, alignment)
    if plan is None:
        return None
    whole = made.kind == "i"
    defines = [*number_macros(given), *plan.macros, f"OUT={_OUT[made.name]}"]
    defines += ["SUM=i64" if whole else "SUM=double", *["GATED"][:gated]]
    if not is_float(given):
        defines.append("WHOLE")
    numbers = (*float64s(divisor), struct(plan.numbers, _LAYOUT))
    return _Ready(plan, made, np.int64 if whole else np.float64, numbers, tuple(defines))


def _launch(ready: _Ready, x: Array, dtype: Any, gate: tuple[Any, Any]) -> Array:
    cupy, plan = import_cupy(), ready.plan
    total: Array = cupy.empty(plan.shape if plan.order is None else plan.stored, ready.made)
    partials = ticket = null()
    if plan.grid[1] > 1:
        partials = cupy.empty((plan.grid[1], plan.outputs), ready.wide)
        ticket = ticket_of(partials)
    given = (x, *gate, total, partials, ticket, *ready.numbers)
    _kernels.launch("axis_sums", plan.grid, given, defines=ready.defines)
    order, shape = plan.order, plan.shape
    if dtype.kind == "c":
        total, order, shape = total.view(dtype)[..., 0], order and order[:-1], shape[:-1]
    return total if order is None else total.transpose(order).reshape(shape)

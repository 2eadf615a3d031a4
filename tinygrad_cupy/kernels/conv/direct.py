"""Direct convolution on a GPU: sequences and volumes of few channels, read as they lie.

Arrays are N, C, D, H, W in memory, and so are the results: no copy into another layout, no column
matrix, one launch a pass and one more that adds up a weight gradient. Any stride, padding,
dilation and groups, float16 to float64. The gradient by the input is the same product, with the
kernel turned, of a gradient between whose elements stand stride - 1 zeros, which are nowhere but
in shared memory.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...backend import Array, CudaSource, blas, import_cupy, int32s, null
from ...backend.cuda_source import dtype_macros, struct
from ...backend.gpu import GpuProperties, properties_of
from ..common import sums
from ..common.layout import contiguous
from ..common.windows import Geometry, Shape
from .direct_plan import Plan, Problem, product_plan, weight_plan
from .epilogue import Epilogue

Body = Callable[..., Any]

SUM_TILE = 32  # elements of a weight that a block of direct_sum.cu adds up
MOST_CHANNELS = 64  # of a group: of more, products on larger tiles are faster

_product = CudaSource(__file__, "direct_tiles.cu", "direct.cu")
_wgrad = CudaSource(__file__, "direct_tiles.cu", "direct_wgrad.cu")
_sum = CudaSource(__file__, "direct_sum.cu", defines=(f"TILE={SUM_TILE}",))
_SIZES = np.dtype([("numbers", np.int32, 21)])


# --- what `kernels.conv` calls ------------------------------------------------------------------


def fprop(otherwise: Body) -> Body:
    """``otherwise`` where direct convolution is not for it."""

    @functools.wraps(otherwise)
    def of_any(x: Array, w: Array, bias: Array | None, geometry: Geometry) -> Array:
        launch = _forward(x, w, geometry, bias is not None)
        return otherwise(x, w, bias, geometry) if launch is None else launch(x, w, bias)

    return of_any


def dgrad(otherwise: Body) -> Body:
    """``otherwise`` where direct convolution is not for it."""

    @functools.wraps(otherwise)
    def of_any(g: Array, w: Array, geometry: Geometry, x_shape: Shape) -> Array:
        launch = _by_input(g, w, geometry, x_shape)
        return otherwise(g, w, geometry, x_shape) if launch is None else launch(g, w, None)

    return of_any


def wgrad(otherwise: Body) -> Body:
    """``otherwise`` where direct convolution is not for it."""

    @functools.wraps(otherwise)
    def of_any(x: Array, g: Array, geometry: Geometry, w_shape: Shape) -> Array:
        launch = _by_weight(x, g, geometry, w_shape)
        return otherwise(x, g, geometry, w_shape) if launch is None else launch(x, g)

    return of_any


def wgrad_and_bias(otherwise: Body) -> Body:
    """``otherwise`` where direct convolution is not for it."""

    @functools.wraps(otherwise)
    def of_any(x: Array, g: Array, geometry: Geometry, w_shape: Shape) -> tuple[Array, Array]:
        launch = _by_weight(x, g, geometry, w_shape)
        if launch is None:
            found: tuple[Array, Array] = otherwise(x, g, geometry, w_shape)
            return found
        return launch(x, g), sums.total(g, (0, *range(2, g.ndim)))

    return of_any


def backward(otherwise: Body) -> Body:
    """``otherwise`` where direct convolution is not for it."""

    @functools.wraps(otherwise)
    def of_any(g: Array, x: Array, w: Array, geometry: Geometry, by_bias: bool) -> Any:
        by_x = _by_input(g, w, geometry, x.shape)
        by_w = None if by_x is None else _by_weight(x, g, geometry, w.shape)
        if by_x is None or by_w is None:
            return otherwise(g, x, w, geometry, by_bias)
        g = contiguous(g, g.itemsize)
        db = sums.total(g, (0, *range(2, g.ndim))) if by_bias else None
        return by_x(g, w, None), by_w(x, g), db

    return of_any


def prepare_backward(otherwise: Body) -> Body:
    """``otherwise`` where direct convolution is not for it."""

    @functools.wraps(otherwise)
    def of_any(x: Array, w: Array, geometry: Geometry, epilogue: Epilogue) -> None:
        if not _suits(x, w):
            otherwise(x, w, geometry, epilogue)
            return
        how = (x.shape, w.shape, geometry, x.dtype, blas.get_precision(), properties_of(x))
        if not _prepared(*how):
            otherwise(x, w, geometry, epilogue)

    return of_any


@functools.lru_cache(1024)
def _prepared(x_shape: Shape, w_shape: Shape, geometry: Geometry, *how: Any) -> bool:
    """Whether there are kernels for both gradients, which are being compiled then."""
    out = geometry.windows.output_size("conv", x_shape[2:])
    g_shape = (x_shape[0], w_shape[0], *out)
    launches = (
        _input_launch(g_shape, w_shape, geometry, x_shape, *how),
        _weight_launch(x_shape, g_shape, geometry, w_shape, *how),
    )
    for launch in launches:
        if launch is not None:
            launch.prepare()
    return None not in launches


# --- launches -----------------------------------------------------------------------------------


def _suits(x: Array, other: Array) -> bool:
    """Whether direct convolution may be for x, of sequences or volumes."""
    return bool(
        x.ndim != 4 and x.dtype == other.dtype and dtype_macros(x.dtype) and x.size and other.size
    )


def _forward(x: Array, w: Array, geometry: Geometry, biased: bool) -> _Product | None:
    if not _suits(x, w):
        return None
    how = (x.dtype, blas.get_precision(), properties_of(x))
    return _forward_launch(x.shape, w.shape, geometry, biased, *how)


def _by_input(g: Array, w: Array, geometry: Geometry, x_shape: Shape) -> _Product | None:
    if not _suits(g, w):
        return None
    how = (g.dtype, blas.get_precision(), properties_of(g))
    return _input_launch(g.shape, w.shape, geometry, x_shape, *how)


def _by_weight(x: Array, g: Array, geometry: Geometry, w_shape: Shape) -> _Sums | None:
    if not _suits(x, g):
        return None
    how = (x.dtype, blas.get_precision(), properties_of(x))
    return _weight_launch(x.shape, g.shape, geometry, tuple(w_shape), *how)


class _Product(NamedTuple):
    """direct.cu, ready for its arrays."""

    plan: Plan
    numbers: Any
    shape: Shape
    dtype: Any

    def __call__(self, x: Array, w: Array, bias: Array | None) -> Array:
        y = import_cupy().empty(self.shape, self.dtype)
        plan = self.plan
        given = null() if bias is None else contiguous(bias, y.itemsize)
        arrays = (contiguous(x, y.itemsize), contiguous(w, y.itemsize), given, y, self.numbers)
        _product.launch("conv_direct", plan.grid, arrays, None, plan.shared, plan.defines)
        return y

    def prepare(self) -> None:
        _product.prepare(self.plan.defines)


class _Sums(NamedTuple):
    """direct_wgrad.cu and direct_sum.cu, ready for their arrays."""

    plan: Plan
    numbers: Any
    shape: Shape
    dtype: Any
    macros: tuple[str, ...]
    counts: tuple[Any, ...]

    def __call__(self, x: Array, g: Array) -> Array:
        cupy, plan = import_cupy(), self.plan
        parts = plan.grid[0]
        summed = np.float64 if self.dtype == np.float64 else np.float32
        partial = cupy.empty(parts * math.prod(self.shape), summed)
        arrays = (contiguous(x, x.itemsize), contiguous(g, g.itemsize), partial, self.numbers)
        _wgrad.launch("conv_direct_wgrad", plan.grid, arrays, None, plan.shared, plan.defines)
        dw = cupy.empty(self.shape, self.dtype)
        blocks = -(-dw.size // SUM_TILE)
        given = (partial, dw, *self.counts)
        _sum.launch("conv_direct_sum", blocks, given, defines=self.macros)
        return dw

    def prepare(self) -> None:
        _wgrad.prepare(self.plan.defines)
        _sum.prepare(self.macros)


@functools.lru_cache(4096)
def _forward_launch(
    x_shape: Shape, w_shape: Shape, geometry: Geometry, biased: bool, *how: Any
) -> _Product | None:
    windows, groups = geometry
    out = windows.output_size("conv", x_shape[2:])
    per_group = (w_shape[1], w_shape[0] // groups)
    sizes = (x_shape[0], groups, *per_group, x_shape[2:], out)
    return _product_launch(sizes, windows[:4], (1,) * len(out), (biased, False), *how)


@functools.lru_cache(4096)
def _input_launch(
    g_shape: Shape, w_shape: Shape, geometry: Geometry, x_shape: Shape, *how: Any
) -> _Product | None:
    windows, groups = geometry
    per_group = (w_shape[0] // groups, w_shape[1])
    sizes = (g_shape[0], groups, *per_group, g_shape[2:], tuple(x_shape[2:]))
    back = windows.mirrored
    ones = (1,) * len(back.kernel)
    turned = (back.kernel, ones, back.padding, back.dilation)
    return _product_launch(sizes, turned, windows.stride, (False, True), *how)


def _product_launch(
    sizes: Any, windows: Any, apart: Shape, flags: tuple[bool, bool], *how: Any
) -> _Product | None:
    problem = _problem(sizes, windows, apart, *how)
    plan = None if problem is None else product_plan(problem)
    if problem is None or plan is None or not _counted(plan):
        return None
    macros = [f"{name}={flag:d}" for name, flag in zip(("BIAS", "TURNED"), flags, strict=True)]
    plan = plan._replace(defines=(*plan.defines, *macros, *dtype_macros(how[0])))
    shape = (problem.images, problem.groups * problem.outputs, *sizes[-1])
    return _Product(plan, struct(plan.numbers, _SIZES), shape, how[0])


@functools.lru_cache(4096)
def _weight_launch(
    x_shape: Shape, g_shape: Shape, geometry: Geometry, w_shape: Shape, *how: Any
) -> _Sums | None:
    windows, groups = geometry
    per_group = (w_shape[1], w_shape[0] // groups)
    sizes = (x_shape[0], groups, *per_group, x_shape[2:], g_shape[2:])
    problem = _problem(sizes, windows[:4], (1,) * len(g_shape[2:]), *how)
    plan = None if problem is None else weight_plan(problem)
    if problem is None or plan is None or not _counted(plan) or math.prod(w_shape) >= 2**31:
        return None
    macros = dtype_macros(how[0])
    plan = plan._replace(defines=(*plan.defines, *macros))
    counts = int32s(plan.grid[0], math.prod(w_shape), problem.taps, w_shape[1])
    return _Sums(plan, struct(plan.numbers, _SIZES), w_shape, how[0], macros, counts)


def _counted(plan: Plan) -> bool:
    """Whether ints count the tiles, and a grid has as many rows."""
    return plan.numbers[-2] < 2**31 and plan.grid[1] < 2**16


def _problem(
    sizes: Any, windows: Any, apart: Shape, dtype: Any, precision: str, gpu: GpuProperties
) -> Problem | None:
    """Of three axes; None with too many channels."""
    images, groups, channels, outputs, size, out = sizes
    if max(channels, outputs) > MOST_CHANNELS:
        return None
    more = 3 - len(out)
    kernel, stride, padding, dilation = windows
    single = dtype == np.float32
    mma = single and precision != "fp32" and gpu.tensor_cores and outputs >= 4
    return Problem(
        images,
        groups,
        channels,
        outputs,
        (1,) * more + tuple(size),
        (1,) * more + tuple(out),
        (1,) * more + kernel,
        (1,) * more + stride,
        (0,) * more + padding,
        (1,) * more + dilation,
        (1,) * more + apart,
        8 if dtype == np.float64 else 4,
        mma,
        gpu,
    )

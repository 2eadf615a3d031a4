"""Convolution on a GPU: which kernel does it, and with what tiles.

Families, all without a column matrix, for arrays laid out N, H, W, C: images with few channels
(`few_channels.cu`); products that keep a tile's input in shared memory (`implicit_gemm.cu`,
`wgrad.cu`), for up to some 64 channels; on Hopper wide layers and those with strides, in 16 bits as
well (`wide.py`); channels that are each by itself (`depthwise.py`). `choice.py` says which of them
it is. 1 × 1 layers are products (`pointwise.py`), and what stands behind a convolution without
being done by its kernel is `pooling.py`'s. What is left (groups of several channels, float64, and
elsewhere strided dgrad and 16 bits) goes through `reference`'s im2col, which is also the plain
reference. Letters are explained in `common.windows`.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from ...backend import Array, CudaSource, blas, import_cupy, int32s, null
from ...backend.dtypes import resolve_dtype
from ...backend.gpu import GpuProperties, properties_of
from ..common import sums
from ..common.layout import contiguous, empty_last, last
from ..common.pool2x2 import MASKED, POOL
from ..common.windows import Geometry, Shape, Windows
from . import depthwise, fused_reference, pointwise, pooling, reference, wide
from .choice import by_depthwise, by_wide
from .epilogue import Epilogue
from .implicit_gemm_plan import forward_plan
from .launch import Launch
from .plan import PRECISIONS, Problem, few_channels, few_plan, shape_defines
from .wgrad_plan import weight_plan
from .wgrad_sums import Partials

_MASKED = (f"MASKED={MASKED}",)

_gemm = (__file__, "tiles.cu", "implicit_gemm.cu")
_mma = CudaSource(*_gemm, "mma.cu", defines=_MASKED)
_wgmma = CudaSource(*_gemm, "wgmma.cu", arch="sm_90a", defines=_MASKED)
_wgrad = CudaSource(__file__, "tiles.cu", "wgrad.cu")
_few = CudaSource(__file__, "few_channels.cu", defines=_MASKED)

EACH_BYTES = 1 << 28  # of the columns that `wgrad_each` lays out at a time
FLOAT, BYTE = np.dtype(np.float32), np.dtype(np.uint8)

# --- what the engine calls ----------------------------------------------------------------------


def fprop(x: Array, w: Array, bias: Array | None, geometry: Geometry) -> Array:
    """y (N, O, OH, OW) from x (N, C, H, W), w (O, C/G, KH, KW) and bias (O,)."""
    return fused_forward(x, w, bias, geometry, Epilogue())[0]


def dgrad(g: Array, w: Array, geometry: Geometry, x_shape: Shape) -> Array:
    """Gradient by the input, (N, C, H, W), from g (N, O, OH, OW): a transposed convolution."""
    if _by_depthwise(g, w, geometry, x_shape, w.shape, g.shape):
        return depthwise.dgrad(g, w, geometry.windows, x_shape)
    if _is_product(g, w, geometry, w.shape) and g.shape[2:] == tuple(x_shape[2:]):
        return pointwise.dgrad(g, w)
    if _by_wide("dgrad", g, w, geometry, x_shape, g.shape):
        return wide.dgrad(g, w, geometry.windows, tuple(x_shape), blas.get_precision())
    mirrored = reference.gathering(geometry, g.shape[2:], x_shape[2:])
    if mirrored is not None and _suits(g, w, geometry._replace(windows=mirrored)):
        product = _product(g, w, None, mirrored, x_shape[1], flip=True)
        if product is not None:
            return product[0]
    return reference.dgrad(g, w, geometry, x_shape)


def wgrad(x: Array, g: Array, geometry: Geometry, w_shape: Shape) -> Array:
    """Gradient by the weight, (O, C/G, KH, KW), from x (N, C, H, W) and g (N, O, OH, OW)."""
    if _is_product(x, g, geometry, w_shape) and x.shape[2:] == g.shape[2:]:
        return pointwise.wgrad(x, g)
    if _by_wide("wgrad", x, g, geometry, x.shape, g.shape, w_shape):
        return wide.wgrad(x, g, geometry.windows, w_shape, blas.get_precision())
    both = _sums_of_whole(x, g, geometry, w_shape)
    return reference.wgrad(x, g, geometry, w_shape) if both is None else both[0]


def wgrad_and_bias(x: Array, g: Array, geometry: Geometry, w_shape: Shape) -> tuple[Array, Array]:
    """`wgrad` and the gradient by the bias, (O,), from one pass over g where a kernel is for it."""
    both = None
    if not _is_wgrad_alone(x, g, geometry, w_shape):
        both = _sums_of_whole(x, g, geometry, w_shape)
    return both or (wgrad(x, g, geometry, w_shape), sums.total(g, (0, 2, 3)))


def backward(
    g: Array, x: Array, w: Array, geometry: Geometry, by_bias: bool
) -> tuple[Array, Array, Array | None]:
    """Gradients by x, w and, where asked for, a bias."""
    dx = dgrad(g, w, geometry, tuple(x.shape))
    if by_bias:
        return dx, *wgrad_and_bias(x, g, geometry, tuple(w.shape))
    return dx, wgrad(x, g, geometry, tuple(w.shape)), None


def wgrad_each(x: Array, g: Array, geometry: Geometry, w_shape: Shape) -> Array:
    """The weight gradient of each element: im2col, and one product for many elements."""
    count, o, c, kh, kw = w_shape
    out_size = (g.shape[3], g.shape[4])
    places, taps = g.shape[1] * g.shape[3] * g.shape[4], kh * kw * c
    dw = import_cupy().empty(w_shape, x.dtype)
    together = max(1, EACH_BYTES // max(1, places * taps * x.itemsize))
    for start in range(0, count, together):
        some = slice(start, min(start + together, count))
        images = x[some].reshape(-1, *x.shape[2:])
        windows = reference.windows_of(images, geometry, out_size)
        rows = reference.window_rows(windows, 1)[0].reshape(-1, places, taps)
        by_place = g[some].transpose(0, 2, 1, 3, 4).reshape(-1, o, places)
        taps_first = blas.matmul(by_place, rows).reshape(-1, o, kh, kw, c)
        dw[some] = taps_first.transpose(0, 1, 4, 2, 3)
    return dw


def fused_forward(
    x: Array, w: Array, bias: Array | None, geometry: Geometry, epilogue: Epilogue
) -> tuple[Array, Array | None]:
    """Convolution, then bias, ReLU and 2 × 2 max-pool where wanted: y and the pool's argmax."""
    relu, pool = epilogue
    if pool:  # an error where there is no window
        size = geometry.windows.output_size("conv2d", x.shape[2:])
        POOL.output_size("max_pool2d", size)
    out = (x.shape[0], w.shape[0], *geometry.windows.output_size("conv2d", x.shape[2:]))
    if _by_depthwise(x, w, geometry, x.shape, w.shape, out):
        y = depthwise.fprop(x, w, bias, geometry.windows, relu)
        return pooling.pooled(y, relu) if pool else (y, None)
    if _is_product(x, w, geometry, w.shape) and not pool:
        return pointwise.fprop(x, w, bias, relu), None
    if _by_wide("pool" if pool else "fprop", x, w, geometry, x.shape, out):
        y = wide.fprop(x, w, bias, geometry.windows, blas.get_precision(), relu)
        return pooling.pooled(y, relu) if pool else (y, None)
    if _suits(x, w, geometry):
        product = _product(x, w, bias, geometry.windows, w.shape[0], relu=relu, pool=pool)
        if product is not None:
            return product
    return fused_reference.forward(x, w, bias, geometry, epilogue)


def prepare_backward(x: Array, w: Array, geometry: Geometry, epilogue: Epilogue) -> None:
    """Have the kernels of `fused_backward` compiled, while others of a first step are."""
    if x.dtype == FLOAT or properties_of(x).wgmma or geometry.groups > 1:
        how = (geometry, epilogue, x.dtype.name, blas.get_precision(), properties_of(x))
        _prepare_backward(x.shape, w.shape, *how)


def fused_backward(
    grad: Array,
    x: Array,
    w: Array,
    y: Array | None,
    argmax: Array | None,
    geometry: Geometry,
    epilogue: Epilogue,
    needs: tuple[bool, ...],
) -> tuple[Array | None, Array | None, Array | None]:
    """Gradients by x, w and bias of `fused_forward`, each where ``needs`` asks for it.

    Of y and argmax only one is read: the argmax where there was a pool.
    """
    windows, w_shape, (relu, pool) = geometry.windows, tuple(w.shape), epilogue
    suits = _suits(x, grad, geometry)
    wanted_bias = len(needs) > 2 and needs[2]
    if suits and not needs[0] and few_channels(w_shape, windows):
        return None, *_few_weight(
            x, grad, y if relu and not pool else None, argmax, windows, w_shape
        )
    size = windows.output_size("conv2d", x.shape[2:])
    g = pooling.opened(grad, y, argmax, size) if relu or pool else grad
    dx = dgrad(g, w, geometry, tuple(x.shape)) if needs[0] else None
    both = None
    if (needs[1] or wanted_bias) and not _is_wgrad_alone(x, g, geometry, w_shape):
        both = _sums_of_whole(x, g, geometry, w_shape)
    if both is not None:
        return dx, *both
    dw = wgrad(x, g, geometry, w_shape) if needs[1] else None
    return dx, dw, sums.total(g, (0, 2, 3)) if wanted_bias else None


def _by_depthwise(
    x: Array, other: Array, geometry: Geometry, x_shape: Shape, w_shape: Shape, y_shape: Shape
) -> bool:
    """Whether depthwise.py does all passes: see `by_depthwise`. Both arrays are of one dtype."""
    if geometry.groups == 1 or x.dtype != other.dtype:
        return False
    return by_depthwise(tuple(x_shape), tuple(w_shape), tuple(y_shape), geometry, x.dtype.name)


def _is_product(x: Array, other: Array, geometry: Geometry, w_shape: Shape) -> bool:
    """Whether pointwise.py does all passes. Both arrays are of one dtype, and neither is empty."""
    if geometry.windows.kernel != (1, 1) or x.dtype != other.dtype or not x.size * other.size:
        return False
    if not pointwise.suits(x.dtype.name, x.itemsize, w_shape, geometry):
        return False
    return x.dtype != FLOAT or not few_channels(w_shape, geometry.windows)


def _is_wgrad_alone(x: Array, g: Array, geometry: Geometry, w_shape: Shape) -> bool:
    """Whether `wgrad` is by kernels that do not add up g for the bias as well."""
    product = _is_product(x, g, geometry, w_shape) and x.shape[2:] == g.shape[2:]
    return product or _by_wide("wgrad", x, g, geometry, x.shape, g.shape, w_shape)


def _by_wide(
    which: str,
    x: Array,
    other: Array,
    geometry: Geometry,
    x_shape: Shape,
    y_shape: Shape,
    w_shape: Shape | None = None,
) -> bool:
    """Whether wide.py does a pass: see `by_wide`. ``other`` is the weight unless it is said."""
    gpu = properties_of(x)
    if not gpu.wgmma or x.dtype != other.dtype:
        return False
    how = (geometry, x.dtype.name, blas.get_precision(), gpu)
    return by_wide(which, tuple(x_shape), tuple(w_shape or other.shape), tuple(y_shape), *how)


def _suits(x: Array, other: Array, geometry: Geometry) -> bool:
    """Whether the kernels of this file take it: float32, one group, sizes that an int holds.

    ``other`` is the weight or a gradient: O or C is its second axis.
    """
    if x.dtype != FLOAT or other.dtype != FLOAT:
        return False
    return _fits(x.shape, other.shape, geometry) and properties_of(x).tensor_cores


@functools.lru_cache(1024)
def _fits(x_shape: Shape, other_shape: Shape, geometry: Geometry) -> bool:
    if geometry.groups != 1 or 0 in x_shape or 0 in other_shape:
        return False
    n, channels, *size = x_shape
    pixels = n * math.prod(geometry.windows.padded_size(tuple(size)))
    return pixels * max(channels, other_shape[1]) < 2**31


# --- launching ----------------------------------------------------------------------------------


def _product(
    x: Array,
    w: Array,
    bias: Array | None,
    windows: Windows,
    outputs: int,
    relu: bool = False,
    pool: bool = False,
    flip: bool = False,
) -> tuple[Array, Array | None] | None:
    """Windows of x times weights: y (N, O, OH, OW) and, with ``pool``, where its maxima were.

    None where no tile fits in shared memory (very wide images, large kernels).
    """
    oh, ow = windows.output_size("conv2d", x.shape[2:])
    out = (x.shape[0], outputs, oh // 2, ow // 2) if pool else (x.shape[0], outputs, oh, ow)
    y = empty_last(out, FLOAT)
    argmax = empty_last(out, BYTE) if pool else None
    if y.size == 0:
        return y, argmax
    flags = (relu, bias is not None, pool, flip)
    launch = _product_launch(
        x.shape, outputs, windows, flags, blas.get_precision(), properties_of(x)
    )
    if launch is None:
        return None
    launch(
        *(last(x), contiguous(w), null() if bias is None else contiguous(bias)),
        *(y, null() if argmax is None else argmax),
    )
    return y, argmax


@functools.lru_cache(1024)
def _prepare_backward(
    x_shape: Shape,
    w_shape: Shape,
    geometry: Geometry,
    epilogue: Epilogue,
    dtype: str,
    precision: str,
    gpu: GpuProperties,
) -> None:
    """`prepare_backward`, once for each of what is asked.

    A guess: few channels are mostly those of the pictures, which want no gradient; and a batch norm
    may absorb ReLU's backward (see `Op.absorbs`), so that another kernel may be wanted then.
    """
    windows = geometry.windows
    relu, pool = epilogue
    oh, ow = size = windows.output_size("conv2d", x_shape[2:])
    g_shape = (x_shape[0], w_shape[0], *size)
    if by_depthwise(x_shape, w_shape, g_shape, geometry, dtype):
        depthwise.prepare(x_shape, g_shape, windows, dtype, gpu)
        return
    pooling.prepare(relu, pool, w_shape[0], resolve_dtype(dtype))
    itemsize = resolve_dtype(dtype).itemsize
    if pointwise.suits(dtype, itemsize, w_shape, geometry) and not few_channels(w_shape, windows):
        return
    left = []
    for which in ("dgrad", "wgrad"):
        if by_wide(which, x_shape, w_shape, g_shape, geometry, dtype, precision, gpu):
            wide.prepare(which, x_shape, g_shape, windows, dtype, precision, gpu)
        else:
            left.append(which)
    if (
        not left
        or dtype != FLOAT.name
        or not (gpu.tensor_cores and _fits(x_shape, w_shape, geometry))
    ):
        return
    Partials.prepare(FLOAT)
    if few_channels(w_shape, windows):
        kind = 2 if pool else 1 if relu else 0
        grads = x_shape[0] * w_shape[0] * (oh // 2 * (ow // 2) if pool else oh * ow)
        launch = _few_weight_launch(x_shape, w_shape, windows, grads, kind, gpu)
        launch.prepare()
        return
    launches = []
    if "wgrad" in left:
        launches += [_weight_launch(x_shape, w_shape, windows, precision, gpu)]
    mirrored = reference.gathering(geometry, size, x_shape[2:]) if "dgrad" in left else None
    if mirrored is not None and _fits(g_shape, w_shape, geometry._replace(windows=mirrored)):
        flags = (False, False, False, True)
        launches += [_product_launch(g_shape, x_shape[1], mirrored, flags, precision, gpu)]
    for each in launches:
        if each is not None:
            each.prepare()


@functools.lru_cache(1024)
def _product_launch(
    x_shape: Shape,
    outputs: int,
    windows: Windows,
    flags: tuple[bool, ...],
    precision: str,
    gpu: GpuProperties,
) -> Launch | None:
    """`_product`'s, for ``flags`` (relu, bias, pool, flip)."""
    names = ("RELU", "BIAS", "POOL", "FLIP")
    macros = tuple(f"{name}={flag:d}" for name, flag in zip(names, flags, strict=True))
    *_, pool, flip = flags
    channels, sizes = x_shape[1], _sizes(x_shape, windows)
    n, _, _, oh, ow = sizes
    down, across = (oh // 2, ow // 2) if pool else (oh, ow)
    if not flip and few_channels((outputs, channels, *windows.kernel), windows):
        threads = n * down * (across if pool else -(-ow // 4)) * -(-outputs // 4)
        blocks = min(_few.blocks(threads), 16 * gpu.processors)
        defines = (*shape_defines(channels, outputs, windows), *macros[:3])
        return Launch(_few, "conv_few_channels_fprop", blocks, int32s(*sizes), defines)
    number = PRECISIONS[precision]
    plan = forward_plan(Problem(channels, outputs, windows, sizes, number, gpu, pool))
    if plan is None:
        return None
    pixels = n * down * across * (4 if pool else 1)
    numbers = int32s(*sizes, pixels, plan.tiles, plan.capacity)
    defines = (*plan.defines, *macros)
    file = _wgmma if plan.wgmma else _mma
    threads = file.threads * plan.consumers
    name = "conv_dgrad" if flip else "conv_fprop"
    return Launch(file, name, plan.grid, numbers, defines, plan.shared, threads)


def _sums_of_whole(
    x: Array, g: Array, geometry: Geometry, w_shape: Shape
) -> tuple[Array, Array] | None:
    """dw and db where kernels are for these arrays; those of one group take no g cut short."""
    if _by_depthwise(x, g, geometry, x.shape, w_shape, g.shape):
        return depthwise.wgrad_and_bias(x, g, geometry.windows, w_shape)
    if not reference.whole(geometry, x.shape, g.shape) or not _suits(x, g, geometry):
        return None
    return _weight_and_bias(x, g, geometry.windows, w_shape)


def _weight_and_bias(
    x: Array, g: Array, windows: Windows, w_shape: Shape
) -> tuple[Array, Array] | None:
    """dw (O, C, KH, KW) and db (O,) from x and the gradient g of y; None where no tile fits."""
    if few_channels(w_shape, windows):
        return _few_weight(x, g, None, None, windows, w_shape)
    launch = _weight_launch(x.shape, w_shape, windows, blas.get_precision(), properties_of(x))
    if launch is None:
        return None
    partials = Partials(w_shape, launch.grid, FLOAT)
    launch(last(x), last(g), *partials.arrays)
    return partials.total()


@functools.lru_cache(1024)
def _weight_launch(
    x_shape: Shape, w_shape: Shape, windows: Windows, precision: str, gpu: GpuProperties
) -> Launch | None:
    n, _, _, oh, ow = sizes = _sizes(x_shape, windows)
    number = PRECISIONS[precision]
    plan = weight_plan(Problem(w_shape[1], w_shape[0], windows, sizes, number, gpu))
    if plan is None:
        return None
    numbers = int32s(*sizes, n * oh * ow, plan.tiles, plan.capacity)
    return Launch(_wgrad, "conv_wgrad", plan.grid, numbers, plan.defines, plan.shared)


def _few_weight(
    x: Array, g: Array, relu_y: Array | None, argmax: Array | None, windows: Windows, w_shape: Shape
) -> tuple[Array, Array]:
    """The same with few channels, where g may also be the gradient behind ReLU or the max-pool."""
    kind = 2 if argmax is not None else 1 if relu_y is not None else 0
    launch = _few_weight_launch(x.shape, w_shape, windows, g.size, kind, properties_of(x))
    partials = Partials(w_shape, launch.grid, FLOAT)
    extra = [null() if array is None else last(array) for array in (relu_y, argmax)]
    launch(last(x), last(g), *extra, *partials.arrays)
    return partials.total()


@functools.lru_cache(1024)
def _few_weight_launch(
    x_shape: Shape, w_shape: Shape, windows: Windows, grads: int, kind: int, gpu: GpuProperties
) -> Launch:
    outputs, channels = w_shape[:2]
    plan = few_plan(w_shape, grads, kind == 2, gpu)
    shape = shape_defines(channels, outputs, windows)
    defines = (*shape, *plan.defines, f"GRAD={kind}")
    numbers = int32s(*_sizes(x_shape, windows))
    return Launch(_few, "conv_few_channels_wgrad", plan.grid, numbers, defines)


def _sizes(x_shape: Shape, windows: Windows) -> tuple[int, ...]:
    """N, H, W, OH, OW."""
    n, _, height, width = x_shape
    return (n, height, width, *windows.output_size("conv2d", (height, width)))

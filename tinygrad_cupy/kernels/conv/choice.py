"""Which kernels do a pass of a convolution: those of wide.py, of depthwise.py, or of cuda.py.

Depthwise layers are depthwise.py's, and 1 × 1 layers, which cuda.py looks for, pointwise.py's. Of
the others both families' plans count cycles of a multiprocessor; the fewer win. What
implicit_gemm.cu and wgrad.cu keep in shared memory, a tile's input for all taps, pays while a pixel
has few channels.
"""

from __future__ import annotations

import functools
import math

from ...backend.gpu import GpuProperties
from ..common.windows import Geometry, Shape
from . import depthwise_plan, reference, wide_plan
from .implicit_gemm_plan import forward_cycles
from .plan import PRECISIONS, Problem, few_channels
from .taps_plan import taps_plan
from .taps_wgrad_plan import cheapest_weight_plan
from .wgrad_plan import weight_cycles

MARGIN = 1.08  # by which wide.py has to be ahead
TAPS_FROM = 64  # channels: with fewer, wide_taps.cu is no reason to leave other kernels
MOST = 2**31 - 2**16  # pixels, which kernels count in ints, up to the end of a tile
LAUNCH = 6000  # cycles, of a small kernel in front
# What other kernels take on an H200 for 64 to 512 channels, over the cycles that their plans say.
SLOWER = {("wgrad", "tf32"): 1.8, ("wgrad", "bf16"): 1.35, ("fprop", "bf16"): 1.3}


@functools.lru_cache(1024)
def by_wide(
    which: str,
    x_shape: Shape,
    w_shape: Shape,
    y_shape: Shape,
    geometry: Geometry,
    dtype: str,
    precision: str,
    gpu: GpuProperties,
) -> bool:
    """Whether wide.py does "fprop", "pool" (fprop and a max-pool), "dgrad" or "wgrad".

    In 16 bits it is alone, beside `reference`; in float32 it does what it is faster at.
    """
    kind, windows = wide_plan.kind_of(dtype, precision), geometry.windows
    if not gpu.wgmma or kind is None or geometry.groups != 1:
        return False
    if 0 in (*x_shape, *w_shape, *y_shape) or math.prod(windows.stride) > wide_plan.MOST_PHASES:
        return False
    padded = windows.padded_size(x_shape[2:])
    if max(x_shape[0] * math.prod(padded), y_shape[0] * math.prod(y_shape[2:])) >= MOST:
        return False
    if dtype != "float32":
        return True
    other = _other_cycles(which, x_shape, w_shape, y_shape, geometry, precision, gpu)
    other *= SLOWER.get(("wgrad" if which == "wgrad" else "fprop", precision), 1)
    return MARGIN * _wide_cycles(which, x_shape, w_shape, y_shape, geometry, kind, gpu) < other


ITEMSIZES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}


@functools.lru_cache(1024)
def by_depthwise(
    x_shape: Shape, w_shape: Shape, y_shape: Shape, geometry: Geometry, dtype: str
) -> bool:
    """Whether depthwise.py does all passes: groups of one channel, of any float."""
    itemsize, windows = ITEMSIZES.get(dtype), geometry.windows
    if geometry.groups == 1 or w_shape[1] != 1 or itemsize is None:
        return False
    if 0 in (*x_shape, *w_shape, *y_shape):
        return False
    layer = depthwise_plan.layer_of(x_shape, y_shape, windows, itemsize)
    return depthwise_plan.fits(layer)


def _wide_cycles(
    which: str,
    x_shape: Shape,
    w_shape: Shape,
    y_shape: Shape,
    geometry: Geometry,
    kind: int,
    gpu: GpuProperties,
) -> float:
    gather = wide_plan.forward(x_shape, w_shape[0], geometry.windows, y_shape[2:])
    y_size, moved = math.prod(y_shape), 0
    if which == "wgrad":
        found, plan = cheapest_weight_plan(gather, kind, gpu)
        if getattr(plan, "turned", False):  # the LAUNCH below is that kernel's
            found -= wide_plan.TURN
        moved += 6 * y_size if kind != 0 else 0  # g is rounded
    else:
        if which == "dgrad":
            gather = wide_plan.backward(y_shape, x_shape, geometry.windows)
        taps = taps_plan(gather, kind, gpu)
        tiles = wide_plan.wide_plan(gather, kind, gpu).tiles
        if taps and gather.x_shape[1] >= TAPS_FROM:
            found = taps.cycles
        else:
            found = wide_plan.cycles(gather, tiles, kind, gpu)
        moved += 5 * y_size if which == "pool" else 0
    if kind != 0 or gather.x_shape[1] % wide_plan.unit_of(kind):  # what is read is rounded first
        moved += 6 * math.prod(gather.x_shape)
    return found + LAUNCH + moved / wide_plan.MOVED / gpu.processors


def _other_cycles(
    which: str,
    x_shape: Shape,
    w_shape: Shape,
    y_shape: Shape,
    geometry: Geometry,
    precision: str,
    gpu: GpuProperties,
) -> float:
    """Of the kernels that cuda.py has besides; infinitely many where there are none."""
    windows, number = geometry.windows, PRECISIONS[precision]
    if which != "dgrad":
        if few_channels(w_shape, windows):
            return 0
        sizes = (x_shape[0], *x_shape[2:], *y_shape[2:])
        problem = Problem(w_shape[1], w_shape[0], windows, sizes, number, gpu, which == "pool")
        if which == "wgrad":
            whole = reference.whole(geometry, x_shape, y_shape)
            return weight_cycles(problem) if whole else math.inf
        return forward_cycles(problem)
    mirrored = reference.gathering(geometry, y_shape[2:], x_shape[2:])
    if mirrored is None:
        return math.inf
    sizes = (y_shape[0], *y_shape[2:], *x_shape[2:])
    return forward_cycles(Problem(w_shape[0], w_shape[1], mirrored, sizes, number, gpu))

"""Wide layers on Hopper: all three passes by warpgroups, for any stride, padding and dilation.

Arrays are float32, bfloat16 or float16, stored N, H, W, C. float32 is multiplied as TF32 or, at the
precision "bf16", rounded to bfloat16 by a pass of its own; in such a pass channels that are no
multiple of 16 bytes get zeros behind them. Weights (and in TF32 the gradient g for `wgrad`, in 16
bits where that pays) are laid out first as the kernels read them. All of that is small beside a
wide layer's products.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from ...backend import Array, CudaSource, import_cupy, int32s, int64s, null
from ...backend.gpu import GpuProperties, properties_of
from ..common.headers import BITS, HOPPER, RING, TENSOR_CORES, TURN
from ..common.layout import contiguous, empty_last, last
from ..common.windows import Shape, Windows
from .launch import Launch
from .taps_plan import SPACE, TapsPlan, taps_plan
from .taps_wgrad_plan import COPIERS, WEIGHT_SPACE, TapsWeightPlan, cheapest_weight_plan
from .wide_plan import (
    KINDS,
    LAYER,
    SLICE,
    Gather,
    WeightPlan,
    WidePlan,
    backward,
    forward,
    kind_of,
    unit_of,
    wide_plan,
)

_LAYER = (f"LAYER_BYTES={LAYER.itemsize}",)
_files = (BITS, "wide.cuh")
_hopper = (*_files, TENSOR_CORES, HOPPER, TURN, RING)
_wide = CudaSource(
    *(__file__, *_hopper, "wide_tile.cuh", "wide.cu"),
    arch="sm_90a",
    defines=_LAYER,
    threads=384,
)
_taps = CudaSource(
    *(__file__, *_files, TENSOR_CORES, HOPPER, TURN, "wide_tile.cuh", "wide_taps.cu"),
    arch="sm_90a",
    defines=(*_LAYER, f"SPACE_BYTES={SPACE.itemsize}"),
    threads=384,
)
_wgrad = CudaSource(__file__, *_hopper, "wide_wgrad.cu", arch="sm_90a", defines=_LAYER, threads=384)
_taps_wgrad = CudaSource(
    *(__file__, TENSOR_CORES, HOPPER, TURN, RING, "wide_taps_wgrad.cu"),
    arch="sm_90a",
    defines=(f"SPACE_BYTES={WEIGHT_SPACE.itemsize}", f"COPIERS={COPIERS}", "BULK=0"),
)
_pack = CudaSource(__file__, *_files, "wide_pack.cu", defines=_LAYER)

WARPS = _pack.threads // 32


class _Product(NamedTuple):
    """The launches of fprop or dgrad, and bytes of the weights as they are read."""

    pack: Launch
    product: Launch
    bytes: int


class _Weight(NamedTuple):
    """The launches of wgrad, and bytes of g where it is turned and of partial sums."""

    turn: Launch | None
    product: Launch
    sums: Launch
    bytes: int
    partial_bytes: int


def fprop(
    x: Array, w: Array, bias: Array | None, windows: Windows, precision: str, relu: bool = False
) -> Array:
    """y (N, O, OH, OW) of x (N, C, H, W), w (O, C, KH, KW) and bias (O,)."""
    kind, given = _kinds(x.dtype.name, precision)
    gather = forward(x.shape, w.shape[0], windows)
    flags = (bias is not None, relu, False)
    launches = _product(gather, kind, given, flags, properties_of(x))
    return _run(launches, x, w, bias, gather, kind)


def dgrad(g: Array, w: Array, windows: Windows, x_shape: Shape, precision: str) -> Array:
    """dx (N, C, H, W) of g (N, O, OH, OW) and w (O, C, KH, KW)."""
    kind, given = _kinds(g.dtype.name, precision)
    gather = backward(g.shape, x_shape, windows)
    launches = _product(gather, kind, given, (False, False, True), properties_of(g))
    return _run(launches, g, w, None, gather, kind)


def wgrad(x: Array, g: Array, windows: Windows, w_shape: Shape, precision: str) -> Array:
    """dw (O, C, KH, KW) of x (N, C, H, W) and g (N, O, OH, OW)."""
    kind, given = _kinds(x.dtype.name, precision)
    cupy = import_cupy()
    launches = _weight(
        forward(x.shape, w_shape[0], windows, g.shape[2:]), kind, given, properties_of(x)
    )
    if launches.turn is None:
        columns = _staged(g, kind)
    else:
        columns = cupy.cuda.alloc(launches.bytes)
        launches.turn(last(g), columns)
    partial = cupy.cuda.alloc(launches.partial_bytes)
    launches.product(_staged(x, kind), columns, partial)
    dw = cupy.empty(w_shape, x.dtype)
    launches.sums(partial, dw)
    return dw


def prepare(
    which: str,
    x_shape: Shape,
    g_shape: Shape,
    windows: Windows,
    dtype: str,
    precision: str,
    gpu: GpuProperties,
) -> None:
    """Have the kernels of a pass ("dgrad" or "wgrad") compiled."""
    kind, given = _kinds(dtype, precision)
    launches: Any
    if which == "dgrad":
        gather = backward(g_shape, x_shape, windows)
        launches = _product(gather, kind, given, (False, False, True), gpu)
    else:
        launches = _weight(forward(x_shape, g_shape[1], windows, g_shape[2:]), kind, given, gpu)
    for launch in launches:
        if isinstance(launch, Launch):
            launch.prepare()


def _kinds(dtype: str, precision: str) -> tuple[int, int]:
    """Of operands and of arrays, where there are such."""
    kind = kind_of(dtype, precision)
    assert kind is not None
    return kind, KINDS[dtype]


def _run(
    launches: _Product, x: Array, w: Array, bias: Array | None, gather: Gather, kind: int
) -> Array:
    y = empty_last(gather.y_shape, x.dtype)
    packed = import_cupy().cuda.alloc(launches.bytes or 1)
    if launches.bytes:  # else no tap hits a pixel
        launches.pack(contiguous(w), packed)
    launches.product(_staged(x, kind), packed, null() if bias is None else contiguous(bias), y)
    return y


@functools.lru_cache(1024)
def _product(
    gather: Gather, kind: int, given: int, flags: tuple[bool, ...], gpu: GpuProperties
) -> _Product:
    """For ``flags`` (bias, relu, flip)."""
    plan = taps_plan(gather, kind, gpu) or wide_plan(gather, kind, gpu)
    return product_launches(gather, plan, kind, given, flags)


def product_launches(
    gather: Gather, plan: WidePlan | TapsPlan, kind: int, given: int, flags: tuple[bool, ...]
) -> _Product:
    """The launches of a plan."""
    bias, relu, flip = flags
    tiles = plan.tiles
    how = (f"KIND={kind}", f"OUT={given}", f"BIAS={bias:d}", f"RELU={relu:d}")
    macros: tuple[str, ...] = (*tiles.defines, *how)
    if isinstance(plan, TapsPlan):
        packing, given_to = plan.packing, (plan.space,)
        product = Launch(_taps, "conv_wide_taps", plan.grid, given_to, macros, plan.shared)
    else:
        packing, given_to, macros = plan, (plan.layer,), (*macros, "BULK=1")
        product = Launch(_wide, "conv_wide", plan.grid, given_to, macros, tiles.shared)
    columns = packing.blocks * tiles.bn
    pack = Launch(
        _pack,
        "conv_wide_pack",
        _pack.blocks(packing.slices * SLICE * columns),
        (packing.layer, *int32s(gather.x_shape[1])),
        (f"KIND={kind}", f"FROM={given}", f"BN={tiles.bn}", f"FLIP={flip:d}"),
    )
    return _Product(pack, product, packing.slices * columns * 128)


@functools.lru_cache(1024)
def _weight(gather: Gather, kind: int, given: int, gpu: GpuProperties) -> _Weight:
    _, plan = cheapest_weight_plan(gather, kind, gpu)
    if isinstance(plan, TapsWeightPlan):
        return taps_weight_launches(gather, plan, kind, given)
    return weight_launches(gather, plan, kind, given)


def weight_launches(gather: Gather, plan: WeightPlan, kind: int, given: int) -> _Weight:
    """The launches of a plan."""
    tiles, outputs = plan.tiles, gather.y_shape[1]
    columns, rows = plan.blocks * tiles.bn, plan.rows * tiles.bm
    kinds = (f"KIND={kind}", f"FROM={given}", f"BN={tiles.bn}", "FLIP=0")
    pixels = gather.rows(gather.phases[0])
    turn = Launch(
        _pack,
        "conv_wide_turn",
        (plan.slices, -(-columns // 32)),
        int32s(pixels, outputs, plan.blocks),
        kinds,
    )
    numbers = int32s(plan.rows, plan.splits, plan.slices, plan.each)
    macros = (*tiles.defines, f"KIND={kind}", f"BULK={plan.turned:d}", f"TURNED={plan.turned:d}")
    product = Launch(
        _wgrad, "conv_wide_wgrad", plan.grid, (plan.layer, *numbers), macros, tiles.shared
    )
    return _Weight(
        turn if plan.turned else None,
        product,
        _sums(gather, plan.layer, plan.splits, rows, kinds),
        plan.slices * columns * 128,
        plan.splits * rows * columns * 4,
    )


def taps_weight_launches(gather: Gather, plan: TapsWeightPlan, kind: int, given: int) -> _Weight:
    """The launches of a plan of wide_taps_wgrad.cu."""
    macros = (*plan.defines, f"KIND={kind}")
    name, sizes = "conv_wide_taps_wgrad", (plan.shared, plan.threads)
    product = Launch(_taps_wgrad, name, plan.grid, (plan.space,), macros, *sizes)
    kinds = (f"KIND={kind}", f"FROM={given}", f"BN={plan.bn}", "FLIP=0")
    sums = _sums(gather, plan.summed, plan.splits, plan.rows, kinds)
    return _Weight(None, product, sums, 0, plan.splits * plan.rows * plan.blocks * plan.bn * 4)


def _sums(gather: Gather, layer: Any, splits: int, rows: int, macros: tuple[str, ...]) -> Launch:
    """What adds up the partial sums of splits, of so many rows each."""
    channels, outputs = gather.x_shape[1], gather.y_shape[1]
    elements = channels * gather.kernel[0] * gather.kernel[1]
    slices = WARPS if splits > WARPS else 1
    grid = (-(-elements * slices // WARPS), -(-outputs // 32))
    numbers = (layer, *int32s(channels, splits, rows, slices))
    return Launch(_pack, "conv_wide_sum", grid, numbers, macros)


def _staged(x: Array, kind: int) -> Any:
    """x (N, C, H, W), stored (N, H, W, C), as the kernels read it: as it is, or a copy."""
    x, channels, unit = last(x), x.shape[1], unit_of(kind)
    given = KINDS[x.dtype.name]
    if given == kind and channels % unit == 0:
        return x
    pixels, wide = x.size // channels, -(-channels // unit) * unit
    staged = import_cupy().cuda.alloc(pixels * wide * (16 // unit))
    blocks = min(_pack.blocks(pixels * wide // unit), 1 << 16)
    arguments = (x, staged, *int64s(pixels), *int32s(channels, wide))
    macros = (f"KIND={kind}", f"FROM={given}", "BN=8", "FLIP=0")
    _pack.launch("conv_wide_stage", blocks, arguments, defines=macros)
    return staged

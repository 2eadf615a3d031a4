"""The kernels of wide layers against the plain im2col reference in float64, at odd sizes.

Every output is poisoned first, so an element that a kernel leaves unwritten shows.
"""

from typing import Any

import numpy as np
import pytest

from support.gpu_memory import poison
from tinygrad_cupy import backend
from tinygrad_cupy.backend.dtypes import resolve_dtype
from tinygrad_cupy.backend.gpu import properties_of
from tinygrad_cupy.kernels.common.layout import last
from tinygrad_cupy.kernels.common.windows import Geometry, Windows
from tinygrad_cupy.kernels.conv import reference, taps_plan, wide, wide_plan

pytestmark = pytest.mark.gpu

BOUNDS = {"tf32": 1e-3, "bf16": 1e-2, "bfloat16": 1e-2, "float16": 2e-3}

# N, C, H, W, O, kernel, stride, padding, dilation
SIZES = [
    (7, 1, 9, 11, 24, 3, 1, 1, 1),
    (129, 5, 9, 7, 17, 3, 2, 1, 1),
    (7, 6, 14, 14, 16, 5, 1, 0, 1),
    (1, 64, 9, 11, 70, (3, 2), (2, 3), (1, 2), (1, 2)),
    (2, 24, 12, 13, 24, 5, 3, 2, 2),
    (3, 33, 8, 8, 33, 1, 2, 0, 1),
    (1, 513, 7, 6, 200, 3, 2, 1, 1),
    (7, 96, 14, 9, 96, 3, 1, 1, 1),
    (129, 64, 7, 8, 64, 3, 1, 1, 1),
    (2, 40, 9, 7, 24, 3, 1, 2, 2),
    (2, 256, 8, 8, 256, 3, 1, 1, 1),
    (3, 200, 5, 6, 3, (1, 5), (1, 3), (0, 4), 1),
    (3, 8, 1, 1, 4, 1, 2, 1, 1),  # the window never reaches the pixel: its gradient is zero
]


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    if not properties_of(backend.import_cupy().empty(1)).wgmma:
        pytest.skip("wgmma needs compute capability 9.0")
    poison(monkeypatch)


def made(rng: np.random.Generator, shape: tuple[int, ...], how: str, scale: float = 1) -> Any:
    """Numbers of the dtype that ``how`` names, or float32, on the GPU."""
    dtype = resolve_dtype(how) if how in ("bfloat16", "float16") else np.dtype(np.float32)
    array = backend.import_cupy().asarray((scale * rng.standard_normal(shape)).astype(np.float32))
    return array.astype(dtype)


def error(found: Any, expected: Any) -> float:
    """‖found - expected‖ / ‖expected‖, NaN included."""
    assert found.shape == expected.shape
    found, expected = found.astype(np.float64).get(), expected.get()
    return float(np.linalg.norm(found - expected)) / max(float(np.linalg.norm(expected)), 1e-30)


@pytest.mark.parametrize("how", BOUNDS)
@pytest.mark.parametrize("size", SIZES)
def test_all_three_passes(rng: np.random.Generator, size: tuple[Any, ...], how: str) -> None:
    n, c, h, w, o, kernel, stride, padding, dilation = size
    windows = Windows.parse("test", kernel, stride, padding, dilation)
    geometry, precision = Geometry(windows, 1), how if how in ("tf32", "bf16") else "tf32"
    x, bias = made(rng, (n, c, h, w), how), made(rng, (o,), how)
    weight = made(rng, (o, c, *windows.kernel), how, 1 / np.sqrt(c * windows.taps))
    wide_x, wide_w, wide_b = (one.astype(np.float64) for one in (x, weight, bias))
    y = wide.fprop(x, weight, bias, windows, precision)
    expected = reference.fprop(wide_x, wide_w, wide_b, geometry)
    assert error(y, expected) < BOUNDS[how]
    shut = wide.fprop(x, weight, bias, windows, precision, relu=True)
    kept = np.maximum(y.get().astype(np.float32), 0)
    np.testing.assert_array_equal(shut.get().astype(np.float32), kept)
    g = made(rng, y.shape, how)
    wide_g = g.astype(np.float64)
    dx = wide.dgrad(g, weight, windows, x.shape, precision)
    assert error(dx, reference.dgrad(wide_g, wide_w, geometry, x.shape)) < BOUNDS[how]
    dw = wide.wgrad(x, g, windows, weight.shape, precision)
    assert error(dw, reference.wgrad(wide_x, wide_g, geometry, weight.shape)) < BOUNDS[how]
    again = wide.wgrad(x, g, windows, weight.shape, precision)
    assert again.get().tobytes() == dw.get().tobytes()


def test_fewer_gradients_than_windows(rng: np.random.Generator) -> None:
    """As of a transposed convolution with output padding: windows behind the last have none."""
    windows = Windows.parse("test", 3, 1, (0, 1), 2)
    x, g = made(rng, (2, 24, 9, 8), "tf32"), made(rng, (2, 40, 4, 6), "tf32")
    found = wide.wgrad(x, g, windows, (40, 24, 3, 3), "tf32")
    wide_x, wide_g = x.astype(np.float64), g.astype(np.float64)
    expected = reference.wgrad(wide_x, wide_g, Geometry(windows, 1), (40, 24, 3, 3))
    assert error(found, expected) < BOUNDS["tf32"]


@pytest.mark.parametrize("kind", [0, 1])
def test_every_tile_configuration(rng: np.random.Generator, kind: int) -> None:
    how = ("tf32", "bf16")[kind]
    windows = Windows.parse("test", 3, 2, 1, 1)
    x, weight = made(rng, (5, 36, 14, 13), how), made(rng, (200, 36, 3, 3), how, 0.05)
    gpu = properties_of(x)
    geometry = Geometry(windows, 1)
    wide_x, wide_w = x.astype(np.float64), weight.astype(np.float64)
    y = reference.fprop(wide_x, wide_w, None, geometry)
    dx = reference.dgrad(y, wide_w, geometry, x.shape)
    g = y.astype(np.float32)
    for tiles in wide_plan.configurations(gpu):
        for flip, source, expected in ((False, x, y), (True, g, dx)):
            shapes = (g.shape, x.shape, windows) if flip else (x.shape, 200, windows)
            gather = (wide_plan.backward if flip else wide_plan.forward)(*shapes)
            plan = wide_plan.planned(gather, tiles, wide_plan.unit_of(kind), gpu)
            launches = wide.product_launches(gather, plan, kind, 0, (False, False, flip))
            found = wide._run(launches, source, weight, None, gather, kind)
            assert error(found, expected) < BOUNDS[how], tiles


@pytest.mark.parametrize("how", BOUNDS)
@pytest.mark.parametrize("size", [size for size in SIZES if size[6] == 1 and size[5] != 1], ids=str)
def test_every_configuration_of_taps(
    rng: np.random.Generator, size: tuple[Any, ...], how: str
) -> None:
    n, c, h, w, o, kernel, _, padding, dilation = size
    windows = Windows.parse("test", kernel, 1, padding, dilation)
    geometry, kind = Geometry(windows, 1), {"tf32": 0, "float16": 2}.get(how, 1)
    x, bias = made(rng, (n, c, h, w), how), made(rng, (o,), how)
    weight = made(rng, (o, c, *windows.kernel), how, 1 / np.sqrt(c * windows.taps))
    gpu, unit = properties_of(x), wide_plan.unit_of(kind)
    given = wide_plan.KINDS[x.dtype.name]
    wide_x, wide_w, wide_b = (one.astype(np.float64) for one in (x, weight, bias))
    y = reference.fprop(wide_x, wide_w, wide_b, geometry)
    g = y.astype(x.dtype)
    dx = reference.dgrad(g.astype(np.float64), wide_w, geometry, x.shape)
    for flip, source, expected in ((False, x, y), (True, g, dx)):
        shapes = (g.shape, x.shape, windows) if flip else (x.shape, o, windows)
        gather = (wide_plan.backward if flip else wide_plan.forward)(*shapes)
        pixels = taps_plan.pixels_of(gather)
        assert pixels is not None
        for plan in taps_plan._plans(gather, pixels, unit, gpu):
            flags = (not flip, False, flip)
            launches = wide.product_launches(gather, plan, kind, given, flags)
            found = wide._run(launches, source, weight, None if flip else bias, gather, kind)
            assert error(found, expected) < BOUNDS[how], plan.tiles
            again = wide._run(launches, source, weight, None if flip else bias, gather, kind)
            np.testing.assert_array_equal(found.get(), again.get())


@pytest.mark.parametrize("turned", [True, False])
@pytest.mark.parametrize("how", ["tf32", "bfloat16", "float16"])
def test_every_configuration_of_a_weight_gradient(
    rng: np.random.Generator, how: str, turned: bool
) -> None:
    windows = Windows.parse("test", 3, 2, 1, 1)
    x = made(rng, (5, 40, 14, 13), how)
    g = made(rng, (5, 200, *windows.output_size("test", (14, 13))), how)
    gpu, kind = properties_of(x), {"tf32": 0, "bfloat16": 1, "float16": 2}[how]
    given, w_shape = wide_plan.KINDS[x.dtype.name], (200, 40, 3, 3)
    gather, cupy = wide_plan.forward(x.shape, 200, windows), backend.import_cupy()
    wide_x, wide_g = x.astype(np.float64), g.astype(np.float64)
    expected = reference.wgrad(wide_x, wide_g, Geometry(windows, 1), w_shape)
    for tiles in wide_plan.configurations(gpu):
        if not turned and (kind == 0 or tiles.bn % 64):
            continue
        for splits in (1, 3):
            unit = wide_plan.unit_of(kind)
            plan = wide_plan.weight_in(gather, tiles, splits, unit, turned, gpu)
            launches = wide.weight_launches(gather, plan, kind, given)
            columns = wide._staged(g, kind)
            if launches.turn is not None:
                columns = cupy.cuda.alloc(launches.bytes)
                launches.turn(last(g), columns)
            partial = cupy.cuda.alloc(launches.partial_bytes)
            launches.product(wide._staged(x, kind), columns, partial)
            dw = cupy.empty(w_shape, x.dtype)
            launches.sums(partial, dw)
            assert error(dw, expected) < BOUNDS[how], (tiles, splits)

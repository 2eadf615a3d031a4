"""The weight gradient that copies each pixel once, against the im2col reference in float64.

Every output is poisoned first, so an element that a kernel leaves unwritten shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.gpu_memory import poison
from tinygrad_cupy import backend
from tinygrad_cupy.backend.dtypes import resolve_dtype
from tinygrad_cupy.backend.gpu import properties_of
from tinygrad_cupy.kernels.common.windows import Geometry, Windows
from tinygrad_cupy.kernels.conv import reference, wide
from tinygrad_cupy.kernels.conv.taps_wgrad_plan import TapsWeightPlan, plans, taps_weight_plan
from tinygrad_cupy.kernels.conv.wide_plan import KINDS, forward

pytestmark = pytest.mark.gpu

BOUNDS = {"bfloat16": 4e-3, "float16": 5e-4}  # of one rounding at the end

# N, C, H, W, O, kernel, padding, dilation
SIZES = [
    (7, 64, 9, 11, 64, 3, 1, 1),
    (129, 128, 7, 7, 128, 3, 1, 1),
    (129, 5, 9, 7, 17, 3, 1, 1),
    (7, 24, 33, 31, 96, 3, 0, 1),
    (1, 200, 56, 50, 24, 3, (2, 1), (2, 1)),
    (7, 96, 14, 9, 200, 3, (3, 0), 1),
    (1, 17, 225, 223, 5, 3, 1, 1),
    (7, 64, 12, 13, 70, (2, 2), (1, 0), (1, 2)),
    (129, 64, 1, 40, 64, (1, 3), (0, 1), 1),
    (7, 72, 40, 1, 33, (3, 1), (1, 0), (3, 1)),
    (7, 33, 11, 10, 33, (1, 9), (0, 4), 1),
    (7, 64, 11, 10, 40, (4, 2), (2, 1), 1),
    (129, 256, 2, 2, 64, 3, 1, 1),
]


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    if not properties_of(backend.import_cupy().empty(1)).wgmma:
        pytest.skip("wgmma needs compute capability 9.0")
    poison(monkeypatch)


def made(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Any:
    """Numbers on the GPU."""
    numbers = rng.standard_normal(shape).astype(np.float32)
    return backend.import_cupy().asarray(numbers).astype(resolve_dtype(dtype))


def launches(x: Any, g: Any, windows: Windows, plan: TapsWeightPlan) -> Any:
    """Those of a plan."""
    gather, kind = forward(x.shape, g.shape[1], windows), KINDS[x.dtype.name]
    return wide.taps_weight_launches(gather, plan, kind, kind)


def run(x: Any, g: Any, windows: Windows, plan: TapsWeightPlan) -> Any:
    """dw (O, C, KH, KW) of x (N, C, H, W) and g (N, O, OH, OW) by a plan."""
    cupy, kind, found = backend.import_cupy(), KINDS[x.dtype.name], launches(x, g, windows, plan)
    partial = cupy.cuda.alloc(found.partial_bytes)
    found.product(wide._staged(x, kind), wide._staged(g, kind), partial)
    dw = cupy.empty((g.shape[1], x.shape[1], *windows.kernel), x.dtype)
    found.sums(partial, dw)
    return dw


def error(found: Any, expected: Any) -> float:
    """‖found - expected‖ / ‖expected‖, NaN included."""
    assert found.shape == expected.shape
    found, expected = found.astype(np.float64).get(), expected.get()
    return float(np.linalg.norm(found - expected)) / float(np.linalg.norm(expected))


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("size", SIZES)
def test_against_the_reference(rng: np.random.Generator, size: tuple[Any, ...], dtype: str) -> None:
    """As planned, and with any runs and any chunk of pixels; each twice."""
    n, c, h, w, o, kernel, padding, dilation = size
    windows = Windows.parse("test", kernel, 1, padding, dilation)
    x = made(rng, (n, c, h, w), dtype)
    g = made(rng, (n, o, *windows.output_size("test", (h, w))), dtype)
    wide_x, wide_g = x.astype(np.float64), g.astype(np.float64)
    w_shape = (o, c, *windows.kernel)
    expected = reference.wgrad(wide_x, wide_g, Geometry(windows, 1), w_shape)
    gather, gpu, kind = forward(x.shape, o, windows), properties_of(x), KINDS[dtype]
    planned = taps_weight_plan(gather, kind, gpu)
    assert planned is not None
    each = {(plan.runs, plan.chunk): plan for plan in plans(gather, kind, gpu)}
    for plan in each.values():  # compiled side by side
        launches(x, g, windows, plan).product.prepare()
    for plan in (planned, *each.values()):
        dw = run(x, g, windows, plan)
        assert error(dw, expected) < BOUNDS[dtype], plan
        assert run(x, g, windows, plan).get().tobytes() == dw.get().tobytes(), plan
    chosen = wide.wgrad(x, g, windows, w_shape, "tf32")
    assert error(chosen, expected) < BOUNDS[dtype]


# A pixel (n, row, column) of g, one of x, and the tap that brings them together, if any does
PAIRS = [
    ((0, 0, 0), (0, 0, 0), (1, 1)),
    ((1, 3, 2), (1, 4, 1), (2, 0)),
    ((2, 5, 4), (2, 4, 4), (0, 1)),
    ((0, 2, 4), (0, 3, 0), None),  # beside each other in memory alone
    ((0, 5, 2), (1, 0, 2), None),
    ((1, 3, 0), (1, 3, 3), None),
]


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize(("of_g", "of_x", "tap"), PAIRS)
def test_one_pixel_of_each(
    rng: np.random.Generator, of_g: Any, of_x: Any, tap: Any, dtype: str
) -> None:
    """The tap between them has the product of their channels, all others zeros."""
    cupy = backend.import_cupy()
    windows = Windows.parse("test", 3, 1, 1, 1)
    by_channel, by_output = made(rng, (64,), dtype), made(rng, (72,), dtype)
    x, g = (cupy.zeros((3, c, 6, 5), by_channel.dtype) for c in (64, 72))
    x[of_x[0], :, *of_x[1:]], g[of_g[0], :, *of_g[1:]] = by_channel, by_output
    plan = taps_weight_plan(forward(x.shape, 72, windows), KINDS[dtype], properties_of(x))
    assert plan is not None
    dw = run(x, g, windows, plan).get().astype(np.float64)
    expected = np.zeros((72, 64, 3, 3))
    if tap is not None:
        outputs, channels = (one.get().astype(np.float64) for one in (by_output, by_channel))
        expected[:, :, *tap] = outputs[:, None] * channels
    np.testing.assert_allclose(dw, expected, rtol=BOUNDS[dtype], atol=1e-6)


def test_rounded_float32(rng: np.random.Generator) -> None:
    """At the precision "bf16" operands are rounded first."""
    windows = Windows.parse("test", 3, 1, 1, 1)
    x, g = made(rng, (7, 64, 9, 11), "float32"), made(rng, (7, 70, 9, 11), "float32")
    wide_x, wide_g = (one.astype(resolve_dtype("bfloat16")).astype(np.float64) for one in (x, g))
    expected = reference.wgrad(wide_x, wide_g, Geometry(windows, 1), (70, 64, 3, 3))
    dw = wide.wgrad(x, g, windows, (70, 64, 3, 3), "bf16")
    assert dw.dtype == np.float32
    assert error(dw, expected) < 1e-4

"""The CUDA kernels of depthwise convolution, run on the CPU, against the plain im2col reference.

Every output is NaN before, so an element that a kernel leaves unwritten shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support import cuda_emulator
from tinygrad_cupy.backend.gpu import GpuProperties
from tinygrad_cupy.kernels.common.windows import Geometry, Shape, Windows
from tinygrad_cupy.kernels.conv import depthwise, depthwise_plan, reference
from tinygrad_cupy.kernels.conv.depthwise_plan import layer_of

pytestmark = [
    pytest.mark.slow,
    # A text: asked where one of them runs, not where it is collected.
    pytest.mark.skipif("cuda_emulator.compiler() is None", reason="no compiler of C++20"),
]

IDLE = GpuProperties(0, 232448, True, True)  # wants no threads: tiles are as high as they may be
FLOAT = np.dtype(np.float32)
CACHED = (depthwise_plan.product_tile, depthwise.product_launch, depthwise.weight_launch)


@pytest.fixture(autouse=True)
def _emulated(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Any:
    cuda_emulator.install(monkeypatch, tmp_path_factory.getbasetemp())
    monkeypatch.setattr(depthwise, "int32s", lambda *values: tuple(map(np.int32, values)))
    monkeypatch.setattr(depthwise_plan, "THREADS", cuda_emulator.THREADS)
    for cached in CACHED:
        cached.cache_clear()
    yield
    for cached in CACHED:
        cached.cache_clear()


def last(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def unwritten(shape: Shape) -> np.ndarray:
    return np.full(shape, np.nan, np.float32)


def close(found: np.ndarray, expected: np.ndarray) -> bool:
    return bool(np.linalg.norm(found - expected) <= 1e-6 * np.linalg.norm(expected))


def test_all_passes(rng: np.random.Generator) -> None:
    windows, n, c, o, side = Windows.parse("test", 3, 2, 1, 1), 2, 8, 8, (13, 12)
    out = windows.output_size("test", side)
    groups = Geometry(windows, c)
    x, g = rng.standard_normal((n, c, *side), FLOAT), rng.standard_normal((n, o, *out), FLOAT)
    w, bias = rng.standard_normal((o, 1, *windows.kernel), FLOAT), rng.standard_normal(o, FLOAT)
    layer = layer_of(x.shape, g.shape, windows, 4)
    y = unwritten((n, *out, o))
    depthwise.product_launch(layer, FLOAT, (False, True, False), IDLE)(last(x), w, bias, y)
    assert close(y, last(reference.fprop(x, w, bias, groups)))
    dx = unwritten((n, *side, c))
    depthwise.product_launch(layer, FLOAT, (True, False, False), IDLE)(last(g), w, np.int64(0), dx)
    assert close(dx, last(reference.dgrad(g, w, groups, x.shape)))
    launch = depthwise.weight_launch(layer, FLOAT, IDLE._replace(processors=2))
    assert isinstance(launch.grid, tuple)
    parts, bias_parts = unwritten((launch.grid[0], o, windows.taps)), unwritten((launch.grid[0], o))
    launch(last(x), last(g), parts, bias_parts)
    expected = reference.wgrad(x, g, groups, w.shape)
    assert close(parts.sum(0).reshape(w.shape), expected)
    assert close(bias_parts.sum(0), g.sum((0, 2, 3)))

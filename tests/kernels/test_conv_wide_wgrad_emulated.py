"""wide_wgrad.cu in 16 bits, g as it lies, run on the CPU against the plain weight gradient."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from support import warp_emulator
from support.warp_emulator import expect_guards, guarded, on_device
from tinygrad_cupy.backend.gpu import GpuProperties
from tinygrad_cupy.kernels.common.windows import Geometry, Windows
from tinygrad_cupy.kernels.conv import reference, wide, wide_plan

pytestmark = [
    pytest.mark.slow,
    # A text: asked where it runs, not where it is collected.
    pytest.mark.skipif("warp_emulator.compiler() is None", reason="no compiler of C++20"),
]

GPU = GpuProperties(3, 232448, True, True)  # of so few processors that a block has several tiles

# N, C, H, W, O, kernel, stride, padding, dilation
SIZES = [
    (2, 72, 7, 9, 40, 3, 2, 1, 1),
    (5, 16, 6, 11, 70, (2, 3), (3, 1), (0, 2), (1, 2)),
    (40, 8, 1, 1, 200, 1, 2, 0, 1),
]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_tap(
    size: tuple[Any, ...],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    warp_emulator.install(monkeypatch, (wide,), tmp_path_factory.getbasetemp())
    rng = np.random.default_rng(0)
    n, c, h, w, o, kernel, stride, padding, dilation = size
    windows = Windows.parse("test", kernel, stride, padding, dilation)
    gather = wide_plan.forward((n, c, h, w), o, windows)
    x = rng.standard_normal((n, h, w, c)).astype(ml_dtypes.bfloat16)
    g = np.zeros((n, *gather.y_shape[2:], -(-o // 8) * 8), ml_dtypes.bfloat16)
    g[..., :o] = rng.standard_normal((*g.shape[:-1], o))
    images, grads = (a.astype(np.float64).transpose(0, 3, 1, 2) for a in (x, g[..., :o]))
    expected = reference.wgrad(images, grads, Geometry(windows, 1), (o, c, *windows.kernel))
    for tiles in wide_plan.configurations(GPU):
        if tiles.bn % 64 or tiles.bn > 128:
            continue
        for splits, one in ((1, tiles), (3, tiles._replace(stages=3))):  # a ring that comes round
            plan = wide_plan.weight_in(gather, one, splits, 8, False, GPU)
            product = wide.weight_launches(gather, plan, 1, 1).product
            rows, columns = plan.rows * one.bm, plan.blocks * one.bn
            partial = guarded((plan.splits, rows, columns), np.float32)
            product._replace(threads=wide._wgrad.threads)(on_device(x), on_device(g), partial)
            expect_guards(partial)
            groups = c // 64 if c % 64 == 0 else 1
            found = np.asarray(partial.sum(0))[: windows.taps * c, :o]
            found = found.reshape(groups, windows.taps, -1, o).transpose(3, 0, 2, 1)
            limit = 1e-4 * np.abs(expected).max()
            np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=limit)

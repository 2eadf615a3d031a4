"""The weight gradient that copies each pixel once, run on the CPU, against the reference."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from support import warp_emulator
from support.warp_emulator import expect_guards, guarded, on_device
from tinygrad_cupy.backend.gpu import GpuProperties
from tinygrad_cupy.kernels.common.windows import Geometry, Windows
from tinygrad_cupy.kernels.conv import reference, wide
from tinygrad_cupy.kernels.conv.taps_wgrad_plan import plans, taps_weight_plan
from tinygrad_cupy.kernels.conv.wide_plan import forward

pytestmark = [
    pytest.mark.slow,
    # A text: asked where one of them runs, not where it is collected.
    pytest.mark.skipif("warp_emulator.compiler() is None", reason="no compiler of C++20"),
]

GPU = GpuProperties(3, 232448, True, True)

# N, C, H, W, O, kernel, padding, dilation; kind; whether products read late
CASES: list[Any] = [
    ((2, 72, 7, 9, 40, 3, 1, 1), 1, False),
    ((2, 64, 9, 5, 72, 3, 1, 1), 1, True),
    ((7, 8, 6, 7, 16, 3, (0, 2), (2, 1)), 2, False),
    ((15, 128, 2, 2, 8, 2, 1, 1), 1, True),
    ((5, 16, 4, 11, 8, (1, 5), (0, 1), 1), 1, False),
    ((5, 16, 11, 3, 8, (4, 2), (3, 0), 1), 1, False),
    ((3, 8, 5, 6, 24, (2, 4), (1, 3), (3, 1)), 1, False),
    ((80, 8, 1, 1, 8, 3, 1, 1), 1, False),
]


@pytest.mark.parametrize(("size", "kind", "late"), CASES)
def test_sums_of_a_split(
    size: tuple[Any, ...],
    kind: int,
    late: bool,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """As planned, and with any runs in a ring that is as short as can be."""
    folder = tmp_path_factory.getbasetemp()
    launches = warp_emulator.install(monkeypatch, (wide,), folder, ("LATE",) if late else ())
    n, c, h, w, o, kernel, padding, dilation = size
    windows = Windows.parse("test", kernel, 1, padding, dilation)
    gather = forward((n, c, h, w), o, windows)
    whole = [one for one in plans(gather, kind, GPU) if one.chunk == 64 and one.splits == 1]
    small = [one._replace(stages=3, grid=1) for one in whole]
    assert all(one.tiles * one.blocks * one.chunks > 3 for one in whole)  # a stage is used again
    stored: Any = ml_dtypes.bfloat16 if kind == 1 else np.float16
    x = rng.standard_normal((n, h, w, c)).astype(stored)
    g = rng.standard_normal((n, *gather.y_shape[2:], o)).astype(stored)
    wide_x, wide_g = (one.astype(np.float64).transpose(0, 3, 1, 2) for one in (x, g))
    w_shape = (o, c, *windows.kernel)
    expected = reference.wgrad(wide_x, wide_g, Geometry(windows, 1), w_shape)
    for one in (*filter(None, [taps_weight_plan(gather, kind, GPU)]), *small):
        product = wide.taps_weight_launches(gather, one, kind, kind).product
        partial = guarded((one.splits, one.rows, one.blocks * 64), np.float32)
        product(on_device(x), on_device(g), partial)
        expect_guards(partial)
        assert np.isfinite(partial).all()
        rows = partial.sum(0)[:, :o].reshape(c // 64 if c % 64 == 0 else 1, windows.taps, -1, o)
        found = rows.transpose(3, 0, 2, 1).reshape(w_shape)
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    assert {number for _, number in launches} == {0}  # no bank met twice

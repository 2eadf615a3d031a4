"""wide_taps.cu, run on the CPU, against the plain convolution at odd sizes, guards around y."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from support import warp_emulator
from support.warp_emulator import expect_guards, guarded, on_device
from tinygrad_cupy.backend.gpu import GpuProperties
from tinygrad_cupy.kernels.common.windows import Geometry, Windows
from tinygrad_cupy.kernels.conv import reference, taps_plan, wide, wide_plan

pytestmark = [
    pytest.mark.slow,
    # A text: asked where it runs, not where it is collected.
    pytest.mark.skipif("warp_emulator.compiler() is None", reason="no compiler of C++20"),
]

GPU = GpuProperties(3, 232448, True, True)  # of so few processors that a block has several tiles

# N, C, H, W, O, kernel, padding, dilation
SIZES = [
    (2, 72, 7, 9, 40, 3, 1, 1),
    (7, 8, 6, 7, 16, 3, (0, 2), (2, 1)),
    (5, 16, 11, 3, 70, (4, 2), (2, 0), 1),
    (80, 8, 1, 1, 9, 3, 1, 1),
]


def packed(taps: Any, tiles: Any) -> Any:
    """Weights (taps, C, O) as the kernel reads them: see wide_pack.cu."""
    count, channels, outputs = taps.shape
    groups, blocks = -(-channels // 64), -(-outputs // tiles.bn)
    whole = np.zeros((count, groups * 64, blocks * tiles.bn))
    whole[:, :channels, :outputs] = taps
    found = np.zeros((blocks, groups, count, tiles.bn, 8, 8), ml_dtypes.bfloat16)
    for block, row in np.ndindex(blocks, tiles.bn):
        column = whole[:, :, block * tiles.bn + row].reshape(count, groups, 8, 8)
        for piece in range(8):
            found[block, :, :, row, piece ^ row % 8] = column.swapaxes(0, 1)[:, :, piece]
    return on_device(found)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_pixel(
    size: tuple[Any, ...],
    flip: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    warp_emulator.install(monkeypatch, (wide,), tmp_path_factory.getbasetemp())
    rng = np.random.default_rng(0)
    n, c, h, w, o, kernel, padding, dilation = size
    windows = Windows.parse("test", kernel, 1, padding, dilation)
    gather = wide_plan.forward((n, c, h, w), o, windows)
    weight = rng.standard_normal((o, c, *windows.kernel)).astype(ml_dtypes.bfloat16)
    exact = weight.astype(np.float64)
    if flip:
        gather = wide_plan.backward(gather.y_shape, (n, c, h, w), windows)
    _, channels, *in_size = gather.x_shape
    _, outputs, *out_size = gather.y_shape
    x = rng.standard_normal((n, *in_size, -(-channels // 8) * 8)).astype(ml_dtypes.bfloat16)
    x[..., channels:] = 0
    images = x[..., :channels].astype(np.float64).transpose(0, 3, 1, 2)
    geometry = Geometry(windows, 1)
    if flip:
        y = reference.dgrad(images, exact, geometry, (n, c, h, w))
        taps = exact.reshape(o, c, -1).transpose(2, 0, 1)
    else:
        y = reference.fprop(images, exact, None, geometry)
        taps = exact.reshape(o, c, -1).transpose(2, 1, 0)
    bias = rng.standard_normal(outputs).astype(np.float32)
    expected = np.maximum(y.transpose(0, 2, 3, 1) + bias, 0)
    pixels = taps_plan.pixels_of(gather)
    assert pixels is not None
    for plan in taps_plan._plans(gather, pixels, 8, GPU):
        if plan.tiles.bn > 128:
            continue
        product = wide.product_launches(gather, plan, 1, 0, (True, True, flip)).product
        product = product._replace(threads=wide._taps.threads)
        found = guarded((n, *out_size, outputs), np.float32)
        product(on_device(x), packed(taps, plan.tiles), on_device(bias), found)
        expect_guards(found)
        np.testing.assert_allclose(np.asarray(found), expected, atol=1e-4 * np.abs(expected).max())

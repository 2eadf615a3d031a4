"""All pixels in one row, as wide_taps.cu reads them: what its plans say, done by NumPy."""

from typing import Any

import numpy as np
import pytest

from tinygrad_cupy.backend.gpu import GpuProperties
from tinygrad_cupy.kernels.common.windows import Geometry, Windows
from tinygrad_cupy.kernels.conv import reference
from tinygrad_cupy.kernels.conv.taps_plan import CONFIGURATIONS, LINES, _plans, pixels_of, taps_plan
from tinygrad_cupy.kernels.conv.wide_plan import Gather, backward, forward, unit_of

H200 = GpuProperties(132, 232448, True, True)

# C, H, W, O, kernel, padding, dilation: of stride 1
SIZES = [
    (3, 9, 7, 2, 3, 1, 1),
    (2, 5, 5, 3, 3, 0, 1),
    (1, 6, 8, 2, 3, 2, 1),
    (2, 9, 11, 3, (3, 2), (1, 2), (1, 2)),
    (2, 7, 8, 1, 3, 2, 2),
    (1, 2, 9, 2, (1, 5), (0, 4), 2),
    (2, 1, 1, 3, 3, 1, 1),
    (1, 8, 4, 1, 2, 3, 3),
]


def in_one_row(x: np.ndarray, lines: int, pitch: int) -> np.ndarray:
    """Images (N, C, H, W) as pixels (i, C) with zeros between them."""
    n, c, height, width = x.shape
    row = np.zeros((n, lines, pitch, c))
    row[:, :height, :width] = x.transpose(0, 2, 3, 1)
    return row.reshape(-1, c)


def by_taps(x: np.ndarray, w: np.ndarray, gather: Gather) -> np.ndarray:
    """y (N, O, OH, OW) from x (N, C, H, W) and a weight (taps, C, O) for each tap."""
    pixels = pixels_of(gather)
    assert pixels is not None
    row = in_one_row(x, pixels.lines, pixels.pitch)
    # What lies before the first pixel and behind the last is zeros: no more is needed of it.
    before, behind = -min(pixels.low, 0), max(pixels.low + pixels.reach, 0)
    wide = np.pad(row, ((before, behind), (0, 0)))
    y = np.zeros((len(row), w.shape[2]))
    for shift, of_tap in zip(pixels.shifts, w, strict=True):
        start = before + pixels.low + shift
        y += wide[start : start + len(row)] @ of_tap
    n, o, out_height, out_width = gather.y_shape
    y = y.reshape(n, pixels.lines, pixels.pitch, o)[:, :out_height, :out_width]
    return y.transpose(0, 3, 1, 2)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_tap_is_the_same_pixels_further_on(
    size: tuple[Any, ...], rng: np.random.Generator
) -> None:
    c, h, w, o, kernel, padding, dilation = size
    windows = Windows.parse("test", kernel, 1, padding, dilation)
    geometry, x = Geometry(windows, 1), rng.standard_normal((3, c, h, w))
    weight = rng.standard_normal((o, c, *windows.kernel))
    y = reference.fprop(x, weight, None, geometry)
    found = by_taps(x, weight.reshape(o, c, -1).transpose(2, 1, 0), forward(x.shape, o, windows))
    np.testing.assert_allclose(found, y, atol=1e-12)
    g = rng.standard_normal(y.shape)
    gather = backward(g.shape, x.shape, windows)
    taps = weight.reshape(o, c, -1).transpose(2, 0, 1)
    np.testing.assert_allclose(
        by_taps(g, taps, gather), reference.dgrad(g, weight, geometry, x.shape), atol=1e-12
    )


def test_what_the_kernel_is_told() -> None:
    windows = Windows.parse("test", 3, 1, 1, 1)
    gather = forward((128, 100, 32, 30), 200, windows)
    pixels = pixels_of(gather)
    assert pixels is not None
    assert (pixels.lines, pixels.pitch, pixels.low) == (33, 31, -32)
    assert pixels.shifts == (0, 1, 2, 31, 32, 33, 62, 63, 64)
    plans = list(_plans(gather, pixels, unit_of(1), H200))
    assert len(plans) == len(CONFIGURATIONS)
    for plan in plans:
        rows, tiles = int(plan.space["numbers"][0][12]), int(plan.space["numbers"][0][13])
        assert rows % LINES == 0
        assert rows >= plan.tiles.bm + pixels.reach
        assert tiles * plan.tiles.bm >= 128 * 33 * 31
        assert plan.shared + 1024 <= H200.shared // plan.tiles.blocks
        assert plan.packing.slices == 2 * 9  # of 64 channels, tap by tap


@pytest.mark.parametrize(
    ("kernel", "stride", "of"),
    [(3, 2, "fprop"), (3, 2, "dgrad"), (1, 1, "fprop"), (7, 1, "fprop")],
)
def test_what_it_is_not_for(kernel: int, stride: int, of: str) -> None:
    windows = Windows.parse("test", kernel, stride, 0, 1)
    x_shape = (2, 64, 16, 16)
    gather = forward(x_shape, 64, windows)
    if of == "dgrad":
        gather = backward(gather.y_shape, x_shape, windows)
    assert pixels_of(gather) is None
    assert taps_plan(gather, 1, H200) is None

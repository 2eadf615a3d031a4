"""What the plans of wide layers say that kernels do, done by NumPy; and who does which layer."""

from typing import Any

import numpy as np
import pytest

from tinygrad_cupy.backend.gpu import GpuProperties
from tinygrad_cupy.kernels.common.windows import Geometry, Windows
from tinygrad_cupy.kernels.conv import reference
from tinygrad_cupy.kernels.conv.choice import by_wide
from tinygrad_cupy.kernels.conv.wide_plan import (
    Gather,
    backward,
    configurations,
    forward,
    planned,
    unit_of,
    weight_plan,
    wide_plan,
)

H200 = GpuProperties(132, 232448, True, True)

# C, H, W, O, kernel, stride, padding, dilation
SIZES = [
    (3, 9, 7, 2, 3, 1, 1, 1),
    (2, 9, 8, 3, 3, 2, 1, 1),
    (2, 9, 11, 3, (3, 2), (2, 3), (1, 2), (1, 2)),
    (2, 13, 12, 1, 5, 3, 2, 2),
    (1, 8, 8, 2, 1, 2, 0, 1),
    (1, 2, 9, 2, (1, 5), (3, 4), (1, 4), 2),
    (2, 7, 7, 1, 3, 2, 1, 2),
]


def gathered(x: np.ndarray, w: np.ndarray, gather: Gather) -> np.ndarray:
    """y (N, OH, OW, O) from x (N, H, W, C), w (O, C, KH, KW): every pixel, tap by tap."""
    n, o, *out = gather.y_shape
    y = np.full((n, *out, o), np.nan)
    for phase in gather.phases:
        for row, column in np.ndindex(phase.rows, phase.columns):
            total = np.zeros((n, o))
            for i, j in np.ndindex(phase.taps_down, phase.taps_across):
                at = (
                    row * gather.step[0] + phase.first_row + i * gather.tap_step[0],
                    column * gather.step[1] + phase.first_column + j * gather.tap_step[1],
                )
                tap = (
                    phase.kernel_row + i * gather.kernel_step[0],
                    phase.kernel_column + j * gather.kernel_step[1],
                )
                if all(0 <= a < size for a, size in zip(at, x.shape[1:3], strict=True)):
                    total += x[:, *at] @ w[:, :, *tap].T
            place = (
                row * gather.out_step[0] + phase.out_row,
                column * gather.out_step[1] + phase.out_column,
            )
            y[:, *place] = total
    return y.transpose(0, 3, 1, 2)


@pytest.mark.parametrize("size", SIZES)
def test_a_plan_is_the_convolution(rng: np.random.Generator, size: tuple[Any, ...]) -> None:
    c, h, w, o, kernel, stride, padding, dilation = size
    windows = Windows.parse("test", kernel, stride, padding, dilation)
    geometry = Geometry(windows, 1)
    x, weight = rng.standard_normal((2, c, h, w)), rng.standard_normal((o, c, *windows.kernel))
    expected = reference.fprop(x, weight, None, geometry)
    found = gathered(x.transpose(0, 2, 3, 1), weight, forward(x.shape, o, windows))
    np.testing.assert_allclose(found, expected)
    g = rng.standard_normal(expected.shape)
    turned = weight.transpose(1, 0, 2, 3)
    back = gathered(g.transpose(0, 2, 3, 1), turned, backward(g.shape, x.shape, windows))
    np.testing.assert_allclose(back, reference.dgrad(g, weight, geometry, x.shape), atol=1e-12)


@pytest.mark.parametrize("kind", [0, 1])
def test_tiles_cover_all_and_fit(kind: int) -> None:
    windows = Windows.parse("test", 3, 2, 1, 1)
    gather = backward((129, 200, 7, 6), (129, 96, 13, 12), windows)
    for tiles in configurations(H200):
        assert tiles.blocks * (tiles.shared + 1024) <= H200.shared + 1024
        plan = planned(gather, tiles, unit_of(kind), H200)
        assert 1 <= plan.grid <= H200.processors * tiles.blocks
        assert plan.blocks * tiles.bn >= 96
    chosen = wide_plan(gather, kind, H200)
    assert chosen.tiles in configurations(H200)
    work = weight_plan(forward((129, 96, 13, 12), 200, windows), kind, H200)
    assert (work.splits - 1) * work.each < work.slices <= work.splits * work.each


MNIST = [  # C, size, O, kernel: of the nets of the benchmark, batches of 128 to 8192
    (1, 28, 8, 3, 1),
    (1, 28, 32, 3, 0),
    (32, 26, 64, 3, 0),
    (1, 28, 32, 5, 0),
    (32, 24, 32, 5, 0),
    (32, 10, 64, 3, 0),
]


@pytest.mark.parametrize("layer", MNIST, ids=str)
@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_narrow_layers_stay_where_they_were(layer: tuple[int, ...], precision: str) -> None:
    c, size, o, kernel, padding = layer
    windows = Windows.parse("test", kernel, 1, padding, 1)
    for n in (128, 1024, 8192):
        x, w = (n, c, size, size), (o, c, kernel, kernel)
        y = (n, o, *windows.output_size("test", (size, size)))
        for which in ("fprop", "pool", "dgrad", "wgrad"):
            how = (Geometry(windows, 1), "float32", precision, H200)
            assert not by_wide(which, x, w, y, *how), (which, n)


def test_wide_and_strided_layers_and_those_in_16_bits_are_taken() -> None:
    def taken(which: str, c: int, o: int, stride: int = 1, dtype: str = "float32") -> bool:
        windows = Windows.parse("test", 3, stride, 1, 1)
        x, w = (1024, c, 16, 16), (o, c, 3, 3)
        y = (1024, o, *windows.output_size("test", (16, 16)))
        return by_wide(which, x, w, y, Geometry(windows, 1), dtype, "tf32", H200)

    for which in ("fprop", "dgrad", "wgrad"):
        assert taken(which, 256, 256)
        assert taken(which, 128, 128)
        assert taken(which, 24, 24, dtype="bfloat16")
        assert taken(which, 24, 24, dtype="float16")
    assert taken("dgrad", 64, 128, stride=2)
    assert taken("dgrad", 16, 16, stride=2)
    assert not taken("fprop", 256, 256, dtype="float64")

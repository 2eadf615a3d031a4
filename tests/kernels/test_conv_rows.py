"""Convolution by rows on the CPU, which takes many channels to be chosen, against im2col."""

import numpy as np
import pytest

from tinygrad_cupy.kernels.common.windows import Geometry, Windows
from tinygrad_cupy.kernels.conv import Epilogue, cpu, reference, row_lowering

NEAR = 1e-5  # relative, by norm


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.mark.one_in(5)
@pytest.mark.parametrize("kernel", [(3, 3), (5, 5), (3, 2)])
@pytest.mark.parametrize("padding", [(0, 0), (1, 1), (0, 2)])
@pytest.mark.parametrize("dilation", [(1, 1), (1, 2)])
@pytest.mark.parametrize("batch", [1, 7, 40])
def test_gradients_by_rows_are_those_of_im2col(
    kernel: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    batch: int,
    rng: np.random.Generator,
) -> None:
    windows = Windows(kernel, (1, 1), padding, dilation)
    geometry = Geometry(windows, 1)
    x = rng.standard_normal((batch, 32, 19, 23), np.float32)
    w = rng.standard_normal((33, 32, *kernel), np.float32)
    out_size = windows.output_size("conv2d", x.shape[2:])
    g = rng.standard_normal((batch, 33, *out_size), np.float32)
    assert row_lowering.suits(geometry, x.shape, w.shape, out_size)
    needs = (True, True, True)
    dx, dw, db = cpu.fused_backward(g, x, w, None, None, geometry, Epilogue(), needs)
    assert dx is not None
    assert dw is not None
    assert db is not None
    assert relative(dx, reference.dgrad(g, w, geometry, x.shape)) < NEAR
    assert relative(dw, reference.wgrad(x, g, geometry, w.shape)) < NEAR
    assert relative(db, g.sum((0, 2, 3))) < NEAR


@pytest.mark.parametrize("taps", [1, 2, 3, 4])
@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("width", [5, 6, 7, 8])
def test_columns_that_no_window_reaches(
    width: int, stride: int, taps: int, rng: np.random.Generator
) -> None:
    """One row of taps: some phases of the gradient are products of more pixels than g has."""
    geometry = Geometry(Windows.parse("test", (1, taps), (1, stride), 0, 1), 1)
    w = rng.standard_normal((3, 2, 1, taps)).astype(np.float32)
    g = rng.standard_normal((2, 3, 3, (width - taps) // stride + 1)).astype(np.float32)
    found = cpu.dgrad(g, w, geometry, (2, 2, 3, width))
    expected = reference.dgrad(g.astype(np.float64), w.astype(np.float64), geometry, found.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)

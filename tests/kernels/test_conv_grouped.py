"""Convolution in groups on the CPU, by C, against im2col and against sums in float64."""

import numpy as np
import pytest

from tinygrad_cupy.backend.compiling import compiler
from tinygrad_cupy.kernels.common.windows import Geometry, Shape, Windows
from tinygrad_cupy.kernels.conv import grouped_cpu, reference

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs a C compiler")

CASES = [  # groups, C / G, O / G, (N, H, W), kernel, stride, padding, dilation
    (3, 1, 1, (1, 7, 5), (3, 3), (1, 1), (1, 1), (1, 1)),
    (96, 1, 1, (7, 8, 8), (3, 3), (2, 2), (1, 1), (1, 1)),
    (200, 1, 1, (2, 4, 4), (3, 3), (1, 1), (1, 1), (1, 1)),
    (17, 1, 3, (3, 9, 6), (5, 2), (2, 3), (2, 0), (1, 2)),
    (5, 6, 4, (2, 11, 13), (3, 3), (3, 1), (0, 4), (2, 1)),
    (2, 24, 33, (1, 5, 28), (1, 9), (1, 2), (0, 4), (1, 1)),
    (24, 1, 1, (2, 9, 9), (1, 1), (3, 2), (2, 1), (1, 1)),  # pixels that no window meets
    (6, 1, 2, (7, 1, 1), (3, 3), (1, 1), (2, 2), (1, 1)),
]


def _images(rng: np.random.Generator, shape: Shape, last: bool) -> np.ndarray:
    n, c, h, w = shape
    if last:
        return rng.standard_normal((n, h, w, c), np.float32).transpose(0, 3, 1, 2)
    return rng.standard_normal(shape, np.float32)


def _near(found: np.ndarray, expected: np.ndarray) -> bool:
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    return bool(np.allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max()))


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_is_that_of_the_plain_kernels(
    case: tuple[int, int, int, Shape, Shape, Shape, Shape, Shape],
    last: bool,
    rng: np.random.Generator,
) -> None:
    groups, per, each, (n, h, width), *how = case
    geometry = Geometry(Windows(*how), groups)
    x = _images(rng, (n, groups * per, h, width), last)
    w = rng.standard_normal((groups * each, per, *how[0]), np.float32)
    bias = rng.standard_normal(len(w), np.float32)
    assert grouped_cpu.suits(x, w, geometry)
    wide, weight = x.astype(np.float64), w.astype(np.float64)
    y = reference.fprop(wide, weight, bias.astype(np.float64), geometry)
    assert _near(grouped_cpu.fprop(x, w, bias, geometry), y)
    g = _images(rng, y.shape, not last)
    expected = reference.dgrad(g.astype(np.float64), weight, geometry, x.shape)
    assert _near(grouped_cpu.dgrad(g, w, geometry, x.shape), expected)
    expected = reference.wgrad(wide, g.astype(np.float64), geometry, w.shape)
    assert _near(grouped_cpu.wgrad(x, g, geometry, w.shape), expected)


def test_only_its_own_pixels_are_written(rng: np.random.Generator) -> None:
    """Of a result whose pixels lie apart, as those of a gradient behind strides do."""
    x, w = _images(rng, (2, 6, 5, 5), True), rng.standard_normal((6, 1, 3, 3), np.float32)
    windows = Windows((3, 3), (1, 1), (1, 1), (1, 1))
    y = np.full((2, 11, 12, 6), np.nan, np.float32)
    grouped_cpu._product(x, w, None, windows, 6, y[:, 1:11:2, 1:11:2])
    expected = reference.fprop(x, w, None, Geometry(windows, 6))
    assert _near(y[:, 1:11:2, 1:11:2].transpose(0, 3, 1, 2), expected)
    y[:, 1:11:2, 1:11:2] = np.nan
    assert np.isnan(y).all()

"""Depthwise convolution on a GPU against the plain im2col reference in float64, at odd sizes.

Every output is poisoned first, so an element that a kernel leaves unwritten shows.
"""

from typing import Any

import numpy as np
import pytest

from support.gpu_memory import poison
from tinygrad_cupy import backend
from tinygrad_cupy.backend import CudaSource
from tinygrad_cupy.backend.dtypes import resolve_dtype
from tinygrad_cupy.kernels.common.windows import Geometry, Windows
from tinygrad_cupy.kernels.conv import (
    Epilogue,
    cuda,
    depthwise,
    depthwise_plan,
    fused_reference,
    reference,
)

pytestmark = pytest.mark.gpu

BOUNDS = {"float32": 1e-5, "float64": 1e-13, "bfloat16": 1e-2, "float16": 2e-3}

# N, C, H, W, outputs of a channel, kernel, stride, padding, dilation
SIZES = [
    (7, 24, 19, 23, 1, 3, 1, 1, 1),
    (7, 96, 14, 9, 1, 3, 2, 1, 1),
    (129, 32, 28, 28, 1, 3, 1, 1, 1),
    (1, 3, 9, 11, 1, 3, 3, 1, 1),
    (2, 5, 17, 13, 1, 3, 2, 0, 1),
    (1, 200, 7, 7, 1, 3, 1, 1, 1),
    (3, 513, 5, 6, 1, 3, 1, 1, 1),
    (2, 8, 13, 14, 1, 5, 2, 2, 1),
    (2, 12, 15, 14, 1, 7, 1, 3, 1),
    (2, 4, 12, 13, 1, (3, 2), (2, 3), (1, 2), (1, 2)),
    (3, 20, 5, 6, 1, (1, 5), (1, 3), (0, 4), 1),
    (2, 3, 10, 9, 2, 3, 1, 1, 1),
    (1, 40, 6, 6, 33, 5, 2, 1, 1),
    (2, 8, 9, 8, 1, 1, 2, 0, 1),
    (2, 4, 3, 2, 1, 3, 1, 5, 1),  # more padding than the kernel reaches
    (1, 2, 40, 41, 1, 31, 1, 0, 1),  # pixel by pixel, and tap by tap
    (1, 3, 21, 20, 2, 13, 6, 1, 1),
    (1, 2, 70, 65, 1, 3, 1, 1, 30),
]


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch)


def made(rng: np.random.Generator, shape: tuple[int, ...], dtype: str, last: bool = False) -> Any:
    """Normal numbers on the GPU, channels last in memory where asked for."""
    cupy = backend.import_cupy()
    numbers = rng.standard_normal(shape).astype(resolve_dtype(dtype))
    if not last:
        return cupy.asarray(numbers)
    return cupy.asarray(np.moveaxis(numbers, 1, -1).copy()).transpose(0, 3, 1, 2)


def error(found: Any, expected: Any) -> float:
    """‖found - expected‖ / ‖expected‖, NaN included."""
    assert found.shape == expected.shape
    found, expected = found.astype(np.float64).get(), expected.get()
    return float(np.linalg.norm(found - expected)) / max(float(np.linalg.norm(expected)), 1e-30)


def in_double(*arrays: Any) -> Any:
    return [array.astype(np.float64) for array in arrays]


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("size", SIZES)
def test_all_passes(
    rng: np.random.Generator,
    size: tuple[Any, ...],
    dtype: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    n, c, h, w, multiplier, kernel, stride, padding, dilation = size
    windows = Windows.parse("test", kernel, stride, padding, dilation)
    geometry, o, bound = Geometry(windows, c), c * multiplier, BOUNDS[dtype]
    launched: list[str] = []
    launch = CudaSource.launch

    def spy(source: CudaSource, name: str, *arguments: Any, **named: Any) -> None:
        launched.append(name)
        launch(source, name, *arguments, **named)

    monkeypatch.setattr(CudaSource, "launch", spy)
    x = made(rng, (n, c, h, w), dtype, last=bool(n % 2))
    weight, bias = made(rng, (o, 1, *windows.kernel), dtype), made(rng, (o,), dtype)
    y = cuda.fprop(x, weight, bias, geometry)
    wide_x, wide_w, wide_b = in_double(x, weight, bias)
    assert error(y, reference.fprop(wide_x, wide_w, wide_b, geometry)) < bound
    g = made(rng, y.shape, dtype, last=True)
    (wide_g,) = in_double(g)
    dx = cuda.dgrad(g, weight, geometry, x.shape)
    assert error(dx, reference.dgrad(wide_g, wide_w, geometry, x.shape)) < bound
    dw, db = cuda.wgrad_and_bias(x, g, geometry, weight.shape)
    assert error(dw, reference.wgrad(wide_x, wide_g, geometry, weight.shape)) < bound
    assert error(db, wide_g.sum(axis=(0, 2, 3))) < bound
    assert [name for name in launched if name.startswith("conv")] == [
        *("conv_depthwise", "conv_depthwise", "conv_depthwise_wgrad", "conv_wgrad_reduce")
    ]
    again = cuda.wgrad_and_bias(x, g, geometry, weight.shape)
    assert [one.get().tobytes() for one in again] == [dw.get().tobytes(), db.get().tobytes()]


@pytest.mark.parametrize("busy", [0, 1 << 40], ids=["high", "low"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_high_and_low_tiles(
    rng: np.random.Generator, stride: int, busy: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(depthwise_plan, "BUSY", busy)
    for cached in (depthwise_plan.product_tile, depthwise.product_launch):
        cached.cache_clear()
    geometry = Geometry(Windows.parse("test", 3, stride, 1, 1), 36)
    x, weight = made(rng, (5, 36, 21, 18), "float32", True), made(rng, (36, 1, 3, 3), "float32")
    y = cuda.fprop(x, weight, None, geometry)
    wide_x, wide_w = in_double(x, weight)
    expected = reference.fprop(wide_x, wide_w, None, geometry)
    assert error(y, expected) < 1e-5
    dx = cuda.dgrad(y, weight, geometry, x.shape)
    assert error(dx, reference.dgrad(expected, wide_w, geometry, x.shape)) < 1e-5
    for cached in (depthwise_plan.product_tile, depthwise.product_launch):
        cached.cache_clear()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("pool", [False, True])
def test_a_block(rng: np.random.Generator, pool: bool, dtype: str) -> None:
    """Bias, ReLU and the max-pool, and what comes back through them."""
    geometry, epilogue = Geometry(Windows.parse("test", 3, 1, 1, 1), 24), Epilogue(True, pool)
    x, weight = made(rng, (3, 24, 12, 14), dtype, True), made(rng, (24, 1, 3, 3), dtype)
    bias = made(rng, (24,), dtype)
    y, argmax = cuda.fused_forward(x, weight, bias, geometry, epilogue)
    wide_x, wide_w, wide_b = in_double(x, weight, bias)
    expected, _ = fused_reference.forward(wide_x, wide_w, wide_b, geometry, epilogue)
    assert error(y, expected) < BOUNDS[dtype]
    g = made(rng, y.shape, dtype, True)
    wanted = (True, True, True)
    found = cuda.fused_backward(g, x, weight, y, argmax, geometry, epilogue, wanted)
    wide_g, wide_y = in_double(g, y)
    gradients = fused_reference.backward(
        wide_g, wide_x, wide_w, wide_y, argmax, geometry, epilogue, wanted
    )
    for one, other in zip(found, gradients, strict=True):
        assert error(one, other) < BOUNDS[dtype]


def test_a_gradient_of_fewer_pixels_than_windows(rng: np.random.Generator) -> None:
    """Of a transposed convolution with padded output; NaN lies behind g."""
    geometry = Geometry(Windows.parse("test", 3, 1, (0, 1), 2), 8)
    cupy = backend.import_cupy()
    x, weight = made(rng, (2, 8, 9, 8), "float32", True), made(rng, (8, 1, 3, 3), "float32")
    count = 2 * 8 * 4 * 6
    memory = cupy.full(4 * count, np.nan, np.float32)
    memory[:count] = made(rng, (count,), "float32")
    g = memory[:count].reshape(2, 4, 6, 8).transpose(0, 3, 1, 2)
    wide_x, wide_w, wide_g = in_double(x, weight, g)
    dw = cuda.wgrad(x, g, geometry, (8, 1, 3, 3))
    assert error(dw, reference.wgrad(wide_x, wide_g, geometry, (8, 1, 3, 3))) < 1e-5
    dx = cuda.dgrad(g, weight, geometry, x.shape)
    assert error(dx, reference.dgrad(wide_g, wide_w, geometry, x.shape)) < 1e-5


def test_nan_that_no_window_sees_is_nobodys(rng: np.random.Generator) -> None:
    """Pixels of x behind the last window, which a tile of the gradient overhangs."""
    geometry = Geometry(Windows.parse("test", 3, 3, 0, 1), 4)
    x = made(rng, (2, 4, 17, 17), "float32", True)
    x[:, :, 15:], x[:, :, :, 15:] = np.nan, np.nan
    g = made(rng, (2, 4, 5, 5), "float32", True)
    assert not bool(backend.import_cupy().isnan(cuda.wgrad(x, g, geometry, (4, 1, 3, 3))).any())
    y = cuda.fprop(x, made(rng, (4, 1, 3, 3), "float32"), None, geometry)
    assert not bool(backend.import_cupy().isnan(y).any())

"""The CUDA convolutions against the plain im2col reference in float64, at odd sizes.

Every output is poisoned first, so an element that a kernel leaves unwritten shows.
"""

from typing import Any

import numpy as np
import pytest

from support.gpu_memory import poison
from tinygrad_cupy import backend
from tinygrad_cupy.backend import blas, gpu
from tinygrad_cupy.kernels.common.pool2x2 import spread
from tinygrad_cupy.kernels.common.windows import Geometry, Windows
from tinygrad_cupy.kernels.conv import Epilogue, cuda, fused_reference, reference
from tinygrad_cupy.kernels.conv.implicit_gemm_plan import forward_configurations
from tinygrad_cupy.kernels.conv.plan import Configurations, Plan, Problem
from tinygrad_cupy.kernels.conv.wgrad_plan import weight_configurations

pytestmark = pytest.mark.gpu

BOUNDS = {"fp32": 1e-5, "tf32": 1e-3, "bf16": 1e-2}

# N, C, H, W, O, kernel, stride, padding, dilation
SIZES = [
    (7, 1, 28, 28, 8, 3, 1, 1, 1),
    (129, 1, 28, 28, 32, 5, 1, 0, 1),
    (3, 3, 19, 23, 17, 3, 1, 1, 1),
    (2, 3, 20, 17, 5, (2, 3), (2, 1), (0, 1), 1),
    (1, 32, 26, 26, 64, 3, 1, 0, 1),
    (7, 32, 24, 24, 32, 5, 1, 0, 1),
    (129, 32, 10, 10, 64, 3, 1, 0, 1),
    (7, 64, 8, 8, 64, 3, 1, 0, 1),
    (3, 17, 13, 9, 3, 3, 1, 1, 1),
    (7, 64, 9, 14, 1, 3, 2, 1, 1),
    (5, 12, 11, 12, 20, 3, 3, 2, 1),
    (2, 8, 15, 16, 24, 3, 1, 2, 2),
    (1, 130, 7, 6, 70, 3, 1, 1, 1),
    (7, 96, 5, 5, 129, 1, 1, 0, 1),
    (2, 16, 33, 31, 16, (7, 1), 1, (3, 0), 1),
    (2, 1, 75, 73, 5, 3, 1, 0, 30),  # too far apart to be written out
    (1, 32, 4, 1500, 3, 3, 1, 1, 1),  # too wide for shared memory
    (1, 2, 40, 41, 3, 31, 1, 0, 1),
]


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch)


@pytest.fixture(params=["wgmma", "mma"])
def _products(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensor-core products by warpgroups (wgmma), as on Hopper, and by warps (mma)."""
    properties_of = gpu.properties_of
    wgmma = request.param == "wgmma"
    if wgmma and not properties_of(backend.import_cupy().empty(1)).wgmma:
        pytest.skip("wgmma needs compute capability 9.0")
    monkeypatch.setattr(cuda, "properties_of", lambda x: properties_of(x)._replace(wgmma=wgmma))


def problem(
    rng: np.random.Generator, size: tuple[Any, ...], layout: str
) -> tuple[Any, Any, Any, Geometry]:
    """x, w and bias on the GPU in float32, x laid out as ``layout`` says."""
    n, c, h, w, o, kernel, stride, padding, dilation = size
    windows = Windows.parse("test", kernel, stride, padding, dilation)
    cupy = backend.import_cupy()
    x = rng.standard_normal((n, c, h, w)).astype(np.float32)
    x = cupy.asarray(x)
    if layout == "NHWC":
        x = cupy.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    scale = 1 / np.sqrt(c * windows.taps)
    weight = cupy.asarray((scale * rng.standard_normal((o, c, *windows.kernel))).astype(np.float32))
    bias = cupy.asarray(rng.standard_normal(o).astype(np.float32))
    return x, weight, bias, Geometry(windows, 1)


def sample(rng: np.random.Generator, configurations: Configurations) -> list[Plan]:
    """A third of the plans, others each time."""
    plans = [one for _, one in configurations]
    return [plans[i] for i in rng.permutation(len(plans))[: 1 + len(plans) // 3]]


def error(found: Any, expected: Any, scale: Any = None) -> float:
    """‖found - expected‖ / ‖scale‖, NaN included; scale is expected unless it is given."""
    found, expected = found.get().astype(np.float64), expected.get()
    assert found.shape == expected.shape
    norm = float(np.linalg.norm(expected if scale is None else scale.get()))
    return float(np.linalg.norm(found - expected)) / max(norm, 1e-30)


def in_double(function: Any, *arguments: Any) -> Any:
    """``function`` with float32 arrays among its arguments made float64."""
    wide = [
        x.astype(np.float64) if getattr(x, "dtype", None) == np.float32 else x for x in arguments
    ]
    return function(*wide)


@pytest.mark.one_in(5)
@pytest.mark.usefixtures("_products")
@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("size", SIZES)
def test_forward_and_both_gradients(
    rng: np.random.Generator, size: tuple[Any, ...], precision: str
) -> None:
    blas.set_precision(precision)
    bound = BOUNDS[precision]
    x, w, bias, geometry = problem(rng, size, "NHWC" if size[0] % 2 else "NCHW")
    y = cuda.fprop(x, w, bias, geometry)
    assert error(y, in_double(reference.fprop, x, w, bias, geometry)) < bound
    g = backend.import_cupy().asarray(rng.standard_normal(y.shape).astype(np.float32))
    dx = cuda.dgrad(g, w, geometry, x.shape)
    assert error(dx, in_double(reference.dgrad, g, w, geometry, x.shape)) < bound
    dw = cuda.wgrad(x, g, geometry, w.shape)
    assert error(dw, in_double(reference.wgrad, x, g, geometry, w.shape)) < bound


@pytest.mark.one_in(5)
@pytest.mark.usefixtures("_products")
@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("size", [s for s in SIZES if s[-3:] != (3, 2, 1)])
def test_block(rng: np.random.Generator, size: tuple[Any, ...], pool: bool, precision: str) -> None:
    """The block's y within the bound of the reference; its gradients by the block's own code."""
    blas.set_precision(precision)
    bound = BOUNDS[precision]
    x, w, bias, geometry = problem(rng, size, "NHWC")
    y, code = cuda.fused_forward(x, w, bias, geometry, Epilogue(True, pool))
    expected, _ = in_double(fused_reference.forward, x, w, bias, geometry, Epilogue(True, pool))
    unshut, _ = in_double(fused_reference.forward, x, w, bias, geometry, Epilogue(False, pool))
    assert error(y, expected, unshut) < bound  # ReLU may have left little of it
    assert not pool or (code is not None and int(code.max()) <= 4)
    if code is not None:  # the code is right where the maximum is taken and where ReLU shuts
        plain = cuda.fprop(x, w, bias, geometry)
        assert bool(((y > 0) == (code < 4)).all())
        gathered = spread(y, code, plain.shape[2:])
        kept = gathered != 0
        np.testing.assert_allclose(gathered[kept].get(), plain[kept].get(), 1e-5, 1e-6)
    g = backend.import_cupy().asarray(rng.standard_normal(y.shape).astype(np.float32))
    wanted = (True, True, True)
    found = cuda.fused_backward(g, x, w, y, code, geometry, Epilogue(True, pool), wanted)
    gradients = in_double(
        fused_reference.backward, g, x, w, y, code, geometry, Epilogue(True, pool), wanted
    )
    for one, other in zip(found, gradients, strict=True):
        assert error(one, other) < bound
    _, dw, db = cuda.fused_backward(
        g, x, w, y, code, geometry, Epilogue(True, pool), (False, True, True)
    )
    assert error(dw, gradients[1]) < bound
    assert error(db, gradients[2]) < bound


@pytest.mark.usefixtures("_products")
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("precision", BOUNDS)
def test_every_tile_configuration_of_a_product(
    rng: np.random.Generator,
    precision: str,
    pool: bool,
    flip: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also the tiles that the planner would not choose."""
    if pool and flip:
        pytest.skip("gradients are not pooled")
    blas.set_precision(precision)
    x, w, bias, geometry = problem(rng, (7, 32, 17, 15, 40, 3, 1, 1, 1), "NHWC")
    g = backend.import_cupy().asarray(rng.standard_normal((7, 40, 17, 15)).astype(np.float32))
    forward = (x, w, bias, geometry, Epilogue(False, pool))
    backward = (g, w, geometry, x.shape)
    found: list[Plan] = []

    def some(problem: Problem) -> Plan:
        if not found:
            found.extend(sample(rng, forward_configurations(problem)))
        return found.pop()

    monkeypatch.setattr(cuda, "forward_plan", some)
    monkeypatch.setattr(cuda, "_prepare_backward", lambda *how: None)  # it would take a plan
    if flip:
        expected = in_double(reference.dgrad, *backward)
    else:
        expected = in_double(fused_reference.forward, *forward)[0]
    while True:
        cuda._product_launch.cache_clear()
        y = cuda.dgrad(*backward) if flip else cuda.fused_forward(*forward)[0]
        assert error(y, expected) < BOUNDS[precision]
        if not found:
            break
    cuda._product_launch.cache_clear()


@pytest.mark.parametrize("precision", BOUNDS)
def test_every_tile_configuration_of_a_weight_gradient(
    rng: np.random.Generator, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    blas.set_precision(precision)
    x, w, _, geometry = problem(rng, (7, 40, 17, 15, 33, 3, 1, 1, 1), "NHWC")
    g = backend.import_cupy().asarray(rng.standard_normal((7, 33, 17, 15)).astype(np.float32))
    found: list[Plan] = []

    def some(problem: Problem) -> Plan:
        if not found:
            found.extend(sample(rng, weight_configurations(problem)))
        return found.pop()

    monkeypatch.setattr(cuda, "weight_plan", some)
    expected = in_double(reference.wgrad, x, g, geometry, w.shape)
    while True:
        cuda._weight_launch.cache_clear()
        assert error(cuda.wgrad(x, g, geometry, w.shape), expected) < BOUNDS[precision]
        if not found:
            break
    cuda._weight_launch.cache_clear()


def test_the_same_bits_every_time(rng: np.random.Generator) -> None:
    x, w, bias, geometry = problem(rng, SIZES[5], "NHWC")
    y, code = cuda.fused_forward(x, w, bias, geometry, Epilogue(True, True))
    g = backend.import_cupy().asarray(rng.standard_normal(y.shape).astype(np.float32))
    first: Any = cuda.fused_backward(
        g, x, w, y, code, geometry, Epilogue(True, True), (True, True, True)
    )
    for _ in range(5):
        again: Any = cuda.fused_backward(
            g, x, w, y, code, geometry, Epilogue(True, True), (True, True, True)
        )
        for one, other in zip(first, again, strict=True):
            np.testing.assert_array_equal(one.get(), other.get())


def test_nan_reaches_the_output_and_takes_the_gradient(rng: np.random.Generator) -> None:
    x, w, bias, geometry = problem(rng, SIZES[4], "NHWC")
    x[0, 3, 5, 6] = np.nan
    y, code = cuda.fused_forward(x, w, bias, geometry, Epilogue(True, True))
    assert bool(backend.import_cupy().isnan(y[0, :, 2, 2]).all())
    assert code is not None
    assert not bool((code[0, :, 2, 2] == 4).any())


@pytest.mark.parametrize("channels", [(1, 1), (3, 17), (16, 32)], ids=str)
def test_a_gradient_of_fewer_pixels_than_windows(
    rng: np.random.Generator, channels: tuple[int, int]
) -> None:
    """The weight gradient of a transposed convolution with padded output; NaN lies behind g."""
    c, o = channels
    geometry = Geometry(Windows.parse("test", 3, 1, (0, 1), 2), 1)
    cupy = backend.import_cupy()
    x = cupy.asarray(rng.standard_normal((2, c, 9, 8), np.float32))
    count = 2 * o * 4 * 6
    memory = cupy.full(4 * count, np.nan, np.float32)
    memory[:count] = cupy.asarray(rng.standard_normal(count, np.float32))
    g = memory[:count].reshape(2, 4, 6, o).transpose(0, 3, 1, 2)
    found = cuda.wgrad(x, g, geometry, (o, c, 3, 3))
    expected = in_double(reference.wgrad, x, g, geometry, (o, c, 3, 3))
    assert error(found, expected) < 1e-3

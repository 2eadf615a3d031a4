"""1 × 1 convolutions as products, against the plain reference in float64, and when they are."""

from typing import Any

import numpy as np
import pytest

from support.gpu_memory import poison
from tinygrad_cupy import backend
from tinygrad_cupy.backend import blas
from tinygrad_cupy.backend.dtypes import resolve_dtype
from tinygrad_cupy.kernels.common.windows import Geometry, Windows
from tinygrad_cupy.kernels.conv import Epilogue, cuda, pointwise, reference

BOUNDS = {"float32": 1e-3, "bfloat16": 1e-2, "float16": 2e-3}

# N, C, H, W, O
SIZES = [
    (7, 16, 5, 3, 8),
    (1, 96, 1, 1, 24),
    (129, 24, 7, 9, 144),
    (3, 200, 6, 1, 520),
    (5, 32, 120, 112, 16),  # sums of more terms than float32 adds up
]


def layer(kernel: Any = 1, stride: Any = 1, padding: Any = 0, groups: int = 1) -> Geometry:
    return Geometry(Windows.parse("test", kernel, stride, padding, 1), groups)


def test_what_is_a_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "has_cublaslt", lambda: True)
    size = {"float32": 4, "float64": 8, "bfloat16": 2, "int64": 8}

    def suits(dtype: str, shape: tuple[int, int], geometry: Geometry) -> bool:
        return pointwise.suits(dtype, size[dtype], (*shape, 1, 1), geometry)

    assert suits("float32", (8, 12), layer())
    assert suits("bfloat16", (8, 16), layer())
    assert not suits("bfloat16", (8, 12), layer())  # a pixel of 24 bytes
    assert not suits("float32", (10, 32), layer())
    assert not suits("float64", (8, 8), layer())
    assert not suits("float32", (8, 8), layer(stride=(2, 1)))
    assert not suits("float32", (8, 8), layer(padding=(0, 1)))
    assert not suits("float32", (8, 8), layer(kernel=(1, 2)))
    assert not suits("float32", (8, 4), layer(groups=2))
    assert not suits("float32", (8, 0), layer())
    monkeypatch.setattr(blas, "has_cublaslt", lambda: False)
    assert not suits("float32", (8, 12), layer())


@pytest.mark.gpu
@pytest.mark.parametrize("laid_out", ["N, H, W, C", "N, C, H, W"])
@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_all_three_passes(
    size: tuple[int, ...],
    name: str,
    laid_out: str,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poison(monkeypatch)
    n, c, h, w, o = size
    cupy, dtype, geometry = backend.import_cupy(), resolve_dtype(name), layer()

    def made(*shape: int) -> Any:
        array = cupy.asarray(rng.standard_normal(shape)).astype(dtype)
        if laid_out == "N, C, H, W" or len(shape) < 4:
            return array
        return cupy.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)

    def close(found: Any, expected: Any) -> None:
        assert found.shape == expected.shape
        assert found.dtype == dtype
        apart = np.linalg.norm((found.astype(np.float64) - expected).get())
        assert apart < BOUNDS[name] * np.linalg.norm(expected.get())

    x, weight, bias, g = made(n, c, h, w), made(o, c, 1, 1), made(o), made(n, o, h, w)
    wide = [one.astype(np.float64) for one in (x, weight, bias, g)]
    assert pointwise.suits(name, x.itemsize, weight.shape, geometry)
    expected = reference.fprop(wide[0], wide[1], wide[2], geometry)
    close(cuda.fprop(x, weight, bias, geometry), expected)
    shut, _ = cuda.fused_forward(x, weight, bias, geometry, Epilogue(relu=True))
    close(shut, cupy.maximum(expected, 0))
    close(
        cuda.dgrad(g, weight, geometry, x.shape),
        reference.dgrad(wide[3], wide[1], geometry, x.shape),
    )
    dw, db = cuda.wgrad_and_bias(x, g, geometry, weight.shape)
    close(dw, reference.wgrad(wide[0], wide[3], geometry, weight.shape))
    close(db, wide[3].sum((0, 2, 3)))
    np.testing.assert_array_equal(cuda.wgrad(x, g, geometry, weight.shape).get(), dw.get())


@pytest.mark.gpu
def test_fewer_gradients_than_pixels(rng: np.random.Generator) -> None:
    """As of a transposed convolution with output padding, which a dilation allows."""
    cupy, geometry = backend.import_cupy(), Geometry(Windows.parse("test", 1, 1, 0, 2), 1)
    x, g, w = (
        cupy.asarray(rng.standard_normal(shape).astype(np.float32))
        for shape in ((2, 8, 6, 5), (2, 12, 5, 5), (12, 8, 1, 1))
    )
    assert pointwise.suits("float32", 4, w.shape, geometry)
    wide = [one.astype(np.float64) for one in (x, g, w)]
    dw, db = cuda.wgrad_and_bias(x, g, geometry, w.shape)
    expected = reference.wgrad(wide[0], wide[1], geometry, w.shape)
    np.testing.assert_allclose(dw.get(), expected.get(), rtol=5e-3, atol=5e-2)
    np.testing.assert_allclose(db.get(), wide[1].sum((0, 2, 3)).get(), rtol=1e-3, atol=1e-3)
    dx = cuda.dgrad(g, w, geometry, x.shape)
    expected = reference.dgrad(wide[1], wide[2], geometry, x.shape)
    np.testing.assert_allclose(dx.get(), expected.get(), rtol=5e-3, atol=2e-2)

"""ReLU and the max-pool behind a convolution against plain array operations: the same bits."""

from typing import Any

import numpy as np
import pytest

from support.gpu_memory import poison
from tinygrad_cupy import backend
from tinygrad_cupy.backend.dtypes import resolve_dtype
from tinygrad_cupy.kernels.common.pool2x2 import spread
from tinygrad_cupy.kernels.common.select import keep_where
from tinygrad_cupy.kernels.conv import fused_reference, pooling

pytestmark = pytest.mark.gpu

NAMES = ("float32", "bfloat16", "float16", "float64")
SIZES = [(3, 16, 6, 8), (2, 24, 7, 5), (5, 3, 4, 9), (1, 1, 2, 2), (129, 8, 3, 2), (2, 8, 2, 5)]


def same(found: Any, expected: Any) -> None:
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    found, expected = found.get(), expected.get()
    if expected.dtype.kind != "u":
        found, expected = found.astype(np.float64), expected.astype(np.float64)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_forward_and_backward(
    size: tuple[int, ...], name: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch)
    cupy, dtype = backend.import_cupy(), resolve_dtype(name)
    y = rng.integers(-3, 4, size).astype(np.float64)  # many are equal
    y[rng.random(size) < 0.05] = np.nan
    y = cupy.asarray(y.astype(np.float32)).astype(dtype)
    for relu in (False, True):
        found, argmax = pooling.pooled(y, relu)
        expected, places = fused_reference.pooled(y.copy(), relu)
        same(found, expected)
        same(argmax, places)
        grad = cupy.asarray(rng.standard_normal(expected.shape)).astype(dtype)
        same(pooling.opened(grad, None, argmax, size[2:]), spread(grad, argmax, size[2:]))
    grad = cupy.asarray(rng.standard_normal(size)).astype(dtype)
    same(pooling.opened(grad, y, None, size[2:]), keep_where(grad, ~(y <= 0)))

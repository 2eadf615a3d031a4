"""Lines that are ranked on a GPU: NumPy's stable order, NaN last, to the last bit."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from support.gpu_memory import on_gpu, poison
from tinygrad_cupy import kernels
from tinygrad_cupy.kernels.sort import cuda

pytestmark = pytest.mark.gpu

DTYPES = ["float16", "bfloat16", "float32", "float64", "bool", "int8", "uint8", "int16", "uint16"]
DTYPES += ["int32", "uint32", "int64", "uint64"]
LINES: list[tuple[tuple[int, ...], int]] = [((1,), 0), ((50,), 0), ((1000,), 0), ((7, 32), 1)]
LINES += [((7, 32), 0), ((300, 3), 0), ((3, 129, 5), 1), ((2, 1, 4), 1), ((0, 5), 1)]
SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, -np.nan, 1e-45, -1e-45]


def drawn(dtype: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """All magnitudes, with repeats and what is special."""
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    if kind.kind in "fV":
        values = rng.standard_normal(shape) * 10.0 ** rng.integers(-4, 4, shape)
        values = np.where(rng.random(shape) < 0.3, rng.choice(SPECIAL, shape), values)
        return values.astype(np.float32 if kind.itemsize == 2 else kind).astype(kind)
    if kind.kind == "b":
        return rng.random(shape) < 0.5
    limits = np.iinfo(kind)
    values = rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    return np.where(rng.random(shape) < 0.3, values, rng.integers(0, 9, shape).astype(kind))


def numbers(x: np.ndarray) -> Any:
    """x in a type in which NumPy knows that NaN is NaN."""
    return x.astype(np.float32) if x.dtype.kind == "V" else x


@pytest.mark.one_in(5)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "axis"), LINES, ids=str)
def test_the_order_of_lines(
    dtype: str,
    shape: Any,
    axis: int,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = drawn(dtype, shape, rng)
    wide: Any = x.astype(np.float32) if x.dtype.itemsize == 2 and x.dtype.kind in "fV" else x
    expected = np.argsort(wide, axis, kind="stable")
    values = np.take_along_axis(x, expected, axis)
    with np.errstate(invalid="ignore"):
        for ranked in (True, False):  # and as longer lines are sorted
            if ranked:
                poison(monkeypatch)
            else:
                monkeypatch.setattr(cuda, "LINE", 0)
            for given in (on_gpu(x), on_gpu(x.T.copy()).T):
                found, order = kernels.sort.sort_and_order(given, axis)
                np.testing.assert_array_equal(order.get(), expected)
                assert found.get().tobytes() == values.tobytes()
                np.testing.assert_array_equal(kernels.sort.argsort(given, axis).get(), expected)
                alone = kernels.sort.sort(given, axis).get()
                assert alone.dtype == x.dtype
                np.testing.assert_array_equal(numbers(alone), numbers(values))

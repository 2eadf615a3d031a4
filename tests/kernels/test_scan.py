"""Scans by every body, C, NumPy and CUDA: how exact they are, and what they let through."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tinygrad_cupy import kernels
from tinygrad_cupy.backend import array_module, to_device, to_numpy
from tinygrad_cupy.kernels.scan import cpu, native, reference

SHAPES = [
    *(((1,), 0), ((7,), 0), ((130,), 0), ((5000,), 0), ((70_001,), 0), ((3, 70_001), 1)),
    *(((4, 300), 1), ((300, 4), 0), ((3, 90, 5), 1), ((2, 9, 700), 1), ((40, 1100), 0)),
    *(((0,), 0), ((3, 0), 1), ((0, 3), 0), ((3, 0, 2), 1), ((2, 3, 0), 1), ((5000, 2), 1)),
]
DTYPES = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
ROUNDING = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24, "float64": 2.0**-53}
UFUNCS: dict[str, Any] = {
    "sum": np.add,
    "product": np.multiply,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "logaddexp": np.logaddexp,
}

every_shape = pytest.mark.parametrize(("shape", "axis"), SHAPES, ids=str)
both_ways = pytest.mark.parametrize("reverse", [False, True])


@pytest.fixture(params=["chosen", "NumPy"])
def body(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """C where there is a compiler, as is usual, or without."""
    if request.param == "NumPy":
        monkeypatch.setattr(native, "suits", lambda x, least: False)
    return str(request.param)


def drawn(rng: np.random.Generator, shape: Any, op: str, dtype: Any) -> np.ndarray:
    values = np.asarray(rng.standard_normal(shape))
    return np.asarray(np.exp(0.003 * values) if op == "product" else values, dtype)


def backwards(x: Any, axis: int, reverse: bool) -> Any:
    return np.flip(x, axis) if reverse else x


@pytest.mark.one_in(5)
@pytest.mark.parametrize("op", UFUNCS)
@pytest.mark.parametrize("dtype", DTYPES)
@both_ways
def test_scans_are_rounded_once(
    op: str, dtype: Any, reverse: bool, device: str, body: str, rng: np.random.Generator
) -> None:
    for shape, axis in SHAPES:
        x = drawn(rng, shape, op, dtype)
        found = kernels.scan.cumulative(to_device(x, device), op, axis, reverse)
        assert (found.shape, found.dtype) == (x.shape, x.dtype)
        wide = backwards(x.astype(np.float64), axis, reverse)
        expected = backwards(UFUNCS[op].accumulate(wide, axis), axis, reverse)
        error = np.abs(to_numpy(found).astype(np.float64) - expected)
        terms = backwards(np.add.accumulate(np.abs(wide), axis), axis, reverse)
        least = 2.0**-25 if dtype == np.float16 else 0.0  # half a subnormal
        limit = 1.01 * ROUNDING[np.dtype(dtype).name] * np.abs(expected) + least
        if op in ("sum", "product", "logaddexp"):  # what float64 carries along
            size = terms if op == "sum" else np.maximum(np.abs(expected), 1)
            limit = limit + max(shape) * 2.0**-53 * size
        assert (error <= limit).all()


@pytest.mark.one_in(3)
@pytest.mark.parametrize("op", ["sum", "product", "maximum", "minimum"])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "bool"])
@both_ways
def test_scans_of_integers(
    op: str, dtype: str, reverse: bool, device: str, rng: np.random.Generator
) -> None:
    for shape, axis in SHAPES:
        x = np.asarray(rng.integers(0, 2, shape) * (2 if dtype != "bool" else 1)).astype(dtype)
        found = to_numpy(kernels.scan.cumulative(to_device(x, device), op, axis, reverse))
        wide = None if op in ("maximum", "minimum") else np.int64
        expected = UFUNCS[op].accumulate(backwards(x, axis, reverse), axis, wide)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, backwards(expected, axis, reverse))


def one_by_one(a: np.ndarray, b: np.ndarray, axis: int, reverse: bool) -> np.ndarray:
    """The recurrence as its definition says."""
    a, b = np.moveaxis(a, axis, 0).astype(float), np.moveaxis(b, axis, 0).astype(float)
    s = b.copy()
    order = range(len(s) - 2, -1, -1) if reverse else range(1, len(s))
    for i in order:
        before, factor = (i + 1, a[i + 1]) if reverse else (i - 1, a[i])
        s[i] = b[i] + factor * s[before]
    return np.moveaxis(s, 0, axis)


@pytest.mark.one_in(5)
@every_shape
@both_ways
@pytest.mark.parametrize("dtype", DTYPES)
def test_recurrences(
    shape: Any,
    axis: int,
    dtype: Any,
    reverse: bool,
    device: str,
    body: str,
    rng: np.random.Generator,
) -> None:
    a, b = rng.uniform(-1, 1, shape).astype(dtype), rng.standard_normal(shape).astype(dtype)
    a[rng.random(shape) < 0.1] = 0
    found = kernels.scan.recurrence(to_device(a, device), to_device(b, device), axis, reverse)
    assert found.dtype == dtype
    unit = ROUNDING[np.dtype(dtype).name]
    expected = one_by_one(a, b, axis, reverse)
    np.testing.assert_allclose(
        to_numpy(found).astype(float), expected, rtol=8 * unit, atol=32 * unit
    )


@pytest.mark.one_in(5)
@every_shape
@both_ways
def test_segmented_sums(
    shape: Any, axis: int, reverse: bool, device: str, body: str, rng: np.random.Generator
) -> None:
    x, starts = rng.standard_normal(shape), np.asarray(rng.random(shape) < 0.2)
    found = kernels.scan.segmented_sum(
        to_device(x, device), to_device(starts, device), axis, reverse
    )
    expected = one_by_one(~starts, x, axis, reverse)
    np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-10, atol=1e-12)


@both_ways
def test_what_another_segment_holds_does_not_count(reverse: bool, device: str, body: str) -> None:
    x = np.tile([1.0, np.nan, np.inf, 2.0], 100)
    starts = np.tile([True, True, True, True], 100)
    found = kernels.scan.segmented_sum(to_device(x, device), to_device(starts, device), 0, reverse)
    np.testing.assert_array_equal(to_numpy(found), x)


@pytest.mark.parametrize("count", [50, 5000, 100_000])
def test_nan_is_what_everything_behind_it_is(count: int, device: str, body: str) -> None:
    x = np.linspace(1.0, 1.00001, count)
    x[count // 2] = np.nan
    for op in UFUNCS:
        for reverse in (False, True):
            found = to_numpy(kernels.scan.cumulative(to_device(x, device), op, 0, reverse))
            place = np.arange(count)
            behind = place <= count // 2 if reverse else place >= count // 2
            np.testing.assert_array_equal(np.isnan(found), behind)


def test_factors_that_overflow_together_make_no_nan(device: str, body: str) -> None:
    """A product of factors may be infinite where what it is multiplied by is 0."""
    a, b = np.full(64, 1e200), np.zeros(64)
    b[-1] = 1.0
    found = to_numpy(kernels.scan.recurrence(to_device(a, device), to_device(b, device), 0, False))
    np.testing.assert_array_equal(found, b)


@both_ways
def test_strides_do_not_matter(reverse: bool, device: str, rng: np.random.Generator) -> None:
    base = to_device(rng.standard_normal((60, 50, 40)), device)
    for view in (base[::-1, ::2], base.transpose(2, 0, 1), base[:, ::-3, 5:], base[:1, :, :1]):
        for axis in range(3):
            plain = array_module(view).ascontiguousarray(view)
            for op in ("sum", "maximum"):
                found = kernels.scan.cumulative(view, op, axis, reverse)
                expected = kernels.scan.cumulative(plain, op, axis, reverse)
                np.testing.assert_array_equal(to_numpy(found), to_numpy(expected))


def test_the_same_bits_however_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    from tinygrad_cupy.backend import c_source

    x = np.random.default_rng(0).standard_normal(1_000_003).astype(np.float32)
    several = cpu.cumulative(x, "sum", 0)
    monkeypatch.setattr(c_source, "thread_count", lambda: 1)
    np.testing.assert_array_equal(cpu.cumulative(x, "sum", 0), several)


def test_doubling_is_what_the_others_are_held_to(rng: np.random.Generator) -> None:
    x = rng.standard_normal((3, 100))
    found = reference.cumulative(x, np.maximum, 1, False)
    np.testing.assert_array_equal(found, np.maximum.accumulate(x, 1))

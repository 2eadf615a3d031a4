"""Rows taken, written and added by index on a GPU, against NumPy: every element as written."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from support.gpu_memory import on_gpu, poison
from tinygrad_cupy.kernels import indexing
from tinygrad_cupy.kernels.common import places_cuda, rows, rows_cuda

pytestmark = pytest.mark.gpu

# P, R, K and M: ranked and sorted; by digits of one byte to three; few rows that are said often.
SIZES = [
    (1, 10, 1, 5),
    (1, 1, 1, 0),
    (1, 1, 1, 1),
    (2, 20, 3, 0),
    (0, 4, 2, 5),
    (3, 7, 5, 4097),
    (1, 5000, 1, 8192),
    (1, 5000, 1, 8193),
    (1, 1, 1, 100_000),
    (1, 256, 2, 20_001),
    (2, 257, 3, 20_000),
    (1, 70_000, 33, 9000),
    (1, 20_000_000, 1, 100_000),
    (1000, 32, 1, 32),
    (3, 70_000, 1, 3_000_000),
    (1, 7, 40_000, 3),
]
DTYPES = ["float32", "float64", "float16", "bfloat16", "int64", "int8", "uint16", "bool"]


def dtype_of(name: str) -> Any:
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def places_of(sizes: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Places (M,), negative ones among them, and a row that half of them say."""
    _, count, _, places = sizes
    found = rng.integers(-count, count, places)
    return np.where(rng.random(places) < 0.5, found, count // 2)


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("beyond", [False, True])
def test_places_in_order(sizes: tuple[int, ...], beyond: bool, rng: np.random.Generator) -> None:
    count = sizes[1]
    places = places_of(sizes, rng)
    if not places.size:
        return
    if beyond:  # taken modulo the number of rows, however far
        places = rng.integers(-(2**63), 2**63 - 1, places.size)
    found, order = places_cuda.in_order(on_gpu(places), count)
    expected = np.argsort(places % count, kind="stable")
    np.testing.assert_array_equal(order.get(), expected)
    np.testing.assert_array_equal(found.get(), (places % count)[expected])


@pytest.mark.one_in(3)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_rows_that_are_taken(sizes: tuple[int, ...], dtype: str, rng: np.random.Generator) -> None:
    blocks, count, columns, _ = sizes
    if count * columns > 10_000_000:
        return
    places = places_of(sizes, rng)
    x = rng.integers(-100, 100, (blocks, count, columns)).astype(dtype_of(dtype))
    found = rows.take(on_gpu(x), on_gpu(places), 1)
    np.testing.assert_array_equal(found.get(), x[:, places])
    turned = on_gpu(x).transpose(2, 1, 0)  # no rows of memory
    np.testing.assert_array_equal(
        rows.take(turned, on_gpu(places), 1).get(), x.transpose(2, 1, 0)[:, places]
    )


@pytest.mark.one_in(3)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_sums_are_rounded_once(
    sizes: tuple[int, ...], dtype: str, rng: np.random.Generator
) -> None:
    blocks, count, columns, number = sizes
    kind, places = dtype_of(dtype), places_of(sizes, rng)
    real = kind.kind in "fV"
    values = rng.standard_normal((blocks, number, columns)) if real else 1
    values = np.broadcast_to(values, (blocks, number, columns)).astype(kind)
    found = rows.add(on_gpu(values), on_gpu(places), count)
    total = np.zeros((blocks, count, columns), np.float64 if real else kind)
    for block in range(blocks):
        np.add.at(total[block], places, values[block].astype(total.dtype))
    assert found.dtype == kind
    if kind == np.float64:
        np.testing.assert_allclose(found.get(), total, rtol=1e-11, atol=1e-11)
    elif not real:
        np.testing.assert_array_equal(found.get(), total)
    else:
        off = found.get() != total.astype(kind)  # sums of parts may differ in float64's last digit
        assert off.mean() < 1e-4 if off.size else True
        near = total.astype(np.float32)
        np.testing.assert_allclose(found.get().astype(np.float32), near, rtol=2**-7, atol=1e-6)
    again = rows.add(on_gpu(values), on_gpu(places), count)
    assert again.tobytes() == found.tobytes()


@pytest.mark.one_in(3)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_rows_that_are_written(
    sizes: tuple[int, ...], dtype: str, rng: np.random.Generator
) -> None:
    blocks, count, columns, number = sizes
    if count * columns > 10_000_000:
        return
    kind, places = dtype_of(dtype), places_of(sizes, rng)
    x = rng.integers(-100, 100, (blocks, count, columns)).astype(kind)
    region = (blocks, number, columns)
    given: list[Any] = [rng.integers(-100, 100, region), rng.integers(-100, 100, (number, 1))]
    given += [rng.integers(-100, 100, (blocks, 1, columns)), np.array(3)]
    for values in given:
        expected, out = x.copy(), on_gpu(x)
        expected[:, places] = values.astype(kind)  # one after the other
        given_there = on_gpu(values.astype(kind))
        repeats = values.size > 1
        owner = rows_cuda.put(out, x.shape, on_gpu(places), given_there, region, repeats)
        np.testing.assert_array_equal(out.get(), expected)
    expected, out = x.copy(), on_gpu(x)
    expected[:, places] = 5
    rows_cuda.put(out, x.shape, on_gpu(places), 5, region, False)
    np.testing.assert_array_equal(out.get(), expected)
    expected = x.copy()
    expected[:, places] = 0
    for known in (None, rows_cuda.owners(on_gpu(places), count)):
        kept = rows_cuda.without(on_gpu(x), x.shape, on_gpu(places), known)
        np.testing.assert_array_equal(kept.get(), expected)
    last = {int(place): m for m, place in enumerate(places % count)}
    stays = [last[int(place)] == m for m, place in enumerate(places % count)]
    assert owner is None  # of the last values, which are one number
    for known in (None, rows_cuda.owners(on_gpu(places), count)):
        taken = rows_cuda.take_last(on_gpu(x), x.shape, on_gpu(places), region, known).get()
        np.testing.assert_array_equal(taken, np.where(np.array(stays)[:, None], x[:, places], 0))


def test_signed_zero_and_nan_are_written_as_they_are() -> None:
    for value in (-0.0, np.nan, np.inf):
        for dtype in ("float16", "float32", "float64"):
            out = on_gpu(np.ones((1, 4, 1), dtype))
            rows_cuda.put(out, (1, 4, 1), on_gpu(np.array([2])), value, (1, 1, 1), False)
            expected = np.array([1, 1, value, 1], dtype)
            assert out.ravel().get().tobytes() == expected.tobytes()


KEYS: list[Any] = [
    (np.array([0, 0, 2, -1]),),
    (slice(None), np.array([[1, 1], [3, 1]])),
    (..., np.array([4, 4, 0])),
    (np.array([0, 1, 0]), slice(1, None), np.array([2, 2, 2])),
    (np.array([[0], [2]]), np.array([1, 1])),
    (None, np.array([1, 1]), 2),
    (slice(None, None, -1), np.array([0, 3, 0]), slice(1, 4)),
    (np.array([True, False, True]), np.array([1, 1])),
    (np.array(1),),
    (np.zeros(0, np.int64),),
]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("key", KEYS, ids=str)
def test_keys_that_are_written(key: Any, turned: bool, rng: np.random.Generator) -> None:
    shape = (3, 4, 5)
    x = rng.standard_normal(shape)
    there = tuple(on_gpu(k) if hasattr(k, "ndim") else k for k in key)
    region = x[key].shape
    several: list[Any] = [rng.standard_normal(region), rng.standard_normal((1, *region[-1:])), 2.5]
    for values in several:
        expected = x.copy()
        indexing._put_cpu(expected, key, values)
        out = on_gpu(x.transpose(2, 0, 1).copy()).transpose(1, 2, 0) if turned else on_gpu(x)
        indexing.put(out, there, on_gpu(values) if hasattr(values, "ndim") else values)
        np.testing.assert_array_equal(out.get(), expected)
    expected = x.copy()
    expected[key] = 0
    np.testing.assert_array_equal(indexing.without(on_gpu(x), there, None).get(), expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 300, 1), (7, 1, 9), (0, 3, 2), (129, 2, 65)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int8"])
def test_lines_by_places_of_their_own(
    shape: tuple[int, ...], axis: int, dtype: str, rng: np.random.Generator
) -> None:
    x = rng.integers(-100, 100, shape).astype(dtype)
    places = rng.integers(-shape[axis], shape[axis], shape) if x.size else np.zeros(shape, int)
    found = rows_cuda.take_along(on_gpu(x), on_gpu(places), axis)
    np.testing.assert_array_equal(found.get(), np.take_along_axis(x, places, axis))
    order = np.argsort(rng.random(shape), axis)
    for count in (shape[axis], shape[axis] // 2):
        chosen = np.take(order, np.arange(count), axis)
        values = np.take_along_axis(x, chosen, axis)
        expected = np.zeros_like(x)
        np.put_along_axis(expected, chosen, values, axis)
        made = rows_cuda.put_along(on_gpu(values), on_gpu(chosen), axis, shape[axis])
        np.testing.assert_array_equal(made.get(), expected)


def test_no_place_outside_is_read_or_written(rng: np.random.Generator) -> None:
    places = np.array([7, -8, 2**40, -(2**40), 2**63 - 1, -(2**63)])
    x = rng.standard_normal((2, 7, 3))
    found = rows.take(on_gpu(x), on_gpu(places), 1)
    np.testing.assert_array_equal(found.get(), x[:, places % 7])
    for call in (rows.take, lambda x, places, axis: rows.add(x[:, :1].repeat(6, 1), places, 0)):
        with pytest.raises(IndexError, match="out of bounds for axis 0 with size 0"):
            call(on_gpu(x[:, :0] if call is rows.take else x), on_gpu(places), 1)

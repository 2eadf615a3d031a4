"""Rows taken and added by index: in C and by NumPy alone, the same bits whatever the threads."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import cpu_threads
from support.examples import examples
from tinygrad_cupy import backend
from tinygrad_cupy.backend.compiling import compiler
from tinygrad_cupy.kernels import indexing
from tinygrad_cupy.kernels.common import rows

# P, R, K and M: small, of one block and of many, in buckets, with few rows that are said often.
SIZES = [
    (1, 10, 1, 5),
    (1, 1, 1, 0),
    (2, 20, 3, 0),
    (3, 4, 0, 5),
    (0, 4, 2, 5),
    (1, 5000, 1, 100_000),
    (1, 300_000, 1, 100_000),
    (1, 9000, 33, 5000),
    (3, 70_000, 1, 50_000),
    (2, 3000, 33, 9000),
    (1000, 32, 1, 32),
    (1000, 32, 3, 40),
    (1, 7, 40_000, 3),
    (2, 1, 150_000, 2),
]


@pytest.fixture
def body(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """C does everything, by the functions for many or for few, or NumPy."""
    if request.param == "NumPy":
        monkeypatch.setattr(rows, "MOST", 0)
    elif compiler() is None:
        pytest.skip("needs a C compiler")
    monkeypatch.setattr(rows, "SOME", 0 if request.param == "many" else 1 << 60)
    monkeypatch.setattr(rows, "MANY", 0 if request.param == "many" else 1 << 60)


every = pytest.mark.parametrize("body", ["NumPy", "few", "many"], indirect=True)


def drawn(sizes: tuple[int, ...], dtype: Any, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Values (P, M, K) and places (M,), negative ones among them."""
    blocks, count, columns, places = sizes
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((blocks, places, columns))
    return values.astype(dtype), rng.integers(-count, count, places)


def summed(values: np.ndarray, places: np.ndarray, count: int) -> np.ndarray:
    total = np.zeros((len(values), count, values.shape[2]))
    key: Any = (slice(None), places)
    np.add.at(total, key, values.astype(np.float64))
    return total


@pytest.mark.one_in(5)
@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_sums_are_rounded_once(sizes: tuple[int, ...], dtype: Any, body: None) -> None:
    values, places = drawn(sizes, dtype)
    found = rows.add(values, places, sizes[1])
    expected = summed(values, places, sizes[1])
    assert found.dtype == dtype
    if found.dtype == np.float64:
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
        return
    off = found != expected.astype(dtype)  # sums of parts may differ in float64's last digit
    assert off.mean() < 1e-4 if off.size else True
    near = expected.astype(np.float32)
    np.testing.assert_allclose(found.astype(np.float32), near, rtol=2**-7, atol=1e-6)


@every
@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.bool_])
def test_integers_are_added_as_numpy_does(dtype: Any, body: None) -> None:
    places = np.array([1, -1, 1, 1])
    values = np.ones((2, 4, 3), dtype)
    expected = np.zeros((2, 5, 3), dtype)
    key: Any = (slice(None), places)
    np.add.at(expected, key, values)
    found = rows.add(values, places, 5)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.one_in(4)
@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.float16, np.bool_])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_rows_that_are_taken(sizes: tuple[int, ...], dtype: Any, body: None) -> None:
    blocks, count, columns, _ = sizes
    places = drawn(sizes, np.float32)[1]
    x = np.random.default_rng(1).standard_normal((blocks, count, columns)).astype(dtype)
    np.testing.assert_array_equal(rows.take(x, places, 1), x[:, places])
    if places.size % 2 == 0:
        several = places.reshape(2, -1)
        np.testing.assert_array_equal(rows.take(x, several, 1), x[:, several])
    backwards = x[:, ::-1]  # no rows of memory
    np.testing.assert_array_equal(rows.take(backwards, places, 1), backwards[:, places])


@every
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64])
def test_places_of_any_integer_type(dtype: Any, body: None) -> None:
    places = np.arange(100, dtype=dtype).repeat(400)
    x = np.random.default_rng(0).standard_normal((100, 5)).astype(np.float32)
    np.testing.assert_array_equal(rows.take(x, places, 0), x[places])
    found = rows.add(rows.take(x, places, 0)[None], places, 100)
    np.testing.assert_allclose(found[0], x * 400, rtol=1e-6)


@pytest.mark.one_in(5)
@every
@pytest.mark.parametrize("wrong", [7, -8, 2**40, -(2**40)])
@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("columns", [1, 30_000])
def test_no_place_outside_is_read_or_written(
    wrong: int, blocks: int, columns: int, body: None
) -> None:
    places = np.zeros(30 if columns > 1 else 70_000, np.int64)
    places[len(places) // 2] = wrong
    with pytest.raises(IndexError) as raised:
        rows.add(np.zeros((blocks, len(places), columns), np.float32), places, 7)
    assert str(raised.value) == f"index {wrong} is out of bounds for axis 0 with size 7"
    with pytest.raises(IndexError) as raised:
        rows.take(np.zeros((blocks, 7, columns), np.float32), places, 1)
    assert str(raised.value) == f"index {wrong} is out of bounds for axis 1 with size 7"


@pytest.mark.skipif(compiler() is None, reason="no C compiler")
def test_bits_do_not_depend_on_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    for sizes in SIZES:
        values, places = drawn(sizes, np.float32)
        found = []
        for threads in (1, 2, 3):
            cpu_threads.take(monkeypatch, threads)
            found.append(rows.add(values, places, sizes[1]).tobytes())
        assert len(set(found)) == 1


@pytest.mark.slow
def test_without_a_compiler() -> None:
    code = """
import numpy as np
from tinygrad_cupy.kernels.common import rows
places = np.random.default_rng(0).integers(0, 1000, 100_000)
values = np.ones((1, 100_000, 2), np.float32)
found = rows.add(values, places, 1000)
assert (found[0, :, 1] == np.bincount(places, minlength=1000)).all()
x = np.arange(2000.0).reshape(1000, 2)
assert (rows.take(x, places, 0) == x[places]).all()
"""
    environment = {"TINYGRAD_CUPY_CC": "", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("in_c", [True, False])
@pytest.mark.parametrize("count", [0, 1, 7, 1000])
def test_which_places_are_the_last(
    in_c: bool, count: int, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    if not in_c:
        monkeypatch.setattr(rows._take, "library", None)
    for places in (rng.integers(0, 300, count), np.arange(count), np.zeros(count, np.int64)):
        expected = [int(place) not in places[i + 1 :] for i, place in enumerate(places)]
        for said in (places, places - 1000):
            found = rows.last(said, 1000)
            if all(expected):
                assert found is None
            else:
                assert found is not None
                np.testing.assert_array_equal(found, np.array(expected, bool))


@pytest.mark.skipif(compiler() is None, reason="needs a C compiler")
@pytest.mark.parametrize("wrong", [-10, 9])
def test_a_last_place_outside(wrong: int) -> None:
    with pytest.raises(IndexError, match=f"index {wrong} is out of bounds"):
        rows.last(np.array([3, wrong, 3]), 9)


# --- keys ---------------------------------------------------------------------------------------


@examples(30)
@given(data=st.data())
def test_what_a_key_adds_broadcasts(device: str, data: st.DataObject) -> None:
    shape = (3, 4, 5)
    keys: list[Any] = [
        (np.array([0, 0, 2]),),
        (slice(None), np.array([1, 1])),
        (..., np.array([[0, 0], [4, 4]])),
        (np.array([0, 0]), slice(1, None), np.array([2, 2])),
        (np.array([0, 0]), np.array([1, 1])),
        (np.array([True, False, True]), np.array([1, 1])),
        (None, np.array([2, 2]), ...),
        (1, np.array([-1, -1])),
    ]
    key = data.draw(st.sampled_from(keys))
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    region = np.zeros(shape)[key].shape
    kept = region[data.draw(st.integers(0, len(region))) :]
    values = rng.standard_normal(kept).astype(np.float32)
    out = rng.standard_normal(shape).astype(np.float32)
    expected = out.astype(np.float64)
    np.add.at(expected, key, values.astype(np.float64))
    there = backend.to_device(out, device)
    placed: Any = tuple(
        backend.to_device(k, device) if isinstance(k, np.ndarray) else k for k in key
    )
    indexing.scatter_add(there, placed, backend.to_device(values, device))
    np.testing.assert_array_equal(backend.to_numpy(there), expected.astype(np.float32))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_sums_on_a_gpu(sizes: tuple[int, ...], dtype: Any) -> None:
    values, places = drawn(sizes, dtype)
    given_ = [backend.to_device(x, "cuda:0") for x in (values, places)]
    found = [backend.to_numpy(rows.add(given_[0], given_[1], sizes[1])) for _ in range(2)]
    assert found[0].tobytes() == found[1].tobytes()
    expected = summed(values, places, sizes[1])
    limit = {2: 2e-3, 4: 2e-7, 8: 1e-12}[np.dtype(dtype).itemsize]
    np.testing.assert_allclose(found[0], expected, rtol=limit, atol=1e-6)

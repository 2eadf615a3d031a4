"""Rows sorted in C: NumPy's stable order, by one thread or by all, in types of 32 and 64 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinygrad_cupy import backend
from tinygrad_cupy.backend import cpu_threads
from tinygrad_cupy.backend.compiling import compiler
from tinygrad_cupy.kernels.sort import cpu, native

DTYPES = ["float32", "float64", "int32", "int64", "uint32", "uint64"]
SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, -np.nan, 1e-45, -1e-45]


def drawn(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """All magnitudes, with repeats and what is special."""
    if np.dtype(dtype).kind == "f":
        values = (rng.standard_normal(shape) * 10.0 ** rng.integers(-30, 30, shape)).astype(dtype)
        values = np.where(rng.random(shape) < 0.2, rng.choice(SPECIAL, shape), values)
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    values = rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    return np.where(rng.random(shape) < 0.3, values, rng.integers(0, 9, shape).astype(dtype))


@pytest.fixture(params=["by rows", "long"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Rows that a thread sorts by itself, or that all sort together."""
    if compiler() is None:
        pytest.skip("needs a C compiler")
    assert native._files[4].library is not None
    if request.param == "long":
        monkeypatch.setattr(native, "LONG", 1)
        monkeypatch.setattr(native, "EACH", 50)
    return str(request.param)


@pytest.mark.one_in(5)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape", [(1, 1), (3, 2), (5, 12), (4, 13), (3, 50), (2, 1000), (300, 7), (0, 5)]
)
def test_rows(shape: Any, dtype: str, way: str, rng: np.random.Generator) -> None:
    x = drawn(rng, dtype, shape)
    order, values = native.order_of_rows(x, True)
    expected = np.argsort(x, -1, kind="stable")
    np.testing.assert_array_equal(order, expected)
    np.testing.assert_array_equal(values, np.take_along_axis(x, expected, -1))
    same_bits = np.take_along_axis(x, expected, -1).view(np.uint8)
    assert values is not None
    np.testing.assert_array_equal(values.view(np.uint8), same_bits)
    alone, nothing = native.order_of_rows(x, False)
    assert nothing is None
    np.testing.assert_array_equal(alone, expected)


def test_what_is_the_same_everywhere_stays_in_order(way: str) -> None:
    order, _ = native.order_of_rows(np.full((2, 500), -0.0), True)
    np.testing.assert_array_equal(order, np.broadcast_to(np.arange(500), (2, 500)))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_other_axes_and_layouts(axis: int, rng: np.random.Generator) -> None:
    x = drawn(rng, "float32", (9, 10, 11))
    for lies in (x, x.transpose(2, 0, 1), x[::-1, :, ::2]):
        values, order = cpu.sort_and_order(lies, axis)
        expected = np.argsort(lies, axis, kind="stable")
        np.testing.assert_array_equal(order, expected)
        np.testing.assert_array_equal(values, np.sort(lies, axis))
        np.testing.assert_array_equal(cpu.argsort(lies, axis), expected)


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    x = drawn(rng, "float64", (20, 40))
    by_c = cpu.sort_and_order(x, 1)
    monkeypatch.setattr(native, "suits", lambda x: False)
    for found, expected in zip(cpu.sort_and_order(x, 1), by_c, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8", "uint16", "bool"])
def test_narrow_types(dtype: str, rng: np.random.Generator) -> None:
    wide = drawn(rng, "float32", (30, 40)).clip(-9, 9)
    x = (wide if "float" in dtype else np.nan_to_num(wide)).astype(
        backend.dtypes.resolve_dtype(dtype)
    )
    as_known = x.astype(np.float32) if "float" in dtype else x
    values, order = cpu.sort_and_order(x, 1)
    np.testing.assert_array_equal(order, np.argsort(as_known, 1, kind="stable"))
    assert values.dtype == x.dtype
    np.testing.assert_array_equal(
        values.astype(np.float32), np.sort(as_known, 1).astype(np.float32)
    )


def test_threads_do_not_change_the_order(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    x = rng.integers(0, 100, 200_000).astype(np.int64).reshape(1, -1)
    several = native.order_of_rows(x, False)[0] if native.suits(x) else None
    monkeypatch.setattr(cpu_threads, "thread_count", lambda: 1)
    if several is not None:
        np.testing.assert_array_equal(native.order_of_rows(x, False)[0], several)
        np.testing.assert_array_equal(several[0], np.argsort(x[0], kind="stable"))

"""Sums over axes on a GPU: which element a thread is told to add up, and what the kernel gives."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.gpu_memory import on_gpu, poison
from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import import_cupy, strides_of, to_device, to_numpy
from tinygrad_cupy.backend.dtypes import resolve_dtype
from tinygrad_cupy.kernels.common import sums, sums_cuda
from tinygrad_cupy.kernels.common.sums_plan import AXES, BLOCKS, plan_of

SHAPES = [(70, 3), (7, 17, 5, 9), (129, 8, 2, 1), (1, 64, 30, 31), (2, 100, 3), (64, 1, 1, 7)]


def layouts(shape: tuple[int, ...], rng: np.random.Generator) -> list[np.ndarray]:
    """Random arrays of that shape whose axes lie in memory in every order."""
    found = []
    for order in itertools.permutations(range(len(shape))):
        stored = rng.standard_normal([shape[i] for i in order])
        found.append(stored.transpose(np.argsort(order)))
    return found


def every_axes(ndim: int) -> list[tuple[int, ...]]:
    return [c for n in range(ndim + 1) for c in itertools.combinations(range(ndim), n)]


def views(rng: np.random.Generator) -> list[np.ndarray]:
    """With gaps, turned around, of odd widths, beside a multiple of 16 bytes, broadcast."""
    x = rng.standard_normal((10, 18, 12, 16))
    return [
        x.transpose(0, 3, 1, 2)[:, 4:12],
        x.transpose(0, 3, 1, 2)[:, 1:8],
        x[::-2, ::3, :, ::-1],
        x[:, :, 2:7, 3:],
        x[:, :1, :, 2:14],
        np.broadcast_to(x[:, :1], x.shape),
        np.broadcast_to(x[:1, :1, :1, :1], (3, 5, 70, 2)),
        np.ndarray((12, 12, 5), x.dtype, x, 0, (128, 8, 8)),  # windows
    ]


def memory_of(x: np.ndarray) -> np.ndarray:
    """The array that x is a view of."""
    return memory_of(x.base) if isinstance(x.base, np.ndarray) else x


def placed(x: np.ndarray) -> Any:
    """x on the GPU, with its strides and its memory's gaps."""
    whole = memory_of(x)
    memory = to_device(whole, "cuda:0").data + (x.ctypes.data - whole.ctypes.data)
    return import_cupy().ndarray(x.shape, x.dtype, memory, x.strides)


def as_planned(x: np.ndarray, axes: tuple[int, ...]) -> Any:
    """The sums of the elements that a plan names, with its threads' order left out."""
    start = x.ctypes.data
    plan = plan_of(x.shape, strides_of(x), axes, True, x.itemsize, start % 16)
    assert plan is not None
    outputs, terms, across, kept, _, *lists = plan.numbers
    assert across & (across - 1) == 0
    sizes = np.array(lists).reshape(6, AXES)
    macros = dict(macro.split("=") for macro in plan.macros if "=" in macro)
    width = int(macros["WIDTH"])
    rows = counted(outputs, *sizes[:2, :kept])
    columns = counted(terms, *sizes[2:4, : int(macros["SUMMED"])])
    pack = np.arange(width)
    if "ROWS" in plan.macros:
        columns = np.add.outer(columns, pack).ravel()
    else:
        rows = np.add.outer(rows, pack).ravel()
    addresses = start + x.itemsize * np.add.outer(rows, columns)
    each = (1, width) if "ROWS" in plan.macros else (width, 1)
    assert not (addresses[:: each[0], :: each[1]] % (width * x.itemsize)).any() or width == 1
    whole = memory_of(x)
    found = whole.reshape(-1)[(addresses - whole.ctypes.data) // x.itemsize].sum(1)
    if plan.order is None:
        return found.reshape(plan.shape)
    return found.reshape(plan.stored).transpose(plan.order).reshape(plan.shape)


def counted(count: int, sizes: np.ndarray, strides: np.ndarray) -> np.ndarray:
    """Where the elements of axes lie, the first of which is the innermost."""
    at = np.zeros(1, np.int64)
    for size, stride in zip(sizes, strides, strict=True):
        at = np.add.outer(stride * np.arange(size), at).ravel()
    assert len(at) == count
    return at


@pytest.mark.parametrize("shape", [*SHAPES, None], ids=str)
def test_plans_name_every_element_once(
    shape: tuple[int, ...] | None, rng: np.random.Generator
) -> None:
    for x in layouts(shape, rng) if shape else views(rng):
        for axes in every_axes(x.ndim):
            expected = x.sum(axis=axes, keepdims=True)
            np.testing.assert_allclose(as_planned(x, axes), expected, rtol=1e-12, atol=1e-12)


def test_plans_fill_a_gpu() -> None:
    """Blocks, and 16 bytes a load, for the arrays that nets have."""
    for shape, strides, axes, macros in (
        ((1024, 1024), (4096, 4), (0,), "WIDTH=4"),
        ((65536, 192), (768, 4), (0,), "WIDTH=4"),
        ((128, 32, 64, 64), (1048576, 4, 16384, 256), (0, 2, 3), "WIDTH=4"),
        ((128, 32, 64, 64), (524288, 16384, 256, 4), (0, 2, 3), "ROWS"),
        ((65536, 192), (768, 4), (1,), "ROWS"),
        ((1 << 28,), (4,), (0,), "ROWS"),
        ((1 << 26, 3), (12, 4), (0,), "WIDTH=1"),
        ((64, 100_000), (400_000, 4), (0,), "WIDTH=4"),
    ):
        plan = plan_of(shape, strides, axes, False, 4, 0)
        assert plan is not None
        assert macros in plan.macros
        assert math.prod(plan.grid) >= 128
        assert plan.grid[1] == 1 or math.prod(plan.grid) <= BLOCKS


LIMITS = {"float32": 2.0**-23, "float64": 1e-14, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def narrow(x: Any, dtype: str) -> Any:
    """x on the GPU, float64, as ``dtype``."""
    if dtype == "float64":
        return x
    return x.astype(np.float32).astype(resolve_dtype(dtype), copy=False)


def check(x: np.ndarray, axes: tuple[int, ...], dtype: str) -> None:
    """The sums and means of x, float64, as ``dtype``, on the GPU: right, and the same twice."""
    given = narrow(placed(x), dtype)  # without gaps where it is no float64
    stored = to_numpy(given).astype(np.float64)
    # Wider: NumPy's own sums of what is not in a row are off by 1e-13.
    expected = stored.astype(np.longdouble).sum(axis=axes)
    limit = LIMITS[dtype] * np.abs(expected) + 1e-14 * np.abs(stored).sum(axis=axes)
    found = sums.total(given, axes)
    assert found.dtype == given.dtype
    assert (np.abs(to_numpy(found).astype(np.float64) - expected) <= limit).all()
    again = sums.total(given, axes, True)
    assert again.shape == x.sum(axis=axes, keepdims=True).shape
    np.testing.assert_array_equal(to_numpy(again).ravel(), to_numpy(found).ravel())
    count = sums.count_of(x, axes)
    mean = to_numpy(sums.mean(given, axes)).astype(np.float64)
    smallest = 2.0**-24 if dtype == "float16" else 0.0  # steps near 0
    assert (np.abs(mean - expected / count) <= limit / count + smallest).all()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("shape", [*SHAPES, (3, 33, 129, 40), (40_000, 12), (5, 9001)], ids=str)
def test_the_sums_of_the_kernel(
    shape: tuple[int, ...],
    dtype: str,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poison(monkeypatch)
    for x in layouts(shape, rng)[:: 1 if len(shape) < 4 else 7]:
        for axes in every_axes(len(shape)):
            check(x, axes, dtype)


@pytest.mark.gpu
def test_the_sums_of_views(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch)
    for x in views(rng):
        for axes in every_axes(x.ndim):
            check(x, axes, "float64")
    for dtype in ("float32", "float16", "bfloat16"):
        base = narrow(on_gpu(rng.standard_normal((50, 40, 48))), dtype)
        for part in (base[..., 8:40], base[..., 4:20], base[:, 3:, 1:8], base[::2, :, ::3]):
            for axes in every_axes(3):
                exact = to_numpy(part).astype(np.float64)
                found = to_numpy(sums.total(part, axes)).astype(np.float64)
                limit = LIMITS[dtype] * np.abs(exact.sum(axis=axes)) + 1e-11
                assert (np.abs(found - exact.sum(axis=axes)) <= limit).all()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int16", "int32", "int64", "uint64"])
def test_the_sums_of_integers(dtype: str, rng: np.random.Generator) -> None:
    x = rng.integers(0, 2 if dtype == "bool" else 100, (60, 70, 24)).astype(dtype)
    for part in (on_gpu(x), on_gpu(x)[:, ::2, 3:19], on_gpu(x).transpose(2, 0, 1)):
        for axes in every_axes(3):
            exact = to_numpy(part).sum(axis=axes, dtype=np.int64)
            found = sums.total(part, axes)
            assert found.dtype == np.int64
            np.testing.assert_array_equal(to_numpy(found), exact)
            mean = to_numpy(sums.mean(part, axes))
            np.testing.assert_allclose(mean, to_numpy(part).mean(axis=axes), rtol=1e-6)


@pytest.mark.gpu
def test_the_sums_of_complex_numbers(rng: np.random.Generator) -> None:
    x = (rng.standard_normal((60, 70, 24, 2)) @ [1, 1j]).astype(np.complex64)
    for part in (on_gpu(x), on_gpu(x)[:, ::2, 3:19], on_gpu(x).transpose(2, 0, 1)):
        for axes in every_axes(3):
            exact = to_numpy(part).astype(np.complex128).sum(axis=axes, keepdims=True)
            found = sums.total(part, axes, True)
            assert found.dtype == x.dtype
            np.testing.assert_allclose(to_numpy(found), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(("rows", "columns"), [(129, 24), (5000, 17), (3, 4096)])
def test_the_gradient_behind_relu_in_16_bits(
    rows: int, columns: int, dtype: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch)
    grad, y = (narrow(on_gpu(rng.standard_normal((rows, columns))), dtype) for _ in range(2))
    masked, total = sums_cuda.relu_backward_and_sum(grad, y)
    positive = to_numpy(y).astype(np.float64) > 0
    expected = np.where(positive, to_numpy(grad).astype(np.float64), 0)
    assert masked.dtype == total.dtype == grad.dtype
    np.testing.assert_array_equal(to_numpy(masked).astype(np.float64), expected)
    error = np.abs(to_numpy(total).astype(np.float64) - expected.sum(axis=0))
    assert (error <= LIMITS[dtype] * np.abs(expected.sum(axis=0)) + 1e-12).all()


@pytest.mark.gpu
def test_sums_of_nothing() -> None:
    x = import_cupy().empty((0, 3), np.float32)
    assert to_numpy(sums.total(x, (0,))).tolist() == [0, 0, 0]
    assert sums.total(x, (1,)).shape == (0,)
    assert np.isnan(to_numpy(sums.mean(x, (0,)))).all()


@pytest.mark.gpu
def test_the_gradient_of_a_bias(rng: np.random.Generator) -> None:
    x = Tensor(rng.standard_normal((9, 3, 20, 20), np.float32), device="cuda:0")
    weight = Tensor(rng.standard_normal((5, 3, 3, 3), np.float32), device="cuda:0")
    bias = Tensor(np.zeros(5, np.float32), device="cuda:0", requires_grad=True)
    y = x.conv2d(weight, bias)
    seed = rng.standard_normal(y.shape, np.float32)
    last = to_device(seed.transpose(0, 2, 3, 1).copy(), "cuda:0").transpose(0, 3, 1, 2)
    for grad in (to_device(seed, "cuda:0"), last):
        found = tg.grad(y, bias, Tensor(grad), retain_graph=True)
        expected = seed.astype(np.float64).sum(axis=(0, 2, 3))
        np.testing.assert_allclose(to_numpy(found.data), expected, rtol=1e-5, atol=1e-4)

"""Sums over the outer axes in memory: which arrays they are for, and what the kernel adds up."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.gpu_memory import poison
from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import to_device, to_numpy
from tinygrad_cupy.kernels.common import sums_cuda

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


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_only_the_outer_axes_in_memory_are_summed_here(
    shape: tuple[int, ...], rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plain(x: Any, y: Any, gated: Any, rows: int, columns: int) -> Any:
        return x.ravel(order="K").reshape(rows, columns).sum(axis=0)

    monkeypatch.setattr(sums_cuda, "_sums", plain)
    taken = 0
    for x in layouts(shape, rng):
        for axes in every_axes(len(shape)):
            found = sums_cuda.outer_sum(x, axes)
            if found is not None:
                taken += 1
                np.testing.assert_allclose(found, x.sum(axis=axes), rtol=1e-12, atol=1e-12)
    assert taken >= 1


def test_gaps_and_other_dtypes_are_left_to_others(rng: np.random.Generator) -> None:
    x = rng.standard_normal((300, 8))
    for other in (x[:, :5], x[::2], x.astype(np.float16), x.astype(np.int64), x[:0], x[:20]):
        assert sums_cuda.outer_sum(other, (0,)) is None


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [*SHAPES, (3, 33, 129, 40)], ids=str)
def test_the_sums_of_the_kernel(
    shape: tuple[int, ...],
    dtype: str,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poison(monkeypatch)
    for x in layouts(shape, rng)[:: 1 if len(shape) < 4 else 5]:
        for axes in every_axes(len(shape)):
            stored = x.astype(dtype)  # keeps the order of axes
            placed = to_device(stored.ravel(order="K"), "cuda:0")
            order = np.argsort([-s for s in stored.strides], kind="stable")
            placed = placed.reshape([shape[i] for i in order]).transpose(np.argsort(order))
            found = Tensor(placed).sum(axis=axes)
            expected = stored.astype(np.float64).sum(axis=axes)
            scale = max(float(np.abs(stored).sum(axis=axes).max()), 1.0)
            limit = (1e-6 if dtype == "float32" else 1e-14) * scale
            np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=limit)
            again = Tensor(placed).sum(axis=axes, keepdims=True)
            np.testing.assert_array_equal(again.numpy().ravel(), found.numpy().ravel())


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

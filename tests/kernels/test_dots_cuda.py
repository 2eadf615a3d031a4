"""Sums of products on a GPU: exact to the rounding of the result, the same bits in every run."""

from __future__ import annotations

import numpy as np
import pytest

from support.gpu_memory import on_gpu, poison
from tinygrad_cupy import Tensor
from tinygrad_cupy.kernels.common import dots_cuda
from tinygrad_cupy.numpy import einsum

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch)


SHAPES: list[tuple[int, ...]] = [(1,), (2047,), (2049,), (1_000_003,), (3, 5000), (600, 300)]
SHAPES += [(2000, 257), (0, 3), (4, 0)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_dots(shape: tuple[int, ...], dtype: str, rng: np.random.Generator) -> None:
    u, v = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    exact = (u.astype(np.longdouble) * v).sum(-1)
    scale = np.abs(u.astype(np.float64) * v).sum(-1)
    found = dots_cuda.dots(on_gpu(u), on_gpu(v))
    assert (found.shape, found.dtype) == (shape[:-1], u.dtype)
    bound = scale * 1e-15 * 64 + np.abs(exact).astype(np.float64) * np.finfo(dtype).eps
    assert (np.abs(found.get() - exact) <= bound).all()
    assert dots_cuda.dots(on_gpu(u), on_gpu(v)).tobytes() == found.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1), (70, 3), (8193, 33), (100_001, 32), (9000, 256)])
def test_weighted_sums(shape: tuple[int, int], dtype: str, rng: np.random.Generator) -> None:
    x, w = rng.standard_normal(shape).astype(dtype), rng.standard_normal(shape[0]).astype(dtype)
    found = dots_cuda.weighted_sums(on_gpu(x), on_gpu(w))
    exact = w.astype(np.longdouble) @ x.astype(np.longdouble)
    scale = np.abs(w).astype(np.float64) @ np.abs(x)
    bound = scale * 1e-15 * 64 + np.abs(exact).astype(np.float64) * np.finfo(dtype).eps
    assert (np.abs(found.get() - exact) <= bound).all()
    assert dots_cuda.weighted_sums(on_gpu(x), on_gpu(w)).tobytes() == found.tobytes()


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("i,i->", [(5000,), (5000,)]),
        ("ij,ij->", [(90, 80), (90, 80)]),
        ("ij,ij->j", [(300, 8), (300, 8)]),
        ("ijk,k->ij", [(400, 30, 9), (9,)]),
        ("ijk,ij->k", [(400, 30, 9), (400, 30)]),
        ("ij,jk->ik", [(1, 9000), (9000, 7)]),
        ("ij,i->j", [(9000, 300), (9000,)]),
    ],
)
def test_equations(equation: str, shapes: list[tuple[int, ...]], rng: np.random.Generator) -> None:
    given = [rng.standard_normal(shape) for shape in shapes]
    there = [Tensor(x, device="cuda:0", requires_grad=True) for x in given]
    found = einsum(equation, *there)
    np.testing.assert_allclose(found.numpy(), np.einsum(equation, *given), rtol=1e-12, atol=1e-11)
    here = [Tensor(x, requires_grad=True) for x in given]
    seed = rng.standard_normal(found.shape)
    found.backward(Tensor(seed, device="cuda:0"))
    einsum(equation, *here).backward(Tensor(seed))
    for gpu, cpu in zip(there, here, strict=True):
        assert gpu.grad is not None
        assert cpu.grad is not None
        np.testing.assert_allclose(gpu.grad.numpy(), cpu.grad.numpy(), rtol=1e-11, atol=1e-11)

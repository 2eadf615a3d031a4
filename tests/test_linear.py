"""Fully connected layers: bias and ReLU in one operation, and the gradients behind them."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_cupy as tg
from gpu_memory import poison
from tinygrad_cupy import Tensor, blas, nn
from tinygrad_cupy.backend import array_module, to_device, to_numpy
from tinygrad_cupy.ops import linalg, sums_cuda

SIZES = [(1, 1, 1), (7, 3, 17), (129, 17, 3), (64, 64, 64), (5, 1, 300), (3000, 17, 10)]


def leaves(device: str, dtype: str, *shapes: tuple[int, ...]) -> list[Tensor]:
    rng = np.random.default_rng(sum(map(sum, shapes)))
    return [
        Tensor(rng.standard_normal(s).astype(dtype), device=device, requires_grad=True)
        for s in shapes
    ]


@pytest.mark.parametrize("bias", [False, True])
def test_relu_is_relu_of_the_linear_map(bias: bool, device: str) -> None:
    x, weight, *others = leaves(device, "float64", (5, 4), (6, 4), *[(6,)] * bias)
    vector = others[0] if bias else None
    fused, plain = x.linear(weight, vector, relu=True), x.linear(weight, vector).relu()
    np.testing.assert_allclose(fused.numpy(), plain.numpy(), rtol=1e-12)
    assert ((fused.numpy() == 0) == (plain.numpy() == 0)).all()
    inputs = [x, weight, *others]
    seed = Tensor(np.random.default_rng(0).standard_normal((5, 6)), device=device)
    for create_graph in (False, True):
        pairs = zip(
            tg.grad(fused, inputs, seed, create_graph=create_graph, retain_graph=True),
            tg.grad(plain, inputs, seed, retain_graph=True),
            strict=True,
        )
        for found, expected in pairs:
            np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("relu", [False, True])
def test_gradients_of_order_2(relu: bool, device: str) -> None:
    inputs = leaves(device, "float64", (5, 4), (6, 4), (6,))
    assert tg.gradcheck(lambda x, w, b: x.linear(w, b, relu).sin(), inputs, order=2)


def test_only_what_is_wanted_is_computed(device: str) -> None:
    x, weight, bias = leaves(device, "float32", (5, 4), (6, 4), (6,))
    y = x.linear(weight, bias, relu=True)
    (found,) = tg.grad(y.sum(), [bias], retain_graph=True)
    np.testing.assert_allclose(found.numpy(), (y.numpy() > 0).sum(axis=0))
    (found,) = tg.grad(y.sum(), [weight])
    assert found.shape == (6, 4)


def test_an_infinite_gradient_is_dropped_where_relu_is_shut(device: str) -> None:
    x = Tensor([[1.0]], device=device, requires_grad=True)
    weight = Tensor([[-1.0], [1.0]], device=device)
    bias = Tensor([0.0, 0.0], device=device, requires_grad=True)
    y = x.linear(weight, bias, relu=True)
    seed = Tensor([[np.inf, 2.0]], device=device)
    found = tg.grad(y, bias, seed)
    assert found.tolist() == [0.0, 2.0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_relu_passes_nan_on(dtype: str, device: str) -> None:
    x = Tensor([[1.0, np.nan], [1.0, -2.0], [np.inf, 0.0]], dtype=dtype, device=device)
    weight = Tensor(np.eye(2), dtype=dtype, device=device)
    bias = Tensor([0.0, 0.0], dtype=dtype, device=device)
    with np.errstate(invalid="ignore"):
        y = x.linear(weight, bias, relu=True)
        expected = np.maximum(x.numpy() @ np.eye(2), 0)
    np.testing.assert_array_equal(y.numpy(), expected)


def test_a_sequential_runs_linear_and_relu_as_one(device: str) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    x = Tensor(np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32), device=device)
    y = model(x)
    node = y._node
    assert type(node) is linalg.Linear
    assert type(node.edges[0]) is linalg.LinearRelu
    apart = x
    for layer in model:
        apart = layer(apart)
    np.testing.assert_allclose(y.numpy(), apart.numpy(), rtol=1e-5, atol=1e-6)


# --- on a GPU -----------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_linear_is_the_products_of_the_cpu(
    relu: bool,
    dtype: str,
    sizes: tuple[int, int, int],
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poison(monkeypatch, always=True)
    n, i, o = sizes
    x, weight, bias = (
        rng.standard_normal(s).astype(dtype).astype(np.float64) for s in ((n, i), (o, i), (o,))
    )
    expected = x @ weight.T + bias
    expected = np.maximum(expected, 0) if relu else expected
    x, weight, bias = (to_device(v.astype(dtype), "cuda:0") for v in (x, weight, bias))
    found = to_numpy(blas.linear(x, weight, bias, relu)).astype(np.float64)
    limit = {"float16": 3e-3, "float32": 1e-5, "float64": 1e-12}[dtype]
    assert np.linalg.norm(found - expected) <= limit * max(float(np.linalg.norm(expected)), 1.0)


@pytest.mark.gpu
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, 7, 64, 129, 5000])
@pytest.mark.parametrize("columns", [1, 3, 17, 64, 129, 9000])
def test_the_gated_gradient_and_its_sums(
    gated: bool, dtype: str, rows: int, columns: int, rng: np.random.Generator
) -> None:
    grad, y = (rng.standard_normal((rows, columns)).astype(dtype) for _ in range(2))
    expected = np.where(y > 0, grad, 0) if gated else grad
    on_gpu = to_device(grad, "cuda:0"), to_device(y, "cuda:0") if gated else None
    first = None
    for _ in range(3):
        poison = array_module(on_gpu[0]).full(3 * grad.size, np.nan, dtype)
        del poison  # the outputs get this memory
        found, total = sums_cuda.gate_and_sum(*on_gpu)
        np.testing.assert_array_equal(to_numpy(found), expected)
        scale = np.abs(expected).sum(axis=0).max()
        limit = (1e-6 if dtype == "float32" else 1e-14) * scale
        np.testing.assert_allclose(
            to_numpy(total), expected.astype(np.float64).sum(axis=0), rtol=0, atol=limit
        )
        first = to_numpy(total) if first is None else first
        np.testing.assert_array_equal(to_numpy(total), first)


@pytest.mark.gpu
def test_gradients_that_lie_otherwise_in_memory(rng: np.random.Generator) -> None:
    x, weight, bias = leaves("cuda:0", "float32", (40, 6), (5, 6), (5,))
    for seed in (rng.standard_normal((5, 40)).T, np.broadcast_to(rng.standard_normal(5), (40, 5))):
        array = to_device(np.ascontiguousarray(seed.astype(np.float32)), "cuda:0")
        y = x.linear(weight, bias, relu=True)
        plain = tg.grad(y, bias, Tensor(array), retain_graph=True).numpy()
        turned = tg.grad(y, bias, Tensor(array.T.copy().T)).numpy()
        np.testing.assert_array_equal(plain, turned)
    total = tg.grad(x.linear(weight, bias).sum(), bias)
    assert total.tolist() == [40.0] * 5

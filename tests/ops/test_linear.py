"""Fully connected layers: bias and ReLU in one operation, and the gradients behind them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cupy as tg
from support.gpu_memory import on_gpu, poison
from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.backend import array_module, blas, block_counter, to_device, to_numpy
from tinygrad_cupy.kernels import matmul
from tinygrad_cupy.kernels.common import sums_cuda
from tinygrad_cupy.ops.matmul import Linear, LinearRelu

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
    assert type(node) is Linear
    assert type(node.edges[0]) is LinearRelu
    apart = x
    for layer in model:
        apart = layer(apart)
    np.testing.assert_allclose(y.numpy(), apart.numpy(), rtol=1e-5, atol=1e-6)


@given(rows=st.integers(1, 1 << 33), columns=st.integers(1, 1 << 31))
def test_plans_for_few_outputs_leave_nothing_out(rows: int, columns: int) -> None:
    lanes, together, block = matmul._forward_plan(rows, columns)
    assert lanes & (lanes - 1) == 0
    assert block in (32, 64, 128, 256)
    assert block % lanes == 0
    slots = 256 // min(lanes, 32) * together * matmul.MOST_OUTPUTS
    assert 4 * slots <= 48 << 10  # of shared memory
    assert -(-rows // (block // lanes * together)) < 1 << 31
    quads, across, each = matmul._backward_plan(rows, columns)
    parts = -(-rows // each)
    assert matmul.THREADS % quads == each % matmul.CHUNK == 0
    assert across * quads * 4 >= columns + 1  # and the bias
    assert across < 1 << 31
    assert parts == 1 or across <= block_counter.MOST
    assert parts < 1 << 16


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


@pytest.mark.one_in(7)
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
        found, total = sums_cuda.relu_backward_and_sum(*on_gpu)
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


# --- few outputs, on a GPU ----------------------------------------------------------------------

FEW = [
    *itertools.product((1, 7, 129, 3000), (1, 3, 17, 300, 1568), (1, 3, 10, 16)),
    *[(8192, 1568, 10), (8192, 128, 10), (20000, 32, 10), (40000, 34, 3), (4100, 1028, 16)],
]


def small(n: int, i: int, o: int, bias: bool, rng: np.random.Generator) -> list[np.ndarray]:
    """A layer's inputs and a gradient of its output."""
    shapes = [(n, i), (o, i), *[(o,)] * bias, (n, o)]
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def layer(inputs: list[Tensor], relu: bool = False) -> Tensor:
    """``linear`` of x, weight and perhaps a bias."""
    three: Any = (*inputs, None)[:3]
    x, weight, bias = three
    return Tensor.linear(x, weight, bias, relu)


def on_gpu_at(offset: int, array: np.ndarray) -> Any:
    """A copy that begins so many elements behind the beginning of its memory."""
    filled = np.concatenate([np.full(offset, np.nan, array.dtype), array.ravel()])
    return on_gpu(filled)[offset:].reshape(array.shape)


def assert_product(found: Any, a: np.ndarray, b: np.ndarray, plus: Any = 0.0) -> None:
    """``found`` is a @ b + plus, to so many digits of what is added up: sums may cancel."""
    a, b, plus = (np.asarray(v, np.float64) for v in (a, b, plus))
    scale = np.linalg.norm(np.abs(a) @ np.abs(b) + np.abs(plus))
    assert found.shape == (a @ b).shape
    assert np.linalg.norm(to_numpy(found) - (a @ b + plus)) <= 1e-6 * scale  # TF32: 1e-5 at least


@pytest.mark.one_in(3)
@pytest.mark.gpu
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("sizes", FEW, ids=str)
def test_few_outputs(
    relu: bool,
    bias: bool,
    sizes: tuple[int, int, int],
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poison(monkeypatch)
    tg.set_precision("tf32")  # and true float32 all the same
    x, weight, *vector, seed = small(*sizes, bias, rng)
    first: list[np.ndarray] = []
    for offset in (0, 0, 1):  # the same bits every time, wherever it lies
        inputs = [Tensor(on_gpu_at(offset, v), requires_grad=True) for v in (x, weight, *vector)]
        y = layer(inputs, relu)
        found = [y, *tg.grad(y, inputs, Tensor(on_gpu_at(offset, seed)))]
        bits = [v.numpy() for v in found]
        first = first or bits
        for one, other in zip(bits, first, strict=True):
            np.testing.assert_array_equal(one, other)
    y, dx, dw, *db = (v.data for v in found)
    g = np.where(first[0] > 0, seed, 0) if relu else seed
    assert_product(dx, g, weight)
    assert_product(dw, g.T, x)
    for total in db:
        assert_product(total, np.ones(len(g)), g)
    if relu:
        assert first[0].min() >= 0
        y = layer(inputs).data
        np.testing.assert_array_equal(np.maximum(to_numpy(y), 0), first[0])
    assert_product(y, x, weight.T, *vector)


@pytest.mark.gpu
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("sizes", [(1, 3, 1), (129, 300, 10), (3000, 17, 16)], ids=str)
def test_gradients_of_few_outputs_with_a_graph_and_without(
    relu: bool, sizes: tuple[int, int, int], rng: np.random.Generator
) -> None:
    *arrays, seed = (on_gpu(v) for v in small(*sizes, True, rng))
    inputs = [Tensor(v, requires_grad=True) for v in arrays]
    y = layer(inputs, relu)
    graph = tg.grad(y, inputs, Tensor(seed), create_graph=True, retain_graph=True)
    kernel = tg.grad(y, inputs, Tensor(seed))
    assert graph[0].requires_grad
    assert graph[1].requires_grad
    for one, other in zip(kernel, graph, strict=True):
        scale = max(1.0, float(np.abs(other.numpy()).max()))
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=0, atol=2e-5 * scale)


@pytest.mark.gpu
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("sizes", [(7, 17, 3), (300, 64, 10)], ids=str)
def test_gradients_of_few_outputs_one_by_one(
    relu: bool, sizes: tuple[int, int, int], rng: np.random.Generator
) -> None:
    *arrays, seed = (on_gpu(v) for v in small(*sizes, True, rng))
    inputs = [Tensor(v, requires_grad=True) for v in arrays]
    y = layer(inputs, relu)
    whole = tg.grad(y, inputs, Tensor(seed), retain_graph=True)
    for count in (1, 2):
        for which in itertools.combinations(range(3), count):
            wanted = [inputs[k] for k in which]
            found = tg.grad(y, wanted, Tensor(seed), retain_graph=True)
            for k, one in zip(which, found, strict=True):
                expected = whole[k].numpy()
                np.testing.assert_allclose(one.numpy(), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("columns", [16, 17])
def test_nan_and_infinity_stay_where_they_belong(columns: int) -> None:
    x, weight = np.ones((140, columns), np.float32), np.ones((10, columns), np.float32)
    seed = np.ones((140, 10), np.float32)
    x[3, 4], x[5, 6], x[7, :2] = np.nan, np.inf, (np.inf, -np.inf)
    weight[2, columns - 1] = np.inf
    seed[130, 1], seed[9, 4] = np.nan, -np.inf
    inputs = [Tensor(on_gpu(v), requires_grad=True) for v in (x, weight, np.zeros(10, "f"))]
    y = layer(inputs)
    found = [y, *tg.grad(y, inputs, Tensor(on_gpu(seed)))]
    with np.errstate(invalid="ignore"):
        expected = x @ weight.T, seed @ weight, seed.T @ x, seed.sum(axis=0)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.numpy(), other)


@pytest.mark.gpu
def test_what_is_no_layer_of_few_outputs(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("skinny_forward", "skinny_backward"):
        monkeypatch.setattr(matmul, name, None)  # calling it would be an error
    x, weight, seed = (rng.standard_normal(s).astype("f") for s in ((5, 8), (17, 8), (5, 17)))
    columns = on_gpu(np.ascontiguousarray(x.T)).T
    for left, right, grad in (
        (on_gpu(x), on_gpu(weight), on_gpu(seed)),  # too many outputs
        (columns, on_gpu(weight[:3]), on_gpu(seed[:, :3])),  # rows do not lie in one piece
        (on_gpu(x)[::2], on_gpu(weight[:3]), on_gpu(seed[::2, :3])),
        (on_gpu(x).astype("d"), on_gpu(weight[:3]).astype("d"), on_gpu(seed[:, :3]).astype("d")),
    ):
        inputs = [Tensor(v, requires_grad=True) for v in (left, right)]
        y = layer(inputs)
        np.testing.assert_allclose(y.numpy(), (left @ right.T).get(), rtol=1e-4, atol=1e-4)
        dx, dw = tg.grad(y, inputs, Tensor(grad))
        np.testing.assert_allclose(dx.numpy(), (grad @ right).get(), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(dw.numpy(), (grad.T @ left).get(), rtol=1e-4, atol=1e-4)

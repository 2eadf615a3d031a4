"""Transforms of whole functions against ``torch.func``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.peers import import_torch
from tinygrad_cupy import Tensor

torch = import_torch()
RNG = np.random.default_rng(5)


class Pair(NamedTuple):
    """A function of one tensor, ours and PyTorch's, and the shape of its argument."""

    ours: Callable[[Any], Any]
    theirs: Callable[[Any], Any]
    shape: tuple[int, ...]
    positive: bool = False


def _array(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


W1, B1, W2, B2 = _array(5, 4), _array(5), _array(3, 5), _array(3)
K1, C1, K2, GAMMA, BETA = _array(3, 2, 3, 3), _array(3), _array(2, 3, 2, 2), _array(3), _array(3)
MEAN, VAR = _array(3), np.abs(_array(3)) + 0.5
Q, K, V = _array(4, 6), _array(4, 6), _array(4, 6)
CLASSES = np.array([2, 0, 1])


def t(array: np.ndarray) -> Any:
    return torch.tensor(array)


def mlp(x: Any) -> Any:
    return (x.linear(Tensor(W1), Tensor(B1)).tanh()).linear(Tensor(W2), Tensor(B2))


def torch_mlp(x: Any) -> Any:
    linear = torch.nn.functional.linear
    return linear(torch.tanh(linear(x, t(W1), t(B1))), t(W2), t(B2))


def cnn(x: Any) -> Any:
    """Convolution, batch norm in eval mode, ReLU, pool, convolution."""
    x = x.conv2d(Tensor(K1), Tensor(C1), padding=1)
    x = x.batch_norm(Tensor(GAMMA), Tensor(BETA), Tensor(MEAN), Tensor(VAR), training=False)
    return x.softplus().max_pool2d(2).conv2d(Tensor(K2), stride=1).gelu()


def torch_cnn(x: Any) -> Any:
    f = torch.nn.functional
    x = f.conv2d(x, t(K1), t(C1), padding=1)
    x = f.batch_norm(x, t(MEAN), t(VAR), t(GAMMA), t(BETA), training=False)
    return f.gelu(f.conv2d(f.max_pool2d(f.softplus(x), 2), t(K2)))


def attention(x: Any) -> Any:
    q, k, v = x @ Tensor(Q.T), x @ Tensor(K.T), x @ Tensor(V.T)
    return (q @ k.transpose(1, 0) / math.sqrt(4)).softmax(-1) @ v


def torch_attention(x: Any) -> Any:
    q, k, v = x @ t(Q.T), x @ t(K.T), x @ t(V.T)
    return torch.softmax(q @ k.transpose(0, 1) / math.sqrt(4), -1) @ v


PAIRS = {
    "sum of squares": Pair(lambda x: (x * x).sum(), lambda x: (x * x).sum(), (5,)),
    "sine times exponential": Pair(
        lambda x: x.sin() * x.exp(), lambda x: torch.sin(x) * torch.exp(x), (2, 3)
    ),
    "quotient": Pair(lambda x: x / (x * x + 1), lambda x: x / (x * x + 1), (4,)),
    "powers": Pair(lambda x: x**3 + 2.0**x, lambda x: x**3 + 2.0**x, (4,)),
    "logarithm and root": Pair(
        lambda x: x.log() * x.sqrt(), lambda x: torch.log(x) * torch.sqrt(x), (3,), positive=True
    ),
    "softmax": Pair(lambda x: x.softmax(-1), lambda x: torch.softmax(x, -1), (3, 4)),
    "log-sum-exp": Pair(lambda x: x.logsumexp(1), lambda x: torch.logsumexp(x, 1), (3, 4)),
    "variance": Pair(lambda x: x.var(0), lambda x: torch.var(x, 0, correction=0), (4, 2)),
    "norm": Pair(lambda x: (x * x).sum().sqrt(), lambda x: torch.linalg.norm(x), (4,)),
    "layer norm": Pair(
        lambda x: x.layer_norm((5,)), lambda x: torch.nn.functional.layer_norm(x, (5,)), (2, 5)
    ),
    "outer product": Pair(
        lambda x: x.unsqueeze(1) @ x.unsqueeze(0), lambda x: x[:, None] @ x[None, :], (3,)
    ),
    "matrix cubed": Pair(lambda x: x @ x @ x, lambda x: x @ x @ x, (3, 3)),
    "indexing": Pair(lambda x: x[1:, [0, 2]] * x[0, 0], lambda x: x[1:, [0, 2]] * x[0, 0], (3, 3)),
    "where": Pair(
        lambda x: x.where(x > 0, x * x * x), lambda x: torch.where(x > 0, x, x * x * x), (6,)
    ),
    "concatenation": Pair(
        lambda x: tg.concat([x.tanh(), x.transpose() * 2]),
        lambda x: torch.cat([torch.tanh(x), x.T * 2]),
        (3, 3),
    ),
    "error function": Pair(
        lambda x: x.erf() * x.sigmoid(), lambda x: torch.erf(x) * torch.sigmoid(x), (4,)
    ),
    "MLP": Pair(mlp, torch_mlp, (2, 4)),
    "CNN": Pair(cnn, torch_cnn, (1, 2, 6, 6)),
    "attention": Pair(attention, torch_attention, (3, 6)),
    "cross-entropy": Pair(
        lambda x: mlp(x).cross_entropy(Tensor(CLASSES)),
        lambda x: torch.nn.functional.cross_entropy(torch_mlp(x), t(CLASSES)),
        (3, 4),
    ),
}  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
every = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)


def point(pair: Pair, *lead: int) -> np.ndarray:
    values = np.random.default_rng(1).standard_normal((*lead, *pair.shape))
    return np.abs(values) + 0.5 if pair.positive else values


def same(ours: Any, theirs: Any) -> None:
    expected = theirs.detach().numpy()
    found = ours.numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


def scalar(pair: Pair) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Both as functions that return one number."""
    return (
        lambda x: (pair.ours(x) * pair.ours(x)).sum(),
        lambda x: (pair.theirs(x) * pair.theirs(x)).sum(),
    )


@every
def test_jvp(pair: Pair, device: str) -> None:
    x, v = point(pair), np.random.default_rng(2).standard_normal(pair.shape)
    for a, b in zip(
        tg.jvp(pair.ours, (Tensor(x),), (Tensor(v),)),
        torch.func.jvp(pair.theirs, (t(x),), (t(v),)),
        strict=True,
    ):
        same(a, b)


@every
@pytest.mark.parametrize("mode", ["forward", "reverse", "auto"])
def test_jacobian(pair: Pair, mode: str, device: str) -> None:
    x = point(pair)
    found = tg.jacobian(pair.ours, mode=mode, chunk_size=7)(Tensor(x))
    same(found, torch.func.jacrev(pair.theirs)(t(x)))


@every
def test_hessian_and_its_product(pair: Pair, device: str) -> None:
    ours, theirs = scalar(pair)
    x, v = point(pair), np.random.default_rng(2).standard_normal(pair.shape)
    expected = torch.func.hessian(theirs)(t(x))
    same(tg.hessian(ours)(Tensor(x)), expected)
    product = torch.tensordot(expected, t(v), dims=len(pair.shape))
    same(tg.hvp(ours, (Tensor(x),), (Tensor(v),)), product)
    same(tg.jvp(tg.grad(ours), (Tensor(x),), (Tensor(v),))[1], product)


@every
def test_vmap_and_gradients_by_sample(pair: Pair, device: str) -> None:
    ours, theirs = scalar(pair)
    x = point(pair, 3)
    same(tg.vmap(pair.ours)(Tensor(x)), torch.stack([pair.theirs(one) for one in t(x)]))
    same(tg.vmap(tg.grad(ours))(Tensor(x)), torch.stack([torch.func.grad(theirs)(one) for one in t(x)]))  # fmt: skip  # noqa: E501

"""Recurrent layers against PyTorch's: values, gradients, lengths, training, state_dicts."""

from typing import Any

import numpy as np
import pytest

from support.both_ways import (
    expect_same_gradients,
    expect_same_passes,
    expect_same_training,
    same_state,
)
from support.peers import import_torch
from tinygrad_cupy import Tensor, nn

torch = import_torch()

KINDS = ("RNN", "LSTM", "GRU")
OPTIONS: list[dict[str, Any]] = [
    {},
    {"num_layers": 2, "bidirectional": True},
    {"batch_first": True, "bias": False},
    {"num_layers": 3, "batch_first": True, "dropout": 0.5},
]
SPECIAL: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {"nonlinearity": "relu", "num_layers": 2}),
    ("LSTM", {"proj_size": 2, "num_layers": 2, "bidirectional": True}),
]
CASES = [(kind, options) for kind in KINDS for options in OPTIONS] + SPECIAL


def pair(kind: str, *sizes: int, dtype: Any = np.float64, **options: Any) -> tuple[Any, Any]:
    ours, theirs = (getattr(library, kind)(*sizes, **options) for library in (nn, torch.nn))
    same_state(torch, ours, theirs, dtype)
    return ours.eval(), theirs.eval()


def states(kind: str, options: dict[str, Any], rows: tuple[int, ...], size: int) -> Any:
    """Initial states of both, as arrays."""
    count = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    rng = np.random.default_rng(2)
    sizes = [options.get("proj_size") or size] + [size] * (kind == "LSTM")
    return [rng.standard_normal((count, *rows, n)) for n in sizes]


@pytest.mark.parametrize(("kind", "options"), CASES)
@pytest.mark.parametrize("given", [False, True])
def test_passes(kind: str, options: dict[str, Any], given: bool, rng: np.random.Generator) -> None:
    ours, theirs = pair(kind, 3, 4, **options)
    x = rng.standard_normal((2, 5, 3) if options.get("batch_first") else (5, 2, 3))
    begun = states(kind, options, (2,), 4) if given else []

    def calls(layer: Any) -> Any:
        def call(x: Any, *states: Any) -> Any:
            if not states:
                return layer(x)
            return layer(x, states if kind == "LSTM" else states[0])

        return call

    expect_same_passes(torch, calls(ours), calls(theirs), [x, *begun], 1e-12)
    expect_same_gradients(ours, theirs, 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_one_sequence(kind: str, rng: np.random.Generator) -> None:
    ours, theirs = pair(kind, 3, 4, bidirectional=True)
    expect_same_passes(torch, ours, theirs, [rng.standard_normal((5, 3))], 1e-12)


@pytest.mark.parametrize(("kind", "options"), [(k, OPTIONS[1]) for k in KINDS] + SPECIAL)
def test_lengths_are_as_packed_sequences(
    kind: str, options: dict[str, Any], rng: np.random.Generator
) -> None:
    ours, theirs = pair(kind, 3, 4, **options)
    lengths = [3, 5, 1, 4]

    def packed(x: Any) -> Any:
        rnn = torch.nn.utils.rnn
        y, last = theirs(rnn.pack_padded_sequence(x, lengths, enforce_sorted=False))
        return rnn.pad_packed_sequence(y, total_length=6)[0], last

    x = rng.standard_normal((6, 4, 3))
    expect_same_passes(torch, lambda x: ours(x, lengths=lengths), packed, [x], 1e-12)
    expect_same_gradients(ours, theirs, 1e-12)


@pytest.mark.parametrize("kind", ["RNNCell", "LSTMCell", "GRUCell"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [(), (3,)])
def test_cells(kind: str, bias: bool, rows: tuple[int, ...], rng: np.random.Generator) -> None:
    ours, theirs = pair(kind, 3, 4, bias=bias)
    x = rng.standard_normal((*rows, 3))
    expect_same_passes(torch, ours, theirs, [x], 1e-12)
    begun = [rng.standard_normal((*rows, 4)) for _ in range(2 if kind == "LSTMCell" else 1)]
    calls: list[Any] = [lambda x, *s, c=c: c(x, s if len(s) > 1 else s[0]) for c in (ours, theirs)]
    ours.zero_grad()
    theirs.zero_grad()
    expect_same_passes(torch, calls[0], calls[1], [x, *begun], 1e-12)
    expect_same_gradients(ours, theirs, 1e-12)


@pytest.mark.one_in(4)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("optimizer", "how"), [("SGD", {"lr": 0.1, "momentum": 0.9}), ("Adam", {"lr": 0.01})]
)
def test_twenty_steps(
    kind: str, optimizer: str, how: dict[str, Any], rng: np.random.Generator
) -> None:
    ours, theirs = pair(kind, 3, 5, num_layers=2, bidirectional=True)
    x, y = rng.standard_normal((7, 4, 3)), rng.standard_normal((7, 4, 10))

    def loss(step: int) -> Tensor:
        difference: Tensor = ours(Tensor(x))[0] - Tensor(y)
        return (difference * difference).mean()

    def their_loss(step: int) -> Any:
        return ((theirs(torch.tensor(x))[0] - torch.tensor(y)) ** 2).mean()

    expect_same_training(torch, ours, theirs, (loss, their_loss), optimizer, **how)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("kind", KINDS)
def test_float32_from_pytorchs_weights(kind: str, rng: np.random.Generator) -> None:
    ours, theirs = pair(kind, 16, 32, dtype=np.float32, num_layers=2)
    x = rng.standard_normal((20, 8, 16)).astype(np.float32)
    expect_same_passes(torch, ours, theirs, [x], 1e-5)
    expect_same_gradients(ours, theirs, 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives(kind: str, rng: np.random.Generator) -> None:
    ours, theirs = pair(kind, 2, 3, bidirectional=True)
    x = rng.standard_normal((4, 2, 2))
    found = []
    for library, layer in ((nn, ours), (torch.nn, theirs)):
        tensor: Any = Tensor if library is nn else torch.tensor
        given = tensor(x, requires_grad=True)
        y = layer(given)[0]
        if library is nn:
            import tinygrad_cupy as tg

            (g,) = tg.grad((y * y * y).sum(), [given], create_graph=True)
            (second,) = tg.grad((g * g).sum(), [given])
            found.append(second.numpy())
        else:
            (g,) = torch.autograd.grad((y**3).sum(), given, create_graph=True)
            (second,) = torch.autograd.grad((g * g).sum(), given)
            found.append(second.numpy())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9, atol=1e-12)

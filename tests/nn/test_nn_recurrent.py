"""Recurrent layers without PyTorch: lengths, directions, dropout, names, errors, capture."""

import re
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.jit_runs import trained
from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.nn import optim

KINDS = ("RNN", "LSTM", "GRU")
every_kind = pytest.mark.parametrize("kind", KINDS)


def make(kind: str, *sizes: int, **options: Any) -> Any:
    tg.manual_seed(3)
    return getattr(nn, kind)(*sizes, **options)


def flat(last: Any) -> list[Tensor]:
    return list(last) if isinstance(last, tuple) else [last]


def test_an_lstm_as_it_is_defined(rng: np.random.Generator, device: str) -> None:
    """In NumPy, step by step."""
    layer = make("LSTM", 3, 4).to(device)
    w = {name: value.astype(np.float64) for name, value in layer.state_dict().items()}
    x = rng.standard_normal((5, 2, 3)).astype(np.float32)
    h = c = np.zeros((2, 4))
    found = []
    for row in x:
        z = row @ w["weight_ih_l0"].T + h @ w["weight_hh_l0"].T + w["bias_ih_l0"] + w["bias_hh_l0"]
        i, f, o = (1 / (1 + np.exp(-z[:, 4 * k : 4 * k + 4])) for k in (0, 1, 3))
        c = f * c + i * np.tanh(z[:, 8:12])
        h = o * np.tanh(c)
        found.append(h)
    y, (last, cell) = layer(Tensor(x, device=device))
    np.testing.assert_allclose(y.numpy(), found, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(last.numpy()[0], h, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(cell.numpy()[0], c, rtol=1e-4, atol=1e-5)


def test_a_gru_as_it_is_defined(rng: np.random.Generator, device: str) -> None:
    layer = make("GRU", 3, 4).to(device)
    w = {name: value.astype(np.float64) for name, value in layer.state_dict().items()}
    x = rng.standard_normal((5, 2, 3)).astype(np.float32)
    h = np.zeros((2, 4))
    for row in x:
        a = row @ w["weight_ih_l0"].T + w["bias_ih_l0"]
        b = h @ w["weight_hh_l0"].T + w["bias_hh_l0"]
        r, z = (1 / (1 + np.exp(-(a + b)[:, 4 * k : 4 * k + 4])) for k in (0, 1))
        h = (1 - z) * np.tanh(a[:, 8:] + r * b[:, 8:]) + z * h
    np.testing.assert_allclose(layer(Tensor(x, device=device))[1].numpy()[0], h, 1e-4, 1e-5)


@every_kind
@pytest.mark.parametrize("given", [list, np.array, Tensor])
def test_what_lies_behind_a_sequence_is_not_read(
    kind: str, given: Any, rng: np.random.Generator, device: str
) -> None:
    """Each of a batch gives what it gives alone; NaN in its padding reaches no gradient."""
    layer = make(kind, 3, 4, num_layers=2, bidirectional=True).to(device)
    lengths = [4, 2, 5]
    x = rng.standard_normal((5, 3, 3)).astype(np.float32)
    for row, length in enumerate(lengths):
        x[length:, row] = np.nan
    numbers = Tensor(lengths, device=device) if given is Tensor else given(lengths)
    batch = Tensor(x, device=device, requires_grad=True)
    y, last = layer(batch, lengths=numbers)
    for row, length in enumerate(lengths):
        alone, alone_last = layer(Tensor(x[:length, row], device=device))
        np.testing.assert_allclose(y.numpy()[:length, row], alone.numpy(), rtol=1e-5, atol=1e-6)
        assert not y.numpy()[length:, row].any()
        for one, other in zip(flat(last), flat(alone_last), strict=True):
            np.testing.assert_allclose(one.numpy()[:, row], other.numpy(), rtol=1e-5, atol=1e-6)
    (y * y).sum().backward()
    assert batch.grad is not None
    for grad in [batch.grad, *(p.grad for p in layer.parameters())]:
        assert np.isfinite(grad.numpy()).all()


@every_kind
def test_a_sequence_in_two_parts(kind: str, rng: np.random.Generator) -> None:
    """The last states of one are the first of the other."""
    layer = make(kind, 3, 4, num_layers=2)
    x = Tensor(rng.standard_normal((6, 2, 3)).astype(np.float32))
    whole, last = layer(x)
    _, state = layer(x[:2])
    rest, ended = layer(x[2:], state)
    np.testing.assert_allclose(rest.numpy(), whole.numpy()[2:], rtol=1e-5, atol=1e-6)
    for one, other in zip(flat(ended), flat(last), strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5, atol=1e-6)


@every_kind
def test_a_cell_is_a_step(kind: str, rng: np.random.Generator) -> None:
    layer, cell = make(kind, 3, 4), make(kind + "Cell", 3, 4)
    state = layer.state_dict()
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in state.items()})
    x = Tensor(rng.standard_normal((4, 2, 3)).astype(np.float32))
    found: Any = None
    for t in range(4):
        found = cell(x[t], found)
    for one, other in zip(flat(found), flat(layer(x)[1]), strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy()[0], rtol=1e-5, atol=1e-6)


@every_kind
def test_dropout_lies_between_layers_in_training(kind: str) -> None:
    x = Tensor.ones(4, 2, 3)
    deep = make(kind, 3, 5, num_layers=2, dropout=0.9)
    assert np.any(deep(x)[0].numpy() != deep(x)[0].numpy())
    deep.eval()
    np.testing.assert_array_equal(deep(x)[0].numpy(), deep(x)[0].numpy())
    one = make(kind, 3, 5, dropout=0.9)
    np.testing.assert_array_equal(one(x)[0].numpy(), one(x)[0].numpy())


@every_kind
def test_batch_first(kind: str, rng: np.random.Generator) -> None:
    x = rng.standard_normal((4, 2, 3)).astype(np.float32)
    y, last = make(kind, 3, 5)(Tensor(x))
    other, other_last = make(kind, 3, 5, batch_first=True)(Tensor(x.swapaxes(0, 1)))
    np.testing.assert_array_equal(y.numpy(), other.numpy().swapaxes(0, 1))
    for a, b in zip(flat(last), flat(other_last), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_names_and_first_weights() -> None:
    layer = nn.LSTM(3, 16, 2, bidirectional=True, proj_size=5)
    shapes = {name: value.shape for name, value in layer.state_dict().items()}
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    assert list(shapes) == [
        f"{kind}_l{k}{end}" for k in (0, 1) for end in ("", "_reverse") for kind in kinds
    ]
    assert shapes["weight_ih_l1_reverse"] == (64, 10)
    assert shapes["weight_hh_l0"] == (64, 5)
    assert shapes["weight_hr_l0"] == (5, 16)
    for value in layer.state_dict().values():
        assert 0.1 < np.abs(value).max() <= 0.25  # 1 / sqrt(16)
    assert repr(layer) == "LSTM(3, 16, num_layers=2, bidirectional=True, proj_size=5)"
    assert repr(nn.RNN(3, 4, nonlinearity="relu")) == "RNN(3, 4, nonlinearity='relu')"
    assert repr(nn.GRUCell(3, 4, bias=False)) == "GRUCell(3, 4, bias=False)"


def test_sixteen_bits_are_rounded_once(rng: np.random.Generator) -> None:
    layer = make("GRU", 3, 4)
    x = rng.standard_normal((9, 2, 3)).astype(np.float16)
    for parameter in layer.parameters():
        parameter.replace_data(parameter.data.astype(np.float16))
    exact = make("GRU", 3, 4)
    exact.load_state_dict(layer.state_dict())
    y = layer(Tensor(x))[0]
    assert y.dtype == np.float16
    # Its gates are rounded as well, where the input's product ends.
    np.testing.assert_allclose(y.numpy(), exact(Tensor(x.astype(np.float32)))[0].numpy(), 0, 2e-3)


@every_kind
def test_autocast_gives_what_its_products_give(kind: str, rng: np.random.Generator) -> None:
    """16 bits for a result, float32 inside, and for the gradients of weights."""
    layer = make(kind, 3, 4, num_layers=2)
    x = Tensor(rng.standard_normal((9, 2, 3)).astype(np.float32))
    exact = layer(x)[0].numpy()
    with tg.autocast("bf16"):
        y = layer(x)[0]
    assert str(y.dtype) == "bfloat16"
    np.testing.assert_allclose(y.astype("float32").numpy(), exact, rtol=0, atol=2e-2)
    y.astype("float32").sum().backward()
    assert {str(p.grad.dtype) for p in layer.parameters()} == {"float32"}


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: nn.RNN(3, 4, nonlinearity="elu"), "[RNN] nonlinearity must be one of tanh, relu"),
        (lambda: nn.LSTM(3, 4, proj_size=4), "[LSTM] proj_size must be below hidden_size 4, got 4"),
        (lambda: nn.GRU(3, 4, dropout=2), "[GRU] dropout must be a number from 0 to 1, got 2"),
        (lambda: nn.GRU(0, 4), "[GRU] input_size must be an integer of at least 1, got 0"),
        (
            lambda: nn.GRU(3, 4)(Tensor.ones(2, 2, 5)),
            "[GRU] expected 3 input features, got 5 (input shape (2, 2, 5))",
        ),
        (
            lambda: nn.GRU(3, 4)(Tensor.ones(3)),
            "[GRU] expected an input of shape (T, N, I) or (T, I), got 1 axes",
        ),
        (lambda: nn.GRU(3, 4)(Tensor.ones(0, 2, 3)), "[GRU] expected at least one step, got none"),
        (
            lambda: nn.GRU(3, 4)(Tensor.ones(5, 2, 3), Tensor.ones(2, 4)),
            "[GRU] expected a state of shape (1, 2, 4), got (2, 4)",
        ),
        (
            lambda: nn.LSTM(3, 4)(Tensor.ones(5, 2, 3), (Tensor.ones(1, 2, 4), None)),
            "[LSTM] expected a state of shape (1, 2, 4), got NoneType",
        ),
        (
            lambda: nn.GRU(3, 4)(Tensor.ones(5, 2, 3), lengths=[3]),
            "[GRU] expected lengths to be 2 integers, got shape (1,) and dtype int64",
        ),
        (
            lambda: nn.GRU(3, 4)(Tensor.ones(5, 2, 3), lengths=Tensor([3.0, 1.0])),
            "[GRU] expected lengths to be 2 integers, got shape (2,) and dtype float32",
        ),
        (
            lambda: nn.GRU(3, 4)(Tensor.ones(5, 2, 3), lengths=[3, 6]),
            "[GRU] expected lengths from 1 to 5, the steps that there are, got 3 to 6",
        ),
        (
            lambda: nn.GRUCell(3, 4)(Tensor.ones(2, 3), Tensor.ones(4)),
            "[GRUCell] expected a state of shape (2, 4), got (4,)",
        ),
    ],
)
def test_what_is_refused(call: Any, text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        call()


def test_an_lstm_has_two_states() -> None:
    text = "[LSTM] expected two states (h_0, c_0), or none"
    with pytest.raises(TypeError, match=re.escape(text)):
        nn.LSTM(3, 4)(Tensor.ones(5, 2, 3), Tensor.ones(1, 2, 4))


class Rows(nn.Module):
    """Reads the rows of an image, as many as its first pixel says."""

    def __init__(self, kind: str) -> None:
        options: Any = {"num_layers": 2, "batch_first": True, "dropout": 0.3}
        self.read = getattr(nn, kind)(8, 5, bidirectional=True, **options)
        self.head = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        lengths = (x[:, 0, 0, 0] * 7).astype("int64") + 1
        y, _ = self.read(x.squeeze(1), lengths=lengths)
        return self.head(y.sum(1))  # type: ignore[no-any-return]


@every_kind
def test_a_captured_training_leaves_the_same_bits(place: str, kind: str) -> None:
    runs = [trained(8, (6, 6, 6, 4), jit, optim.Adam, lambda: Rows(kind)) for jit in (False, True)]
    for one, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(one, other)


@every_kind
def test_a_batch_of_functions(kind: str, rng: np.random.Generator) -> None:
    """Gradients by sample, as a loop gives them."""
    layer = make(kind, 3, 4)
    weights = {name: Tensor(p.data) for name, p in layer.named_parameters()}
    x = Tensor(rng.standard_normal((3, 5, 3)).astype(np.float32))

    def loss(weights: Any, x: Tensor) -> Any:
        return (nn.functional_call(layer, weights, x)[0] ** 2).sum()

    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a loop, where the weights are of each
        each = tg.vmap(tg.grad(loss), in_axes=(None, 0))(weights, x)
    for i in range(3):
        alone = tg.grad(loss)(weights, x[i])
        for name, grad in alone.items():
            np.testing.assert_allclose(each[name].numpy()[i], grad.numpy(), rtol=1e-4, atol=1e-5)

"""Recurrent layers' CUDA kernels against the reference in float64, at odd sizes.

Every output is poisoned first, so an element that a kernel leaves unwritten shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support import recurrent_nets
from support.gpu_memory import on_gpu, poison
from support.recurrent_nets import NETS
from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.backend import import_cupy
from tinygrad_cupy.kernels.recurrent import cuda, fused
from tinygrad_cupy.ops import recurrent

pytestmark = pytest.mark.gpu
every_net = pytest.mark.parametrize("net", NETS.values(), ids=NETS)

# T, N and H: the last two are wide enough for two and four features a thread
SIZES = [
    (1, 1, 1),
    (1, 129, 64),
    (5, 7, 3),
    (9, 2, 17),
    (4, 33, 256),
    (2, 1030, 130),
    (2, 1025, 256),
]


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch)
    tg.set_precision("fp32")


@every_net
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sizes", SIZES)
def test_both_passes(net: Any, dtype: Any, sizes: tuple[int, int, int]) -> None:
    for padded, reverse in ((False, False), (True, False), (True, True)):
        how = net, sizes, padded, reverse, dtype
        recurrent_nets.check(cuda, *how, on_gpu, import_cupy().asnumpy)


@every_net
def test_arrays_that_lie_otherwise(net: Any) -> None:
    """Views that begin anywhere, by columns, with gaps or broadcast."""
    given = net.inputs((3, 5, 8), True, np.float32)
    grad = np.ones((*((2,) if net.name == "lstm" else ()), 3, 5, 8), np.float32)
    cupy = import_cupy()

    def elsewhere(x: np.ndarray) -> Any:
        memory = cupy.empty((*x.shape[:-1], 2 * x.shape[-1] + 1), x.dtype)
        memory[..., 1::2] = cupy.asarray(x)
        return memory[..., 1::2]

    for place in (elsewhere, lambda x: cupy.asarray(x.T.copy()).T):
        moved = [x if x is None else place(x) for x in given]
        one = cupy.ones((), np.float32)
        found = net.passes(cuda, moved, cupy.broadcast_to(one, grad.shape), False)
        plain = [x if x is None else on_gpu(x) for x in given]
        expected = net.passes(cuda, plain, on_gpu(grad), False)
        for ours, exact in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours.get(), exact.get(), rtol=1e-4, atol=1e-5)


@every_net
@pytest.mark.parametrize(
    "sizes",
    [
        (1, 1, 4),
        (5, 17, 36),
        (3, 33, 64),
        (4, 128, 256),
        (2, 9, 516),  # of an LSTM the kernels make the product forward alone
        (2, 600, 128),  # too many rows for them
        (3, 5, 17),
    ],
)
def test_products_in_tf32(net: Any, sizes: tuple[int, int, int]) -> None:
    tg.set_precision("tf32")
    for padded, reverse in ((False, False), (True, False), (True, True)):
        how = net, sizes, padded, reverse, np.float32
        recurrent_nets.check(cuda, *how, on_gpu, import_cupy().asnumpy, 5e-3)


def test_products_in_bfloat16() -> None:
    tg.set_precision("bf16")
    for sizes in ((3, 600, 128), (6, 65, 64)):  # by the library, and by the kernels
        how = NETS["lstm"], sizes, True, False, np.float32
        recurrent_nets.check(cuda, *how, on_gpu, import_cupy().asnumpy, 5e-2)


@pytest.mark.parametrize(("kind", "launched"), [("tanh", "rnn"), ("lstm", "lstm"), ("gru", "gru")])
def test_small_states_are_multiplied_by_the_kernels(
    kind: str, launched: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tg.set_precision("tf32")
    names: list[str] = []
    plain = fused._kernels.launch

    def launch(name: str, *others: Any) -> None:
        names.append(name)
        plain(name, *others)

    monkeypatch.setattr(fused._kernels, "launch", launch)
    how = NETS[kind], (2, 3, 32), False, False, np.float32
    recurrent_nets.check(cuda, *how, on_gpu, import_cupy().asnumpy, 5e-3)
    each = [f"{launched}_step"] * 2 + [f"{launched}_step_back"] * 2
    assert names == 2 * each


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bits_are_rounded_once(dtype: str) -> None:
    given = NETS["lstm"].inputs((9, 5, 24), True, np.float32)
    *floats, seen = given
    on_both = []
    for device in ("cpu", "cuda"):
        inputs: list[Any] = [Tensor(x, device=device).astype(dtype) for x in floats]
        inputs = [x.requires_grad_() for x in inputs]
        gates, h, c, weight = inputs
        states, cells = recurrent.lstm(gates, h, c, weight, Tensor(seen, device=device))
        assert str(states.dtype) == dtype
        (states * cells).sum().backward()
        found = [states, cells, *(x.grad for x in inputs)]
        on_both.append([x.astype("float32").numpy() for x in found])
    for ours, exact in zip(*on_both[::-1], strict=True):
        assert np.linalg.norm(ours - exact) <= 2e-2 * np.linalg.norm(exact)


@pytest.mark.parametrize("size", [33, 36])
def test_a_capture_gives_the_same_bits(size: int) -> None:
    tg.set_precision("tf32")
    layer = nn.LSTM(5, size).to("cuda")
    captured = tg.jit(layer)
    for _ in range(3):
        values = np.random.default_rng().standard_normal((6, 7, 5)).astype(np.float32)
        x = Tensor(values, device="cuda")
        y, (h, c) = layer(x)
        again, (last, cell) = captured(x)
        for one, other in ((y, again), (h, last), (c, cell)):
            np.testing.assert_array_equal(one.numpy(), other.numpy())

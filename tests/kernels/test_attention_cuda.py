"""Attention's kernels on a GPU against all scores in float64: odd lengths, heads, masks, layouts.

Every output is poisoned first, so an element that a kernel leaves unwritten shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.attention import BOUNDS, distance, exact, mask_of, terms_of
from support.gpu_memory import poison
from tinygrad_cupy import Tensor, backend
from tinygrad_cupy.backend.dtypes import resolve_dtype
from tinygrad_cupy.backend.gpu import properties_of
from tinygrad_cupy.kernels import attention
from tinygrad_cupy.kernels.attention import wgmma
from tinygrad_cupy.kernels.attention.plan import Rule
from tinygrad_cupy.ops.attention import Attention

pytestmark = pytest.mark.gpu

# B, H, K, L, S, E
SIZES: list[Any] = [
    (1, 1, 1, 1, 1, 16),
    (2, 3, 3, 7, 63, 24),
    (2, 4, 2, 65, 200, 64),
    (1, 6, 2, 200, 65, 80),
    (1, 2, 2, 513, 513, 128),
    (3, 2, 1, 129, 1, 96),
    (70, 1000, 1000, 3, 2, 16),  # more heads than a grid has rows
]


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    if not properties_of(backend.import_cupy().empty(1)).tensor_cores:
        pytest.skip("the kernels need compute capability 8.0")
    poison(monkeypatch)
    tg.set_precision("tf32")


def inputs(sizes: tuple[int, ...], dtype: str, inside: bool) -> list[Tensor]:
    """q, k, v and the gradient; ``inside``: heads lie inside of rows, as a layer's do."""
    batches, heads, shared, queries, keys, width = sizes
    cupy, rng = backend.import_cupy(), np.random.default_rng(0)
    found = []
    for count, rows in ((heads, queries), (shared, keys), (shared, keys), (heads, queries)):
        shape = (batches, rows, count, width) if inside else (batches, count, rows, width)
        values = cupy.asarray(rng.standard_normal(shape).astype(np.float32))
        values = values.astype(resolve_dtype(dtype))
        array = values.transpose(0, 2, 1, 3) if inside else values
        found.append(Tensor(array, device="cuda:0"))
    return found


def host(x: Tensor) -> np.ndarray:
    return x.astype(np.float32).numpy()


def run(given: list[Tensor], mask: Any, causal: bool) -> list[Tensor]:
    """y, dq, dk and dv."""
    q, k, v = (x.detach().requires_grad_() for x in given[:3])
    there = None if mask is None else Tensor(mask, device="cuda:0")
    y = q.scaled_dot_product_attention(k, v, there, is_causal=causal, enable_gqa=True)
    assert isinstance(y._node, Attention)
    return [y, *tg.grad((y * given[3]).sum(), [q, k, v])]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize(
    ("causal", "kind"), [(False, ""), (True, ""), (False, "seen"), (False, "added")]
)
def test_values_and_gradients(sizes: Any, dtype: str, causal: bool, kind: str) -> None:
    if kind and sizes[0] > 10:
        pytest.skip("the sizes are for the grid")
    given = inputs(sizes, dtype, inside=sizes[3] % 2 == 1)
    mask = mask_of(kind, np.random.default_rng(1), sizes)
    found = run(given, mask, causal)
    rule = Rule(causal, sizes[-1] ** -0.5)
    q, k, v, g = map(host, given)
    expected = exact(g, q, k, v, mask, rule)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == given[0].dtype
        assert distance(host(ours), theirs, terms_of(sizes)) < BOUNDS[dtype]
    again = run(given, mask, causal)
    for ours, same in zip(found, again, strict=True):
        np.testing.assert_array_equal(host(ours), host(same))


# B, H, K, L, S, E
BY_WGMMA: list[Any] = [
    (1, 1, 1, 1, 1, 16),
    (1, 2, 2, 17, 1000, 128),
    (2, 3, 3, 1000, 17, 64),
    (2, 4, 2, 129, 129, 32),
    (1, 6, 3, 129, 1000, 96),
    (1, 4, 1, 1000, 129, 128),
    (2, 2, 2, 1000, 1000, 64),
    (2, 2, 2, 1000, 1000, 128),
    (1, 2, 2, 385, 700, 72),
    (2, 2, 1, 200, 300, 20),  # rows of which are no multiple of 16 bytes
    (140, 3, 3, 65, 70, 64),  # more blocks than multiprocessors
    (1, 2, 2, 4100, 4100, 64),
]


@pytest.fixture
def _hopper() -> None:
    if not properties_of(backend.import_cupy().empty(1)).wgmma:
        pytest.skip("wgmma needs compute capability 9.0")


@pytest.mark.usefixtures("_hopper")
@pytest.mark.parametrize("sizes", BY_WGMMA)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("causal", [False, True])
def test_wgmma(sizes: Any, dtype: str, causal: bool) -> None:
    """Kernels of any length, also those that `wgmma_plan.suits` leaves to others."""
    q, k, v, g = (x.data for x in inputs(sizes, dtype, inside=sizes[3] % 2 == 1))
    rule = Rule(causal, sizes[-1] ** -0.5)

    def both() -> list[np.ndarray]:
        y, logs = wgmma.forward(q, k, v, rule, True)
        found = (y, *wgmma.backward(g, q, k, v, y, logs, rule, (True, True, True)))
        return [x.astype(np.float32).get() for x in (*found, logs)]

    found = both()
    there = [x.astype(np.float32).get() for x in (g, q, k, v)]
    expected = exact(there[0], there[1], there[2], there[3], None, rule)
    for name, ours, theirs in zip(("y", "dq", "dk", "dv"), found, expected, strict=False):
        assert distance(ours, theirs, terms_of(sizes)) < BOUNDS[dtype], name
    for ours, same in zip(found, both(), strict=True):
        np.testing.assert_array_equal(ours, same)


@pytest.mark.usefixtures("_hopper")
@pytest.mark.parametrize("width", [64, 128])
@pytest.mark.parametrize("causal", [False, True])
def test_wgmma_gives_the_same_bits_in_every_run(width: int, causal: bool) -> None:
    """Where all multiprocessors are busy, and blocks wait for their turns."""
    q, k, v, g = (x.data for x in inputs((2, 12, 4, 2048, 2048, width), "bfloat16", inside=True))
    rule = Rule(causal, width**-0.5)
    first = None
    for _ in range(20):
        y, logs = wgmma.forward(q, k, v, rule, False)
        found = (y, *wgmma.backward(g, q, k, v, y, logs, rule, (True, True, True)))
        bits = [x.view(np.uint16).get() for x in found]
        first = first or bits
        for ours, same in zip(bits, first, strict=True):
            np.testing.assert_array_equal(ours, same)


@pytest.mark.usefixtures("_hopper")
def test_wgmma_is_chosen() -> None:
    """Long 16-bit operands without a mask take it, and agree with mma.sync's kernels."""
    q, k, v, g = (x.data for x in inputs((1, 2, 2, 300, 300, 64), "bfloat16", inside=False))
    rule, seen = Rule(True, 0.125), backend.import_cupy().ones((300, 300), np.bool_)
    y, logs = attention.forward(q, k, v, None, rule, True)
    plain, plain_logs = attention.forward(q, k, v, seen, rule, True)  # a mask that hides nothing
    ours = wgmma.forward(q, k, v, rule, True)
    np.testing.assert_array_equal(y.view(np.uint16).get(), ours[0].view(np.uint16).get())
    np.testing.assert_allclose(logs.get(), plain_logs.get(), rtol=0, atol=1e-4)
    needs = (True, True, True)
    pairs = zip(
        (y, *attention.backward(g, q, k, v, None, y, logs, rule, needs)),
        (plain, *attention.backward(g, q, k, v, seen, plain, plain_logs, rule, needs)),
        strict=True,
    )
    for one, other in pairs:
        expected = other.astype(np.float64).get()
        assert distance(one.astype(np.float32).get(), expected) < BOUNDS["bfloat16"]


def test_whatever_leading_axes() -> None:
    """Those that broadcast are one array behind strides of zero, whose gradient is a sum."""
    rng = np.random.default_rng(2)
    q, k, v = (
        Tensor(rng.standard_normal(shape).astype(np.float32), device="cuda:0", requires_grad=True)
        for shape in ((2, 3, 4, 9, 32), (4, 7, 32), (3, 1, 7, 32))
    )
    y = q.scaled_dot_product_attention(k, v)
    plain = [x.detach().to("cpu").requires_grad_() for x in (q, k, v)]
    expected = plain[0].scaled_dot_product_attention(plain[1], plain[2])
    assert distance(host(y), expected.numpy()) < 1e-3
    found, theirs = tg.grad(y.sum(), [q, k, v]), tg.grad(expected.sum(), plain)
    for ours, other in zip(found, theirs, strict=True):
        assert distance(host(ours), other.numpy()) < 2e-3


def test_rows_beside_the_grid_of_16_bytes() -> None:
    given = [x[..., 1:34] for x in inputs((2, 2, 2, 9, 11, 35), "float32", inside=False)]
    found = run(given, None, False)
    q, k, v, g = map(host, given)
    expected = exact(g, q, k, v, None, Rule(False, 33**-0.5))
    for ours, theirs in zip(found, expected, strict=True):
        assert distance(host(ours), theirs) < BOUNDS["float32"]


@pytest.mark.parametrize(("dtype", "length"), [("bfloat16", 64), ("bfloat16", 65), ("float32", 65)])
def test_captured(dtype: str, length: int) -> None:
    given = inputs((2, 3, 3, length, length, 64), dtype, inside=True)
    step = tg.jit(lambda *given: tuple(run(list(given), None, True)))
    for _ in range(4):  # the last ones are replays
        found = step(*given)
    for ours, eager in zip(found, run(given, None, True), strict=True):
        np.testing.assert_array_equal(host(ours), host(eager))


def test_strict_float32_and_dropout_go_step_by_step() -> None:
    q, k, v, _ = inputs((1, 1, 1, 5, 5, 32), "float32", inside=False)
    q = q.requires_grad_()
    assert not isinstance(q.scaled_dot_product_attention(k, v, None, 0.5)._node, Attention)
    tg.set_precision("fp32")
    assert not isinstance(q.scaled_dot_product_attention(k, v)._node, Attention)


def test_second_order_comes_from_the_reference() -> None:
    given = inputs((1, 2, 2, 5, 6, 32), "float32", inside=False)
    q, k, v = (x.requires_grad_() for x in given[:3])
    y = q.scaled_dot_product_attention(k, v)
    first = tg.grad((y * given[3]).sum(), q, create_graph=True)
    second = tg.grad((first**2).sum(), [k, v])
    plain = [Tensor(host(x).astype(np.float64), requires_grad=True) for x in (q, k, v)]
    other = plain[0].scaled_dot_product_attention(plain[1], plain[2])
    grad = tg.grad((other * Tensor(host(given[3]))).sum(), plain[0], create_graph=True)
    for ours, theirs in zip(second, tg.grad((grad**2).sum(), plain[1:]), strict=True):
        assert distance(host(ours), theirs.numpy()) < 5e-3

"""What the graph keeps alive, and for how long; and that its depth does not matter."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Op, Tensor, nn

pytestmark = pytest.mark.usefixtures("device")

DEPTH = 100_000


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    """Reference counts alone must free everything."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive(since: set[int]) -> list[str]:
    """Tensors and nodes that exist now and did not exist at the start."""
    return sorted(type(x).__name__ for x in _ours() if id(x) not in since)


def existing() -> set[int]:
    return {id(x) for x in _ours()}


def _ours() -> list[Tensor | Op]:
    """By `type`: `isinstance` would ask other libraries' objects, and some of them warn."""
    return [x for x in gc.get_objects() if issubclass(type(x), Tensor | Op)]


def leaf(shape: tuple[int, ...]) -> Tensor:
    values = np.random.default_rng(0).uniform(0.5, 1.5, shape)
    return Tensor(values, device=tg.default_device(), requires_grad=True)


def small_net(x: Tensor, w: Tensor) -> Tensor:
    """One of everything that saves something."""
    y = x.conv2d(w, padding=1).relu().max_pool2d(2)
    ones, zeros = (Tensor.full((2,), v, "float64", requires_grad=True) for v in (1.0, 0.0))
    y = y.batch_norm(ones, zeros, zeros.detach().clone(), ones.detach().clone())
    y = (y.exp() * y.sigmoid() / (y * y + 1)).flatten(1)
    y = tg.concat([y, y[:, ::-1]], axis=1)
    return y.softmax().log().cross_entropy([1, 0])


def inputs() -> tuple[Tensor, Tensor]:
    return leaf((2, 1, 4, 4)), leaf((2, 1, 3, 3))


# --- no cycles ----------------------------------------------------------------------------------


def test_a_graph_that_is_never_used_dies_with_its_output() -> None:
    x, w = inputs()
    before = existing()
    loss = small_net(x, w)
    assert len(alive(before)) > 10
    del loss
    assert alive(before) == []


def test_nothing_is_left_after_backward() -> None:
    x, w = inputs()
    before = existing()
    loss = small_net(x, w)
    loss.backward()
    del loss
    assert alive(before) == ["Tensor", "Tensor"]  # the two gradients
    x.zero_grad()
    w.zero_grad()
    assert alive(before) == []


def test_nothing_is_left_after_second_derivatives() -> None:
    x, w = inputs()
    before = existing()
    loss = small_net(x, w)
    by_x, by_w = tg.grad(loss, [x, w], create_graph=True)
    second = tg.grad((by_x * by_x).sum() + (by_w * by_w).sum(), [x, w])
    del loss, by_x, by_w, second
    assert alive(before) == []


def test_the_documented_exception_ends_with_zero_grad() -> None:
    x = leaf((3,))
    before = existing()
    (x**3).sum().backward(create_graph=True)
    reference = weakref.ref(x)
    assert alive(before)  # x.grad holds a graph, which holds x
    x.zero_grad()
    assert alive(before) == []
    del x
    assert reference() is None


def test_a_refused_second_backward_leaves_nothing() -> None:
    x, w = inputs()
    before = existing()
    loss = small_net(x, w)
    tg.grad(loss, [x, w])
    try:
        loss.backward()
    except RuntimeError as error:
        error.__traceback__ = None
    del loss
    assert alive(before) == []


def test_training_steps_do_not_pile_up() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = nn.optim.Adam(model.parameters(), lr=1e-3)
    x, y = Tensor.rand(5, 1, 4, 4), Tensor([0, 1, 2, 0, 1])

    def step() -> None:
        optimizer.zero_grad()
        model(x).cross_entropy(y).backward()
        optimizer.step()

    step()
    before = len(existing())
    for _ in range(3):
        step()
    assert len(existing()) == before


# --- saved values -------------------------------------------------------------------------------


def array_of(tensor: Tensor) -> Any:
    return weakref.ref(tensor.data)


def test_only_what_backward_reads_is_kept() -> None:
    x = leaf((3,))
    calls: list[tuple[Callable[[Tensor], Tensor], bool]] = [
        (lambda h: h + 1, False),
        (lambda h: h.sum(), False),
        (lambda h: h.sqrt(), False),  # keeps its output instead
        (lambda h: h.log(), True),
        (lambda h: h * h, True),
        (lambda h: h.relu(), False),
    ]
    for call, kept in calls:
        hidden = x * 2
        array = array_of(hidden)
        y = call(hidden)
        del hidden
        assert (array() is not None) == kept
        del y
        assert array() is None


def test_saved_values_go_as_soon_as_they_are_used() -> None:
    seen = []

    class Watch(Op):
        """Looks, in its backward, at whether an array is still there."""

        def __init__(self, array: Any) -> None:
            self.array = array

        def forward(self, x: Any) -> Any:
            return x * 1

        def backward(self, grad: Tensor) -> Tensor:
            seen.append(self.array() is not None)
            return grad

    x = leaf((3,))
    hidden = Watch(lambda: None)(x).exp()
    array = array_of(hidden)  # kept by Log, and by Exp as its output
    node = hidden._node
    assert node is not None
    first = node.edges[0]
    first.array = array
    y = hidden.log().sum()
    del hidden, node, first
    assert array() is not None
    y.backward()
    assert seen == [False]  # gone by the time that the walk comes to Watch


def test_the_values_of_a_kept_graph_stay() -> None:
    x = leaf((3,))
    hidden = x.exp()
    array = array_of(hidden)
    y = hidden.log().sum()
    del hidden
    y.backward(retain_graph=True)
    assert array() is not None
    y.backward()
    assert array() is None


def test_masks_are_freed_by_backward() -> None:
    x = leaf((3, 3))
    y = x.dropout(0.5)
    node = y._node
    assert node is not None
    assert "mask" in vars(node)
    y.sum().backward()
    assert "mask" not in vars(node)


def test_a_peak_of_memory_is_two_layers_not_all() -> None:
    """While backward walks a chain, what is behind it is gone already."""
    alive_at: list[int] = []
    arrays: list[Any] = []

    class Step(Op):
        saves = ("y",)

        def forward(self, x: Any) -> Any:
            return x + 1

        def backward(self, grad: Tensor, y: Tensor) -> Tensor:
            alive_at.append(sum(a() is not None for a in arrays))
            return grad * 1

    h = leaf((3,))
    for _ in range(10):
        h = Step()(h)
        arrays.append(array_of(h))
    loss = h.sum()
    del h
    loss.backward()
    assert alive_at == list(range(10, 0, -1))


# --- depth --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_deep_chain_that_is_never_walked() -> None:
    y = Tensor([1.0], requires_grad=True)
    for _ in range(DEPTH):
        y = y * 1.0
    del y


@pytest.mark.slow
def test_a_deep_chain_forward_and_backward() -> None:
    x = Tensor([1.0], requires_grad=True)
    y = x
    for _ in range(DEPTH):
        y = y + 1.0
    y.backward()
    assert y.item() == DEPTH + 1
    assert x.grad is not None
    assert x.grad.item() == 1.0
    del y


@pytest.mark.slow
def test_a_deep_chain_twice_differentiated() -> None:
    x = Tensor([0.5], dtype="float64", requires_grad=True)
    y = x
    for _ in range(5_000):
        y = y * x * 2  # 2ⁿ xⁿ⁺¹
    first = tg.grad(y, x, create_graph=True)
    second = tg.grad(first, x)
    n = 5_000
    assert first.item() == pytest.approx(n + 1)
    assert second.item() == pytest.approx(2.0 * n * (n + 1))
    del y, first


def test_a_wide_graph() -> None:
    x = Tensor([1.0], requires_grad=True)
    total = x * 0.0
    for _ in range(20_000):
        total = total + x
    total.backward()
    assert x.grad is not None
    assert x.grad.item() == 20_000

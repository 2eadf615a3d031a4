"""A ReLU's gradient, made zero by the operation that reads its output, is what the ReLU would make.

Convolutions with ReLU want it, batch norms on a GPU do it; here they are made to on the CPU as
well, where it would only cost time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import batch_norm, conv_fused

Net = Callable[..., Any]


@pytest.fixture
def gating(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], list[bool]]:
    """Switches it on or off; the list says of each backward whether its gradient came gated."""
    backward = conv_fused.ConvBlock.backward_arrays

    def switch(on: bool) -> list[bool]:
        came: list[bool] = []

        def spy(op: Any, *arrays: Any) -> Any:
            came.append(op.absorbed)
            return backward(op, *arrays)

        monkeypatch.setattr(batch_norm, "is_cuda", lambda x: on)
        monkeypatch.setattr(conv_fused.ConvBlock, "backward_arrays", spy)
        return came

    return switch


def leaves(device: str, channels: int) -> list[Tensor]:
    """x, and weights and biases of two convolutions; the same every time."""
    rng = np.random.default_rng(3)
    shapes = [(5, channels, 9, 8), (17, channels, 3, 3), (17,), (12, 17, 3, 3), (12,)]
    return [
        Tensor(0.4 * rng.standard_normal(shape), dtype="float32", device=device, requires_grad=True)
        for shape in shapes
    ]


def first(x: Any, w: Tensor, b: Tensor, *_: Tensor, relu: bool = True, pool: bool = False) -> Any:
    return x.conv2d_block(w, b, relu=relu, pool=pool)


def by_conv(y: Any, given: list[Tensor]) -> Any:
    return y.conv2d_block(given[3], given[4], padding=1, relu=True)


def by_norm(y: Any, given: list[Tensor], **how: bool) -> Any:
    ones, zeros = (Tensor(np.full(y.shape[1], v, "f4"), device=y.device) for v in (1, 0))
    return y.batch_norm(ones * 1.5, zeros + 0.2, zeros, ones, **how)


# What reads the ReLU, and whether a gradient comes gated to each convolution, the last one first.
NETS: dict[str, tuple[Net, list[bool]]] = {
    "norm": (by_norm, [True]),
    "norm and relu6": (lambda y, given: by_norm(y, given, relu6=True), [True]),
    "norm and pool": (lambda y, given: by_norm(y, given, relu=True, pool=True), [True]),
    "conv": (by_conv, [False, False]),
    "conv and norm": (lambda y, given: by_norm(by_conv(y, given), given), [True, False]),
    "two norms": (lambda y, given: by_norm(y, given) * by_norm(y, given, relu=True), [False]),
    "norm beside": (lambda y, given: by_norm(y, given) * (y + 0.3), [False]),
    "norm of another": (lambda y, given: by_norm(y * 2, given), [False]),
}


def loss(net: str, given: list[Tensor]) -> tuple[Any, Any]:
    y = first(*given)
    out = NETS[net][0](y, given)
    return y, (out * (out + 0.3)).sum()


Run = Callable[[list[Tensor], list[bool], bool], Sequence[Tensor | None]]


@pytest.fixture
def same_bits(gating: Callable[[bool], list[bool]], device: str) -> Callable[..., None]:
    """Asserts that a function of the leaves gives the same with and without gating.

    It is also told of what came (see `gating`) and whether gating is on.
    """

    def check(run: Run, channels: int = 8) -> None:
        off, on = (
            [
                None if t is None else t.numpy()
                for t in run(leaves(device, channels), gating(on), on)
            ]
            for on in (False, True)
        )
        for one, other in zip(off, on, strict=True):
            np.testing.assert_array_equal(one, other)

    return check


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("channels", [1, 8])
def test_gradients_are_the_same_to_the_bit(net: str, channels: int, same_bits: Any) -> None:
    def run(given: list[Tensor], came: list[bool], on: bool) -> Any:
        loss(net, given)[1].backward()
        assert came == [on and one for one in NETS[net][1]]
        return [t.grad for t in given]

    same_bits(run, channels)


@pytest.mark.parametrize(("relu", "pool"), [(False, False), (False, True), (True, True)])
def test_what_does_not_end_in_a_relu_is_not_gated(relu: bool, pool: bool, same_bits: Any) -> None:
    def run(given: list[Tensor], came: list[bool], on: bool) -> Any:
        (by_norm(first(*given, relu=relu, pool=pool), given) ** 3).sum().backward()
        assert came == [False]
        return [t.grad for t in given]

    same_bits(run)


class Peek(tg.Op):
    """Whose backward walks over another graph."""

    def __init__(self, walk: Callable[[], Any]) -> None:
        self.walk = walk

    def forward(self, x: Any) -> Any:
        return x * 1

    def backward(self, grad: Tensor) -> Tensor:
        self.walk()
        return grad


def test_a_walk_within_a_walk_leaves_its_marks_alone(same_bits: Any) -> None:
    """The outer one brings the convolution all of a gradient, the inner one a gated one."""

    def run(given: list[Tensor], came: list[bool], on: bool) -> Any:
        y, out = loss("norm", given)
        ones = Tensor(np.ones((1, 17, 1, 1), "f4"), device=y.device, requires_grad=True)
        peek = Peek(lambda: tg.grad(out, given[1], retain_graph=True))
        (peek(ones) * y).sum().backward()
        assert came == [on, False]
        return [given[1].grad]

    same_bits(run)


def test_who_asks_for_the_gradient_of_the_output_gets_all_of_it(same_bits: Any) -> None:
    def run(given: list[Tensor], came: list[bool], on: bool) -> Any:
        y, out = loss("norm", given)
        by_y, by_w = tg.grad(out, [y, given[1]])
        assert (by_y.numpy()[y.numpy() == 0] != 0).any()
        assert came == [False]
        return by_y, by_w

    same_bits(run)


def test_a_graph_that_is_kept_is_gated_anew(same_bits: Any) -> None:
    """First by all readers, then from the output itself."""

    def run(given: list[Tensor], came: list[bool], on: bool) -> Any:
        y, out = loss("norm", given)
        once = tg.grad(out, given[1], retain_graph=True)
        twice = tg.grad(y, given[1], Tensor(np.ones(y.shape, "f4"), device=y.device))
        assert came == [on, False]
        return once, twice

    same_bits(run)


def test_second_gradients(same_bits: Any) -> None:
    def run(given: list[Tensor], came: list[bool], on: bool) -> Any:
        _, out = loss("conv and norm", given)
        by_w = tg.grad(out, given[1], create_graph=True)
        return tg.grad((by_w * by_w).sum(), [given[0], given[3]])

    same_bits(run)

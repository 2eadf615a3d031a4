"""FusedOp: kernels where no graph of the backward is wanted, the reference where one is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cupy as tg
from records import BY_NAME
from support.examples import examples
from support.sampling import draw_layout, options_on, tensors_of
from tinygrad_cupy import FusedOp, Tensor, random
from tinygrad_cupy.backend import to_device

pytestmark = pytest.mark.usefixtures("device")


class ScaledProduct(FusedOp):
    """2 a b², and a count of how its gradient was computed."""

    used: list[str] = []  # noqa: RUF012

    def forward(self, a: Any, b: Any) -> Any:
        return 2 * a * b * b

    def reference(self, a: Tensor, b: Tensor) -> Tensor:
        self.used.append("reference")
        return a * b * b * 2

    def backward_arrays(self, grad: Any, a: Any, b: Any) -> Any:
        self.used.append("kernel")
        return 2 * grad * b * b, 4 * grad * a * b


@pytest.fixture(autouse=True)
def _fresh() -> None:
    ScaledProduct.used.clear()


def leaf(*values: float) -> Tensor:
    return Tensor(list(values), dtype="float64", requires_grad=True)


def test_a_backward_runs_the_kernel() -> None:
    a, b = leaf(2.0), leaf(3.0)
    ScaledProduct()(a, b).backward()
    assert ScaledProduct.used == ["kernel"]
    assert a.grad is not None
    assert b.grad is not None
    assert (a.grad.item(), b.grad.item()) == (18.0, 24.0)


def test_create_graph_differentiates_the_reference() -> None:
    a, b = leaf(2.0), leaf(3.0)
    by_a, by_b = tg.grad(ScaledProduct()(a, b), [a, b], create_graph=True)
    assert ScaledProduct.used == ["reference"]
    assert (by_a.item(), by_b.item()) == (18.0, 24.0)
    assert tg.grad(by_b, b).item() == 8.0


class Product(FusedOp):
    """a b, of which each gradient reads the other input: its own ``saves``."""

    saves: ClassVar[tuple[str, ...]] = ("a", "b")
    saved_for: ClassVar[tuple[int | None, ...]] = (1, 0)

    def forward(self, a: Any, b: Any, c: Any) -> Any:
        return a * b + c

    def backward_arrays(self, grad: Any, a: Any, b: Any) -> Any:
        by_a, by_b, by_c = self.needs
        return grad * b if by_a else None, grad * a if by_b else None, grad if by_c else None


class NamedProduct(Product):
    """Of the same forward."""


class Given:
    def forward(self, a: Any, b: Any, c: Any) -> Any:
        return a * b + c


class MixedProduct(Given, Product):
    """Of a forward of its own."""

    saved_for = ()


@pytest.mark.parametrize("kind", [Product, NamedProduct])
def test_what_is_saved_is_what_is_declared_for_that_forward(kind: type[Product]) -> None:
    assert kind.saves == ("a", "b")
    assert MixedProduct.saves == ("a", "b", "c")
    a, b, c = leaf(2.0), Tensor([3.0], dtype="float64"), leaf(1.0)
    y = kind()(a, b, c)
    assert y._node is not None
    assert [value is not None for value, *_ in y._node._saved or ()] == [False, True]
    assert [g.item() for g in tg.grad(y, [a, c])] == [3.0, 1.0]


def test_gradcheck_runs_both() -> None:
    assert tg.gradcheck(lambda a, b: ScaledProduct()(a, b), [leaf(2.0, 1.0), leaf(3.0, -1.0)])
    assert {"kernel", "reference"} == set(ScaledProduct.used)


def test_a_path_through_another_input_is_counted_once() -> None:
    """f(x, g(x)): the reference sees aliases, or the path from g(x) to x counted twice."""
    x = leaf(1.5)
    y = ScaledProduct()(x, x * x)  # 2 x⁵
    first = tg.grad(y, x, create_graph=True)
    second = tg.grad(first, x, create_graph=True)
    assert first.item() == pytest.approx(10 * 1.5**4)
    assert second.item() == pytest.approx(40 * 1.5**3)
    assert tg.grad(second, x).item() == pytest.approx(120 * 1.5**2)
    assert tg.gradcheck(lambda x: ScaledProduct()(x, (x * x).sin()), [leaf(0.7, 1.2)], order=3)


def test_one_input_twice() -> None:
    x = leaf(1.5)
    first = tg.grad(ScaledProduct()(x, x), x, create_graph=True)  # 2 x³
    assert first.item() == pytest.approx(6 * 1.5**2)
    assert tg.grad(first, x).item() == pytest.approx(12 * 1.5)


def test_batch_norm_of_a_function_of_its_own_input() -> None:
    rng = np.random.default_rng(0)
    device = tg.default_device()

    def fn(x: Tensor) -> Tensor:
        weight = (x * x).mean(axis=(0, 2))
        mean, var = (Tensor(np.zeros(2), device=device) for _ in range(2))
        return x.batch_norm(weight, x[0, :, 0], mean, var, eps=0.1)

    x = Tensor(rng.standard_normal((3, 2, 4)), device=device, requires_grad=True)
    assert tg.gradcheck(fn, [x], order=2)


def test_a_constant_input_gets_no_gradient() -> None:
    a, b = leaf(2.0), Tensor([3.0], dtype="float64")
    assert tg.grad(ScaledProduct()(a, b), a, create_graph=True).item() == 18.0
    assert tg.grad(ScaledProduct()(a, b), a).item() == 18.0


def test_the_reference_checks_versions() -> None:
    a, b = leaf(2.0), leaf(3.0)
    y = ScaledProduct()(a, b)
    b.assign_(5.0)
    with pytest.raises(RuntimeError, match=r"^\[ScaledProduct\] .* written in place"):
        tg.grad(y, a, create_graph=True)


@pytest.mark.parametrize("name", ["batch_norm", "conv2d_block", "cross_entropy"])
@examples(15)
@given(data=st.data())
def test_kernel_and_reference_agree(name: str, device: str, data: st.DataObject) -> None:
    sample = BY_NAME[name]
    case = sample.cases(data.draw)
    layouts = [draw_layout(data.draw, x.ndim, broadcast=False) for x in case.values]
    inputs = tensors_of(case, "float64", device, layouts)
    seed = None

    def gradients(create_graph: bool) -> Any:
        nonlocal seed
        y = sample.call(*inputs, **options_on(case.options, device))
        if seed is None:
            values = np.random.default_rng(0).standard_normal(y.shape)
            seed = Tensor(to_device(values, device))
        return tg.grad(y, inputs, seed, create_graph=create_graph)

    for kernel, reference in zip(gradients(False), gradients(True), strict=True):
        np.testing.assert_allclose(kernel.numpy(), reference.numpy(), rtol=1e-9, atol=1e-11)


def moments(call: Callable[[Tensor, Tensor, Tensor], Tensor]) -> tuple[list[float], list[float]]:
    rng = np.random.default_rng(1)
    x = Tensor(rng.standard_normal((5, 2, 3)), device=tg.default_device(), requires_grad=True)
    mean, var = (Tensor(np.full(2, v), device=x.device) for v in (0.5, 2.0))
    y = call(x, mean, var)
    before = mean.tolist(), var.tolist()
    first = tg.grad(y.exp().sum(), x, create_graph=True)
    tg.grad((first * first).sum(), x)
    assert (mean.tolist(), var.tolist()) == before
    return before


def test_running_statistics_move_once_whatever_is_differentiated() -> None:
    def call(x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        weight, bias = leaf(1.0, 2.0), leaf(0.0, 1.0)
        return x.batch_norm(weight, bias, mean, var)

    x = np.random.default_rng(1).standard_normal((5, 2, 3))
    mean, var = moments(call)
    np.testing.assert_allclose(mean, 0.9 * 0.5 + 0.1 * x.mean(axis=(0, 2)))
    np.testing.assert_allclose(var, 0.9 * 2.0 + 0.1 * x.var(axis=(0, 2), ddof=1))


def test_second_derivatives_draw_no_random_numbers() -> None:
    x = leaf(*np.linspace(0.5, 2, 20))
    y = (x * x).dropout(0.5)
    state = random.get_state()
    first = tg.grad(y.sum(), x, create_graph=True)
    second = tg.grad(first.sum(), x)
    assert random.get_state() == state
    kept = (y.numpy() != 0) * 2.0
    np.testing.assert_allclose(first.numpy(), 2 * x.numpy() * kept)
    np.testing.assert_allclose(second.numpy(), 2 * kept)

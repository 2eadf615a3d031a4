"""`autocast`: what runs in which type, where casts are made, and that gradients go through them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import tinygrad_cupy as tg
from support.looped import looped
from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.autograd.autocast import cast_to
from tinygrad_cupy.backend import to_device
from tinygrad_cupy.ops import arithmetic

HALVES = {"bf16": np.dtype(ml_dtypes.bfloat16), "fp16": np.dtype(np.float16)}
each = pytest.mark.parametrize("precision", list(HALVES))


def filled(*shape: int, dtype: Any = np.float32, device: str = "cpu") -> Tensor:
    values = np.random.default_rng(0).uniform(0.1, 0.9, shape)
    return Tensor(to_device(values.astype(np.float32).astype(dtype), device))


PRODUCTS: dict[str, Callable[[Tensor], Any]] = {
    "matmul": lambda x: x @ filled(4, 3, device=x.device),
    "linear": lambda x: x.linear(filled(3, 4, device=x.device)),
    "linear with ReLU": lambda x: x.linear(filled(3, 4, device=x.device), relu=True),
    "einsum": lambda x: np.einsum("ij,kj->ik", x, x),
    "conv2d": lambda x: x.reshape(1, 1, 4, 4).conv2d(filled(2, 1, 3, 3, device=x.device)),
    "conv1d": lambda x: x.reshape(1, 4, 4).conv1d(filled(2, 4, 3, device=x.device)),
    "conv_transpose2d": lambda x: x.reshape(1, 1, 4, 4).conv_transpose2d(
        filled(1, 2, 3, 3, device=x.device)
    ),
    "conv2d_block": lambda x: x.reshape(1, 1, 4, 4).conv2d_block(
        filled(2, 1, 3, 3, device=x.device), relu=True, pool=True
    ),
    "attention": lambda x: x.scaled_dot_product_attention(x, x),
    "prelu": lambda x: (x - 0.5).prelu(filled(1, device=x.device)),
    "dot of matrices": lambda x: x.dot(x),
    "multi_dot": lambda x: np.linalg.multi_dot([x, x, x]),
}
IN_FLOAT32: dict[str, Callable[[Tensor], Any]] = {
    "exp": lambda x: x.exp(),
    "expm1": np.expm1,
    "log": lambda x: x.log(),
    "log1p": np.log1p,
    "log2": np.log2,
    "log10": np.log10,
    "power": lambda x: x**3,
    "power of two tensors": lambda x: x**x,
    "power of a number": lambda x: 2.0**x,
    "number over a tensor": lambda x: 1 / x,
    "reciprocal": np.reciprocal,
    "tan": np.tan,
    "arccos": np.arccos,
    "arcsin": np.arcsin,
    "cosh": np.cosh,
    "sinh": np.sinh,
    "erfinv": lambda x: tg.special.erfinv(x),
    "sum": lambda x: x.sum(0),
    "prod": lambda x: x.prod(0),
    "cumsum": lambda x: x.cumsum(0),
    "cumprod": lambda x: np.cumprod(x, 0),
    "norm": lambda x: np.linalg.norm(x),
    "softmax": lambda x: x.softmax(),
    "log_softmax": lambda x: x.log_softmax(),
    "softplus": lambda x: x.softplus(),
    "cross_entropy": lambda x: x.cross_entropy(Tensor([0, 1, 2, 3], device=x.device)),
    "layer_norm": lambda x: x.layer_norm(4),
    "group_norm": lambda x: x.reshape(2, 4, 2).group_norm(2),
    "normalize": lambda x: x.normalize(),
    "cosine_similarity": lambda x: x.cosine_similarity(x),
    "cdist": lambda x: tg.spatial.distance.cdist(x, x),
    "pdist": lambda x: tg.spatial.distance.pdist(x),
    "MSELoss": lambda x: nn.MSELoss()(x, x * 2),
}
AS_GIVEN: dict[str, Callable[[Tensor], Any]] = {
    "relu": lambda x: x.relu(),
    "gelu": lambda x: x.gelu(),
    "add": lambda x: x + x,
    "mul": lambda x: x * 3.0,
    "mean": lambda x: x.mean(),
    "max": lambda x: x.max(0),
    "max_pool2d": lambda x: x.reshape(1, 1, 4, 4).max_pool2d(2),
    "reshape": lambda x: x.reshape(16),
    "sqrt": lambda x: x.sqrt(),
    "sin": np.sin,
    "tanh": lambda x: x.tanh(),
    "dot": lambda x: x.reshape(16).dot(x.reshape(16)),
    "vdot": lambda x: np.vdot(x, x),
    "dot by a number": lambda x: x.dot(2.0),
    "inner": lambda x: np.inner(x, x),
    "outer": lambda x: np.outer(x[0], x[1]),
    "kron": lambda x: np.kron(x, x),
    "tensordot": lambda x: np.tensordot(x, x, 1),
    "bilinear": lambda x: x.bilinear(x, filled(2, 4, 4, dtype=x.dtype, device=x.device)),
    "batch_norm": lambda x: nn.BatchNorm1d(4).to(x.device)(x),
    "batch_norm, evaluated": lambda x: nn.BatchNorm1d(4).to(x.device).eval()(x),
}


@each
@pytest.mark.parametrize("name", list(PRODUCTS))
def test_products_run_in_16_bits(name: str, precision: str, device: str) -> None:
    for dtype in (np.float32, HALVES[precision]):
        x = filled(4, 4, dtype=dtype, device=device)
        with tg.autocast(precision):
            found = PRODUCTS[name](x)
        assert found.dtype == HALVES[precision]
        rounded = x.astype(HALVES[precision]).astype(np.float32)
        exact = PRODUCTS[name](rounded).numpy()
        np.testing.assert_allclose(found.numpy().astype(np.float32), exact, rtol=0.02, atol=0.02)


@each
@looped("name", IN_FLOAT32)
def test_what_loses_too_much_runs_in_float32(name: str, precision: str, device: str) -> None:
    x = filled(4, 4, dtype=HALVES[precision], device=device)
    with tg.autocast(precision):
        found = IN_FLOAT32[name](x)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.numpy(), IN_FLOAT32[name](x.astype(np.float32)).numpy())


@each
@looped("name", AS_GIVEN)
def test_the_rest_runs_in_what_it_is_given(name: str, precision: str, device: str) -> None:
    for dtype in (np.dtype(np.float32), HALVES[precision]):
        with tg.autocast(precision):
            assert AS_GIVEN[name](filled(4, 4, dtype=dtype, device=device)).dtype == dtype


@each
def test_two_types_meet_in_the_wider(precision: str, device: str) -> None:
    with tg.autocast(precision):
        x = filled(4, 4, dtype=HALVES[precision], device=device)
        assert (x + filled(4, 4, device=device)).dtype == np.float32
        assert x[0].dot(filled(4, device=device)).dtype == np.float32
        assert np.tensordot(x, filled(4, 4, device=device)).dtype == np.float32


def test_float64_and_integers_are_left_alone(device: str) -> None:
    x = filled(4, 4, dtype=np.float64, device=device)
    whole = Tensor(np.arange(4), device=device)
    with tg.autocast():
        assert (x @ x).dtype == np.float64
        assert (x @ filled(4, 4, device=device)).dtype == np.float64
        assert whole.sum().dtype == np.int64
        assert (whole @ whole).dtype == np.int64


def net(device: str) -> nn.Module:
    layers = (
        *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(36, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 4)),
    )
    return nn.Sequential(*layers).to(device)


def step(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    with tg.autocast("bf16"):
        loss: Tensor = model(x).cross_entropy(labels)
    return loss


def data(device: str) -> tuple[Tensor, Tensor]:
    return filled(4, 1, 8, 8, device=device), Tensor(np.array([0, 1, 2, 3]), device=device)


def test_gradients_are_float32s_and_near_to_exact_ones(device: str) -> None:
    model, (x, labels) = net(device), data(device)
    exact: Tensor = model(x).cross_entropy(labels)
    exact.backward()
    expected = [p.grad.numpy() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    loss = step(model, x, labels)
    assert loss.dtype == np.float32
    assert abs(loss.item() - exact.item()) < 0.02
    loss.backward()
    for parameter, grad in zip(model.parameters(), expected, strict=True):
        assert parameter.dtype == np.float32
        assert parameter.grad is not None
        assert parameter.grad.dtype == np.float32
        np.testing.assert_allclose(
            parameter.grad.numpy(), grad, atol=0.05 * max(np.abs(grad).max(), 0.05)
        )


def test_gradients_are_those_of_casts_that_are_written_out(device: str) -> None:
    weight, x = filled(3, 4, device=device).requires_grad_(), filled(5, 4, device=device)
    with tg.autocast("fp16"):
        y = x.linear(weight).exp().mean()
    half = [t.astype(np.float16) for t in (x, weight)]
    expected = half[0].linear(half[1]).astype(np.float32).exp().mean()
    np.testing.assert_array_equal(y.numpy(), expected.numpy())
    (found,), (other,) = tg.grad(y, [weight]), tg.grad(expected, [weight])
    np.testing.assert_array_equal(found.numpy(), other.numpy())


def test_a_backward_pass_inside_runs_in_the_types_of_the_forward_pass(device: str) -> None:
    model, (x, labels) = net(device), data(device)
    step(model, x, labels).backward()
    outside = [p.grad.numpy() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    with tg.autocast("bf16"):
        model(x).cross_entropy(labels).backward()
        assert cast_to() == HALVES["bf16"]
    for parameter, grad in zip(model.parameters(), outside, strict=True):
        assert parameter.grad is not None
        np.testing.assert_array_equal(parameter.grad.numpy(), grad)


def test_second_order_and_forward_mode(device: str) -> None:
    weight = filled(4, 4, device=device)

    def function(x: Tensor) -> Tensor:
        with tg.autocast("bf16"):
            return ((x @ weight).sum() ** 2).sum()

    x = filled(3, 4, device=device)
    exact = tg.hvp(lambda x: ((x @ weight).sum() ** 2).sum(), (x,), (x,))
    for one, other in zip(tg.hvp(function, (x,), (x,)), exact, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=0.03)
    _, tangent = tg.jvp(function, (x,), (x,))
    assert tangent.dtype == np.float32
    batched = tg.vmap(function)(x.reshape(3, 1, 4))
    assert batched.shape == (3,)


def test_a_weight_is_cast_once_until_it_is_written(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight, x = filled(4, 4, device=device).requires_grad_(), filled(4, 4, device=device)
    casts: list[Any] = []
    cast = Tensor.astype

    def counted(self: Tensor, *args: Any) -> Tensor:
        casts.append(self.data)
        return cast(self, *args)

    monkeypatch.setattr(Tensor, "astype", counted)
    with tg.autocast():
        first = x.detach() @ weight
        y = (first @ weight) @ weight
        assert sum(one is weight.data for one in casts) == 1
        with tg.no_grad():
            weight.assign_(weight.data * 2)
        again = x.detach() @ weight
        assert sum(one is weight.data for one in casts) == 2
    np.testing.assert_array_equal(again.numpy(), (first * 2.0).numpy())
    assert y.requires_grad


def test_each_loss_of_a_block_has_a_backward_pass_of_its_own(device: str) -> None:
    weight, x = filled(4, 4, device=device).requires_grad_(), filled(4, 4, device=device)
    with tg.autocast("bf16"):
        first, second = (x @ weight).sum(), ((x @ weight) * 2).sum()
        first.backward()
        second.backward()
        third = (x @ weight).sum()
    third.backward()
    assert weight.grad is not None
    (expected,) = tg.grad((x @ weight).sum() * 4, [weight])
    np.testing.assert_allclose(weight.grad.numpy(), expected.numpy(), rtol=0.01)


class Residual(nn.Module):
    """Two convolutions with batch norm, the sum with what came in, and a pool behind a norm."""

    def __init__(self) -> None:
        self.conv1, self.conv2 = (nn.Conv2d(8, 8, 3, padding=1, bias=False) for _ in range(2))
        self.conv3, self.norm3 = nn.Conv2d(8, 12, 1), nn.BatchNorm2d(12)
        self.norm1, self.norm2 = nn.BatchNorm2d(8), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(self.norm1(self.conv1(x), relu=True)))
        return self.norm3(self.conv3((x + y).relu()), relu=True, pool=True)  # type: ignore[no-any-return]


@each
def test_no_activation_is_cast_between_convolutions_and_norms(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = filled(4, 8, 6, 6, dtype=HALVES[precision]).requires_grad_()
    casts: list[tuple[int, ...]] = []
    plain = arithmetic.Cast.forward

    def counted(self: Any, x: Any) -> Any:
        casts.append(x.shape)
        return plain(self, x)

    monkeypatch.setattr(arithmetic.Cast, "forward", counted)
    model = Residual()
    with tg.autocast(precision):
        y = model(x)
    assert y.dtype == HALVES[precision]
    assert (4, 8, 6, 6) not in casts
    assert (4, 12, 6, 6) not in casts
    y.backward(Tensor(np.ones(y.shape, y.dtype)))
    assert [s for s in casts if s[0] == 4] == [(4, 8, 6, 6)] * 2  # the sum of x's two gradients
    assert x.grad is not None
    assert x.grad.dtype == HALVES[precision]


@each
def test_a_norm_in_16_bits_is_one_in_float32_rounded_once(precision: str, device: str) -> None:
    x = (filled(6, 8, 4, 4, device=device) * 9).astype(HALVES[precision]).requires_grad_()
    wide = x.detach().astype(np.float32).requires_grad_()
    seed = filled(6, 8, 4, 4, dtype=HALVES[precision], device=device) - 0.5
    norms = [nn.BatchNorm2d(8).to(device) for _ in range(2)]
    with tg.autocast(precision):
        y = norms[0](x, relu=True)
    exact = norms[1](wide, relu=True)
    y.backward(seed)
    exact.backward(seed.astype(np.float32))
    assert x.grad is not None
    assert wide.grad is not None
    for found, expected in ((y, exact), (x.grad, wide.grad)):
        assert found.dtype == HALVES[precision]
        rounded = expected.detach().astype(found.dtype).numpy().astype(np.float32)
        np.testing.assert_allclose(found.numpy().astype(np.float32), rounded, rtol=2**-7, atol=1e-6)
    for one, other in zip(norms[0].parameters(), norms[1].parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert one.grad.dtype == np.float32
        np.testing.assert_allclose(one.grad.numpy(), other.grad.numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        norms[0].running_var.numpy(), norms[1].running_var.numpy(), rtol=1e-6
    )


@pytest.mark.gpu
@each
def test_captured_steps_of_convolutions_and_norms_equal_eager_ones(precision: str) -> None:
    def trained(jitted: bool) -> list[Any]:
        tg.manual_seed(0)
        model = Residual().to("cuda:0")
        optimizer = nn.optim.SGD(model.parameters(), lr=0.01)
        x = filled(4, 8, 6, 6, device="cuda:0")

        def step(x: Tensor) -> Tensor:
            with tg.autocast(precision):
                loss: Tensor = (model(x) * 0.1).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        run = tg.jit(step) if jitted else step
        losses = [run(x).numpy() for _ in range(5)]
        return [*losses, *[p.numpy() for p in model.parameters()], model.norm3.running_var.numpy()]

    for found, expected in zip(trained(True), trained(False), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_what_was_cast_before_a_capture_is_cast_again_in_it(place: str) -> None:
    weight, x = filled(4, 4, device=place).requires_grad_(), filled(4, 4, device=place)
    product = tg.jit(lambda x: x @ weight)
    with tg.autocast("bf16"):
        for factor in (1.0, 1.0, 1.0, 3.0):
            with tg.no_grad():
                weight.assign_(filled(4, 4, device=place).data * np.float32(factor))
            found = product(x).numpy().astype(np.float32)
            expected = (x @ weight).numpy().astype(np.float32)
            np.testing.assert_array_equal(found, expected)


def test_a_checkpoint_is_computed_again_in_the_same_types(device: str) -> None:
    weight = filled(4, 4, device=device).requires_grad_()
    x = filled(4, 4, device=device)
    found: list[Any] = []
    for call in (lambda f, x: f(x), tg.checkpoint):
        weight.grad = None
        with tg.autocast("fp16"):
            y = call(lambda x: (x @ weight).gelu(), x)
        assert y.dtype == np.float16
        y.astype(np.float32).sum().backward()
        found.append(weight.grad.numpy())  # type: ignore[attr-defined]
    np.testing.assert_array_equal(*found)


def test_it_is_part_of_what_jit_captures_for(place: str) -> None:
    x, weight = filled(4, 4, device=place), filled(4, 4, device=place)
    product = tg.jit(lambda x: x @ weight)
    for _ in range(3):
        assert product(x).dtype == np.float32
        for precision, dtype in HALVES.items():
            with tg.autocast(precision):
                assert product(x).dtype == dtype


def test_it_holds_inside_and_ends() -> None:
    assert cast_to() is None
    with tg.autocast("fp16"):
        with tg.autocast("bf16"):
            assert cast_to() == HALVES["bf16"]
            with tg.autocast(enabled=False):
                assert cast_to() is None
            assert cast_to() == HALVES["bf16"]
        assert cast_to() == HALVES["fp16"]
        with pytest.raises(ZeroDivisionError), tg.autocast("bf16"):
            1 / 0  # noqa: B018
        assert cast_to() == HALVES["fp16"]
    assert cast_to() is None


def test_it_is_this_threads() -> None:
    found: list[Any] = []
    with tg.autocast():
        other = threading.Thread(target=lambda: found.append(cast_to()))
        other.start()
        other.join()
    assert found == [None]


def test_as_a_decorator() -> None:
    @tg.autocast("fp16")
    def product(x: Tensor, again: bool = True) -> Tensor:
        if again:
            product(x, False)
        return x @ x

    assert product(filled(4, 4)).dtype == np.float16
    assert cast_to() is None


def test_errors() -> None:
    with pytest.raises(
        ValueError, match=r"\[autocast\] expected one of \('bf16', 'fp16'\), got 'f'"
    ):
        tg.autocast("f")
    with pytest.raises(TypeError, match=r"\[autocast\] cannot decorate a generator"):

        @tg.autocast()
        def numbers() -> Any:
            yield 1

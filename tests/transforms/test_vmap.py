"""`vmap` and its kin: axes, structures, nesting, random numbers, errors."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, nn


def numbers(*shape: int, device: str = "cpu") -> Tensor:
    values = np.random.default_rng(0).standard_normal(shape)
    return Tensor(values, device=device)


def test_axes_in_and_out(device: str) -> None:
    x, w = numbers(4, 3, 5, device=device), numbers(5, 2, device=device)
    found = tg.vmap(lambda x, w: x @ w, (1, None), 2)(x, w)
    np.testing.assert_allclose(found.numpy(), np.einsum("nbi,io->nob", x.numpy(), w.numpy()))
    found = tg.vmap(lambda x: x.sum(), -1)(x)
    np.testing.assert_allclose(found.numpy(), x.numpy().sum((0, 1)))


def test_structures(device: str) -> None:
    pair: Any = {"a": numbers(3, 2, device=device), "b": [numbers(2, 3, device=device)]}

    def fn(pair: Any, scale: float, *, offset: Tensor) -> Any:
        return pair["a"] * scale, {"sum": pair["b"][0].sum() + offset, "two": Tensor(2.0)}

    axes = ({"a": 0, "b": 1}, None)
    out = (0, {"sum": 0, "two": None})
    first, rest = tg.vmap(fn, axes, out)(pair, 3.0, offset=numbers(3, device=device))
    np.testing.assert_allclose(first.numpy(), pair["a"].numpy() * 3)
    expected = pair["b"][0].numpy().sum(0) + numbers(3).numpy()
    np.testing.assert_allclose(rest["sum"].numpy(), expected)
    assert rest["two"].item() == 2


def test_nested(device: str) -> None:
    a, b = numbers(3, 4, device=device), numbers(2, 4, device=device)
    outer = tg.vmap(tg.vmap(lambda a, b: (a * b).sum(), (None, 0)), (0, None))
    np.testing.assert_allclose(outer(a, b).numpy(), a.numpy() @ b.numpy().T)
    gradients = tg.vmap(tg.vmap(tg.grad(lambda a, b: (a * b * b).sum()), (None, 0)), (0, None))
    expected = np.broadcast_to(b.numpy() ** 2, (3, 2, 4))
    np.testing.assert_allclose(gradients(a, b).numpy(), expected)


def test_what_is_differentiated_outside(device: str) -> None:
    x = numbers(3, 4, device=device).requires_grad_()
    w = numbers(4, device=device).requires_grad_()
    tg.vmap(lambda x: (x * w).sin().sum())(x).sum().backward()
    plain_x, plain_w = x.detach().requires_grad_(), w.detach().requires_grad_()
    (plain_x * plain_w).sin().sum().backward()
    for a, b in ((x, plain_x), (w, plain_w)):
        assert a.grad is not None
        assert b.grad is not None
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("size", [4, 5])
def test_random_numbers_are_those_of_a_loop(size: int, device: str) -> None:
    x = numbers(3, size, device=device)

    def noisy(x: Tensor) -> Tensor:
        return x.dropout(0.5)

    def drawn(x: Tensor) -> Tensor:
        return x + Tensor.rand(size, device=device, dtype="float64")

    for fn in (noisy, drawn):
        tg.manual_seed(2)
        together = tg.vmap(fn)(x).numpy()
        tg.manual_seed(2)
        alone = np.stack([fn(x[i]).numpy() for i in range(3)])
        np.testing.assert_array_equal(together, alone)
        tg.manual_seed(2)
        same = tg.vmap(fn, randomness="same")(x * 0 + 1).numpy()
        assert (same == same[0]).all()


def test_gradients_by_sample_of_a_net(device: str) -> None:
    tg.manual_seed(0)
    net = nn.models.build("small")
    net.to(device)
    net.eval()
    x = numbers(5, 1, 28, 28, device=device).astype("float32")
    y = Tensor(np.arange(5), device=device)
    weights = {name: p.detach() for name, p in net.named_parameters()}

    def loss(weights: Any, x: Tensor, y: Tensor) -> Any:
        return tg.functional_call(net, weights, x.unsqueeze(0)).cross_entropy(y.unsqueeze(0))

    each = tg.vmap(tg.grad(loss), in_axes=(None, 0, 0))(weights, x, y)
    for i in range(5):
        one = tg.grad(loss)(weights, x[i], y[i])
        for name in weights:
            assert each[name].shape == (5, *weights[name].shape)
            found, expected = each[name][i].numpy(), one[name].numpy()
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_functional_call_leaves_the_module_as_it_was() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    before = net.state_dict()
    own = list(net.parameters())
    other = {"0.weight": Tensor(np.eye(2) * 2, "float32"), "1.running_mean": Tensor.ones(2)}
    net.eval()
    y = tg.functional_call(net, other, Tensor.ones(1, 2))
    assert not np.allclose(y.numpy(), net(Tensor.ones(1, 2)).numpy())
    assert all(a is b for a, b in zip(net.parameters(), own, strict=True))
    for name, values in net.state_dict().items():
        np.testing.assert_array_equal(values, before[name])
    with pytest.raises(ValueError, match=r"^\[functional_call\] Sequential has no parameter or bu"):
        tg.functional_call(net, {"0.w": Tensor.ones(1)}, Tensor.ones(1, 2))
    with pytest.raises(ValueError, match=r"expected shape \(2, 2\) for '0.weight', got \(1,\)"):
        tg.functional_call(net, {"0.weight": Tensor.ones(1)}, Tensor.ones(1, 2))
    with pytest.raises(TypeError, match=r"expected a Module, got function"):
        tg.functional_call(lambda x: x, {}, Tensor.ones(1))  # type: ignore[arg-type]


def test_an_operation_without_a_rule_says_so_once() -> None:
    tg.autograd.batching._told.clear()
    odd = tg.custom_op(lambda x: x[::2] * 1, name="odd")
    x = numbers(3, 4)
    with pytest.warns(UserWarning, match=r"^\[vmap\] odd has no batch method"):
        found = tg.vmap(odd)(x)
    tg.vmap(odd)(x)  # warnings are errors here
    np.testing.assert_array_equal(found.numpy(), x.numpy()[:, ::2])
    ragged = tg.custom_op(lambda x: x[x > 0] * 1, name="odd")
    with pytest.raises(ValueError, match=r"^\[vmap\] expected results of one shape and dtype for"):
        tg.vmap(ragged)(x)


def test_batched_indices(device: str) -> None:
    x, i = numbers(3, 4, device=device), Tensor(np.array([2, 0, 3]), device=device)
    found = tg.vmap(lambda x, i: x[i])(x, i)
    np.testing.assert_array_equal(found.numpy(), x.numpy()[np.arange(3), i.numpy()])


BAD: dict[str, tuple[Any, str]] = {
    "values": (lambda x: x * x.item(), r"^\[vmap\] the number of a tensor of shape \(2,\) inside"),
    "truth": (lambda x: x if x.sum() > 0 else -x, r"^\[vmap\] the truth value of a tensor"),
    "numpy": (lambda x: x.numpy(), r"^\[vmap\] \.numpy\(\) of a tensor of shape \(2,\) inside of"),
    "data": (lambda x: x.data, r"^\[vmap\] \.data is read of a tensor"),
    "backward": (lambda x: x.sum().backward(), r"^\[backward\] inside of vmap: use tg.grad"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_has_no_value_for_all(name: str) -> None:
    fn, text = BAD[name]
    with pytest.raises(RuntimeError, match=text):
        tg.vmap(fn)(numbers(3, 2))


def test_errors_say_what_was_expected() -> None:
    x, bad = numbers(3, 2), cast(Any, 3)
    for call, kind, text in (
        (lambda: tg.vmap(bad), TypeError, r"^\[vmap\] expected a function, got int"),
        (lambda: tg.vmap(lambda x: x, (0, 0))(x), ValueError, r"in_axes for 1 arguments, got 2"),
        (lambda: tg.vmap(lambda x: x, 2)(x), ValueError, r"there is no axis 2 in shape \(3, 2\)"),
        (lambda: tg.vmap(lambda x: x, "0")(x), ValueError, r"expected an integer or None, got '0'"),
        (lambda: tg.vmap(lambda x: x, None)(x), ValueError, r"same number of elements, at least 1"),
        (lambda: tg.vmap(lambda x, y: x)(x, x[:2]), ValueError, r"same number of elements"),
        (lambda: tg.vmap(lambda x: x, 0, None)(x), ValueError, r"out_axes is None for a result th"),
        (lambda: tg.vmap(lambda x: x, randomness=bad)(x), ValueError, r"randomness \"different\""),
        (lambda: tg.vmap(lambda x: x)(x[:0]), ValueError, r"at least 1"),
        (lambda: tg.grad(lambda x: x)(x), TypeError, r"^\[grad\] .* got shape \(3, 2\)"),
        (lambda: tg.grad(lambda x: 3)(x), TypeError, r"got no single tensor"),
        (lambda: tg.grad(lambda x: x, 1)(x), ValueError, r"argnums 1: there are 1 arguments"),
        (lambda: tg.grad(lambda x: x.sum())(x > 0), TypeError, r"floating-point tensors .* bool"),
        (lambda: tg.jvp(lambda x: x, (x,), (x, x)), ValueError, r"tangent for each of 1 primals"),
        (lambda: tg.jvp(lambda x: x, (x,), (x[0],)), ValueError, r"expected shape \(3, 2\), dtype"),
        (lambda: tg.vjp(lambda x: x, x)[1](x[0]), ValueError, r"as the result has, got shape"),
        (lambda: tg.jacobian(lambda x: x, mode="up"), ValueError, r"mode \"auto\", \"forward\""),
        (lambda: tg.jacobian(lambda x: x, chunk_size=0), ValueError, r"chunk_size of at least 1"),
        (lambda: tg.grad(x.sum()), TypeError, r"expected inputs to differentiate by, or a fun"),
    ):
        with pytest.raises(kind, match=text):
            call()


def test_no_perturbation_is_taken_for_another() -> None:
    one = Tensor(np.array(1.0))
    assert tg.grad(lambda x: x * tg.grad(lambda y: x + y)(one))(one).item() == 1
    inner: Any = lambda x: tg.jvp(lambda y: x + y, (one,), (one,))[1]  # noqa: E731
    assert tg.jvp(lambda x: x * inner(x), (one,), (one,))[1].item() == 1
    mixed: Any = lambda x: x * tg.jvp(lambda y: x * y, (one,), (one,))[1]  # noqa: E731
    assert tg.grad(mixed)(one * 3).item() == 6
    assert tg.jvp(lambda x: x * tg.grad(lambda y: x * y)(one), (one * 3,), (one,))[1].item() == 6


def test_under_no_grad_and_with_graphs_outside() -> None:
    x = numbers(3)
    with tg.no_grad():
        gradient = tg.grad(lambda x: (x**3).sum())(x)
        assert not gradient.requires_grad
        _, tangent = tg.jvp(lambda x: x.logsumexp(), (x,), (x,))
        assert not tangent.requires_grad
        with tg.enable_grad():
            assert (x.requires_grad_() * 2).requires_grad
    w = numbers(3).requires_grad_()
    outer = tg.grad(lambda x: (x * x * w).sum())(x.detach())  # w is seen from outside
    np.testing.assert_allclose(tg.grad(outer.sum(), w).numpy(), 2 * x.numpy())
    assert not tg.grad(lambda x: (x * x).sum())(x.detach()).requires_grad


def test_a_tensor_that_leaves_its_transform() -> None:
    kept: list[Tensor] = []
    tg.vmap(lambda x: kept.append(x * 2) or x)(numbers(3, 2))  # type: ignore[func-returns-value]
    with pytest.raises(RuntimeError, match=r"^\[vmap\] a tensor from inside is used after vmap"):
        kept[0] + 1


def test_aux_and_several_arguments() -> None:
    x, y = numbers(3), numbers(2)
    fn: Any = lambda x, y: ((x * x).sum() * y.sum(), {"n": x * 2})  # noqa: E731
    (value, aux), (by_x, by_y) = tg.value_and_grad(fn, argnums=(0, 1), has_aux=True)(x, y)
    assert value.shape == ()
    np.testing.assert_allclose(aux["n"].numpy(), 2 * x.numpy())
    np.testing.assert_allclose(by_x.numpy(), 2 * x.numpy() * y.numpy().sum())
    np.testing.assert_allclose(by_y.numpy(), np.full(2, (x.numpy() ** 2).sum()))
    both = {"x": x, "y": [y]}
    found = tg.grad(lambda d: (d["x"] * 3).sum() + d["y"][0].exp().sum())(both)
    np.testing.assert_allclose(found["y"][0].numpy(), np.exp(y.numpy()))
    blocks = tg.jacobian(lambda x, y: {"o": x.sum() * y}, argnums=(0, 1))(x, y)
    assert [b.shape for b in blocks["o"]] == [(2, 3), (2, 2)]


def test_jit_of_transforms(place: str) -> None:
    x = numbers(4, 3, device=place)
    gradients = tg.vmap(tg.grad(lambda x: x.logsumexp()))
    step = tg.jit(gradients)
    expected = gradients(x).numpy()
    for _ in range(4):
        np.testing.assert_allclose(step(x).numpy(), expected, rtol=1e-12)
    inside = tg.jit(lambda x: x.sin() * 2)
    _, tangent = tg.jvp(inside, (x,), (x,))
    np.testing.assert_allclose(tangent.numpy(), 2 * np.cos(x.numpy()) * x.numpy(), rtol=1e-12)

"""Elementwise rules: what may be written in one, formulas of papers, states, capture."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.graph_stand_in import StandInPool
from support.jit_runs import State
from support.optimizers import OPTIMIZERS
from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.backend.compiling import compiler
from tinygrad_cupy.nn import optim
from tinygrad_cupy.nn.optim import adam, averaging, muon, rule

EVERY: dict[str, Callable[[Any], optim.Optimizer]] = {
    **OPTIMIZERS,
    "Muon": partial(optim.Muon, lr=0.1),
}
everyone = pytest.mark.parametrize("name", EVERY)
STEPS = 20


def draws(count: int, shape: tuple[int, ...] = (4, 3)) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [np.asarray(rng.standard_normal(shape)) for _ in range(count)]


def steps_of(optimizer: optim.Optimizer, grads: list[np.ndarray]) -> np.ndarray:
    (param,) = optimizer.params
    for grad in grads:
        param.grad = Tensor(grad.astype(param.dtype), device=param.device)
        optimizer.step()
    return param.numpy()


# Formulas of papers ------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_lion_is_the_program_of_its_paper(decay: float, device: str) -> None:
    start, *grads = draws(STEPS + 1)
    p, m = start.copy(), np.zeros_like(start)
    for g in grads:
        update = np.sign(m * 0.9 + g * (1 - 0.9))
        m = m * 0.99 + g * (1 - 0.99)
        p = p - 1e-3 * (update + p * decay)
    found = steps_of(
        optim.Lion([nn.Parameter(start, device=device)], lr=1e-3, weight_decay=decay), grads
    )
    np.testing.assert_allclose(found, p, rtol=1e-9)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_lamb_is_the_algorithm_of_its_paper(decay: float, device: str) -> None:
    start, *grads = draws(STEPS + 1)
    p, m, v = start.copy(), np.zeros_like(start), np.zeros_like(start)
    for t, g in enumerate(grads, start=1):
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g * g
        r = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-6) + decay * p
        p = p - 1e-2 * np.linalg.norm(p) / np.linalg.norm(r) * r
    found = steps_of(
        optim.LAMB([nn.Parameter(start, device=device)], lr=1e-2, weight_decay=decay), grads
    )
    np.testing.assert_allclose(found, p, rtol=1e-9)


def test_lamb_steps_where_a_norm_is_zero(device: str) -> None:
    param = nn.Parameter(np.zeros(3), device=device)
    param.grad = Tensor(np.ones(3), device=device)
    optim.LAMB([param], lr=0.1).step()
    np.testing.assert_allclose(param.numpy(), -0.1, rtol=1e-5)
    still = nn.Parameter(np.ones(3), device=device)
    still.grad = Tensor(np.zeros(3), device=device)
    optim.LAMB([still], lr=0.1, weight_decay=0.0).step()
    np.testing.assert_array_equal(still.numpy(), 1)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5)])
def test_muon_makes_steps_orthogonal(shape: tuple[int, int], device: str) -> None:
    start, grad = draws(2, shape)
    param = nn.Parameter(start.copy(), device=device)
    found = steps_of(optim.Muon([param], lr=1.0, weight_decay=0.0), [grad])
    scale = np.sqrt(max(1.0, shape[0] / shape[1]))
    singular = np.linalg.svd((start - found) / scale, compute_uv=False)
    assert ((singular > 0.6) & (singular < 1.3)).all()
    u, _, vt = np.linalg.svd(grad, full_matrices=False)
    assert np.vdot(u @ vt, start - found) > 0.85 * scale * min(shape)


@pytest.mark.parametrize("size", [1e25, 3e38])
def test_muon_steps_along_huge_gradients(size: float, device: str) -> None:
    """Their squares, and at last their norm, are beyond float32."""
    start, grad = (x.astype(np.float32) for x in draws(2, (6, 4)))
    grad /= np.abs(grad).max()
    found = []
    for factor in (1, size):
        param = nn.Parameter(start.copy(), device=device)
        steps = [grad * np.float32(factor)]
        found.append(steps_of(optim.Muon([param], lr=1.0, weight_decay=0.0, momentum=0.0), steps))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_muon_steps_filters_as_the_matrix_of_their_rows(dtype: str, device: str) -> None:
    shapes = [(6, 2, 3, 3), (4, 3, 1), (6, 18), (30, 2, 2)]
    draw = np.random.default_rng(0).standard_normal
    values = [draw(shape).astype(dtype) for shape in shapes]
    grads = [[draw(shape).astype(dtype) for shape in shapes] for _ in range(3)]
    filters = [nn.Parameter(value.copy(), device=device) for value in values]
    matrices = [nn.Parameter(x.reshape(len(x), -1).copy(), device=device) for x in values]
    ours, plain = optim.Muon(filters, lr=0.1), optim.Muon(matrices, lr=0.1)
    for step in grads:
        for one, other, grad in zip(filters, matrices, step, strict=True):
            one.grad = Tensor(grad, device=device)
            other.grad = Tensor(grad.reshape(len(grad), -1), device=device)
        ours.step()
        plain.step()
    for one, other in zip(filters, matrices, strict=True):
        np.testing.assert_array_equal(one.numpy().reshape(other.shape), other.numpy())


def test_nadam_s_product_is_a_product() -> None:
    for decay in (0.0, 4e-3, 0.5):
        log_decay = decay * np.log(0.96)
        expected = 1.0
        for t in range(1, 2000):
            expected *= 0.9 * (1 - 0.5 * 0.96 ** (t * decay))
            if t in (1, 2, 10, 300, 1999):
                assert rule.product_of_momenta(0.9, log_decay, t) == pytest.approx(expected, 1e-9)


@everyone
def test_maximize_goes_the_other_way(name: str, device: str) -> None:
    start, *grads = draws(6)
    params = [nn.Parameter(start.copy(), device=device) for _ in range(2)]
    one, other = EVERY[name](params[:1]), EVERY[name](params[1:])
    other.maximize = not one.maximize
    steps_of(one, grads)
    steps_of(other, [-grad for grad in grads])
    np.testing.assert_array_equal(params[0].numpy(), params[1].numpy())


# States ------------------------------------------------------------------------------------------


@everyone
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_restored_optimizer_continues_exactly(name: str, dtype: str, device: str) -> None:
    start, *grads = draws(9)
    optimizer = EVERY[name]([nn.Parameter(start.astype(dtype), device=device)])
    steps_of(optimizer, grads[:4])
    optimizer.lr = 0.07
    saved, middle = optimizer.state_dict(), optimizer.params[0].numpy()
    kind: Any = type(optimizer)
    other = kind([nn.Parameter(middle, device=device)])
    other.load_state_dict(saved)
    again = other.state_dict()
    assert saved.keys() == again.keys()
    for key, value in saved.items():
        np.testing.assert_array_equal(value, again[key])
    np.testing.assert_array_equal(steps_of(other, grads[4:]), steps_of(optimizer, grads[4:]))


def test_adagrad_begins_with_its_value(device: str) -> None:
    param = nn.Parameter(np.ones(2), device=device)
    optimizer = optim.Adagrad([param], lr=1.0, initial_accumulator_value=3.0)
    param.grad = Tensor(np.ones(2), device=device)
    optimizer.step()
    np.testing.assert_allclose(param.numpy(), 1 - 1 / 2)


ANY: Any = optim


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda p: ANY.Lion(p, betas=(0.9, 1.0)), "[Lion] betas[1] must be a number of at least"),
        (lambda p: ANY.NAdam(p, betas=0.9), "[NAdam] betas must be two numbers, got 0.9"),
        (lambda p: ANY.RMSprop(p, alpha=-1), "[RMSprop] alpha must be a number of at least 0"),
        (lambda p: ANY.RMSprop(p, centered=1), "[RMSprop] centered must be a bool, got 1"),
        (lambda p: ANY.Adam(p, amsgrad=2), "[Adam] amsgrad must be a bool, got 2"),
        (lambda p: ANY.SGD(p, maximize=0), "[SGD] maximize must be a bool, got 0"),
        (lambda p: ANY.Adadelta(p, rho=1.0), "[Adadelta] rho must be a number of at least 0 an"),
        (lambda p: ANY.LAMB(p, eps=-1), "[LAMB] eps must be a number of at least 0, got -1"),
        (
            lambda p: ANY.Muon([nn.Parameter(np.ones(3))]),
            "parameter 0: expected real numbers of two axes or more, got shape (3,) of float64",
        ),
        (lambda p: ANY.Muon(p, momentum=1.0), "[Muon] momentum must be a number of at least 0"),
        (lambda p: ANY.Muon(p, adjust_lr_fn="x"), "[Muon] adjust_lr_fn must be one of original"),
        (lambda p: ANY.Muon(p, ns_coefficients=(1, 2)), "[Muon] ns_coefficients must be three"),
        (lambda p: ANY.Muon(p, ns_coefficients=3.4), "[Muon] ns_coefficients must be three"),
        (
            lambda p: ANY.Muon(p, ns_coefficients=(3, -4, float("nan"))),
            "[Muon] each of ns_coefficients must be a number of at least",
        ),
        (lambda p: ANY.Muon(p, ns_steps=0), "[Muon] ns_steps must be an integer of at least 1"),
    ],
)
def test_wrong_arguments_are_named(build: Callable[[Any], Any], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        build([nn.Parameter(np.ones((2, 2)))])


# A rule of one's own -----------------------------------------------------------------------------


class Signs(optim.Elementwise):
    """An optimizer of a user, in one line."""

    hyperparameters = ("lr", "rho")
    rule = optim.Rule(
        names=("lr", "rho"),
        slots=("mean",),
        derive="rest = 1 - rho",
        update="""
            mean = rho * mean + rest * g
            step = lr * sign(mean)
            p -= where(absolute(step) > 0, step, 0)
        """,
    )

    def __init__(self, params: Any, lr: float = 0.1, rho: float = 0.5) -> None:
        super().__init__(params, lr, rho=rho)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64"])
def test_a_rule_of_one_s_own(dtype: str, device: str) -> None:
    start, *grads = draws(4)
    optimizer = Signs([nn.Parameter(start.astype(dtype), device=device)])
    assert optimizer.kind == "Signs"
    p, mean = start.astype(dtype), np.zeros_like(start).astype(dtype)
    for grad in grads:
        mean = 0.5 * mean + 0.5 * grad.astype(dtype)
        p = p - 0.1 * np.sign(mean.real).astype(dtype)
    found = steps_of(optimizer, grads)
    np.testing.assert_allclose(found, p, rtol=2e-2 if dtype == "float16" else 1e-5)


def rules() -> dict[str, optim.Rule]:
    """All that the library has."""
    found = {"amsgrad": adam.AMSGRAD, "average": averaging.Averaging.rule}
    found |= {"gather": muon.GATHER, "move": muon.MOVE}
    for name in optim.__all__:
        kind = getattr(optim, name)
        if isinstance(kind, type) and issubclass(kind, optim.Elementwise):
            listed = kind.rules or [getattr(kind, "rule", None)]
            found |= {f"{name} {i}": one for i, one in enumerate(listed) if one is not None}
    return found


@pytest.mark.parametrize("name", rules())
def test_every_rule_is_c(name: str) -> None:
    if compiler() is None:
        pytest.skip("no C compiler")
    assert rules()[name]._file.library is not None


@pytest.mark.parametrize(
    ("derive", "update", "text"),
    [
        ("", "p -= lr * h", "[Rule] unknown names: h"),
        ("lr = 2", "p -= lr", "[Rule] these names mean two things: lr"),
        ("", "lr = 2", "[Rule] update cannot assign lr"),
        ("half = 1 / 2", "p -= half", "[Rule] this is not C as well: half = 1 / 2"),
        ("", "p -= lr ** 2", "[Rule] this is not C as well: p -= lr ** 2"),
        ("", "p -= lr if g > 0 else g", "[Rule] this is not C as well"),
        ("", "if g > 0:\n    p -= lr", "[Rule] expected name = expression, got if g > 0:"),
        ("", "p[0] = lr", "[Rule] expected a name, got p[0]"),
        ("", "p -= lr - -g", "[Rule] two signs in a row: p-=lr--g"),
    ],
)
def test_what_is_no_rule_is_refused(derive: str, update: str, text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        optim.Rule(names=("lr",), slots=("m",), derive=derive, update=update)


def test_a_rule_has_three_slots_at_most() -> None:
    with pytest.raises(ValueError, match=r"\[Rule\] expected at most 3 slots, got 4"):
        optim.Rule(names=("lr",), slots=("a", "b", "c", "d"), derive="", update="p -= lr")


# Capture -----------------------------------------------------------------------------------------


@everyone
def test_a_captured_step_is_a_step(name: str, place: str) -> None:
    start, *grads = draws(7)
    params = [nn.Parameter(start.astype(np.float32)) for _ in range(2)]
    captured, plain = EVERY[name](params[:1]), EVERY[name](params[1:])

    def work(param: Tensor, optimizer: optim.Optimizer, grad: Tensor) -> None:
        optimizer.zero_grad()
        (param * grad).sum().backward()
        optim.clip_grad_norm_([param], 1.0)
        optim.clip_grad_value_([param], 0.5)
        optimizer.step()

    step = tg.jit(lambda grad: work(params[0], captured, grad))
    StandInPool.owners[:] = [captured, State(params[0])]
    for index, grad in enumerate(grads):
        captured.lr = plain.lr = 0.1 / (1 + index)
        step(Tensor(grad.astype(np.float32)))
        work(params[1], plain, Tensor(grad.astype(np.float32)))
    np.testing.assert_array_equal(params[0].numpy(), params[1].numpy())
    assert captured.steps == plain.steps == [6]


@pytest.mark.gpu
def test_a_captured_step_refuses_to_look_at_a_norm() -> None:
    param = nn.Parameter(np.ones(2, np.float32), device="cuda:0")

    @tg.jit
    def step(x: Tensor) -> None:
        (param * x).sum().backward()
        optim.clip_grad_norm_([param], 1.0, error_if_nonfinite=True)

    with pytest.raises(RuntimeError, match="values are read on the host"):
        step(Tensor.ones(2, device="cuda:0"))


@pytest.mark.parametrize("norm_type", [2.0, float("inf")])
def test_a_norm_that_is_not_finite_can_be_an_error(norm_type: float, device: str) -> None:
    param = nn.Parameter(np.ones(2), device=device)
    param.grad = Tensor(np.array([np.inf, 1.0]), device=device)
    with pytest.raises(RuntimeError, match=r"\[clip_grad_norm_\] the norm of the gradients is inf"):
        optim.clip_grad_norm_([param], 1.0, norm_type, error_if_nonfinite=True)
    assert param.grad.numpy()[1] == 1
    with pytest.raises(ValueError, match=r"norm_type must be a number above 0, got 0"):
        optim.clip_grad_norm_([param], 1.0, 0)
    optim.clip_grad_value_(param, 0.25)
    np.testing.assert_array_equal(param.grad.numpy(), 0.25)

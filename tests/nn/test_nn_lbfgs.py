"""L-BFGS: what it finds, its state, what it refuses."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.nn import optim
from tinygrad_cupy.nn.optim.line_search import Point, strong_wolfe


class Fit:
    """A least-squares problem of two parameters, and an optimizer of it."""

    def __init__(self, device: str, dtype: str = "float64", **options: Any) -> None:
        rng = np.random.default_rng(0)
        self.matrix, self.target = rng.standard_normal((9, 4)), rng.standard_normal((9, 2))
        weight = nn.Parameter(np.zeros((4, 2), dtype), device=device)
        self.params = [weight, nn.Parameter(np.zeros(2, dtype), device=device)]
        options = {"line_search_fn": "strong_wolfe"} | options
        self.optimizer = optim.LBFGS(self.params, **options)
        self.x, self.y = (
            Tensor(array.astype(dtype), device=device) for array in (self.matrix, self.target)
        )

    def closure(self) -> Tensor:
        self.optimizer.zero_grad()
        loss = ((self.x @ self.params[0] + self.params[1] - self.y) ** 2).sum()
        loss.backward()
        return loss

    def values(self) -> np.ndarray:
        return np.concatenate([param.numpy().ravel() for param in self.params])

    def best(self) -> np.ndarray:
        columns = np.column_stack([self.matrix, np.ones(9)])
        found, *_ = np.linalg.lstsq(columns, self.target)
        return np.concatenate([found[:4].ravel(), found[4]])


@pytest.mark.parametrize(("dtype", "bound"), [("float64", 1e-6), ("float32", 1e-3)])
def test_least_squares(dtype: str, bound: float, device: str) -> None:
    fit = Fit(device, dtype)
    first = fit.optimizer.step(fit.closure).item()
    assert first == pytest.approx((fit.target**2).sum(), rel=1e-5)
    fit.optimizer.step(fit.closure)
    np.testing.assert_allclose(fit.values(), fit.best(), rtol=bound, atol=bound)
    evaluations = fit.optimizer.evaluations
    fit.optimizer.tolerance_grad = 1e-2
    fit.optimizer.step(fit.closure)
    assert fit.optimizer.evaluations == evaluations + 1  # at the minimum it only looks


def test_steps_stop_after_their_evaluations() -> None:
    fit = Fit("cpu", max_eval=4)
    fit.optimizer.step(fit.closure)
    assert fit.optimizer.evaluations <= 5
    assert fit.optimizer.iterations < 5


def test_what_has_no_gradient_stays() -> None:
    fit = Fit("cpu")
    fit.params[1].requires_grad = False
    fit.optimizer.step(fit.closure)
    assert not fit.params[1].numpy().any()
    assert fit.params[0].numpy().any()


def test_a_restored_optimizer_continues_exactly(device: str) -> None:
    fit, other = (Fit(device, max_iter=3, history_size=2) for _ in range(2))
    fit.optimizer.step(fit.closure)
    fit.optimizer.step(fit.closure)
    saved = fit.optimizer.state_dict()
    other.optimizer = optim.LBFGS(other.params)
    other.optimizer.load_state_dict(saved)
    for param, its in zip(fit.params, other.params, strict=True):
        its.assign_(param)
    again = other.optimizer.state_dict()
    assert saved.keys() == again.keys()
    for key, value in saved.items():
        np.testing.assert_array_equal(value, again[key])
    fit.optimizer.step(fit.closure)
    other.optimizer.step(other.closure)
    np.testing.assert_array_equal(fit.values(), other.values())
    fresh = Fit(device)
    fresh.optimizer.load_state_dict(Fit(device).optimizer.state_dict())
    fresh.optimizer.step(fresh.closure)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"d": np.ones(3)}, "[LBFGS] d: expected shape (10,), got (3,)"),
        ({"old_dirs": np.ones((1, 10))}, "[LBFGS] old_dirs: expected shape ("),
        ({"prev_flat_grad": None}, "[LBFGS] prev_flat_grad: expected shape (10,), got an object"),
        ({"t": "x"}, "[LBFGS] t: expected one number, got an object of type str"),
        ({"max_iter": 0.5}, "[LBFGS] max_iter must be an integer of at least 1, got 0.5"),
        ({"lr": -1.0}, "[LBFGS] lr must be a number of at least 0, got -1"),
        ({"kind": np.frombuffer(b"Adam", np.uint8)}, "expected the state of LBFGS"),
        ({"n_iter": None}, "[LBFGS] n_iter: expected one number, got an object of type NoneType"),
    ],
)
def test_a_damaged_state_is_refused_whole(change: dict[str, Any], text: str) -> None:
    fit = Fit("cpu", max_iter=4)
    fit.optimizer.step(fit.closure)
    before = fit.optimizer.state_dict()
    with pytest.raises(ValueError, match=re.escape(text)):
        fit.optimizer.load_state_dict(before | change)
    for key, value in fit.optimizer.state_dict().items():
        np.testing.assert_array_equal(value, before[key])
    with pytest.raises(TypeError, match=r"\[LBFGS\] expected a state_dict, a mapping, got list"):
        fit.optimizer.load_state_dict([])  # type: ignore[arg-type]


def leaves(*dtypes: str) -> list[nn.Parameter]:
    return [nn.Parameter(np.ones(2, dtype)) for dtype in dtypes]


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: optim.LBFGS(leaves("float32", "float64")), "got float32 on cpu, float64 on cpu"),
        (lambda: optim.LBFGS(leaves("float16")), "expected parameters of float32 or of float64"),
        (
            lambda: optim.LBFGS([{"params": leaves("float32")} for _ in range(2)]),
            "[LBFGS] expected one parameter group, got several",
        ),
        (
            lambda: optim.LBFGS(leaves("float32")).add_param_group({"params": leaves("float32")}),
            "[LBFGS] expected one parameter group, got another",
        ),
        (
            lambda: optim.LBFGS(leaves("float32"), line_search_fn="armijo"),
            "[LBFGS] line_search_fn must be one of strong_wolfe, got 'armijo'",
        ),
        (
            lambda: optim.LBFGS(leaves("float32"), history_size=0),
            "[LBFGS] history_size must be an integer of at least 1, got 0",
        ),
        (
            lambda: optim.LBFGS(leaves("float32")).step(),
            "[LBFGS] expected a closure that computes the loss and its gradients",
        ),
    ],
)
def test_what_it_refuses(build: Callable[[], Any], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        build()


def test_a_captured_function_cannot_step(place: str) -> None:
    fit = Fit("cpu")

    @tg.jit
    def step(x: Tensor) -> Tensor:
        return fit.optimizer.step(fit.closure) + x  # type: ignore[no-any-return]

    with pytest.raises(RuntimeError, match="LBFGS decides on the host how far to go"):
        step(Tensor([1.0]))


# The line search ---------------------------------------------------------------------------------


def along(function: Callable[[float], float], slope: Callable[[float], float]) -> Any:
    return lambda t: Point(t, function(t), np.zeros(1), slope(t))


@pytest.mark.parametrize("first", [1e-3, 0.1, 1.0, 30.0])
def test_both_wolfe_conditions_hold(first: float) -> None:
    at = along(lambda t: (t - 2) ** 4 + t, lambda t: 4 * (t - 2) ** 3 + 1)
    start = at(0.0)
    found, used = strong_wolfe(at, start, first, 1.0, 25, 1e-9)
    assert found.loss <= start.loss + 1e-4 * found.t * start.slope
    assert abs(found.slope) <= 0.9 * abs(start.slope)
    assert used <= 15


def test_a_loss_that_is_nan_is_too_far() -> None:
    at = along(
        lambda t: (t - 1) ** 2 if t < 2 else float("nan"),
        lambda t: 2 * (t - 1) if t < 2 else float("nan"),
    )
    found, _ = strong_wolfe(at, at(0.0), 50.0, 1.0, 25, 1e-9)
    assert 0 < found.t < 2


def test_the_best_point_is_taken_when_evaluations_run_out() -> None:
    at = along(lambda t: -t, lambda t: -1.0)  # falls for ever
    found, used = strong_wolfe(at, at(0.0), 1.0, 1.0, 3, 1e-9)
    assert found.t > 1
    assert used == 4

"""`odeint` beside SciPy's `solve_ivp`, and gradients beside differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.integrate

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import to_device
from tinygrad_cupy.integrate import odeint

Y0, TIMES, RATE = np.array([1.0, 0.3]), np.linspace(0, 5, 11), np.array(2.0)


def _tensor(values: Any, device: str, **options: Any) -> Tensor:
    return Tensor(to_device(np.asarray(values), device), **options)


def _pendulum(y: Any, t: Any, rate: Any) -> Any:
    return tg.stack([y[1], -rate * y[0].sin() - y[1] * 0.1 + t.cos()])


def _exact(times: np.ndarray, y0: np.ndarray = Y0) -> np.ndarray:
    found: np.ndarray = scipy.integrate.solve_ivp(
        lambda t, y: [y[1], -2 * np.sin(y[0]) - 0.1 * y[1] + np.cos(t)],
        (times[0], times[-1]), y0, method="DOP853", rtol=1e-13, atol=1e-13, t_eval=times,
    ).y.T  # fmt: skip
    return found


def test_values_are_scipys(device: str) -> None:
    expected = _exact(TIMES)
    for tolerance in (1e-5, 1e-8, 1e-11):
        y = odeint(
            _pendulum, *(_tensor(x, device) for x in (Y0, TIMES, RATE)),
            rtol=tolerance, atol=tolerance,
        )  # fmt: skip
        np.testing.assert_allclose(y.numpy(), expected, atol=30 * tolerance)
    ends = _tensor(TIMES[[0, -1]], device)
    last = odeint(_pendulum, _tensor(Y0, device), ends, _tensor(RATE, device))
    np.testing.assert_allclose(last.numpy()[1], expected[-1], atol=1e-7)


def test_time_may_fall(device: str) -> None:
    expected = _exact(TIMES)
    start, times = _tensor(expected[-1], device), _tensor(TIMES[::-1].copy(), device)
    y = odeint(_pendulum, start, times, _tensor(RATE, device))
    np.testing.assert_allclose(y.numpy(), expected[::-1], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("times", [[0.0, 0.1, 0.15, 2.0], [1.0, 0.2]])
def test_gradients(times: list[float], device: str) -> None:
    inputs = [_tensor(np.array(x), device, requires_grad=True) for x in (Y0, times, RATE)]

    def solve(y0: Any, t: Any, rate: Any) -> Any:
        return odeint(_pendulum, y0, t, rate, rtol=1e-9, atol=1e-9)

    assert tg.gradcheck(solve, inputs, order=2, batched=False)  # t is one for a batch
    y0, t, rate = inputs
    assert tg.gradcheck(lambda y0, rate: solve(y0, t.detach(), rate), [y0, rate], order=1)


def test_a_structure_and_tensors_from_outside(device: str) -> None:
    k = _tensor(np.array(1.5), device, requires_grad=True)
    y0 = {"x": _tensor(np.ones((2, 3)), device), "v": (_tensor(np.zeros((2, 3)), device),)}

    def slope(y: Any, t: Any) -> Any:
        return {"x": y["v"][0], "v": (-k * k * y["x"],)}

    y = odeint(slope, y0, _tensor([0.0, 0.5, 1.0], device))
    assert y["x"].shape == (3, 2, 3)
    assert isinstance(y["v"], tuple)
    np.testing.assert_allclose(y["x"].detach().numpy()[1:, 0, 0], np.cos([0.75, 1.5]), atol=1e-6)
    y["x"][2, 0, 0].backward()
    assert k.grad is not None
    np.testing.assert_allclose(k.grad.numpy(), -np.sin(1.5), atol=1e-6)


@pytest.mark.slow
def test_transforms_nest() -> None:
    t = Tensor(np.array([0.0, 0.7, 1.0]))

    def loss(y0: Any, rate: Any) -> Any:
        return (odeint(_pendulum, y0, t, rate, rtol=1e-8, atol=1e-8) ** 2).sum()

    y0, rate = Tensor(Y0), Tensor(RATE)
    hessian = tg.hessian(loss)(y0, rate).numpy()
    forward = tg.jvp(lambda y: tg.grad(loss)(y, rate), (y0,), (y0,))[1].numpy()
    np.testing.assert_allclose(forward, hessian @ Y0, atol=1e-5)
    starts = np.stack([Y0, Y0 * 2])
    together = tg.vmap(tg.grad(loss), in_axes=(0, None))(Tensor(starts), rate).numpy()
    for one, found in zip(starts, together, strict=True):
        np.testing.assert_allclose(found, tg.grad(loss)(Tensor(one), rate).numpy(), atol=1e-5)


@pytest.mark.slow
def test_the_same_call_gives_the_same_bits(device: str) -> None:
    def run() -> list[np.ndarray]:
        y0, rate = (_tensor(x, device, requires_grad=True) for x in (Y0, RATE))
        y = odeint(_pendulum, y0, _tensor(TIMES, device), rate)
        y.sum().backward()
        assert y0.grad is not None
        assert rate.grad is not None
        return [y.detach().numpy(), y0.grad.numpy(), rate.grad.numpy()]

    for one, other in zip(run(), run(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_float32(device: str) -> None:
    given = [_tensor(x.astype(np.float32), device) for x in (Y0, TIMES, RATE)]
    y = odeint(_pendulum, *given, rtol=1e-5, atol=1e-5)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y.numpy(), _exact(TIMES), atol=1e-3)


@pytest.mark.slow
def test_failure_names_the_time(device: str) -> None:
    one, times = _tensor(np.array(1.0), device), _tensor([0.0, 2.0], device)
    with pytest.raises(RuntimeError, match=r"\[odeint\] the step became too small at t = 1"):
        odeint(lambda y, t: y * y, one, times)
    text = r"\[odeint\] more than mxstep=50 steps between t = 0 and 2, at t = 0\.\d+"
    with pytest.raises(RuntimeError, match=text):
        odeint(lambda y, t: y * -1e4, one, times, mxstep=50)
    with pytest.raises(RuntimeError, match="too small at t = 0"):
        odeint(lambda y, t: y * np.nan, one, times)


def test_bad_input() -> None:
    one, times = Tensor.ones(2), Tensor([0.0, 1.0])
    bad: Any = 1
    cases: Any = (
        (lambda: odeint(bad, one, times), TypeError, "expected a function"),
        (lambda: odeint(abs, one, Tensor([0.0, 0.0])), ValueError, "expected t to rise or to fall"),
        (lambda: odeint(abs, one, Tensor(0.0)), ValueError, r"expected t of shape \(T,\)"),
        (lambda: odeint(lambda y, t: y.sum(), one, times), ValueError, "expected a slope of y's"),
        (lambda: odeint(abs, one, times, mxstep=0), ValueError, "mxstep of at least 1"),
        (lambda: odeint(abs, one, times, rtol=0, atol=0), ValueError, "rtol and atol"),
        (lambda: odeint(abs, one.astype("float16"), times), TypeError, "float32 or wider"),
    )
    for call, kind, text in cases:
        with pytest.raises(kind, match=text):
            call()
    still = odeint(lambda y, t: y, one, Tensor([3.0]))
    np.testing.assert_array_equal(still.numpy(), np.ones((1, 2)))

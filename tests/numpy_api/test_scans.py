"""NumPy's scans, differences and integrals of tensors against NumPy's own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cupy as tg
import tinygrad_cupy.numpy as tnp
from support.against_numpy import an_array, both, placed, same, there
from tinygrad_cupy import Tensor

pytestmark = pytest.mark.usefixtures("device")

INF, NAN = math.inf, math.nan


# --- sums and products ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cumsum", "cumprod", "nancumsum", "nancumprod"])
@given(data=st.data())
def test_along_any_axis(name: str, data: st.DataObject) -> None:
    values, axis = an_array(data, least=0)
    axis = axis if isinstance(axis, int) else None
    both(name, values, axis)
    both(name, values > 0, axis)
    for dtype in ("int8", "int32", "int64"):
        both(name, np.rint(values).astype(dtype), axis)


@pytest.mark.parametrize("name", ["cumulative_sum", "cumulative_prod"])
@given(data=st.data())
def test_the_array_api_has_them_too(name: str, data: st.DataObject) -> None:
    values, axis = an_array(data)
    axis = axis if isinstance(axis, int) and values.ndim else 0 if values.ndim else None
    for initial in (False, True):
        both(name, values, axis=axis, include_initial=initial)


def test_dtype_and_out() -> None:
    values = np.array([[100, 100], [100, 27]], np.int8)
    for name in ("cumsum", "cumprod", "nancumsum"):
        both(name, values, 1, dtype=np.float64)
        both(name, values, 1, dtype=np.int8)  # wraps around
        out = placed(np.zeros((2, 2)))
        assert getattr(np, name)(placed(values), axis=0, out=out) is out
        np.testing.assert_array_equal(out.numpy(), getattr(np, name)(values, 0))


def test_extrema_so_far_are_accumulated_maxima() -> None:
    values = np.random.default_rng(0).standard_normal((4, 50))
    x = placed(values)
    for axis in (0, 1, -1):
        same(x.cummax(axis), np.maximum.accumulate(values, axis))
        same(x.cummin(axis), np.minimum.accumulate(values, axis))
        same(x.logcumsumexp(axis), np.logaddexp.accumulate(values, axis))
    same(x.cummax(), np.maximum.accumulate(values.reshape(-1)))
    same(placed([3, 5, 4]).cummax(), np.array([3, 5, 5]))
    same(placed([False, True, False]).cummax(), np.array([False, True, True]))


def test_equal_extrema_so_far_share_the_gradient() -> None:
    """Each result's among those that are as large up to there, as `max` of them would."""
    values = [1.0, 3.0, 3.0, 2.0, 3.0]
    x = tnp.ndarray(values, requires_grad=True)
    y = x.cummax()
    for k in range(len(values)):
        part = tnp.ndarray(values[: k + 1], requires_grad=True)
        expected = tg.grad(part.max(), part).tolist() + [0.0] * (len(values) - k - 1)
        np.testing.assert_allclose(tg.grad(y[k], x, retain_graph=True).numpy(), expected)


def test_nan_so_far_has_the_gradient() -> None:
    x = tnp.ndarray([1.0, NAN, 5.0, NAN], requires_grad=True)
    y = x.cummax()
    assert np.isnan(y.numpy()).tolist() == [False, True, True, True]
    (found,) = tg.grad([y], [x], [placed([1.0, 1.0, 1.0, 4.0])])
    assert found.tolist() == [1.0, 4.0, 0.0, 2.0]


@pytest.mark.parametrize("zeros", [[], [0], [3], [0, 4], [1, 2, 3], [0, 1, 2, 3, 4]])
def test_cumulative_products_with_zeros(zeros: list[int]) -> None:
    values = np.array([2.0, -1.5, 3.0, 0.5, 4.0])
    values[zeros] = 0
    x = tnp.ndarray(values, requires_grad=True)
    jacobian = tg.jacobian(lambda x: x.cumprod())(x).numpy()
    exact = [
        [np.prod(np.delete(values[: k + 1], i)) if i <= k else 0.0 for i in range(5)]
        for k in range(5)
    ]
    np.testing.assert_allclose(jacobian, exact)
    assert tg.gradcheck(lambda x: x.cumprod(), [x], order=2)


def test_log_sums_of_infinities() -> None:
    x = tnp.ndarray([-INF, -INF, 1.0, -INF, 2.0], requires_grad=True)
    y = x.logcumsumexp()
    with np.errstate(all="ignore"):
        same(y.detach(), np.logaddexp.accumulate(x.numpy()))
    (found,) = tg.grad([y], [x], [placed(np.ones(5))], create_graph=True)
    share = 1 / (1 + math.e)
    np.testing.assert_allclose(found.numpy(), [0, 0, 2 + share, 0, 1 - share])
    assert np.isfinite(tg.grad([found], [x], [placed(np.ones(5))])[0].numpy()).all()
    above = tnp.ndarray([0.0, INF, 1.0, INF], requires_grad=True)
    (found,) = tg.grad([above.logcumsumexp()], [above], [placed(np.ones(4))])
    assert found.tolist() == [1.0, 3.0, 0.0, 0.0]


def test_log_sums_do_not_overflow() -> None:
    x = tnp.ndarray([1000.0, 1001.0, -1000.0], requires_grad=True)
    y = x.logcumsumexp()
    above = 1001 + math.log1p(math.exp(-1))
    np.testing.assert_allclose(y.numpy(), [1000, above, above])
    assert np.isfinite(tg.grad(y.sum(), x).numpy()).all()


def test_long_sums_in_float32_are_rounded_once() -> None:
    values = np.random.default_rng(0).random(300_000, np.float32)
    x = Tensor(values, device=tg.default_device(), requires_grad=True)
    y = x.cumsum()
    np.testing.assert_allclose(y.numpy(), np.cumsum(values, dtype=np.float64), rtol=1.01 * 2.0**-24)
    seed = Tensor(values, device=tg.default_device())
    (found,) = tg.grad([y], [x], [seed])
    exact = np.cumsum(values[::-1], dtype=np.float64)[::-1]
    np.testing.assert_allclose(found.numpy(), exact, rtol=1.01 * 2.0**-24)


# --- differences ----------------------------------------------------------------------------------


@given(data=st.data())
def test_differences(data: st.DataObject) -> None:
    values, axis = an_array(data, least=0)
    if not values.ndim:
        return
    axis = axis if isinstance(axis, int) else -1
    for n in range(4):
        both("diff", values, n, axis)
    both("diff", np.rint(values).astype(int), axis=axis, prepend=0, append=7)
    both("diff", values, axis=axis, prepend=0.1, append=values)
    both("diff", values > 0, axis=axis)
    both("ediff1d", values, to_end=[1.0, 2.5], to_begin=7)
    both("ediff1d", values)


def test_numbers_beside_float32_do_not_widen_it() -> None:
    x = Tensor([1.0, 2.0], device=tg.default_device())
    assert np.diff(x, prepend=0.1).dtype == np.float32
    assert np.ediff1d(x, to_end=[0.1, 0.2]).dtype == np.float32
    assert np.trapezoid(x, dx=0.1).dtype == np.gradient(x, 0.1).dtype == np.float32
    wide = Tensor(np.array([1.0, 2.0]), device=tg.default_device())
    assert np.diff(wide, prepend=0.1).tolist() == [0.9, 1.0]  # not of 0.1 in float32


# --- integrals and derivatives --------------------------------------------------------------------


@given(data=st.data())
def test_integrals(data: st.DataObject) -> None:
    values, axis = an_array(data)
    if not values.ndim:
        return
    axis = axis if isinstance(axis, int) else -1
    places: Any = np.cumsum(np.random.default_rng(0).random(values.shape[axis]))
    both("trapezoid", values, axis=axis)
    both("trapezoid", values, dx=0.3, axis=axis)
    both("trapezoid", values, places, axis=axis)
    both("trapezoid", values, values**2, axis=axis)
    both("trapezoid", np.rint(values).astype(int), axis=axis)
    found = np.trapezoid(there(values), placed(places), axis=axis)
    same(found, np.trapezoid(values, places, axis=axis))


@pytest.mark.parametrize("edge_order", [1, 2])
def test_derivatives_of_samples(edge_order: Any) -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((3, 4, 5))
    places = np.cumsum(rng.uniform(0.5, 1.5, 5))
    both("gradient", values, edge_order=edge_order)
    both("gradient", values, 0.2, edge_order=edge_order)
    both("gradient", values, 0.1, 0.2, places, edge_order=edge_order)
    both("gradient", values, places, axis=2, edge_order=edge_order)
    both("gradient", values, 0.1, places, axis=(0, -1), edge_order=edge_order)
    both("gradient", values[0, 0], places, edge_order=edge_order)
    both("gradient", np.rint(10 * values).astype(int), axis=1, edge_order=edge_order)
    same(
        np.gradient(there(values[0, 0]), placed(places), edge_order=edge_order),
        np.gradient(values[0, 0], places, edge_order=edge_order),
    )


def test_the_distance_of_samples_may_want_a_gradient() -> None:
    values = np.array([1.0, 4.0, 9.0])
    h: Any = tnp.ndarray(0.5, requires_grad=True)
    assert tg.grad(np.gradient(placed(values), h).sum(), h).item() == pytest.approx(-48.0)
    assert tg.grad(np.trapezoid(placed(values), dx=h), h).item() == pytest.approx(9.0)


@given(data=st.data())
def test_unwrapping(data: st.DataObject) -> None:
    values, axis = an_array(data)
    if not values.ndim:
        return
    axis = axis if isinstance(axis, int) else -1
    both("unwrap", 10 * values, axis=axis)
    both("unwrap", 10 * values, discont=4.0, axis=axis)
    both("unwrap", 10 * values, axis=axis, period=3.0)
    for period in (7, 8):
        both("unwrap", np.rint(10 * values).astype(int), axis=axis, period=period)


def test_unwrapping_at_half_a_period() -> None:
    both("unwrap", np.array([0.0, math.pi, 0.0, -math.pi, 2 * math.pi, NAN, 1.0]))
    x = tnp.ndarray([0.0, 6.0, 1.0], requires_grad=True)
    assert tg.grad(np.unwrap(x).sum(), x).tolist() == [1.0, 1.0, 1.0]


def test_axes_that_are_not_there() -> None:
    x = placed(np.ones((2, 3)))
    for call, name in (
        (lambda: np.cumsum(x, axis=2), "cumsum"),
        (lambda: np.diff(x, axis=2), "diff"),
        (lambda: np.trapezoid(x, axis=2), "trapezoid"),
        (lambda: np.gradient(x, axis=2), "gradient"),
        (lambda: np.unwrap(x, axis=2), "unwrap"),
        (lambda: np.cumulative_sum(x, axis=2), "cumulative_sum"),
    ):
        with pytest.raises(
            ValueError, match=rf"^\[{name}\] axis 2 is out of range for a tensor of"
        ):
            call()

"""NumPy's statistics of tensors against NumPy's own."""

from __future__ import annotations

import math
import warnings
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cupy as tg
import tinygrad_cupy.numpy as tnp
from support.against_numpy import an_array, both, placed, same, there
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops.order_statistics import METHODS

pytestmark = pytest.mark.usefixtures("device")

INF, NAN = math.inf, math.nan


# --- medians and quantiles ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["median", "nanmedian"])
@given(data=st.data())
def test_medians(name: str, data: st.DataObject) -> None:
    values, axis = an_array(data)
    keepdims = data.draw(st.booleans())
    both(name, values, axis=axis, keepdims=keepdims)
    both(name, np.rint(3 * values).astype(int), axis=axis, keepdims=keepdims)
    values[np.random.default_rng(0).random(values.shape) < 0.3] = NAN
    both(name, values, axis=axis, keepdims=keepdims)


@pytest.mark.one_in(5)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["quantile", "nanquantile", "percentile", "nanpercentile"])
@given(data=st.data())
def test_quantiles(name: str, method: str, data: st.DataObject) -> None:
    values, axis = an_array(data)
    shape = data.draw(st.sampled_from([(), (0,), (3,), (2, 2)]))
    shape = shape[:1] if name.startswith("nan") else shape  # NumPy turns axes of q about there
    q = np.asarray(np.random.default_rng(data.draw(st.integers(0, 99))).random(shape))
    q = np.rint(q * 8) / 8 if data.draw(st.booleans()) else q
    q = q * 100 if "percentile" in name else q
    given = q.tolist()  # of the host, whichever device the values are on
    options = {"axis": axis, "method": method, "keepdims": data.draw(st.booleans())}
    both(name, values, given, **options)
    values[np.random.default_rng(0).random(values.shape) < 0.3] = NAN
    both(name, values, given, **options)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("method", METHODS)
def test_quantiles_of_a_few(method: Any) -> None:
    """Those that fall on elements, and between any two."""
    q = np.linspace(0, 1, 33).tolist()
    for n in range(1, 8):
        both("quantile", np.random.default_rng(n).standard_normal(n), q, method=method)
        both("quantile", np.arange(n)[::-1], q, method=method)


def test_a_quantile_keeps_the_dtype() -> None:
    for dtype in (np.float16, ml_dtypes.bfloat16, np.float32):
        x = Tensor(np.arange(6).astype(dtype), device=tg.default_device(), requires_grad=True)
        y = np.quantile(x, np.array([0.3, 0.5]))
        assert y.dtype == dtype
        assert y.numpy().astype(float).tolist() == [1.5, 2.5]
        assert tg.grad(y.sum(), x).numpy().astype(float).tolist() == [0, 0.5, 1, 0.5, 0, 0]


def test_the_gradient_of_equal_elements_is_that_of_the_ranks() -> None:
    x = tnp.ndarray([2.0, 2.0, 2.0, 2.0], requires_grad=True)
    found = tg.grad(np.median(x), x).numpy()
    assert sorted(found.tolist()) == [0.0, 0.0, 0.5, 0.5]


def test_infinities() -> None:
    """NumPy takes the difference of two, which is NaN."""
    x = placed([INF, -INF, INF, INF])
    for q, expected in ((0.0, -INF), (0.5, INF), (0.9, INF), (1.0, INF)):
        with np.errstate(invalid="ignore"):
            assert np.quantile(x, q).item() == expected
    with np.errstate(invalid="ignore"):
        assert np.median(placed([INF, INF])).item() == INF
        assert np.isnan(np.median(placed([INF, -INF])).item())


def test_nan_is_the_quantile_and_has_the_gradient() -> None:
    x = tnp.ndarray([[1.0, NAN, 3.0], [1.0, 2.0, 3.0]], requires_grad=True)
    y: Any = np.quantile(x, 0.25, axis=1)
    assert np.isnan(y.numpy()).tolist() == [True, False]
    assert tg.grad(y.sum(), x).tolist() == [[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]]


def test_a_tensor_of_quantiles() -> None:
    values = np.array([1.0, 4.0, 9.0, 16.0])
    q = tnp.ndarray([0.2, 0.5, 0.9], requires_grad=True)
    y = np.quantile(placed(values), q)
    same(y.detach(), np.quantile(values, q.numpy()))
    np.testing.assert_allclose(tg.grad(y.sum(), q).numpy(), [9.0, 15.0, 21.0])
    y = np.nanpercentile(placed([1.0, NAN, 5.0]), q * 100)
    np.testing.assert_allclose(tg.grad(y.sum(), q).numpy(), [4.0, 4.0, 4.0])
    y = np.quantile(placed(values), q, method="nearest")
    assert tg.grad(y.sum(), q).tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(ValueError, match=r"^\[quantile\] expected quantiles from 0 to 1, got \[2"):
        np.quantile(placed(values), tnp.ndarray([2.0], device="cpu"))


def test_an_unknown_method() -> None:
    with pytest.raises(ValueError, match=r"^\[quantile\] expected a method among .* got 'best'"):
        np.quantile(placed([1.0]), 0.5, method="best")  # type: ignore[call-overload]


def test_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.isnan(np.median(placed(np.zeros((0, 3))), axis=0).numpy()).all()
    with pytest.raises(ValueError, match=r"^\[quantile\] no elements to reduce along axis 0"):
        np.quantile(placed(np.zeros((0, 3))), 0.5, axis=0)


# --- covariances ----------------------------------------------------------------------------------


def test_covariances() -> None:
    rng = np.random.default_rng(0)
    values, other = rng.standard_normal((3, 6)), rng.standard_normal((2, 6))
    often, much = np.array([1, 2, 3, 1, 2, 1]), rng.random(6)
    for name in ("cov", "corrcoef"):
        both(name, values)
        both(name, values, rowvar=False)
        both(name, values[0])
        both(name, values[0], rowvar=False)
        both(name, np.rint(9 * values).astype(int))
        same(getattr(np, name)(placed(values), placed(other)), getattr(np, name)(values, other))
    for options in (
        {"bias": True},
        {"ddof": 2},
        {"fweights": often},
        {"aweights": much},
        {"aweights": much, "ddof": 0},
        {"fweights": often, "aweights": much, "ddof": 2},
    ):
        both("cov", values, **options)
    both("cov", 1e8 + values, rtol=1e-6)  # of the deviations, not of the squares


def test_covariances_without_degrees_of_freedom() -> None:
    with pytest.warns(RuntimeWarning), np.errstate(all="ignore"):
        found: Any = np.cov(placed([[1.0], [2.0]]))
    assert not np.isfinite(found.numpy()).any()


def test_a_variable_that_does_not_vary() -> None:
    with np.errstate(all="ignore"):
        both("corrcoef", np.array([[1.0, 1.0, 1.0], [1.0, 2.0, 4.0]]))


# --- bins -----------------------------------------------------------------------------------------

BINS: list[Any] = [10, 5, "auto", "sturges", [-2, -1, 0, 1], np.array([-2.0, -0.5, 0.0, 1.5])]


def test_edges_move_with_the_ends_of_the_data(device: str) -> None:
    x = Tensor(np.array([0.4, 2.0, -1.0, 1.6]), device=device, requires_grad=True)
    sides = Tensor(np.array([-2.0, 0.0, 1.0, 3.0]), device=device, requires_grad=True)
    calls: list[Any] = [
        lambda x: np.histogram_bin_edges(x, 4) ** 2,
        lambda x: np.histogram(x, 3)[1] * 2,
        lambda x: np.histogram(x, "sqrt", density=True)[0],
        lambda x: np.histogram2d(x, x * x, 2)[2],
    ]
    for call in calls:
        assert tg.gradcheck(call, [x], batched=False)
    given = lambda sides: np.histogram(x.detach(), sides)[1] ** 2  # noqa: E731
    assert tg.gradcheck(given, [sides], batched=False)
    fixed: Any = np.histogram_bin_edges(x, 3, (0.0, 1.0))
    assert not fixed.requires_grad
    by_ends = tg.grad(tnp.histogram_bin_edges(x, 2)[1], x).tolist()
    assert by_ends == [0.0, 0.5, 0.5, 0.0]


@pytest.mark.parametrize("bins", BINS, ids=str)
def test_histograms(bins: Any) -> None:
    values = np.random.default_rng(0).standard_normal((20, 5))
    values[3, 2] = values.max()
    weights = np.random.default_rng(1).random((20, 5))
    both("histogram", values, bins)
    both("histogram", values, bins, density=True)
    both("histogram_bin_edges", values, bins)
    if not isinstance(bins, str):
        same(
            np.histogram(placed(values), bins, weights=placed(weights)),
            np.histogram(values, bins, weights=weights),
        )
        both("histogram", values, bins, weights=weights, density=True)
        both("histogram", values, bins, range=(-1, 1))
    both("histogram", np.rint(3 * values).astype(int), 4)


def test_elements_on_edges_and_outside() -> None:
    values = np.array([-1.0, 0.0, 0.5, 1.0, 1.0, 2.0, NAN, INF])
    both("histogram", values, bins=2, range=(0, 1))
    both("histogram", values, bins=[0.0, 0.5, 1.0])
    both("histogram", np.zeros(0), 3)
    both("histogram", np.ones(3), 3)


def test_histograms_in_several_axes() -> None:
    rng = np.random.default_rng(0)
    x, y, weights = rng.standard_normal((3, 60))
    bins: list[Any] = [10, [3, 4], [np.array([-2, 0, 1.0]), 5], [-2, -1, 0, 1]]
    for each in bins:
        for options in ({}, {"density": True}, {"weights": weights}):
            given: Any = {key: there(value) for key, value in options.items()}
            same(
                np.histogram2d(placed(x), placed(y), there(each), **given),
                np.histogram2d(x, y, each, **options),
            )
    points = rng.standard_normal((50, 3))
    same(np.histogramdd(placed(points), 4), np.histogramdd(points, 4))
    ranges: Any = [(-1, 1), None, (0, 1)]
    same(
        np.histogramdd(placed(points), (2, 3, 4), range=ranges),
        np.histogramdd(points, (2, 3, 4), range=ranges),
    )


def test_counts_of_integers() -> None:
    rng = np.random.default_rng(0)
    x, weights = rng.integers(0, 6, 20), rng.random(20)
    for options in ({}, {"minlength": 12}, {"weights": weights}):
        both("bincount", x, **options)
    both("bincount", x, weights=x)
    both("bincount", x.astype(np.uint8))
    both("bincount", np.zeros(0, int))
    both("bincount", np.zeros(0, int), minlength=3)
    same(np.bincount(there(x), placed(weights)), np.bincount(x, weights))
    narrow = Tensor(weights.astype(np.float32), device=tg.default_device())
    assert np.bincount(placed(x), narrow).dtype == np.float32


def test_many_small_weights_in_one_bin() -> None:
    weights = Tensor(np.full(100_000, 0.1, np.float32), device=tg.default_device())
    found: Any = np.bincount(placed(np.zeros(100_000, int)), weights)
    np.testing.assert_allclose(found.numpy(), 1e5 * float(np.float32(0.1)), rtol=1e-7)


def test_the_bins_of_elements() -> None:
    x = np.array([-2.0, -1.0, 0.0, 0.2, 0.5, 7.0, NAN, INF, -INF])
    for edges in (np.array([-1, 0, 0.5]), np.array([0.5, 0, -1]), np.array([1])):
        for right in (False, True):
            both("digitize", x, edges, right)
            same(np.digitize(there(x), placed(edges), right), np.digitize(x, edges, right))


def test_bins_inside_vmap() -> None:
    values = np.random.default_rng(0).standard_normal((3, 20))
    edges = np.array([-1.0, 0.0, 1.0])
    found = tg.vmap(lambda row: np.histogram(row, edges)[0])(placed(values))
    same(found, np.stack([np.histogram(row, edges)[0] for row in values]))
    with pytest.raises(RuntimeError, match=r"^\[histogram\] bins depend on values, which are not"):
        tg.vmap(lambda row: np.histogram(row, 3)[0])(placed(values))
    with pytest.raises(RuntimeError, match=r"^\[bincount\] bins depend on values, which are not"):
        tg.vmap(lambda row: np.bincount(row))(placed(np.ones((2, 3), int)))

"""NumPy's reductions of tensors against NumPy's own: values, shapes, dtypes, along any axes."""

from __future__ import annotations

import math
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

pytestmark = pytest.mark.usefixtures("device")

INF, NAN = math.inf, math.nan


FLOATING = ("sum", "prod", "mean", "var", "std")
OF_NOTHING = ("sum", "prod", "all", "any", "count_nonzero")
SOME = ("max", "min", "amax", "amin", "ptp")
LEAVING_NAN_OUT = ("nansum", "nanprod", "nanmean", "nanvar", "nanstd", "nanmax", "nanmin")


@pytest.mark.one_in(4)
@pytest.mark.parametrize("name", [*FLOATING, *SOME, *OF_NOTHING, *LEAVING_NAN_OUT])
@given(data=st.data())
def test_axes_of_floats(name: str, data: st.DataObject) -> None:
    values, axis = an_array(data, least=0 if name in OF_NOTHING else 1)
    both(name, values, axis=axis, keepdims=data.draw(st.booleans()))


@pytest.mark.one_in(4)
@pytest.mark.parametrize("name", [*FLOATING, *SOME, *OF_NOTHING, *LEAVING_NAN_OUT])
@given(data=st.data())
def test_axes_of_integers(name: str, data: st.DataObject) -> None:
    values, axis = an_array(data, dtype=int)
    kind = data.draw(st.sampled_from(["int8", "int32", "int64", "uint8"]))
    values = np.abs(values) if kind == "uint8" else values
    both(name, values.astype(kind), axis=axis, keepdims=data.draw(st.booleans()))


@pytest.mark.parametrize("name", ["argmax", "argmin", "nanargmax", "nanargmin"])
@given(data=st.data())
def test_positions(name: str, data: st.DataObject) -> None:
    values, axis = an_array(data)
    axis = axis if isinstance(axis, int) else None
    both(name, values, axis=axis, keepdims=data.draw(st.booleans()))


WITH_WHERE: list[tuple[str, dict[str, Any]]] = [
    ("sum", {}),
    ("sum", {"initial": 2.5}),
    ("prod", {}),
    ("prod", {"initial": 2.5}),
    ("mean", {}),
    ("var", {}),
    ("var", {"ddof": 1}),
    ("std", {"correction": 1}),
    ("max", {"initial": -0.5}),
    ("min", {"initial": 0.5}),
    ("all", {}),
    ("any", {}),
    ("nansum", {"initial": 2.5}),
    ("nanmean", {}),
    ("nanvar", {"ddof": 1}),
    ("nanmax", {"initial": -0.5}),
]


@pytest.mark.one_in(4)
@pytest.mark.parametrize(("name", "options"), WITH_WHERE)
@given(data=st.data())
def test_where(name: str, options: dict[str, Any], data: st.DataObject) -> None:
    """Of a mask that broadcasts, also one that chooses nothing along an axis."""
    values, axis = an_array(data)
    small = tuple(data.draw(st.sampled_from([1, n])) for n in values.shape)
    small = small[data.draw(st.integers(0, len(small))) :]
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    mask = np.asarray(rng.random(small) < 0.6)
    if name.startswith("nan"):
        values = np.where(rng.random(values.shape) < 0.2, NAN, values)
    keepdims = data.draw(st.booleans())
    both(name, values, axis=axis, keepdims=keepdims, where=mask, **options)
    tensor_mask = Tensor(mask, device=tg.default_device())
    with np.errstate(all="ignore"):
        found = getattr(tnp, name)(placed(values), axis, where=tensor_mask, **options)
        given = getattr(tnp, name)(placed(values), axis, where=there(mask), **options)
        same(found, given.numpy())


@pytest.mark.parametrize("name", ["max", "min", "nanmax", "nanmin"])
def test_initial_is_one_element_more(name: str) -> None:
    for initial in (-3.0, 0.25, 3.0):
        both(name, [[1.0, 0.5], [-1.0, 2.0]], axis=0, initial=initial)
    empty = np.zeros((0, 2))
    both(name, empty, axis=0, initial=1.5)
    both(name, empty.astype("int8"), axis=0, initial=3)
    both(name, empty, axis=1, initial=1.5)


def test_initial_shares_the_gradient_of_its_equals() -> None:
    x = tnp.ndarray([2.0, 2.0, 1.0], requires_grad=True)
    assert tg.grad(x.max(initial=1.0), x).tolist() == [0.5, 0.5, 0.0]
    assert tg.grad(x.max(initial=3.0), x).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("name", ["sum", "prod", "mean", "var", "std", "nansum", "nanmean"])
def test_dtype_is_computed_in(name: str) -> None:
    values = np.array([[200, 100], [3, 120]], np.uint8)
    both(name, values, axis=0, dtype=np.float32, rtol=1e-6)
    both(name, values, dtype=np.float64)
    both(name, values.astype(np.float32), axis=1, dtype=np.float64)
    if name in ("sum", "prod"):
        both(name, values, axis=0, dtype=np.int32)
        both(name, values, axis=0, dtype=np.uint8)  # wraps around


def test_methods_take_what_the_functions_take() -> None:
    values = np.random.default_rng(0).standard_normal((3, 4))
    x, mask = placed(values), np.array([True, False, True, True])
    same(x.sum(0, dtype="float32"), values.sum(0, dtype=np.float32), 1e-6)
    chosen = there(mask)
    same(x.sum(1, where=chosen, initial=1.0), values.sum(1, where=mask, initial=1.0))
    same(x.prod(1, where=chosen), values.prod(1, where=mask))
    same(x.mean(1, where=chosen), values.mean(1, where=mask))
    same(x.std(1, ddof=1), values.std(1, ddof=1))
    same(x.var(1, mean=x.mean(1, keepdims=True)), values.var(1))
    same(x.max(1, where=chosen, initial=0.0), values.max(1, where=mask, initial=0.0))
    same((x > 0).all(1, where=chosen), (values > 0).all(1, where=mask))
    same(x.any(), values.any())


def test_out_is_written() -> None:
    values = np.arange(6.0).reshape(2, 3)
    for name in ("sum", "prod", "mean", "var", "std", "max", "min", "ptp", "nansum", "nanmax"):
        out = placed(np.zeros(3))
        assert getattr(np, name)(placed(values), axis=0, out=out) is out
        same(out, getattr(np, name)(values, axis=0))
    out = placed(np.zeros(3))
    assert placed(values).sum(0, out=out) is out
    same(out, values.sum(0))
    place = placed(np.zeros(3, np.int64))
    assert np.argmax(placed(values), axis=0, out=place) is place
    same(place, values.argmax(0))


def test_the_mean_that_is_known() -> None:
    values = np.random.default_rng(0).standard_normal((3, 4)) + 1e3
    mean = values.mean(1, keepdims=True)
    both("var", values, axis=1, mean=mean, rtol=1e-9)
    both("std", values, axis=1, mean=mean, ddof=1, rtol=1e-9)
    x = tnp.ndarray(values, requires_grad=True)
    by_x = tg.grad(np.var(x, axis=1, mean=x.mean(1, keepdims=True)).sum(), x)
    np.testing.assert_allclose(by_x.numpy(), 2 * (values - mean) / 4)


# --- NaN, infinities, nothing ---------------------------------------------------------------------


def test_rows_of_nan_alone() -> None:
    values = np.array([[NAN, 1.0, 2.0], [NAN, NAN, NAN], [-INF, NAN, -INF]])
    for name in ("nansum", "nanprod", "nanmean", "nanmax", "nanmin"):
        both(name, values, axis=1)
    for name in ("nanvar", "nanstd"):
        for ddof in (0, 1, 2):
            both(name, values[:2], axis=1, ddof=ddof)


@pytest.mark.parametrize("name", [*LEAVING_NAN_OUT, "nancumsum", "nancumprod"])
def test_nan_that_is_left_out_has_no_gradient(name: str) -> None:
    x = tnp.ndarray([[NAN, 1.0, 2.0], [3.0, NAN, 5.0]], requires_grad=True)
    found = tg.grad(getattr(np, name)(x, axis=1).sum(), x).numpy()
    assert (found[np.isnan(x.numpy())] == 0).all()
    assert np.isfinite(found).all()
    lost = tnp.ndarray([[NAN, NAN]], requires_grad=True)
    with np.errstate(all="ignore"):
        (by_lost,) = tg.grad(
            [getattr(np, name)(lost, axis=1)],
            [lost],
            [placed([1.0])] if "cum" not in name else [placed([[1.0, 1.0]])],
        )
    assert by_lost.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("name", ["sum", "prod", "mean", "var", "std", "max", "min", "ptp"])
def test_nan_passes_through(name: str) -> None:
    x = tnp.ndarray([[1.0, NAN, 2.0], [1.0, 3.0, 2.0]], requires_grad=True)
    y = getattr(np, name)(x, axis=1)
    assert np.isnan(y.numpy()).tolist() == [True, False]


def test_the_position_of_infinities_beside_nan() -> None:
    """NumPy answers 0, where NaN is."""
    assert np.nanargmax(placed([NAN, -INF, -INF])).item() == 1
    assert np.nanargmin(placed([NAN, INF])).item() == 1


def test_products_with_zeros() -> None:
    for values in ([2.0, 0.0, 4.0], [0.0, 0.0, 4.0], [0.0, 0.0, 0.0], [0.0]):
        x = tnp.ndarray(values, requires_grad=True)
        (first,) = tg.grad([x.prod()], [x], create_graph=True)
        exact = [math.prod(values[:i] + values[i + 1 :]) for i in range(len(values))]
        assert first.tolist() == exact
        second = [tg.grad(g, x, retain_graph=True).tolist() for g in first.split(len(values))]
        pairs = [
            [
                0 if i == j else math.prod(v for k, v in enumerate(values) if k not in (i, j))
                for j in range(len(values))
            ]
            for i in range(len(values))
        ]
        assert second == pairs


def test_products_that_leave_the_range_on_the_way() -> None:
    """What float32 holds only at the end."""
    values = np.array([1e30, 1e30, 1e-30, 1e-30], np.float32)
    x = Tensor(values, device=tg.default_device(), requires_grad=True)
    assert x.prod().item() == pytest.approx(1.0, rel=1e-6)
    np.testing.assert_allclose(tg.grad(x.prod(), x).numpy(), 1 / values.astype(float), rtol=1e-6)


def test_deviations_of_constants_and_of_one_element() -> None:
    for values in ([3.0, 3.0, 3.0], [7.0]):
        x = tnp.ndarray(values, requires_grad=True)
        for name in ("std", "nanstd", "var"):
            y = getattr(np, name)(x)
            assert y.item() == 0
            (first,) = tg.grad([y], [x], create_graph=True)
            assert first.tolist() == [0.0] * len(values)
            if first.requires_grad:
                assert np.isfinite(tg.grad(first.sum(), x).numpy()).all()


def test_variances_far_from_zero_of_some_elements() -> None:
    rng = np.random.default_rng(0)
    values = (1e4 + rng.standard_normal((5, 1000))).astype(np.float32)
    mask = rng.random(values.shape) < 0.5
    found: Any = np.var(Tensor(there(values)), axis=1, where=there(mask))
    np.testing.assert_allclose(found.numpy(), values.astype(float).var(1, where=mask), rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_products_and_masks_in_16_bits(dtype: Any) -> None:
    values = np.random.default_rng(0).uniform(0.9, 1.1, (4, 300)).astype(dtype)
    x = Tensor(values, device=tg.default_device(), requires_grad=True)
    wide, mask = values.astype(float), np.arange(300) % 3 > 0
    rounding = 1.01 * (2.0**-11 if dtype == np.float16 else 2.0**-8)
    for found, expected in (
        (x.prod(1), wide.prod(1)),
        (x.mean(1, where=there(mask)), wide.mean(1, where=mask)),
        (x.var(1, where=there(mask)), wide.var(1, where=mask)),
        (np.nansum(x, axis=1), wide.sum(1)),
    ):
        assert found.dtype == dtype
        np.testing.assert_allclose(found.numpy().astype(float), expected, rtol=rounding)
    by_x = tg.grad(x.prod(1).sum(), x)
    assert by_x.dtype == dtype
    exact = wide.prod(1, keepdims=True) / wide
    np.testing.assert_allclose(by_x.numpy().astype(float), exact, rtol=rounding)


def test_averages() -> None:
    rng = np.random.default_rng(0)
    values, weights = rng.standard_normal((3, 4, 5)), rng.random((3, 4, 5))
    for axis in (None, 1, (0, 2), (-1, 0)):
        same(
            np.average(placed(values), axis, placed(weights), returned=True),
            np.average(values, axis, weights, returned=True),
        )
        both("average", values, axis, keepdims=True)
    both("average", values, axis=1, weights=weights[0, :, 0])
    both("average", values, axis=(2, 0), weights=weights[:, 0, :].T, keepdims=True)
    both("average", np.arange(5), weights=np.arange(5))
    same(np.average(placed(values), 0, returned=True), np.average(values, 0, returned=True))


def test_sums_of_unsigned_integers_are_int64() -> None:
    """NumPy's are uint64, which turns into float64 beside an int64."""
    x = placed(np.array([250, 250], np.uint8))
    assert np.sum(x).dtype == np.prod(x).dtype == np.cumsum(x).dtype == np.int64
    assert np.sum(x).item() == 500


def test_the_namespace_takes_lists_and_keeps_its_class() -> None:
    assert type(tnp.sum([1, 2, 3])) is tnp.ndarray
    assert tnp.mean([1, 2]).dtype == np.float64
    assert Tensor([1, 2]).mean().dtype == np.float32
    assert tnp.std([[1.0, 2.0]], axis=1).tolist() == [0.5]


def test_reductions_inside_vmap() -> None:
    values = np.random.default_rng(0).standard_normal((3, 4))
    values[0, 1] = values[2, 3] = NAN
    x = placed(values)
    for name in ("nanargmax", "nanmax", "nanmean", "nanstd", "nanmedian", "nanprod"):
        found = tg.vmap(lambda row, name=name: getattr(np, name)(row))(x)
        same(found, getattr(np, name)(values, axis=1))


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize(
    "name",
    "all any argmax argmin count_nonzero max min nanargmax nanmax nansum prod sum".split(),  # noqa: SIM905
)
def test_a_number_has_an_axis_to_reduce(name: str, axis: int) -> None:
    same(getattr(tnp, name)(placed(3.0), axis=axis), getattr(np, name)(np.asarray(3.0), axis=axis))

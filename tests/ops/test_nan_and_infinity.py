"""NaN goes through every rule, forward and backward; at infinity there are limits, not NaN."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.looped import looped
from tinygrad_cupy import Tensor, backend

pytestmark = pytest.mark.usefixtures("device")

INF, NAN = math.inf, math.nan
DTYPES = ["float16", "bfloat16", "float32", "float64"]
every_dtype = pytest.mark.parametrize("dtype", DTYPES)

Function = Callable[[Tensor], Tensor]


def leaf(values: Any, dtype: str = "float64") -> Tensor:
    return Tensor(np.array(values), device=tg.default_device()).astype(dtype).requires_grad_()


def read(x: Tensor) -> Any:
    return x.numpy().astype(np.float64)


# --- NaN ----------------------------------------------------------------------------------------

PASSING: dict[str, Function] = {
    **{
        name: getattr(Tensor, name)
        for name in (
            *("exp", "expm1", "log", "sqrt", "abs", "sign", "sin", "cos", "erf", "tanh"),
            *("sigmoid", "softplus", "relu", "leaky_relu", "elu", "silu", "gelu"),
        )
    },
    "gelu tanh": lambda x: x.gelu("tanh"),
    "clip": lambda x: x.clip(-1.0, 2.0),
    "clip below": lambda x: x.clip(low=-1.0),
    "clip above": lambda x: x.clip(high=2.0),
    "maximum": lambda x: x.maximum(0.5),
    "minimum": lambda x: x.minimum(0.5),
    "where": lambda x: x.where(x != 1, 0.0),
    "pow": lambda x: x**2,
    "root": lambda x: x**0.5,
    "power": lambda x: 2.0**x,
    "divide": lambda x: 1 / x,
}


@every_dtype
@looped("name", PASSING)
def test_nan_goes_through(name: str, dtype: str) -> None:
    x = leaf([NAN, 1.0, NAN], dtype)
    y = PASSING[name](x)
    assert y.dtype == x.dtype
    assert np.isnan(read(y)).tolist() == [True, False, True]


@every_dtype
@looped("name", sorted(set(PASSING) - {"sign"}))  # its slope is 0 throughout
def test_a_nan_gradient_goes_through_where_the_input_is_nan(name: str, dtype: str) -> None:
    """What comes back from a loss that is NaN: nothing may take it for a finite gradient."""
    x = leaf([NAN, 1.0], dtype)
    (by_x,) = tg.grad([PASSING[name](x)], [x], [leaf([NAN, 0.0], dtype).detach()])
    assert np.isnan(read(by_x)).tolist() == [True, False]


@every_dtype
def test_nan_is_the_extremum_and_has_the_gradient(dtype: str) -> None:
    rows = leaf([[1.0, NAN, 3.0, NAN], [1.0, 4.0, 3.0, 2.0]], dtype)
    for call, shares in (
        (Tensor.max, [[0.0, 0.5, 0.0, 0.5], [0.0, 1.0, 0.0, 0.0]]),
        (Tensor.min, [[0.0, 0.5, 0.0, 0.5], [1.0, 0.0, 0.0, 0.0]]),
    ):
        found = call(rows, axis=1)
        assert np.isnan(read(found)).tolist() == [True, False]
        assert read(tg.grad(found.sum(), rows)).tolist() == shares


@every_dtype
def test_argmax_is_the_first_nan(dtype: str) -> None:
    rows = leaf([[1.0, NAN, 3.0, NAN], [1.0, 4.0, 3.0, 0.0]], dtype)
    assert rows.argmax(1).tolist() == [1, 1]
    assert rows.argmin(1).tolist() == [1, 3]
    many = np.zeros(3000)
    many[[1234, 1700, 2999]] = NAN
    assert leaf(many, dtype).argmax().item() == leaf(many, dtype).argmin().item() == 1234


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_sides_of_maximum_get_the_gradient_beside_nan(dtype: str) -> None:
    for a, b in (([NAN, 1.0], [1.0, NAN]), ([NAN, NAN], [NAN, 2.0])):
        for call in (Tensor.maximum, Tensor.minimum):
            x, y = leaf(a, dtype), leaf(b, dtype)
            z = call(x, y)
            assert np.isnan(read(z)).all()
            for found in tg.grad(z.sum(), [x, y]):
                assert read(found).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_fused_relu_lets_a_nan_gradient_through(pool: bool, dtype: str) -> None:
    """As the separate operations do, also with 8 channels and with few, in both norms."""
    for channels in (1, 8):
        x = leaf(np.full((2, 1, 4, 4), NAN), dtype)
        weight, bias = leaf(np.ones((channels, 1, 3, 3)), dtype), leaf(np.zeros(channels), dtype)
        y = x.conv2d_block(weight, bias, padding=1, relu=True, pool=pool)
        assert np.isnan(read(y)).all()
        for found in tg.grad((y * NAN).sum(), [x, weight, bias]):
            assert np.isnan(read(found)).any()
    inputs = [leaf(np.full((4, 3), NAN), dtype), leaf(np.ones((2, 3)), dtype)]
    y = inputs[0].linear(inputs[1], relu=True)
    assert np.isnan(read(y)).all()
    for found in tg.grad((y * NAN).sum(), inputs):
        assert np.isnan(read(found)).all()


@pytest.mark.parametrize("pool", [False, True])
def test_a_batch_norm_with_relu_lets_a_nan_gradient_through(pool: bool) -> None:
    ones, zeros = Tensor.ones(4), Tensor.zeros(4)
    x = leaf(np.full((2, 4, 4, 4), NAN), "float32")
    bias = zeros.clone().requires_grad_()
    y = x.batch_norm(ones, bias, zeros.clone(), ones.clone(), relu=True, pool=pool)
    assert np.isnan(read(y)).all()
    for found in tg.grad((y * NAN).sum(), [x, bias]):
        assert np.isnan(read(found)).any()


# --- infinity -----------------------------------------------------------------------------------

# value, first and second derivative at -∞ and at ∞
LIMITS: dict[str, tuple[Function, list[tuple[float, float, float]]]] = {
    "softplus": (Tensor.softplus, [(0.0, 0.0, 0.0), (INF, 1.0, 0.0)]),
    "sigmoid": (Tensor.sigmoid, [(0.0, 0.0, 0.0), (1.0, 0.0, 0.0)]),
    "tanh": (Tensor.tanh, [(-1.0, 0.0, 0.0), (1.0, 0.0, 0.0)]),
    "erf": (Tensor.erf, [(-1.0, 0.0, 0.0), (1.0, 0.0, 0.0)]),
    "elu": (lambda x: x.elu(2.0), [(-2.0, 0.0, 0.0), (INF, 1.0, 0.0)]),
    "silu": (Tensor.silu, [(0.0, 0.0, 0.0), (INF, 1.0, 0.0)]),
    "gelu": (Tensor.gelu, [(0.0, 0.0, 0.0), (INF, 1.0, 0.0)]),
    "gelu tanh": (lambda x: x.gelu("tanh"), [(0.0, 0.0, 0.0), (INF, 1.0, 0.0)]),
    "exp": (lambda x: (-x.abs()).exp(), [(0.0, 0.0, 0.0), (0.0, 0.0, 0.0)]),
    "expm1": (lambda x: (-x.abs()).expm1(), [(-1.0, 0.0, 0.0), (-1.0, 0.0, 0.0)]),
    "log": (lambda x: x.abs().log(), [(INF, 0.0, 0.0), (INF, 0.0, 0.0)]),
    "sqrt": (lambda x: x.abs().sqrt(), [(INF, 0.0, 0.0), (INF, 0.0, 0.0)]),
    "relu": (Tensor.relu, [(0.0, 0.0, 0.0), (INF, 1.0, 0.0)]),
    "leaky relu": (Tensor.leaky_relu, [(-INF, 0.01, 0.0), (INF, 1.0, 0.0)]),
    "clip": (lambda x: x.clip(-1.0, 1.0), [(-1.0, 0.0, 0.0), (1.0, 0.0, 0.0)]),
    "maximum": (lambda x: x.maximum(0.0), [(0.0, 0.0, 0.0), (INF, 1.0, 0.0)]),
}


@every_dtype
@looped("name", LIMITS)
def test_limits_at_infinity(name: str, dtype: str) -> None:
    call, expected = LIMITS[name]
    x = leaf([-INF, INF], dtype)
    y, ones = call(x), leaf([1.0, 1.0], dtype).detach()
    (first,) = tg.grad([y], [x], [ones], create_graph=True)
    second = tg.grad(first.sum(), x) if first.requires_grad else Tensor.zeros(2)
    for found, wanted in zip((y, first, second), zip(*expected, strict=True), strict=True):
        np.testing.assert_allclose(read(found), wanted, rtol=4e-3)


@every_dtype
def test_logsumexp_of_infinities(dtype: str) -> None:
    x = leaf([[INF, 1.0, -INF], [INF, 1.0, INF], [-INF, 2.0, -INF], [-INF] * 3], dtype)
    y = x.logsumexp(1)
    assert read(y).tolist() == [INF, INF, 2.0, -INF]
    (found,) = tg.grad([y], [x], [leaf(np.ones(4), dtype).detach()])
    expected = np.array([[1.0, 0.0, 0.0], [0.5, 0.0, 0.5], [0.0, 1.0, 0.0], [1 / 3] * 3])
    np.testing.assert_allclose(read(found), expected, rtol=4e-3)


@every_dtype
def test_softmax_over_minus_infinity(dtype: str) -> None:
    x = leaf([-INF, 1.0, 1.0], dtype)
    assert read(x.softmax()).tolist() == [0.0, 0.5, 0.5]
    assert read(tg.grad((x.softmax() * x.softmax()).sum(), x)).tolist() == [0.0, 0.0, 0.0]
    assert read(x.log_softmax())[0] == -INF


# --- max pool -----------------------------------------------------------------------------------


def images(values: Any, dtype: str, last: bool) -> Tensor:
    """A leaf (N, C, H, W), channels last in memory where asked for."""
    array = np.asarray(values, np.float64)
    if last:
        array = np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    device = tg.default_device()
    return Tensor(backend.to_device(array, device)).astype(dtype).detach().requires_grad_()


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("channels", [1, 4])
@every_dtype
def test_padding_never_takes_the_gradient(dtype: str, channels: int, last: bool) -> None:
    x = images(np.full((2, channels, 5, 4), -INF), dtype, last)
    for kernel, stride, padding, dilation in (
        *((3, 1, 1, 1), (2, 2, 1, 1), ((3, 2), (2, 1), (1, 1), 1)),
        *((3, 1, 1, 2), (5, 3, 2, 1), ((4, 1), 1, (2, 0), 1)),
    ):
        y = x.max_pool2d(kernel, stride, padding, dilation)
        assert (read(y) == -INF).all()
        first = tg.grad((y * 2).sum(), x, create_graph=True)
        assert read(first).sum() == 2 * y.size


@pytest.mark.parametrize("last", [False, True])
@every_dtype
def test_max_pool_takes_the_first_nan(dtype: str, last: bool) -> None:
    """NaN counts as the largest; its gradient goes where NaN is first, in C order."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((2, 4, 7, 6))
    values[rng.random(values.shape) < 0.2] = NAN
    values[rng.random(values.shape) < 0.2] = -INF
    x = images(values, dtype, last)
    values = read(x)
    for (kh, kw), stride, (ph, pw), dilation in (
        *(((2, 2), 2, (0, 0), 1), ((3, 3), 1, (1, 1), 1), ((3, 2), 2, (1, 1), 2)),
        *(((2, 3), 3, (1, 1), 1),),
    ):
        y = x.max_pool2d((kh, kw), stride, (ph, pw), dilation)
        expected, gradient = np.empty(y.shape), np.zeros(values.shape)
        for n, c, i, j in np.ndindex(*y.shape):
            rows = [i * stride - ph + dilation * k for k in range(kh)]
            columns = [j * stride - pw + dilation * k for k in range(kw)]
            inside = [(r, q) for r in rows for q in columns if 0 <= r < 7 and 0 <= q < 6]
            window = np.array([values[n, c, r, q] for r, q in inside])
            expected[n, c, i, j] = window.max()
            gradient[(n, c, *inside[int(window.argmax())])] += 1
        np.testing.assert_array_equal(read(y), expected)
        np.testing.assert_array_equal(read(tg.grad(y.sum(), x)), gradient)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int16", "int32", "int64"])
def test_max_pool_of_integers(dtype: str) -> None:
    least = False if dtype == "bool" else np.iinfo(dtype).min
    x = Tensor(np.full((1, 2, 3, 3), least, dtype), device=tg.default_device())
    y = x.max_pool2d(3, 1, 1)
    assert y.dtype == dtype
    assert (y.numpy() == least).all()


# --- where the slope is infinite ----------------------------------------------------------------


@every_dtype
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_windows_of_several_sizes_keep_what_is_not_finite(bad: float, dtype: str) -> None:
    values = np.arange(25.0).reshape(1, 1, 5, 5)
    values[0, 0, 0, 4] = bad
    x = leaf(values, dtype)
    y = x.adaptive_avg_pool2d((3, 2))
    rows = [values[0, 0, a:b] for a, b in ((0, 2), (1, 4), (3, 5))]
    expected = [[row[:, a:b].mean() for a, b in ((0, 3), (2, 5))] for row in rows]
    np.testing.assert_allclose(read(y)[0, 0], expected, rtol=1e-2)
    (found,) = tg.grad([y], [x], [leaf([[[[1.0, bad], [1.0, 1.0], [1.0, 1.0]]]], dtype).detach()])
    inside = np.zeros((5, 5), bool)
    inside[:2, 2:] = True
    np.testing.assert_array_equal(np.isfinite(read(found)[0, 0]), ~inside)


def test_pow_of_zero_by_nan_has_the_gradient_nan() -> None:
    x = leaf([NAN, 1.0, 0.0])
    found = tg.grad((0.0**x).sum(), x)
    np.testing.assert_array_equal(read(found), [NAN, 0.0, 0.0])


@every_dtype
def test_std_of_what_does_not_vary_has_no_gradient(dtype: str) -> None:
    x = leaf([[3.0, 3.0, 3.0], [1.0, 2.0, 3.0]], dtype)
    y = x.std(axis=1)
    first = tg.grad(y.sum(), x, create_graph=True)
    slope = 1 / math.sqrt(6)
    np.testing.assert_allclose(read(y), [0.0, 2 * slope], rtol=1e-2)
    np.testing.assert_allclose(read(first), [[0.0] * 3, [-slope, 0.0, slope]], atol=4e-3)
    assert np.isfinite(read(tg.grad(first[0].sum(), x))).all()
    one = leaf([5.0], dtype)
    assert read(tg.grad(one.std(), one)).tolist() == [0.0]
    assert np.isnan(read(leaf([NAN, 1.0], dtype).std()))


def test_std_does_not_overflow_where_the_variance_would() -> None:
    x = leaf([-1000.0, 1000.0], "float16")
    assert read(x.std()) == 1000.0
    assert read(tg.grad(x.std(), x)).tolist() == [-0.5, 0.5]


def test_the_root_of_zero_has_an_infinite_slope() -> None:
    calls: list[Function] = [Tensor.sqrt, lambda x: x**0.5]
    for call in calls:
        x = leaf([0.0, 4.0])
        with np.errstate(divide="ignore"):
            assert read(tg.grad(call(x).sum(), x)).tolist() == [INF, 0.25]


def test_an_infinite_gradient_stops_where_the_slope_is_zero() -> None:
    calls: list[Function] = [
        lambda x: x**0,
        lambda x: x**0.0,
        lambda x: x.clip(0.0, 1.0),
        lambda x: x.maximum(3.0),
        lambda x: x.where(x < 0, 0.0),
        lambda x: (-x).relu(),
    ]
    for call in calls:
        x = leaf([2.0])
        (found,) = tg.grad([call(x)], [x], [leaf([INF]).detach()])
        assert read(found).tolist() == [0.0]

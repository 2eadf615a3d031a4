"""Functions of the tables where it is hard: at singular points and infinity, ties and signs."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special

import tinygrad_cupy as tg
import tinygrad_cupy.numpy as tnp
from support.looped import looped
from tinygrad_cupy import Tensor, kernels
from tinygrad_cupy.backend.dtypes import resolve_dtype
from tinygrad_cupy.kernels import division, floating
from tinygrad_cupy.ops.functions import Function, Pair, function, pair

pytestmark = pytest.mark.usefixtures("device")

INF, NAN = math.inf, math.nan
FLOATS = ("float16", "bfloat16", "float32", "float64")
every_dtype = pytest.mark.parametrize("dtype", FLOATS)


def leaf(*values: float, dtype: str = "float64") -> Tensor:
    x = Tensor(np.array(values), device=tg.default_device())
    return x.astype(dtype).detach().requires_grad_()


def read(x: Tensor) -> Any:
    return x.numpy().astype(float)


def derivatives(call: Callable[[Any], Tensor], x: Tensor, order: int = 2) -> list[list[float]]:
    """Value and derivatives, element by element."""
    found, last = [], call(x)
    for _ in range(order + 1):
        found.append(read(last).tolist())
        if not last.requires_grad:  # it does not depend on x
            last = last._zeros()
            continue
        ones = Tensor.ones(*last.shape, dtype=last.dtype)
        (last,) = tg.grad([last], [x], [ones], create_graph=True)
    return found


def gradients(call: Callable[[Any, Any], Tensor], a: Tensor, b: Tensor) -> list[list[float]]:
    y = call(a, b)
    ones = Tensor.ones(*y.shape, dtype=y.dtype)
    return [read(g).tolist() for g in tg.grad([y], [a, b], [ones])]


# --- at infinity --------------------------------------------------------------------------------

LIMITS: dict[str, tuple[Callable[[Any], Tensor], list[float], list[tuple[float, float, float]]]] = {
    "arctan": (tnp.arctan, [-INF, INF], [(-math.pi / 2, 0, 0), (math.pi / 2, 0, 0)]),
    "arcsinh": (tnp.arcsinh, [-INF, INF], [(-INF, 0, 0), (INF, 0, 0)]),
    "arccosh": (tnp.arccosh, [INF], [(INF, 0, 0)]),
    "log1p": (tnp.log1p, [INF], [(INF, 0, 0)]),
    "log2": (tnp.log2, [INF], [(INF, 0, 0)]),
    "log10": (tnp.log10, [INF], [(INF, 0, 0)]),
    "exp2": (tnp.exp2, [-INF], [(0, 0, 0)]),
    "cbrt": (tnp.cbrt, [-INF, INF], [(-INF, 0, 0), (INF, 0, 0)]),
    "reciprocal": (tnp.reciprocal, [-INF, INF], [(0, 0, 0), (0, 0, 0)]),
    "logaddexp": (lambda x: tnp.logaddexp(x, 1.0), [-INF, INF], [(1, 0, 0), (INF, 1, 0)]),
    "logaddexp2": (lambda x: tnp.logaddexp2(1.0, x), [-INF, INF], [(1, 0, 0), (INF, 1, 0)]),
    "hypot": (lambda x: tnp.hypot(x, 3.0), [-INF, INF], [(INF, -1, 0), (INF, 1, 0)]),
    "arctan2": (
        lambda x: tnp.arctan2(x, 3.0),
        [-INF, INF],
        [(-math.pi / 2, 0, 0), (math.pi / 2, 0, 0)],
    ),
    "arctan2 below": (lambda x: tnp.arctan2(3.0, x), [-INF, INF], [(math.pi, 0, 0), (0, 0, 0)]),
    "tanh": (tnp.tanh, [-20.0, 20.0], [(-1, 0, 0), (1, 0, 0)]),
}


@every_dtype
@looped("name", LIMITS)
def test_limits_at_infinity(name: str, dtype: str) -> None:
    call, points, expected = LIMITS[name]
    found = derivatives(call, leaf(*points, dtype=dtype))
    np.testing.assert_allclose(np.transpose(found), expected, rtol=4e-3, atol=1e-15)


# --- near 0 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("x", [0.0, 1e-12, -1e-9, 1e-300])
def test_log1p_and_expm1_are_exact_near_0(x: float) -> None:
    found = derivatives(tnp.log1p, leaf(x))
    np.testing.assert_allclose(np.ravel(found), [math.log1p(x), 1 - x, -1 + 2 * x], rtol=1e-15)
    found = derivatives(Tensor.expm1, leaf(x))
    np.testing.assert_allclose(np.ravel(found), [math.expm1(x), 1 + x, 1 + x], rtol=1e-15)


def test_the_inverses_of_sine_and_tanh_are_exact_near_1() -> None:
    """1 - x² has lost half of the digits there."""
    near = 1 - 2.0**-52
    for call in (tnp.arcsin, tnp.arccos):
        _, slope = derivatives(call, leaf(near), 1)
        np.testing.assert_allclose(np.abs(slope), 1 / math.sqrt(2.0**-52 * (1 + near)), rtol=1e-15)
    _, slope = derivatives(tnp.arctanh, leaf(near), 1)
    np.testing.assert_allclose(slope, 1 / (2.0**-52 * (1 + near)), rtol=1e-15)


def test_roots_of_0_have_an_infinite_slope() -> None:
    with np.errstate(divide="ignore"):
        for call in (Tensor.sqrt, tnp.cbrt, lambda x: x**0.5):
            assert derivatives(call, leaf(0.0), 1) == [[0.0], [INF]]


def test_cube_roots_of_negative_numbers() -> None:
    found = derivatives(tnp.cbrt, leaf(-8.0, -0.125, 27.0))
    expected = [[-2.0, -0.5, 3.0], [1 / 12, 4 / 3, 1 / 27], [1 / 144, 64 / 9, -2 / 2187]]
    np.testing.assert_allclose(found, expected, rtol=1e-14)


# --- sinc ---------------------------------------------------------------------------------------


def sinc_derivative(x: np.ndarray, order: int) -> Any:
    """∫₀¹ (πt)ⁿ cos(πxt + nπ/2) dt, by Gauss."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    t, w = (nodes + 1) / 2, weights / 2
    waves = np.cos(np.pi * x[:, None] * t + order * np.pi / 2)
    return ((np.pi * t) ** order * waves * w).sum(1)


def test_all_derivatives_of_sinc_are_regular_at_0() -> None:
    points = np.array([0.0, -0.0, 1e-300, 1e-8, -1e-3, 0.3, 0.5, 1.0, -1.7, 2.0, 3.3, 5.0])
    found = derivatives(tnp.sinc, leaf(*points), 7)
    for order, values in enumerate(found):
        expected = sinc_derivative(points, order)
        np.testing.assert_allclose(values, expected, rtol=1e-12, atol=1e-12 * math.pi**order)
    assert found[0][0] == 1.0
    assert found[1][0] == 0.0
    np.testing.assert_allclose(found[2][0], -(math.pi**2) / 3, rtol=1e-15)


@pytest.mark.parametrize("order", range(9))
def test_spherical_bessel_functions(order: int) -> None:
    z = np.concatenate([np.linspace(-40, 40, 4001), [0.0, 1e-200, 1e-5]])
    given = Tensor(z, device=tg.default_device()).data
    found = Tensor(kernels.trigonometric.spherical_bessel(given, order)).numpy()
    exact = special.spherical_jn(order, np.abs(z)) * np.sign(z) ** order
    np.testing.assert_allclose(found, np.where(z == 0, float(order == 0), exact), atol=4e-15)


# --- two inputs ---------------------------------------------------------------------------------


@every_dtype
def test_at_the_origin_radius_and_angle_have_the_gradient_0(dtype: str) -> None:
    for call in (tnp.hypot, tnp.arctan2):
        for zero in (0.0, -0.0):
            a, b = leaf(0.0, 3.0, dtype=dtype), leaf(zero, 4.0, dtype=dtype)
            first = tg.grad(call(a, b).sum(), [a, b], create_graph=True)
            assert [read(g)[0] for g in first] == [0.0, 0.0]
            for g in first:
                second = tg.grad(g.sum(), [a, b], retain_graph=True)
                assert all(np.isfinite(read(h)).all() for h in second)


def test_radius_and_angle_where_squares_overflow_or_vanish() -> None:
    for size in (1e200, 1e-200, 1e300, 3e-320):
        a, b = leaf(3 * size), leaf(4 * size)
        np.testing.assert_allclose(gradients(tnp.hypot, a, b), [[0.6], [0.8]], rtol=1e-3)
    for size in (1e150, 1e200, 1e-150):
        a, b = leaf(3 * size), leaf(4 * size)
        expected = [[0.16 / size], [-0.12 / size]]
        np.testing.assert_allclose(gradients(tnp.arctan2, a, b), expected, rtol=1e-14)


def test_radius_and_angle_of_two_infinities() -> None:
    a, b = leaf(INF, -INF, INF), leaf(INF, INF, 5.0)
    half = math.sqrt(0.5)
    found = gradients(tnp.hypot, a, b)
    np.testing.assert_allclose(found, [[half, -half, 1.0], [half, half, 0.0]], rtol=1e-15)
    assert gradients(tnp.arctan2, a, b) == [[0.0] * 3, [0.0] * 3]


@every_dtype
def test_logaddexp_of_equal_infinities_shares_the_gradient(dtype: str) -> None:
    for call in (tnp.logaddexp, tnp.logaddexp2):
        a = leaf(INF, -INF, INF, 1.0, 2.0, dtype=dtype)
        b = leaf(INF, -INF, -INF, -INF, 2.0, dtype=dtype)
        y = call(a, b)
        assert read(y)[:4].tolist() == [INF, -INF, INF, 1.0]
        by_a, by_b = gradients(call, a, b)
        assert by_a == [0.5, 0.5, 1.0, 1.0, 0.5]
        assert by_b == [0.5, 0.5, 0.0, 0.0, 0.5]
        ones = Tensor.ones(5, dtype=dtype)
        (first,) = tg.grad([call(a, b)], [a], [ones], create_graph=True)
        assert np.isfinite(read(tg.grad(first.sum(), b))).all()


@every_dtype
def test_copysign_takes_signs_from_zeros_too(dtype: str) -> None:
    a = leaf(2.0, -2.0, 2.0, -2.0, 0.0, -0.0, INF, dtype=dtype)
    b = leaf(-0.0, -0.0, 0.0, 0.0, -1.0, 1.0, -1.0, dtype=dtype)
    y = tnp.copysign(a, b)
    assert read(y).tolist() == [-2.0, -2.0, 2.0, 2.0, 0.0, 0.0, -INF]
    assert np.signbit(read(y)).tolist() == [True, True, False, False, True, False, True]
    assert gradients(tnp.copysign, a, b) == [[-1.0, 1.0, 1.0, -1.0, 0.0, 0.0, -1.0], [0.0] * 7]


@every_dtype
def test_fmax_and_fmin_leave_nan_aside_and_share_ties(dtype: str) -> None:
    a, b = leaf(NAN, 1.0, NAN, 2.0, 1.0, dtype=dtype), leaf(1.0, NAN, NAN, 2.0, 3.0, dtype=dtype)
    for call, last in ((tnp.fmax, [0.0, 1.0]), (tnp.fmin, [1.0, 0.0])):
        y = read(call(a, b))
        np.testing.assert_array_equal(y[:4], [1.0, 1.0, NAN, 2.0])
        by_a, by_b = gradients(call, a, b)
        assert by_a == [0.0, 1.0, 0.5, 0.5, last[0]]
        assert by_b == [1.0, 0.0, 0.5, 0.5, last[1]]


def test_the_step_has_a_gradient_by_its_value_at_0() -> None:
    a, b = leaf(-1.0, 0.0, -0.0, 2.0, NAN), leaf(0.25, 0.5, 0.75, 1.0, 1.0)
    np.testing.assert_array_equal(read(tnp.heaviside(a, b)), [0.0, 0.5, 0.75, 1.0, NAN])
    assert gradients(tnp.heaviside, a, b) == [[0.0] * 5, [0.0, 1.0, 1.0, 0.0, 0.0]]


@every_dtype
def test_remainders_are_differentiated_by_both(dtype: str) -> None:
    a, b = (
        leaf(7.5, -7.5, 7.5, -7.5, 1.0, dtype=dtype),
        leaf(2.0, 2.0, -2.0, -2.0, INF, dtype=dtype),
    )
    assert gradients(tnp.remainder, a, b) == [[1.0] * 5, [-3.0, 4.0, 4.0, -3.0, 0.0]]
    assert gradients(tnp.fmod, a, b) == [[1.0] * 5, [-3.0, 3.0, 3.0, -3.0, 0.0]]
    assert gradients(operator.floordiv, a, b) == [[0.0] * 5, [0.0] * 5]
    quotient, rest = divmod(a, b)
    both = tg.grad((quotient * 10 + rest).sum(), [a, b])
    assert [read(g).tolist() for g in both] == [[1.0] * 5, [-3.0, 4.0, 4.0, -3.0, 0.0]]


def test_the_quotient_of_a_remainder_is_exact() -> None:
    """⌊a / b⌋ of the rounded a / b is 10 for 1 / 0.1, where 9 goes into it."""
    a, b = leaf(1.0, 6.0, -1.0), leaf(0.1, 0.1, 0.1)
    np.testing.assert_array_equal(read(a % b), np.array([1.0, 6.0, -1.0]) % 0.1)
    assert gradients(operator.mod, a, b)[1] == [-9.0, -59.0, 10.0]
    assert gradients(tnp.fmod, a, b)[1] == [-9.0, -59.0, 9.0]


def test_the_gradient_of_what_has_no_limits() -> None:
    """Of parts of a number: what is cut off is constant but for jumps."""
    x = leaf(2.75, -2.75, 0.1)
    whole = x.detach() * 0 + 1
    for call, slope in ((tnp.floor, 0.0), (tnp.ceil, 0.0), (tnp.trunc, 0.0), (np.rint, 0.0)):
        assert derivatives(call, x, 1)[1] == [slope] * 3
    fraction, integer = tnp.modf(x)
    assert read(tg.grad(fraction.sum(), x, retain_graph=True)).tolist() == whole.tolist()
    assert read(tg.grad(integer.sum(), x)).tolist() == [0.0] * 3
    mantissa, exponent = tnp.frexp(x)
    assert exponent.dtype == np.int32
    assert read(tg.grad(mantissa.sum(), x)).tolist() == [0.25, 0.25, 8.0]


def test_nan_to_num_lets_the_gradient_through_where_x_is_finite() -> None:
    x = leaf(NAN, INF, -INF, 1.0)
    assert derivatives(tnp.nan_to_num, x, 1)[1] == [0.0, 0.0, 0.0, 1.0]
    (found,) = tg.grad([tnp.nan_to_num(x)], [x], [leaf(INF, NAN, INF, 2.0).detach()])
    assert read(found).tolist() == [0.0, 0.0, 0.0, 2.0]


def test_limits_have_the_gradient_outside_of_them() -> None:
    x = leaf(-1.0, 0.0, 0.5, 1.0, 2.0, NAN)
    low, high = leaf(0.0), leaf(1.0)
    y = x.clip(low, high)
    by_x, by_low, by_high = tg.grad(y.sum(), [x, low, high])
    assert read(by_x).tolist() == [0.0, 1.0, 1.0, 1.0, 0.0, 1.0]
    assert (by_low.item(), by_high.item()) == (1.0, 1.0)
    crossed = x.clip(leaf(2.0), high)
    assert read(crossed)[:5].tolist() == [1.0] * 5


# --- integers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64"])
def test_integers_divided_by_0_are_0(dtype: str) -> None:
    """As NumPy's, which warns on the CPU: "divide by zero encountered"."""
    x = Tensor(np.array([5, 0], dtype), device=tg.default_device())
    zero = Tensor(np.array([0, 0], dtype), device=tg.default_device())
    for call in (operator.floordiv, operator.mod, tnp.fmod):
        if x.device == "cpu":
            with pytest.warns(RuntimeWarning, match="divide by zero encountered"):
                found = call(x, zero)
        else:
            found = call(x, zero)
        assert found.dtype == dtype
        assert found.tolist() == [0, 0]


def test_large_integers_keep_their_digits() -> None:
    large = 2**62 + 12345
    x = Tensor(np.array([large, -large]), device=tg.default_device())
    assert (x % 1000).tolist() == [large % 1000, -large % 1000]
    assert (x // 1000).tolist() == [large // 1000, -large // 1000]
    assert tnp.fmod(x, 1000).tolist() == [large % 1000, -(large % 1000)]
    assert tnp.gcd(x, 5).tolist() == [math.gcd(large, 5)] * 2


def test_shifts_beyond_the_width() -> None:
    x = Tensor(np.array([1, -1, 100], np.int32), device=tg.default_device())
    assert (x << 40).tolist() == [0, 0, 0]
    assert (x >> 40).tolist() == [0, -1, 0]


def test_booleans_as_conditions() -> None:
    x = leaf(-1.0, 0.5, 2.0)
    inside = (x > 0) & (x < 1)
    assert inside.dtype == bool
    assert inside.tolist() == [False, True, False]
    assert (~inside | (x == 0.5)).tolist() == [True, True, True]
    assert ((x > 0) ^ True).tolist() == [True, False, False]
    assert (True & (x > 0)).tolist() == [False, True, True]
    assert x.where(inside, 0).tolist() == [0.0, 0.5, 0.0]


UPDATES: list[tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]] = [
    (operator.ifloordiv, operator.floordiv),
    (operator.imod, operator.mod),
    (operator.iand, operator.and_),
    (operator.ior, operator.or_),
    (operator.ixor, operator.xor),
    (operator.ilshift, operator.lshift),
    (operator.irshift, operator.rshift),
]


@pytest.mark.parametrize(("update", "compute"), UPDATES)
def test_an_update_is_in_place(update: Any, compute: Any) -> None:
    x = Tensor(np.array([17, 6, 9]), device=tg.default_device())
    array, other = x.data, Tensor(np.array([3, 2, 4]), device=tg.default_device())
    expected = compute(x, other).tolist()
    y = update(x, other)
    assert y is x
    assert x.data is array
    assert x.tolist() == expected


def test_signs_refuse_what_is_no_operand() -> None:
    x = Tensor([1, 2])
    for sign in (operator.and_, operator.mod, operator.floordiv, operator.lshift):
        for a, b in ((x, "no"), (None, x)):
            with pytest.raises(TypeError):
                sign(a, b)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_an_integer_that_does_not_fit_is_named(dtype: str) -> None:
    x = Tensor(np.array([1, 2], dtype), device=tg.default_device())
    for call, name in ((operator.and_, "bitwise_and"), (operator.mod, "remainder")):
        with pytest.raises(OverflowError, match=rf"^\[{name}\] expected a number from"):
            call(x, 300)


# --- bodies for CUDA, on NumPy's arrays ---------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_neighbours_by_their_bits(dtype: str) -> None:
    info = np.finfo(np.dtype(dtype))
    tiny = float(info.smallest_subnormal)
    values = [0.0, -0.0, tiny, -tiny, 1.0, -1.0, 2.0, float(info.max), -float(info.max)]
    x = np.array([*values, float(info.tiny), INF, -INF, NAN], dtype)
    a, b = x[:, None], x
    with np.errstate(all="ignore"):
        expected = np.nextafter(a, b)
    found = floating.next_by_bits(a, b)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)
    if dtype != "float16":  # where NumPy's goes from 0 to -0 in vain
        np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_spacing_by_bits(dtype: str) -> None:
    """Of every exponent, of the least and the largest mantissa."""
    chosen = resolve_dtype(dtype)
    integer, m = floating.INTEGERS[chosen.itemsize], floating.MANTISSA[dtype]
    heads = np.arange(2 ** (8 * chosen.itemsize - 1 - m)).astype(integer) << integer(m)
    bits = np.concatenate([heads, heads + integer(1), heads + integer(2**m - 1)])
    x = np.concatenate([bits, bits | np.iinfo(integer).min]).view(chosen)
    found = floating.spacing_by_bits(x)
    assert found.dtype == chosen
    np.testing.assert_array_equal(
        found.astype(float), floating.spacing.cpu(x).astype(float), strict=True
    )


@pytest.mark.parametrize("dtype", ["int8", "int16", "int64", "uint8", "uint64"])
def test_a_multiple_of_magnitudes(dtype: str) -> None:
    limits = np.iinfo(dtype)
    few = [0, 1, 2, 3, 7, 100, 127, limits.max, limits.min]
    x = np.array(few, dtype)
    x = np.concatenate([x, -x])
    a, b = np.meshgrid(x, x)
    np.testing.assert_array_equal(division.lcm.cuda(a, b), np.lcm(a, b))


# --- the makers ---------------------------------------------------------------------------------


def test_what_a_rule_reads_is_saved() -> None:
    one = function("exp", "", lambda grad, y: grad * y)
    assert (one.saves, one.saved_for) == (("y",), (0,))
    two = pair("hypot", "", lambda grad, a, y: grad * a / y, lambda grad, b, y: grad * b / y)
    assert (two.saves, two.saved_for) == (("a", "y", "b"), (0, None, 1))
    assert issubclass(one, Function)
    assert issubclass(two, Pair)
    assert (one.__module__, one.__name__) == (__name__, "Exp")

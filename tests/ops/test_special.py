"""`tinygrad_cupy.special` where it is hard: at singular points and infinity, and in tails.

Numbers that stand here were computed with 40 digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special as scipys

import tinygrad_cupy as tg
from support.looped import looped
from tinygrad_cupy import Tensor, kernels, special
from tinygrad_cupy.kernels.common import quadrature
from tinygrad_cupy.kernels.common.special import MENDED

pytestmark = pytest.mark.usefixtures("device")

INF, NAN = math.inf, math.nan
both = pytest.mark.parametrize("dtype", ["float32", "float64"])


def leaf(values: Any, dtype: str = "float64") -> Tensor:
    return Tensor(np.array(values, dtype), device=tg.default_device()).requires_grad_()


def derivatives(call: Callable[[Any], Any], values: Any, order: int, dtype: str = "float64") -> Any:
    """Values and derivatives, element by element: (order + 1, N)."""
    x = leaf(values, dtype)
    found = [call(x)]
    with np.errstate(all="ignore"):
        for _ in range(order):
            last = found[-1]
            found.append(tg.grad(last.sum(), x, create_graph=True))
    return np.array([y.numpy() for y in found])


# --- values -------------------------------------------------------------------------------------

EDGES = [-INF, -2.5, -2.0, -1.0, -0.5, -0.0, 0.0, 1e-3, 0.5, 1.0, 2.0, 7.5, 40.0, INF, NAN]
OF_ONE = (
    *("gammaln", "loggamma", "digamma", "gamma", "gammasgn", "rgamma", "erf", "erfc", "erfcx"),
    *("erfinv", "erfcinv", "ndtr", "ndtri", "log_ndtr", "i0e", "i1e", "k0", "k1", "k0e", "k1e"),
    *("expit", "logit", "log_expit", "entr", "exp1", "expi", "cosm1", "exp10", "cbrt", "log1p"),
)
NUMPYS = ("cbrt", "log1p")  # whose vector instructions may round the last place otherwise
OF_TWO = (
    *("beta", "betaln", "gammainc", "gammaincc", "xlogy", "xlog1py", "rel_entr", "kl_div"),
    *("huber", "pseudo_huber"),
)


@both
@looped("name", OF_ONE)
def test_values_are_scipys(name: str, dtype: str, device: str) -> None:
    x = leaf(EDGES, dtype)
    with np.errstate(all="ignore"):
        found = getattr(special, name)(x)
        expected = getattr(scipys, name)(np.array(EDGES, dtype))
    assert found.dtype == dtype
    exact = device == "cpu"
    rtol = 1e-15 if exact else 1e-5 if dtype == "float32" else 1e-12
    if exact and name in NUMPYS:
        rtol = 2 * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(found.numpy(), expected, rtol=rtol, atol=0 if exact else 1e-30)


@both
@looped("name", OF_TWO)
def test_values_of_pairs_are_scipys(name: str, dtype: str, device: str) -> None:
    a, b = (m.ravel() for m in np.meshgrid(np.array(EDGES, dtype), np.array(EDGES, dtype)))
    found = getattr(special, name)(leaf(a, dtype), leaf(b, dtype)).numpy()
    assert found.dtype == dtype
    if device != "cpu":  # CuPy's answers outside of the domain are its own
        inside = (a > 0) & (b > 0) & np.isfinite(a) & np.isfinite(b)
        a, b, found = a[inside], b[inside], found[inside]
    with np.errstate(all="ignore"):
        expected = getattr(scipys, name)(a, b)
    rtol = 1e-15 if device == "cpu" else 1e-4 if dtype == "float32" else 1e-11
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-30)


@both
@pytest.mark.parametrize("name", MENDED)
def test_what_mends_cupys_functions(name: str, dtype: str) -> None:
    """With SciPy's in CuPy's place, which must not be asked where CuPy's fails."""
    edges = np.array(EDGES, dtype)
    function = getattr(scipys, name)
    spared: Any = {"exp1": np.isnan, "expi": np.isposinf}.get(name)

    def cupys(*arrays: Any) -> Any:
        assert spared is None or not spared(arrays[0]).any()
        return function(*arrays)

    pairs = (m.ravel() for m in np.meshgrid(edges, edges))
    given = tuple(pairs) if name == "pseudo_huber" else (edges,)
    with np.errstate(all="ignore"):
        found, expected = MENDED[name](cupys, *given), function(*given)
    assert found.dtype == dtype
    rtol = 1e-6 if dtype == "float32" else 1e-14
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=0)


def test_numbers_and_lists_are_taken() -> None:
    assert special.gammaln(5.0).item() == pytest.approx(math.log(24))
    assert special.xlogy([0.0, 1.0], 0.0).tolist() == [0.0, -INF]
    x = leaf([1.0, 2.0], "float32")
    for y in (special.gammainc(2.0, x), special.xlogy(x, np.float64(3)), special.polygamma(1, x)):
        assert y.dtype == "float32"
    assert special.gammaln(Tensor([3, 4])).dtype == "float32"
    assert special.gammaln(np.array([3, 4])).dtype == "float64"


def test_scipys_ufuncs_take_tensors() -> None:
    x = Tensor(np.array([0.5, 3.0]), device="cpu").requires_grad_()
    y = scipys.gammaln(x)
    assert isinstance(y, Tensor)
    np.testing.assert_allclose(tg.grad(y.sum(), x).numpy(), scipys.psi([0.5, 3.0]))
    np.testing.assert_array_equal(scipys.xlogy(x, 2.0).numpy(), scipys.xlogy([0.5, 3.0], 2.0))


# --- derivatives at singular points and infinity ------------------------------------------------

# x, and the value, first and second derivative there (None: not asked)
LIMITS: dict[str, list[tuple[float | None, ...]]] = {
    "gammaln": [(0.0, INF, -INF, INF), (-1.0, INF, NAN, INF), (INF, INF, INF, 0.0)],
    "digamma": [(0.0, -INF, INF, -INF)],
    "rgamma": [
        (0.0, 0.0, 1.0, 2 * np.euler_gamma),
        (-1.0, 0.0, -1.0, 2 * (1 - np.euler_gamma)),
        (-2.0, 0.0, 2.0, 4 * (np.euler_gamma - 1.5)),
        (INF, 0.0, 0.0, 0.0),
    ],
    "erfc": [(-INF, 2.0, 0.0, 0.0), (INF, 0.0, 0.0, 0.0)],
    "erfcx": [(-INF, INF, -INF, INF), (INF, 0.0, 0.0, 0.0)],
    "erfinv": [(-1.0, -INF, INF, -INF), (1.0, INF, INF, INF), (2.0, NAN, NAN, NAN)],
    "erfcinv": [(0.0, INF, -INF, INF), (2.0, -INF, -INF, -INF)],
    "ndtr": [(-INF, 0.0, 0.0, 0.0), (INF, 1.0, 0.0, 0.0)],
    "ndtri": [(0.0, -INF, INF, -INF), (1.0, INF, INF, INF)],
    "log_ndtr": [(-INF, -INF, INF, -1.0), (INF, 0.0, 0.0, 0.0)],
    "i0e": [(-INF, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.5), (INF, 0.0, 0.0, 0.0)],
    "i1e": [(-INF, 0.0, 0.0, 0.0), (0.0, 0.0, 0.5, 0.0), (INF, 0.0, 0.0, 0.0)],
    "i0": [(0.0, 1.0, 0.0, 0.5)],
    "i1": [(0.0, 0.0, 0.5, 0.0)],
    "j0": [(0.0, 1.0, 0.0, -0.5)],
    "j1": [(0.0, 0.0, 0.5, 0.0)],
    "y0": [(0.0, -INF, INF, None), (-1.0, NAN, NAN, NAN)],
    "y1": [(0.0, -INF, INF, None), (-1.0, NAN, NAN, NAN)],
    "k0": [(0.0, INF, -INF, INF), (INF, 0.0, 0.0, 0.0), (-1.0, NAN, NAN, NAN)],
    "k1": [(0.0, INF, -INF, INF), (INF, 0.0, 0.0, 0.0), (-1.0, NAN, NAN, NAN)],
    "k0e": [(0.0, INF, -INF, None), (INF, 0.0, 0.0, 0.0)],
    "k1e": [(0.0, INF, -INF, None), (INF, 0.0, 0.0, 0.0)],
    "expit": [(-INF, 0.0, 0.0, 0.0), (INF, 1.0, 0.0, 0.0)],
    "log_expit": [(-INF, -INF, 1.0, 0.0), (INF, 0.0, 0.0, 0.0)],
    "logit": [(0.0, -INF, INF, None), (1.0, INF, INF, None), (1.5, NAN, NAN, None)],
    "entr": [(0.0, 0.0, INF, -INF), (-1.0, -INF, NAN, None), (1.0, 0.0, -1.0, -1.0)],
    "exp1": [(0.0, INF, -INF, INF), (INF, 0.0, 0.0, 0.0), (-1.0, NAN, NAN, None)],
    "expi": [(0.0, -INF, INF, None), (-INF, 0.0, 0.0, 0.0)],
    "softplus": [(-INF, 0.0, 0.0, 0.0), (INF, INF, 1.0, 0.0)],
}


@both
@looped("name", LIMITS)
def test_limits(name: str, dtype: str) -> None:
    points, *expected = zip(*LIMITS[name], strict=True)
    found = derivatives(getattr(special, name), points, 2, dtype)
    for order, (ours, wanted) in enumerate(zip(found, expected, strict=True)):
        for at, one, other in zip(points, ours, wanted, strict=True):
            if other is not None:
                message = f"{name}, derivative {order} at {at}"
                rtol = 1e-5 if dtype == "float32" else 1e-12
                np.testing.assert_allclose(one, other, rtol=rtol, atol=1e-12, err_msg=message)


# a and b, the value, the derivatives by a and by b
CORNERS: dict[str, list[tuple[float, ...]]] = {
    "xlogy": [
        (0.0, 0.0, 0.0, 0.0, 0.0),
        (0.0, 2.0, 0.0, math.log(2), 0.0),
        (0.0, -1.0, 0.0, 0.0, 0.0),
        (2.0, 0.0, -INF, -INF, INF),
        (0.0, NAN, NAN, NAN, NAN),
    ],
    "xlog1py": [
        (0.0, -1.0, 0.0, 0.0, 0.0),
        (0.0, 1.0, 0.0, math.log(2), 0.0),
        (2.0, -1.0, -INF, -INF, INF),
        (1.0, 1e-20, 1e-20, 1e-20, 1.0),
        (0.0, NAN, NAN, NAN, NAN),
    ],
    "rel_entr": [
        (0.0, 2.0, 0.0, -INF, 0.0),
        (0.0, 0.0, 0.0, 1.0, 0.0),
        (1.0, 0.0, INF, INF, -INF),
        (2.0, 2.0, 0.0, 1.0, -1.0),
    ],
    "kl_div": [
        (0.0, 2.0, 2.0, -INF, 1.0),
        (0.0, 0.0, 0.0, 0.0, 1.0),
        (1.0, 0.0, INF, INF, -INF),
        (2.0, 2.0, 0.0, 0.0, 0.0),
    ],
    "huber": [(1.0, 0.5, 0.125, 0.0, 0.5), (1.0, -3.0, 2.5, 2.0, -1.0), (0.0, 3.0, 0.0, 3.0, 0.0)],
    "pseudo_huber": [
        (0.0, 0.0, 0.0, 0.0, 0.0),
        (0.0, 3.0, 0.0, 3.0, 0.0),
        (3.0, 4.0, 6.0, 0.8, 2.4),
        (1.0, 1e-3, 4.999998750000625e-7, 2.4999975000023437e-13, 9.99999500000375e-4),
    ],
    "beta": [(1.0, 1.0, 1.0, -1.0, -1.0)],
    "gammainc": [
        (1.0, 0.0, 0.0, 0.0, 1.0),
        (2.0, 0.0, 0.0, 0.0, 0.0),
        (0.5, 0.0, 0.0, 0.0, INF),
        (2.0, INF, 1.0, 0.0, 0.0),
        (2.0, -1.0, NAN, NAN, NAN),
    ],
}


@both
@pytest.mark.parametrize("name", CORNERS)
def test_corners(name: str, dtype: str, device: str) -> None:
    for *at, value, by_a, by_b in CORNERS[name]:
        a, b = leaf(at[0], dtype), leaf(at[1], dtype)
        with np.errstate(all="ignore"):
            y = getattr(special, name)(a, b)
            found = [y, *tg.grad(y, [a, b])]
        cupys = device != "cpu" and name == "pseudo_huber"  # which loses digits where r is small
        for ours, expected in zip(found, (value, by_a, by_b), strict=True):
            rtol = 1e-9 if cupys else 2e-6 if dtype == "float32" else 1e-13
            atol = 1e-7 if cupys else 0
            np.testing.assert_allclose(ours.numpy(), expected, rtol, atol, err_msg=f"{name}{at}")


# --- far out ------------------------------------------------------------------------------------

FAR: dict[str, list[tuple[float, ...]]] = {
    "log_ndtr": [
        (-40.0, -804.60844201375379, 40.024968847207264, -0.99937733162140861),
        (-8.0, -35.01343715991455, 8.1213681122361127, -0.98567511655665909),
        (3.0, -0.0013508099647481938, 0.0044378390421256638, -0.013333211541740806),
    ],
    "erfcx": [
        (-3.0, 16205.988853999587, -97237.061503164615, 615834.34672698687),
        (0.25, 0.77034654773099674, -0.7432058932300142, 1.1690901488469864),
        (30.0, 0.018795888861416751, -0.00062583541050748407, 4.1653092384458876e-5),
        (1e4, 5.6418958072680841e-5, -5.6418957508491275e-9, 1.1283791332441388e-12),
    ],
}


@both
@pytest.mark.parametrize("name", FAR)
def test_no_digits_are_lost_far_out(name: str, dtype: str) -> None:
    points, *expected = zip(*FAR[name], strict=True)
    found = derivatives(getattr(special, name), points, 2, dtype)
    rtol = 1e-5 if dtype == "float32" else 2e-14
    np.testing.assert_allclose(found, np.array(expected), rtol=rtol)


# a, x, and of P or, from x = a + 1 on, of Q: by a, by x, by a twice, by a and x
INCOMPLETE = [
    (0.001, 0.5, -0.560359400108003, 0.00121291969843824, -0.584851239869708, 1.21277708910299),
    (2.5, 0.1, -0.00302527293668121, 0.0215245634495382, 0.0100396973438061, -0.0646972786586437),
    (2.5, 30.0, 3.3204679676861e-11, -1.15667467043923e-11, 8.47637275888e-11, -3.12075538495e-11),
    (400.0, 380.0, -0.0122009284713969, 0.0125140458103928, 6.25962590027e-4, -6.2623756074e-4),
    (400.0, 500.0, 3.84743778261e-7, -3.44696276483e-7, 8.58707703784e-8, -7.73478011339e-8),
]


@both
def test_incomplete_gamma_by_both_arguments(dtype: str) -> None:
    for a, x, *expected in INCOMPLETE:
        p, q = leaf(a, dtype), leaf(x, dtype)
        call = special.gammainc if x < a + 1 else special.gammaincc
        by_a, by_x = tg.grad(call(p, q), [p, q], create_graph=True)
        again = tg.grad(by_a, [p, q])
        found = [y.numpy() for y in (by_a, by_x, *again)]
        rtol = 1e-4 if dtype == "float32" else 1e-10
        np.testing.assert_allclose(found, expected, rtol=rtol)


def test_the_density_is_exact_for_large_orders() -> None:
    """At its mode, (b / 2π)^½ / b, where xᵇ⁻¹ and Γ(b) are beyond all bounds."""
    for b in (1e3, 1e6, 1e9):
        found = kernels.gamma.density(leaf(b).data, leaf(b).data)
        stirling = math.sqrt(1 / (2 * math.pi * b)) * math.exp(-1 / (12 * b))
        np.testing.assert_allclose(Tensor(found).numpy(), stirling, rtol=1e-10)


def test_quadrature_integrates_an_exponential() -> None:
    for dtype, rtol in (("float32", 1e-7), ("float64", 1e-14)):
        nodes = quadrature.nodes(quadrature.step_of(dtype))
        for n in range(4):
            total = sum(weight * v**n * math.exp(-v) for v, weight in nodes)
            np.testing.assert_allclose(total, math.factorial(n), rtol=rtol)


# --- by which argument there is no derivative ----------------------------------------------------

UNDIFFERENTIATED = [
    ("polygamma", "n", special.polygamma),
    ("zeta", "x", special.zeta),
    *[(name[-2:], "v", getattr(special, name)) for name in ("jv", "yv")],
    ("expn", "n", special.expn),
    ("eval_legendre", "n", special.eval_legendre),
]


@pytest.mark.parametrize(("name", "argument", "call"), UNDIFFERENTIATED)
def test_the_gradient_by_an_order_raises_by_name(name: str, argument: str, call: Any) -> None:
    order, x = leaf([2.0, 3.0]), leaf([1.0, 2.0])
    y = call(order, x).sum()
    assert np.isfinite(tg.grad(y, x, retain_graph=True).numpy()).all()
    with pytest.raises(NotImplementedError) as raised:
        tg.grad(y, order)
    assert str(raised.value) == (
        f"[{name}] has no gradient by {argument}: give it as a number, or a tensor that wants none "
        "(.detach())"
    )


def test_riemanns_zeta_has_no_gradient() -> None:
    x = leaf([2.0])
    np.testing.assert_allclose(special.zeta(x).numpy(), math.pi**2 / 6)
    with pytest.raises(NotImplementedError, match=r"^\[zeta\] has no gradient by x"):
        tg.grad(special.zeta(x).sum(), x)


# --- along axes ---------------------------------------------------------------------------------


def test_logsumexp_is_scipys() -> None:
    a = np.array([[1.0, -INF, 800.0], [2.0, 3.0, -900.0]])
    b = np.array([[1.0, 5.0, 0.0], [-1.0, 0.5, 2.0]])
    for axis in (None, 0, 1, (0, 1)):
        for keepdims in (False, True):
            found = special.logsumexp(leaf(a), axis, keepdims=keepdims)
            expected = scipys.logsumexp(a, axis, keepdims=keepdims)
            np.testing.assert_allclose(found.numpy(), expected)
            signed = special.logsumexp(leaf(a), axis, leaf(b), keepdims, return_sign=True)
            theirs = scipys.logsumexp(a, axis, b, keepdims, return_sign=True)
            for ours, other in zip(signed, theirs, strict=True):
                np.testing.assert_allclose(ours.numpy(), other)
    assert special.logsumexp(leaf([1.0, 2.0]), return_sign=True)[1].item() == 1


def test_logsumexp_of_a_negative_sum() -> None:
    a, b = leaf([0.0, 1.0]), leaf([1.0, -1.0])
    assert np.isnan(special.logsumexp(a, b=b).numpy())
    size, sign = special.logsumexp(a, b=b, return_sign=True)
    assert sign.item() == -1
    by_a, by_b = tg.grad(size, [a, b])
    total = 1 - math.e
    np.testing.assert_allclose(by_a.numpy(), [1 / total, -math.e / total])
    np.testing.assert_allclose(by_b.numpy(), [1 / total, math.e / total])


def test_weights_of_zero_have_a_gradient_and_do_not_overflow() -> None:
    a, b = leaf([900.0, 1.0, 2.0]), leaf([0.0, 1.0, 0.0])
    y = special.logsumexp(a, b=b)
    assert y.item() == 1.0
    by_a, by_b = tg.grad(y, [a, b])
    assert by_a.tolist() == [0.0, 1.0, 0.0]
    np.testing.assert_allclose(by_b.numpy()[1:], [1.0, 1.0])
    assert special.logsumexp(leaf([]), b=leaf([])).item() == -INF


def test_softmax_is_over_all_axes_unless_told() -> None:
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    for axis in (None, 0, (0, 1)):
        np.testing.assert_allclose(special.softmax(leaf(x), axis).numpy(), scipys.softmax(x, axis))
        found = special.log_softmax(leaf(x), axis).numpy()
        np.testing.assert_allclose(found, scipys.log_softmax(x, axis))


def test_a_keyword_of_pytorchs_says_ours() -> None:
    with pytest.raises(TypeError, match=r"^\[logsumexp\] takes axis=, not dim="):
        getattr(special, "logsumexp")(leaf([1.0]), dim=0)  # noqa: B009  not one of its parameters


def test_orders_as_tensors() -> None:
    n = Tensor(np.array([0, 1, 2, 3]), device=tg.default_device())
    x = leaf([0.5, 1.5, 2.5, 3.5])
    expected = scipys.polygamma([0, 1, 2, 3], [0.5, 1.5, 2.5, 3.5])
    np.testing.assert_allclose(special.polygamma(n, x).numpy(), expected)
    np.testing.assert_allclose(
        special.jn(n, x).numpy(), scipys.jv([0, 1, 2, 3], x.numpy()), rtol=1e-10
    )
    assert np.isnan(special.polygamma(-1, x).numpy()).all()


def test_polynomials_of_no_whole_degree() -> None:
    x = leaf([0.3, 0.3, 0.3])
    found = special.eval_chebyt([2, -1, 1.5], x).numpy()
    np.testing.assert_allclose(found, [2 * 0.09 - 1, 0.0, NAN])


def test_multigammaln_outside_of_its_domain() -> None:
    x = leaf([0.4, 0.6])
    found = special.multigammaln(x, 2)
    assert np.isnan(found.numpy()).tolist() == [True, False]
    np.testing.assert_allclose(found.numpy()[1], scipys.multigammaln(0.6, 2))


def test_signs_and_weights_of_logsumexp_are_real() -> None:
    """Of a complex weight the imaginary part was lost."""
    z = Tensor([1 + 2j])
    bad: list[tuple[Any, dict[str, Any]]] = [
        (leaf([1.0]), {"b": z}),
        (z, {"b": [1.0]}),
        (z, {"return_sign": True}),
    ]
    for a, options in bad:
        with pytest.raises(TypeError, match=r"^\[logsumexp\] expected real numbers beside b or"):
            special.logsumexp(a, **options)
    np.testing.assert_allclose(special.logsumexp(z).item(), 1 + 2j, rtol=1e-6)

"""Special functions, with SciPy's names, parameters and values, on tensors.

    tg.special.gammaln(x), tg.special.logsumexp(x, axis=1)

They take tensors, arrays, lists and numbers, and compute with `scipy.special` on the CPU and with
`cupyx.scipy.special` on a GPU, float32 in float32. `scipy.special`'s own ufuncs of the same names
take tensors as well. docs/special.md says by which arguments each has a gradient; by others it
raises ``NotImplementedError`` where one is wanted.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import scipy.special as _scipy

from .numpy.arrays import operands as _operands
from .numpy.arrays import tensor as _tensor
from .numpy.arrays import tensors as _tensors
from .numpy.ufunc import Ufunc as _Ufunc
from .ops import bessel as _bessel
from .ops import entropy as _entropy
from .ops import erf as _erf
from .ops import exponential as _exponential
from .ops import gamma as _gamma
from .ops import integrals as _integrals
from .ops import logistic as _logistic
from .ops import orthogonal as _orthogonal
from .ops import trigonometric as _trigonometric
from .ops.axes import normalize_axis as _normalize_axis
from .ops.hints import name_ours as _name_ours
from .ops.promotion import as_float as _as_float
from .ops.promotion import in_one_dtype as _in_one_dtype
from .ops.promotion import in_single as _in_single
from .ops.promotion import single as _single
from .ops.protocols import TABLE as _TABLE

__all__ = [
    "beta",
    "betaln",
    "cbrt",
    "cosm1",
    "digamma",
    "entr",
    "erf",
    "erfc",
    "erfcinv",
    "erfcx",
    "erfinv",
    "eval_chebyt",
    "eval_chebyu",
    "eval_hermite",
    "eval_hermitenorm",
    "eval_laguerre",
    "eval_legendre",
    "eval_sh_chebyt",
    "eval_sh_chebyu",
    "exp1",
    "exp2",
    "exp10",
    "expi",
    "expit",
    "expm1",
    "expn",
    "gamma",
    "gammainc",
    "gammaincc",
    "gammaln",
    "gammasgn",
    "huber",
    "i0",
    "i0e",
    "i1",
    "i1e",
    "iv",
    "ive",
    "j0",
    "j1",
    "jn",
    "jv",
    "k0",
    "k0e",
    "k1",
    "k1e",
    "kl_div",
    "kn",
    "kv",
    "kve",
    "log1p",
    "log_expit",
    "log_ndtr",
    "log_softmax",
    "loggamma",
    "logit",
    "logsumexp",
    "multigammaln",
    "ndtr",
    "ndtri",
    "polygamma",
    "pseudo_huber",
    "psi",
    "rel_entr",
    "rgamma",
    "sinc",
    "softmax",
    "softplus",
    "spherical_jn",
    "xlog1py",
    "xlogy",
    "y0",
    "y1",
    "yn",
    "yv",
    "zeta",
]


def _ufunc(name: str, kind: Any, doc: str | None = None, **options: Any) -> _Ufunc:
    """SciPy's ufunc of that name, which takes tensors from now on."""
    like = getattr(_scipy, name)
    made = _Ufunc(like, getattr(kind, "of", kind), **options)
    made.__name__, made.__doc__ = name, doc or kind.__doc__
    _TABLE.setdefault(like, made)
    return made


def _method(name: str, method: str, doc: str) -> _Ufunc:
    return _ufunc(name, operator.methodcaller(method), doc)


# --- gamma --------------------------------------------------------------------------------------

gammaln = _ufunc("gammaln", _gamma.Gammaln)
loggamma = _ufunc("loggamma", _gamma.Loggamma)
psi = digamma = _ufunc("psi", _gamma.Digamma)
gamma = _ufunc("gamma", _gamma.Gamma)
gammasgn = _ufunc("gammasgn", _gamma.Gammasgn)
rgamma = _ufunc("rgamma", _gamma.Rgamma)
beta = _ufunc("beta", _gamma.Beta)
betaln = _ufunc("betaln", _gamma.Betaln)
gammainc = _ufunc("gammainc", _gamma.Gammainc)
gammaincc = _ufunc("gammaincc", _gamma.Gammaincc)


@_name_ours
def polygamma(n: Any, x: Any) -> Any:
    """The n-th derivative of `digamma` at x, n = 0, 1, 2, …; both broadcast.

    Not differentiable by n. NaN for negative n, and for x = 0, -1, -2, … infinite.
    """
    return _gamma.Polygamma.of(*_operands(n, x))


@_name_ours
def zeta(x: Any, q: Any = None) -> Any:
    """Hurwitz's Σ 1 / (k + q)ˣ over k ≥ 0; Riemann's, q = 1, where no q is given.

    Differentiable by q. Raises ``NotImplementedError`` where a gradient by x is wanted.
    """
    return _gamma.Zeta.of(*_operands(x, 1.0 if q is None else q))


_TABLE.setdefault(_scipy.zeta, zeta)  # which is a ufunc of CuPy's


@_name_ours
def multigammaln(a: Any, d: int) -> Any:
    """log of the multivariate gamma function of dimension d; NaN where a ≤ (d - 1) / 2.

    d (d - 1) / 4 · log π + Σ log Γ(a - j / 2) over j < d. (SciPy raises outside of its domain,
    which would ask for the values.)
    """
    if not isinstance(d, int) or d < 1:
        raise ValueError(f"[multigammaln] expected a dimension d of 1, 2, …, got {d!r}")

    def compute(a: Any) -> Any:
        total: Any = sum(_gamma.Gammaln.of(a - j / 2) for j in range(d))
        return (total + d * (d - 1) / 4 * math.log(math.pi)).where(a > (d - 1) / 2, math.nan)

    return _in_single(_as_float(_tensor(a)), compute)


# --- error functions and the normal distribution ------------------------------------------------

erf = _method("erf", "erf", "2/√π ∫₀ˣ exp(-t²) dt.")
erfc = _ufunc("erfc", _erf.Erfc)
erfcx = _ufunc("erfcx", _erf.Erfcx)
erfinv = _ufunc("erfinv", _erf.Erfinv)
erfcinv = _ufunc("erfcinv", _erf.Erfcinv)
ndtr = _ufunc("ndtr", _erf.Ndtr)
ndtri = _ufunc("ndtri", _erf.Ndtri)
log_ndtr = _ufunc("log_ndtr", _erf.LogNdtr)

# --- Bessel functions ---------------------------------------------------------------------------

i0 = _ufunc("i0", _bessel.I0)
i0e = _ufunc("i0e", _bessel.I0e)
i1 = _ufunc("i1", _bessel.I1)
i1e = _ufunc("i1e", _bessel.I1e)
k0 = _ufunc("k0", _bessel.K0)
k0e = _ufunc("k0e", _bessel.K0e)
k1 = _ufunc("k1", _bessel.K1)
k1e = _ufunc("k1e", _bessel.K1e)
j0 = _ufunc("j0", _bessel.J0)
j1 = _ufunc("j1", _bessel.J1)
y0 = _ufunc("y0", _bessel.Y0)
y1 = _ufunc("y1", _bessel.Y1)
jn = jv = _ufunc("jv", _bessel.Jv)
yv = _ufunc("yv", _bessel.Yv)
yn = _ufunc("yn", _bessel.Yv)
iv = _ufunc("iv", _bessel.Iv)
ive = _ufunc("ive", _bessel.Ive)
kv = _ufunc("kv", _bessel.Kv)
kn = _ufunc("kn", _bessel.Kv)
kve = _ufunc("kve", _bessel.Kve)


@_name_ours
def spherical_jn(n: int, z: Any, derivative: bool = False) -> Any:
    """The spherical Bessel function jₙ of z, or its derivative, n = 0, 1, 2, … a Python number."""
    if not isinstance(n, int) or n < 0:
        raise ValueError(f"[spherical_jn] expected an order n of 0, 1, 2, …, got {n!r}")
    x = _as_float(_tensor(z))
    if not derivative:
        return _bessel.spherical_jn(n, x)
    if n == 0:
        return -_bessel.spherical_jn(1, x)

    def slope(x: Any) -> Any:
        below, above = _bessel.spherical_jn(n - 1, x), _bessel.spherical_jn(n + 1, x)
        return (below * n - above * (n + 1)) * (1 / (2 * n + 1))

    return _in_single(x, slope)


# --- the logistic function, entropies, losses ---------------------------------------------------

expit = _method("expit", "sigmoid", "1 / (1 + e⁻ˣ).")
logit = _ufunc("logit", _logistic.Logit)
log_expit = _ufunc("log_expit", _logistic.LogExpit)


def softplus(x: Any) -> Any:
    """log(1 + eˣ), without overflow."""
    return _tensor(x).softplus()


xlogy = _ufunc("xlogy", _entropy.Xlogy)
xlog1py = _ufunc("xlog1py", _entropy.Xlog1py)
entr = _ufunc("entr", _entropy.Entr)
rel_entr = _ufunc("rel_entr", _entropy.RelEntr)
kl_div = _ufunc("kl_div", _entropy.KlDiv)
huber = _ufunc("huber", _entropy.Huber)
pseudo_huber = _ufunc("pseudo_huber", _entropy.PseudoHuber)

# --- exponentials and other conveniences --------------------------------------------------------

expm1 = _ufunc("expm1", _exponential.Expm1)
log1p = _ufunc("log1p", _exponential.Log1p)
exp2 = _ufunc("exp2", _exponential.Exp2)
exp10 = _ufunc("exp10", _exponential.Exp10)
cbrt = _ufunc("cbrt", _exponential.Cbrt)
cosm1 = _ufunc("cosm1", _trigonometric.Cosm1)
exp1 = _ufunc("exp1", _integrals.Exp1)
expi = _ufunc("expi", _integrals.Expi)
expn = _ufunc("expn", _integrals.Expn)


def sinc(x: Any) -> Any:
    """sin(πx) / (πx), 1 at 0."""
    return _trigonometric.sinc(_tensor(x))


# --- orthogonal polynomials ---------------------------------------------------------------------

eval_chebyt = _ufunc("eval_chebyt", _orthogonal.chebyt, "Chebyshev's Tₙ(x).")
eval_chebyu = _ufunc("eval_chebyu", _orthogonal.chebyu, "Chebyshev's Uₙ(x).")
eval_sh_chebyt = _ufunc("eval_sh_chebyt", _orthogonal.sh_chebyt, "Tₙ(2 x - 1).")
eval_sh_chebyu = _ufunc("eval_sh_chebyu", _orthogonal.sh_chebyu, "Uₙ(2 x - 1).")
eval_legendre = _ufunc("eval_legendre", _orthogonal.legendre, "Legendre's Pₙ(x).")
eval_laguerre = _ufunc("eval_laguerre", _orthogonal.laguerre, "Laguerre's Lₙ(x).")
eval_hermite = _ufunc("eval_hermite", _orthogonal.hermite, "The physicists' Hermite's Hₙ(x).")
eval_hermitenorm = _ufunc(
    "eval_hermitenorm", _orthogonal.hermitenorm, "The probabilists' Hermite's Heₙ(x)."
)

# --- along axes ---------------------------------------------------------------------------------


@_name_ours
def logsumexp(
    a: Any, axis: Any = None, b: Any = None, keepdims: bool = False, return_sign: bool = False
) -> Any:
    """log Σ b exp(a) over ``axis`` (one, several, None for all), without overflow.

    ``b`` broadcasts with a, and may be negative or 0. A negative sum gives NaN, or with
    ``return_sign`` the logarithm of its size, and its sign as a second result. Complex numbers
    have neither: beside b or ``return_sign`` they raise ``TypeError``.
    """
    for x in _tensors(a) if b is None else _tensors(a, b):
        if x.dtype.kind == "c" and (return_sign or b is not None):
            raise TypeError(
                "[logsumexp] expected real numbers beside b or return_sign, got dtype "
                f"{x.dtype}: take (b * exp(a)).sum(axis).log()"
            )
    if b is None:
        found = _tensor(a).logsumexp(axis, keepdims)
        return (found, found.detach() * 0 + 1) if return_sign else found
    a, b = (_as_float(x) for x in _in_one_dtype(*_tensors(a, b)))
    dtype = a.dtype
    total, top = _in_units_of_top(_single(a), _single(b), axis)
    sign = total.detach().sign()
    found = _entropy.Xlogy.of(1.0, total.abs()) + top
    if not return_sign:
        found = found.where(~(sign < 0), math.nan)
    if not keepdims:
        axes = _normalize_axis(axis, len(found.shape), "logsumexp")
        found, sign = found.squeeze(axes), sign.squeeze(axes)
    found = found.astype(dtype)
    return (found, sign.astype(dtype)) if return_sign else found


def _in_units_of_top(a: Any, b: Any, axis: Any) -> tuple[Any, Any]:
    """Σ b exp(a - top) and top, the largest element of a where b is not 0; axes are kept."""
    there = (b != 0) | (a != a)
    a, there = a.broadcast_to((a + b).shape), there.broadcast_to((a + b).shape)
    if not a.size:
        return (a * b).sum(axis, True), 0.0
    top = a.detach().where(there, -math.inf).max(axis, True)
    top = top.where(abs(top) != math.inf, 0)
    height = a - top
    height = height.where(there | (height < 0), 0)  # what b leaves out may be larger than the top
    return (b * height.exp()).sum(axis, True), top


@_name_ours
def softmax(x: Any, axis: Any = None) -> Any:
    """exp(x) / Σ exp(x), the sum over ``axis``: one, several, or all if None."""
    return _tensor(x).softmax(axis)


@_name_ours
def log_softmax(x: Any, axis: Any = None) -> Any:
    """log(softmax(x)), without its cancellation."""
    return _tensor(x).log_softmax(axis)

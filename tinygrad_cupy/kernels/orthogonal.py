"""Orthogonal polynomials on arrays: by SciPy, or on a GPU by their recurrences (DLMF 18.9)."""

from __future__ import annotations

import numpy as np

from ..backend import Array, Elementwise, kernel
from .common.special import scipys

CHEBYSHEV, GEGENBAUER, LAGUERRE, HERMITE, HERMITE_NORM = range(5)  # families, as _recurred has them


def _polynomial_cpu(n: Array, x: Array, family: int, parameter: float) -> Array:
    with np.errstate(invalid="ignore"):
        whole = n == np.rint(n)
        degree = np.where(whole & (n > 0), n, 0).astype(np.int64)
    wide = x.astype(np.float64)
    if family == GEGENBAUER:
        y = scipys("eval_gegenbauer")(degree, parameter, wide)
    elif family == LAGUERRE:
        y = scipys("eval_genlaguerre")(degree, parameter, wide)
    else:
        names = {CHEBYSHEV: "chebyt", HERMITE: "hermite", HERMITE_NORM: "hermitenorm"}
        y = scipys(f"eval_{names[family]}")(degree, wide)
    found: Array = np.where(whole, np.where(n < 0, 0, y), np.nan).astype(x.dtype)
    return found


_recurred = Elementwise(
    "T degrees, T x, int32 family, float64 parameter",
    "T y",
    """
    const int degree = int(degrees);
    double last = 0, value = 1;
    for (int k = 1; k <= degree; ++k) {
        double next;
        if (family == 0) {
            next = k == 1 ? double(x) : 2 * x * value - last;
        } else if (family == 1) {
            next = (2 * (k + parameter - 1) * x * value - (k + 2 * parameter - 2) * last) / k;
        } else if (family == 2) {
            next = ((2 * k - 1 + parameter - x) * value - (k - 1 + parameter) * last) / k;
        } else {
            next = x * value - (k - 1) * last;
            if (family == 3) next = 2 * next;
        }
        last = value;
        value = next;
    }
    y = T(degree) != degrees ? T(nan("")) : degree < 0 ? T(0) : T(value);
    """,
    "orthogonal_polynomial",
)


def _polynomial_cuda(n: Array, x: Array, family: int, parameter: float) -> Array:
    found: Array = _recurred(n, x, family, parameter)
    return found


@kernel(cpu=_polynomial_cpu, cuda=_polynomial_cuda)
def polynomial(n: Array, x: Array, family: int, parameter: float) -> Array:
    """The polynomial of degree n at x; 0 for negative n, NaN where n is not whole."""

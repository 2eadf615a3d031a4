"""Records of ops/orthogonal.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special as scipys

from support.elementwise import between, by_derivatives, of_order, one
from tinygrad_cupy.ops import orthogonal

DEGREES = [0, 1, 2, 3, 6]
SHIFTED = {"sh_chebyt": "chebyt", "sh_chebyu": "chebyu"}


def _coefficients(name: str, n: int, times: int) -> Any:
    """SciPy's polynomial of degree n, differentiated; PyTorch's have no derivatives."""
    made = getattr(scipys, SHIFTED.get(name, name))(n)
    at = np.poly1d([2.0, -1.0]) if name in SHIFTED else np.poly1d([1.0, 0.0])
    return np.polyder(np.poly1d(made.coef)(at), times)


def _reference(name: str, times: int) -> Any:
    def values(n: Any, x: Any) -> Any:
        found = np.zeros(x.shape)
        for degree in DEGREES:
            found = np.where(n == degree, _coefficients(name, degree, times)(x), found)
        return found

    return values


SAMPLES = [
    of_order(
        f"eval_{name}",
        orthogonal.Orthogonal,
        DEGREES,
        one(between(-0.15 if name in SHIFTED else -1.3, 1.15 if name in SHIFTED else 1.3)),
        by_derivatives(*[_reference(name, times) for times in range(3)]),
    )
    for name in (
        *("chebyt", "chebyu", "sh_chebyt", "sh_chebyu"),
        *("legendre", "laguerre", "hermite", "hermitenorm"),
    )
]

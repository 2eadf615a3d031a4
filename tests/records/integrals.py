"""Records of ops/integrals.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special as scipys

from support.elementwise import between, by_derivatives, of_order, one, special
from tinygrad_cupy.ops import integrals

POSITIVE = one(between(0.5, 4))


def _expn(n: Any, x: Any, times: int) -> Any:
    """(-1)ᵏ Eₙ₋ₖ; E₋₁ = e⁻ˣ (1 + 1/x) / x, E₋₂ = e⁻ˣ (1 + 2/x + 2/x²) / x."""
    below = np.where(n - times == -1, 1 + 1 / x, 1 + 2 / x + 2 / x**2) * np.exp(-x) / x
    found = np.where(n >= times, scipys.expn(np.maximum(n - times, 0), x), below)
    return (-1) ** times * found


SAMPLES = [
    special(
        "exp1",
        integrals.Exp1,
        POSITIVE,
        torch=by_derivatives(
            scipys.exp1,
            lambda x: -np.exp(-x) / x,
            lambda x: np.exp(-x) * (x + 1) / x**2,
        ),
    ),
    special(
        "expi",
        integrals.Expi,
        POSITIVE,
        torch=by_derivatives(
            scipys.expi,
            lambda x: np.exp(x) / x,
            lambda x: np.exp(x) * (x - 1) / x**2,
        ),
    ),
    of_order(
        "expn",
        integrals.Expn,
        [0, 1, 2, 3],
        POSITIVE,
        by_derivatives(*[lambda n, x, k=k: _expn(n, x, k) for k in range(3)]),
    ),
]

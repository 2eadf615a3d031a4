"""x log y and what entropies and divergences are sums of, and Huber's losses."""

from __future__ import annotations

import math
from typing import Any

from .. import kernels
from ..kernels.common.special import scipys
from .functions import Pair
from .functions import real_function as function
from .functions import real_pair as pair
from .trigonometric import Direction, Hypot

# --- products with logarithms -------------------------------------------------------------------


def _slope_by_factor(product: Any, grad: Any, a: Any, b: Any, least: float) -> Any:
    """The logarithm of b; 0 where the product is 0 because a is, and has no slope by it."""
    return product.of(grad, b).where((a != 0) | (b > least) | (b != b), 0)


def _over(a: Any, b: Any) -> Any:
    """a / b; 0 where both are 0."""
    return a / b.where((a != 0) | (b != 0), 1)


Xlogy: type[Pair] = pair(
    "xlogy",
    "a log(b); 0 where a is 0 and b is not NaN.",
    lambda grad, a, b: _slope_by_factor(Xlogy, grad, a, b, 0),
    lambda grad, a, b: grad * _over(a, b),
    scipys("xlogy"),
)
Xlog1py: type[Pair] = pair(
    "xlog1py",
    "a log(1 + b); 0 where a is 0 and b is not NaN.",
    lambda grad, a, b: _slope_by_factor(Xlog1py, grad, a, b, -1),
    lambda grad, a, b: grad * _over(a, b + 1),
    kernels.entropy.xlog1py,
)

# --- entropies ----------------------------------------------------------------------------------


def _ratio(a: Any, b: Any) -> Any:
    """a / b; of zeros 0, else ∞ where b is 0."""
    return _over(a, b.where(b != 0, 1)).where((a == 0) | (b != 0), math.inf)


def _log_ratio(grad: Any, a: Any, b: Any) -> Any:
    return Xlogy.of(grad, _ratio(a, b)).where((a != 0) | (b != 0), 0)


Entr = function(
    "entr",
    "-x log(x): 0 at 0, where the gradient is ∞; -∞ below, where it is NaN.",
    lambda grad, x: -(Xlogy.of(grad, x) + grad),
    scipys("entr"),
)
RelEntr = pair(
    "rel_entr",
    "a log(a / b): 0 where a is 0 and b ≥ 0; ∞ where a or b is negative, or b is 0.",
    lambda grad, a, b: _log_ratio(grad, a, b) + grad,
    lambda grad, a, b: -(grad * _ratio(a, b)),
    scipys("rel_entr"),
)
KlDiv = pair(
    "kl_div",
    "a log(a / b) - a + b: b where a is 0 and b ≥ 0; ∞ where a or b is negative, or b is 0.",
    lambda grad, a, b: _log_ratio(grad, a, b),
    lambda grad, a, b: grad * (1 - _ratio(a, b)),
    scipys("kl_div"),
)

# --- losses -------------------------------------------------------------------------------------


def _pseudo_huber_by_delta(grad: Any, a: Any, b: Any) -> Any:
    """(h - δ)² / h with h = √(δ² + r²), as b q² · b / h with q = b / (h + δ): nothing cancels."""
    q = _over(b, Hypot.of(a, b) + a)
    return grad * (b * Direction.of(b, a) * q * q)


Huber = pair(
    "huber",
    "b² / 2 where |b| ≤ a, else a (|b| - a / 2); ∞ where a < 0.",
    lambda grad, a, b: grad * (b.abs() - a).where(b.abs() > a, 0),
    lambda grad, a, b: grad * b.where(b.abs() <= a, a * b.sign()),
    scipys("huber"),
)
PseudoHuber = pair(
    "pseudo_huber",
    "a² (√(1 + (b / a)²) - 1); ∞ where a < 0.",
    _pseudo_huber_by_delta,
    lambda grad, a, b: grad * (b * Direction.of(a, b)),
    scipys("pseudo_huber"),
)

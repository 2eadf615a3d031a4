"""The logistic function's inverse and logarithm. (Itself it is the method `sigmoid`.)"""

from __future__ import annotations

import math

from ..kernels.common.special import scipys
from .functions import real_function as function

Logit = function(
    "logit",
    "log(x / (1 - x)): -∞ at 0, ∞ at 1, with an infinite gradient; NaN outside.",
    lambda grad, x: grad / (x * (1 - x)).where((x >= 0) & (x <= 1), math.nan),
    scipys("logit"),
)
LogExpit = function(
    "log_expit",
    "log(1 / (1 + e⁻ˣ)), exact far to the left, too.",
    lambda grad, x: grad * (-x).sigmoid(),
    scipys("log_expit"),
)

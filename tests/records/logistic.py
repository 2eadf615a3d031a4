"""Records of ops/logistic.py."""

from __future__ import annotations

from support.elementwise import between, one, special
from tinygrad_cupy.ops import activation, logistic

SAMPLES = [
    special("expit", activation.Sigmoid),
    special("logit", logistic.Logit, one(between(0.1, 0.9))),
    special(
        "log_expit",
        (logistic.LogExpit, activation.Sigmoid),
        torch=lambda t, x: t.nn.functional.logsigmoid(x),
    ),
    special("softplus", activation.Softplus, torch=lambda t, x: t.nn.functional.softplus(x)),
]

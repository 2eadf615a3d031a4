"""Records of ops/erf.py."""

from __future__ import annotations

from support.elementwise import between, one, special
from tinygrad_cupy.ops import erf

INSIDE = one(between(0.1, 0.9))
WIDE = one(between(-6, 4))

SAMPLES = [
    special("erfc", erf.Erfc),
    special("erfcx", (erf.Erfcx, erf.ErfcIntegral), one(between(-1, 4))),
    special("erfinv", erf.Erfinv, one(between(-0.8, 0.8))),
    special("erfcinv", erf.Erfcinv, INSIDE, torch=lambda t, x: t.special.erfinv(1 - x)),
    special("ndtr", erf.Ndtr),
    special("ndtri", erf.Ndtri, INSIDE),
    special("log_ndtr", (erf.LogNdtr, erf.Hazard, erf.Excess), WIDE),
]

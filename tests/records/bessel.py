"""Records of ops/bessel.py."""

from __future__ import annotations

import tinygrad_cupy.numpy as tnp
from support.elementwise import one
from support.sampling import Sample, normal
from tinygrad_cupy.ops import bessel

SAMPLES = [
    Sample(
        "np.i0",
        lambda x: tnp.i0(x),
        one(normal),
        lambda torch, x: torch.i0(x),
        (bessel.I0, bessel.I1),
        ("np.i0",),
    ),
]

"""Records of ops/closeness.py."""

from __future__ import annotations

import tinygrad_cupy.numpy as tnp
from support.elementwise import two
from support.sampling import NUMBERS, Sample
from tinygrad_cupy.ops import closeness

SAMPLES = [
    Sample(
        "np.isclose",
        lambda a, b: tnp.isclose(a, b, 0.3, 0.2),
        two(),
        lambda torch, a, b: torch.isclose(a.double(), b.double(), 0.3, 0.2),
        (closeness.IsClose,),
        ("np.isclose",),
        dtypes=NUMBERS,
        order=0,
    ),
]

"""Records of ops/logical.py."""

from __future__ import annotations

from support.elementwise import integers, one, two, ufunc
from support.sampling import MOVED
from tinygrad_cupy.ops import logical

SAMPLES = [
    ufunc("logical_and", logical.LogicalAnd, two(integers, integers), dtypes=MOVED, order=0),
    ufunc("logical_or", logical.LogicalOr, two(integers, integers), dtypes=MOVED, order=0),
    ufunc("logical_xor", logical.LogicalXor, two(integers, integers), dtypes=MOVED, order=0),
    ufunc("logical_not", logical.LogicalNot, one(integers), dtypes=MOVED, order=0),
]

"""Records of ops/logical_reduce.py."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from support.axes import dims, out_of_range, over_axis
from support.sampling import NUMBERS, Draw, Sample, method, rng_of
from tinygrad_cupy.ops import logical_reduce


def _few(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    rng = rng_of(draw)
    return rng.choice([0.0, 1.0, -0.5], shape, p=[0.5, 0.4, 0.1])


def _holding(name: str) -> Any:
    def reference(torch: Any, x: Any, axis: Any, keepdims: bool) -> Any:
        if not x.ndim:
            return x != 0
        return getattr(torch, name)(x, dims(x, axis), keepdim=keepdims)

    return reference


SAMPLES = [
    Sample(
        name,
        method(name),
        over_axis(_few, min_side=0),
        _holding(name),
        (logical_reduce.LogicalReduce,),
        (name,),
        dtypes=(*NUMBERS, "bool"),
        order=0,
        errors=(out_of_range(operator.methodcaller(name, 2), name),),
    )
    for name in ("all", "any")
]

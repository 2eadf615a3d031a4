"""Records of ops/product.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from support.axes import dims, out_of_range, over_axis
from support.sampling import FLOATS, Draw, Error, Sample, method, rng_of
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import product, scan


def with_zeros(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    """Values around 1, some of them 0."""
    rng = rng_of(draw)
    values = rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1], shape)
    return np.where(rng.random(shape) < 0.2, 0.0, values)


def _prod(torch: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    for one in sorted(dims(x, axis), key=lambda a: a % x.ndim):
        x = torch.prod(x, one, keepdim=True)
    return x if keepdims or not x.ndim else x.squeeze([a % x.ndim for a in dims(x, axis)])


SAMPLES = [
    Sample(
        "prod",
        method("prod"),
        over_axis(with_zeros, min_dims=1, min_side=0),
        _prod,
        (product.Prod, scan.CumProd, scan.Recurrence),
        ("prod",),
        dtypes=(*FLOATS, "int64", "bool"),
        errors=(
            out_of_range(lambda x: x.prod(2), "prod"),
            Error(
                lambda: Tensor.ones(2).prod(where=Tensor.ones(3, 2, dtype=bool)),
                ValueError,
                "[prod] expected where= of a shape that broadcasts to (2,), got (3, 2)",
            ),
        ),
    ),
]

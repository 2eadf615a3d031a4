"""Records of NumPy's norms: tinygrad_cupy/numpy/norms.py."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from support.axes import dims, over_axis
from support.sampling import Case, Draw, Error, Sample, rng_of, shapes
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import reduce

LINALG: Any = np.linalg  # NumPy's stubs know no tensors


def _growing(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    """Values, none near 0, whose sizes grow along each axis: no extreme sums are alike."""
    rng = rng_of(draw)
    sizes = np.prod(np.indices(shape) + 1, axis=0) * rng.uniform(0.5, 0.55, shape)
    return np.asarray(sizes * rng.choice([-1, 1], shape))


def _vector_norm(torch: Any, x: Any, axis: Any, keepdims: bool, ord: Any) -> Any:
    return torch.linalg.vector_norm(x, ord, dims(x, axis), keepdim=keepdims)


def _matrix_case(draw: Draw) -> Case:
    shape = draw(shapes(min_dims=2))
    axes = draw(st.permutations(range(len(shape))))[:2]
    orders = st.sampled_from(["fro", 1, -1, math.inf, -math.inf])
    options = {"ord": draw(orders), "axis": tuple(axes), "keepdims": draw(st.booleans())}
    return Case((_growing(draw, shape),), options)


def _last_case(draw: Draw) -> Case:
    case = _matrix_case(draw)
    return Case(case.values, {"ord": case.options["ord"], "keepdims": case.options["keepdims"]})


def _matrix_norm(torch: Any, x: Any, ord: Any, keepdims: bool, axis: Any = (-2, -1)) -> Any:
    return torch.linalg.matrix_norm(x, ord, axis, keepdims)


SAMPLES = [
    Sample(
        "np.linalg.vector_norm",
        lambda x, **options: LINALG.vector_norm(x, **options),
        over_axis(_growing, ord=st.sampled_from([2, 1, 3, 0.5, -1, math.inf, -math.inf])),
        _vector_norm,
        (reduce.Sum,),
        ("np.linalg.vector_norm",),
        kinks=True,
        errors=(
            Error(
                lambda: LINALG.vector_norm(Tensor.ones(2), axis=1),
                ValueError,
                "[vector_norm] axis 1 is out of range for a tensor of 1 axes",
            ),
        ),
    ),
    Sample(
        "np.linalg.norm",
        lambda x, **options: LINALG.norm(x, **options),
        _matrix_case,
        _matrix_norm,
        (reduce.Sum,),
        ("np.linalg.norm",),
        kinks=True,
        errors=(
            Error(
                lambda: LINALG.norm(Tensor.ones(2, 3, 2), 1),
                ValueError,
                "[norm] expected one axis or two, got 3 of shape (2, 3, 2)",
            ),
            Error(
                lambda: LINALG.norm(Tensor.ones(2, 3), "x"),
                ValueError,
                "[norm] expected an order of a matrix's norm, got 'x'",
            ),
            Error(
                lambda: LINALG.norm(Tensor.ones(2), "fro"),
                ValueError,
                "[norm] expected a number as the order of a vector's norm, got 'fro'",
            ),
        ),
    ),
    Sample(
        "np.linalg.matrix_norm",
        lambda x, **options: LINALG.matrix_norm(x, **options),
        _last_case,
        _matrix_norm,
        (reduce.Sum,),
        ("np.linalg.matrix_norm",),
        kinks=True,
        errors=(
            Error(
                lambda: LINALG.matrix_norm(Tensor.ones(2)),
                ValueError,
                "[matrix_norm] expected matrices, got shape (2,)",
            ),
        ),
    ),
]

"""Records of ops/distance.py."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_cupy as tg
from support.sampling import Case, Draw, Error, Sample, distinct, method, nonzero, shapes
from tinygrad_cupy import Tensor

ORDERS = st.sampled_from([1.0, 1.5, 2.0, 3.0, math.inf])
SIDE = st.integers(1, 4)


def _long_enough(draw: Draw) -> tuple[tuple[int, ...], int]:
    """A shape with an axis of two elements at least: with one the derivative is rounding alone."""
    sides = list(draw(shapes(min_dims=1)))
    axis = draw(st.integers(-len(sides), len(sides) - 1))
    sides[axis] = max(sides[axis], 2)
    return tuple(sides), axis


def _vectors(draw: Draw) -> Case:
    shape, axis = _long_enough(draw)
    return Case((distinct(draw, shape) + 0.03,), {"p": draw(ORDERS), "axis": axis})


def _angle(draw: Draw) -> Case:
    shape, axis = _long_enough(draw)
    return Case(tuple(nonzero(draw, (2, *shape))), {"axis": axis})


def _two(draw: Draw) -> Case:
    shape = draw(shapes(min_dims=1))
    options = {"p": draw(ORDERS), "keepdims": draw(st.booleans())}
    return Case((distinct(draw, shape) * 1.37 + 0.0213, distinct(draw, shape)), options)


METRICS = {
    "chebyshev": lambda torch, d: d.abs().amax(-1),
    "cityblock": lambda torch, d: d.abs().sum(-1),
    "euclidean": lambda torch, d: torch.linalg.vector_norm(d, dim=-1),
    "minkowski": lambda torch, d: (d.abs() ** 3).sum(-1) ** (1 / 3),
    "sqeuclidean": lambda torch, d: (d.conj() * d).real.sum(-1),
}


def _points(draw: Draw) -> Case:
    m, n, width = draw(SIDE), draw(SIDE), draw(SIDE)
    metric = draw(st.sampled_from([*METRICS, *["cosine"] * (width > 1)]))
    return Case(
        (distinct(draw, (m, width)) * 1.37 + 0.03, distinct(draw, (n, width))),
        {"metric": metric} | ({"p": 3.0} if metric == "minkowski" else {}),
    )


def _own(draw: Draw) -> Case:
    case = _points(draw)
    (x, _), options = case.values, case.options
    # Evenly spaced numbers have equal differences, where the largest of them bends.
    apart = np.sqrt(np.arange(2, x.size + 2)).reshape(x.shape)
    return Case((x + 0.037 * apart,), options)


def _between(torch: Any, a: Any, b: Any, metric: str) -> Any:
    if metric == "cosine":
        return 1 - torch.nn.functional.cosine_similarity(a + 0 * b, b + 0 * a, dim=-1, eps=0)
    return METRICS[metric](torch, a - b)


def _all_pairs(torch: Any, a: Any, b: Any, metric: str, p: float = 3.0) -> Any:
    return _between(torch, a[:, None], b[None], metric)


def _own_pairs(torch: Any, x: Any, metric: str, p: float = 3.0) -> Any:
    i, j = torch.triu_indices(len(x), len(x), 1)
    return _between(torch, x[i], x[j], metric)


SAMPLES = [
    Sample(
        "normalize",
        method("normalize"),
        _vectors,
        lambda torch, x, p, axis: torch.nn.functional.normalize(x, p, axis),
        (),
        ("normalize",),
        kinks=True,
    ),
    Sample(
        "cosine_similarity",
        method("cosine_similarity"),
        _angle,
        lambda torch, a, b, axis: torch.nn.functional.cosine_similarity(a, b, axis),
        (),
        ("cosine_similarity",),
        errors=(
            Error(
                lambda: Tensor.ones(2, 3).cosine_similarity(Tensor.ones(2, 4)),
                ValueError,
                "[cosine_similarity] expected shapes that broadcast, got (2, 3) and (2, 4)",
            ),
        ),
    ),
    Sample(
        "pairwise_distance",
        method("pairwise_distance"),
        _two,
        lambda torch, a, b, p, keepdims: torch.nn.functional.pairwise_distance(
            a, b, p, keepdim=keepdims
        ),
        (),
        ("pairwise_distance",),
        kinks=True,
        errors=(
            Error(
                lambda: Tensor(1.0).pairwise_distance(Tensor(1.0)),
                ValueError,
                "[pairwise_distance] expected vectors, got shape ()",
            ),
        ),
    ),
    Sample(
        "spatial.distance.cdist",
        lambda a, b, **options: tg.spatial.distance.cdist(a, b, **options),
        _points,
        _all_pairs,
        (),
        (),
        kinks=True,
        errors=(
            Error(
                lambda: tg.spatial.distance.cdist(Tensor.ones(2, 3), Tensor.ones(2, 4)),
                ValueError,
                "[cdist] expected points (M, D) and (N, D), got shapes (2, 3) and (2, 4)",
            ),
            Error(
                lambda: tg.spatial.distance.cdist(Tensor.ones(2, 3), Tensor.ones(2, 3), p=1),
                ValueError,
                "[cdist] expected metric=\"minkowski\" beside p=1, got 'euclidean'",
            ),
            Error(
                lambda: tg.spatial.distance.cdist(Tensor.ones(2, 3), Tensor.ones(2, 3), "hamming"),
                ValueError,
                "[cdist] expected metric to be one of ('chebyshev', 'cityblock', 'cosine', "
                "'euclidean', 'minkowski', 'sqeuclidean'), got 'hamming'",
            ),
        ),
    ),
    Sample(
        "spatial.distance.pdist",
        lambda x, **options: tg.spatial.distance.pdist(x, **options),
        _own,
        _own_pairs,
        (),
        (),
        kinks=True,
        errors=(
            Error(
                lambda: tg.spatial.distance.pdist(Tensor.ones(2)),
                ValueError,
                "[pdist] expected points (N, D), got shape (2,)",
            ),
        ),
    ),
]

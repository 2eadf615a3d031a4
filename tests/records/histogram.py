"""Records of ops/histogram.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_cupy.numpy as tnp
from support.sampling import FLOATS, Case, Draw, Error, Sample, normal, rng_of, shapes
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import histogram, sort, take

from .numpy_reductions import called

EDGES = np.array([-1.5, -0.5, 0.125, 1.0, 1.25])  # which 16 bits hold


def _places(draw: Draw) -> tuple[int, np.ndarray]:
    count = draw(st.integers(0, 6))
    return count, np.asarray(rng_of(draw).integers(0, 4, count))


def _weights_case(draw: Draw) -> Case:
    count, x = _places(draw)
    return Case((normal(draw, (count,)),), {"x": x, "minlength": draw(st.integers(0, 6))})


def _sums(torch: Any, weights: Any, x: Any, minlength: int) -> Any:
    size = max(int(x.max()) + 1 if x.numel() else 0, minlength)
    return torch.zeros(size, dtype=weights.dtype).index_add(0, x, weights)


def _points(draw: Draw) -> Case:
    return Case(
        (normal(draw, draw(shapes(min_side=0))),), {"bins": EDGES, "right": draw(st.booleans())}
    )


def _digitized(torch: Any, x: Any, bins: Any, right: bool) -> Any:
    return torch.bucketize(x.to(bins.dtype), bins, right=not right)


def _weighted_points(draw: Draw) -> Case:
    count = draw(st.integers(1, 8))
    return Case((normal(draw, (count,)),), {"x": normal(draw, (count,)), "density": False})


def _histogram(torch: Any, weights: Any, x: Any, density: bool) -> Any:
    place = torch.bucketize(x, torch.from_numpy(EDGES), right=True) - 1
    inside = (x >= EDGES[0]) & (x <= EDGES[-1])
    return torch.zeros(4, dtype=weights.dtype).index_add(0, place[inside], weights[inside])


def _grid_case(draw: Draw) -> Case:
    count = draw(st.integers(1, 8))
    points = {"x": normal(draw, (count,)), "y": normal(draw, (count,))}
    return Case((normal(draw, (count,)),), points)


def _grid(torch: Any, weights: Any, x: Any, y: Any) -> Any:
    cells = torch.zeros(4, 4, dtype=weights.dtype)
    where = []
    inside = torch.ones(x.shape, dtype=torch.bool)
    for v in (x, y):
        where.append(torch.bucketize(v, torch.from_numpy(EDGES), right=True) - 1)
        inside = inside & (v >= EDGES[0]) & (v <= EDGES[-1])
    at = tuple(place[inside] for place in where)
    return cells.index_put(at, weights[inside], accumulate=True)


SAMPLES = [
    Sample(
        "np.bincount",
        lambda weights, x, minlength: tnp.bincount(x, weights, minlength),
        _weights_case,
        _sums,
        (take.PutAdded,),
        ("np.bincount",),
        captured=lambda case: not case.values[0].size,
        obstacle="how many bins there are depends on values",
        errors=(
            Error(
                lambda: tnp.bincount(Tensor([1.0, 2.0])),
                TypeError,
                "[bincount] expected integers along one axis, got shape (2,) of float32",
            ),
            Error(
                lambda: tnp.bincount(Tensor([1, -2])),
                ValueError,
                "[bincount] expected integers ≥ 0, got -2",
            ),
            Error(
                lambda: tnp.bincount(Tensor([1, 2]), minlength=-1),
                ValueError,
                "[bincount] expected minlength ≥ 0, got -1",
            ),
            Error(
                lambda: tnp.bincount(Tensor([1, 2]), Tensor.ones(3)),
                ValueError,
                "[bincount] expected weights of shape (2,), got (3,)",
            ),
        ),
    ),
    Sample(
        "np.digitize",
        called("digitize"),
        _points,
        _digitized,
        (sort.SearchSorted,),
        ("np.digitize",),
        dtypes=FLOATS,
        order=0,
        errors=(
            Error(
                lambda: tnp.digitize(Tensor.ones(2), Tensor.ones(2, 2)),
                ValueError,
                "[digitize] expected bins along one axis, got shape (2, 2)",
            ),
        ),
    ),
    Sample(
        "np.histogram",
        lambda weights, x, density: tnp.histogram(x, EDGES, density=density, weights=weights)[0],
        _weighted_points,
        _histogram,
        (take.PutAdded, sort.SearchSorted),
        ("np.histogram",),
        errors=(
            Error(
                lambda: tnp.histogram(Tensor.ones(2), 3, (0, 1), weights=Tensor.ones(3)),
                ValueError,
                "[histogram] expected 2 weights, got 3",
            ),
        ),
    ),
    Sample(
        "np.histogram counts",
        lambda x: tnp.histogram(x, EDGES)[0],
        lambda draw: Case((normal(draw, draw(shapes())),)),
        lambda torch, x: torch.histogram(x.double(), torch.from_numpy(EDGES)).hist.long(),
        (histogram.BinCounts, sort.SearchSorted),
        ("np.histogram",),
        order=0,
    ),
    Sample(
        "np.histogram_bin_edges",
        lambda x: tnp.histogram_bin_edges(x, 5, (-1.0, 2.0)),
        lambda draw: Case((normal(draw, draw(shapes())),)),
        lambda torch, x: torch.linspace(-1, 2, 6, dtype=x.dtype),
        (),
        ("np.histogram_bin_edges",),
        order=0,
    ),
    Sample(
        "np.histogram2d",
        lambda weights, x, y: tnp.histogram2d(x, y, [EDGES, EDGES], weights=weights)[0],
        _grid_case,
        _grid,
        (take.PutAdded,),
        ("np.histogram2d",),
    ),
    Sample(
        "np.histogramdd",
        lambda weights, x, y: tnp.histogramdd([x, y], [EDGES, EDGES], weights=weights)[0],
        _grid_case,
        _grid,
        (take.PutAdded,),
        ("np.histogramdd",),
        errors=(
            Error(
                lambda: tnp.histogramdd([Tensor.ones(2), Tensor.ones(2)], [2, 2, 2]),
                ValueError,
                "[histogramdd] expected bins and ranges for 2 axes",
            ),
        ),
    ),
]

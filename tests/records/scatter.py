"""Records of ops/scatter.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_cupy.numpy as tnp
from support.sampling import MOVED, NUMBERS, Case, Draw, Error, Sample, distinct, normal, shapes
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops.scatter import Dropped, PlacesAlong, SegmentExtremum, SegmentProd
from tinygrad_cupy.ops.take import PutAdded, ScatterAlong, TakeAlong

from .arrange import axis_of


def _laid_out(draw: Draw) -> tuple[tuple[int, ...], int, np.ndarray]:
    """A shape, an axis, and indices along it, but for that no longer than the shape."""
    shape = draw(shapes(min_dims=1))
    axis = axis_of(draw, shape)
    sizes = [draw(st.integers(0, n)) for n in shape]
    sizes[axis] = draw(st.integers(0, 5))
    n = shape[axis]
    return shape, axis, draw(hnp.arrays(np.int64, tuple(sizes), elements=st.integers(-n, n - 1)))


def _gathered(draw: Draw) -> Case:
    shape, axis, indices = _laid_out(draw)
    return Case((normal(draw, shape),), {"indices": indices, "axis": axis})


def _scattered(values: Callable[..., np.ndarray], *reductions: str) -> Callable[[Draw], Case]:
    def cases(draw: Draw) -> Case:
        shape, axis, indices = _laid_out(draw)
        size = int(np.prod(shape))
        everything = values(draw, (size + indices.size,))  # all of one draw: distinct may be asked
        x, added = everything[:size].reshape(shape), everything[size:].reshape(indices.shape)
        options: dict[str, Any] = {"indices": indices, "axis": axis}
        if reductions:
            options["reduce"] = draw(st.sampled_from(reductions))
            options["include_self"] = draw(st.booleans())
        return Case((x, added), options)

    return cases


def with_zeros(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    """Normal values, some of them 0."""
    mask: np.ndarray = draw(hnp.arrays(bool, shape))
    found: np.ndarray = normal(draw, shape) * mask
    return found


def _positive(indices: Any, n: int) -> Any:
    """Indices as PyTorch takes them."""
    return indices % n


def _reduced(name: str, cases: Callable[[Draw], Case], op: Any, kinks: bool = False) -> Sample:
    def in_torch(_: Any, x: Any, values: Any, indices: Any, axis: int, **options: Any) -> Any:
        return x.scatter_reduce(axis, indices % x.shape[axis], values, **options)

    return Sample(
        f"np.scatter_reduce {name}",
        lambda x, values, indices, **options: tnp.scatter_reduce(x, indices, values, **options),
        cases,
        in_torch,
        (op, PlacesAlong),
        ("np.scatter_reduce",),
        kinks=kinks,
        errors=(
            Error(
                lambda: tnp.scatter_reduce(Tensor.ones(1), [0], [1.0], 0, "max"),
                ValueError,
                "[scatter_reduce] expected one of ('sum', 'mean', 'prod', 'amax', 'amin'), got "
                "'max'",
            ),
        ),
    )


def _segments(draw: Draw) -> Case:
    shape = draw(shapes(min_dims=1, min_side=0))
    numbers = draw(hnp.arrays(np.int64, shape[:1], elements=st.integers(-1, 4)))
    return Case((normal(draw, shape),), {"numbers": numbers, "count": draw(st.integers(0, 4))})


def _segment_sum(torch: Any, x: Any, numbers: Any, count: int) -> Any:
    kept = (numbers >= 0) & (numbers < count)
    zeros = torch.zeros((count, *x.shape[1:]), dtype=x.dtype)
    return zeros.index_add(0, numbers[kept], x[kept])


SAMPLES = [
    Sample(
        "np.gather",
        lambda x, indices, axis: tnp.gather(x, indices, axis),
        _gathered,
        lambda _, x, indices, axis: x.gather(axis, indices % x.shape[axis]),
        (TakeAlong, ScatterAlong),
        ("np.gather",),
        dtypes=MOVED,
        errors=(
            Error(
                lambda: tnp.gather(Tensor.ones(2, 3), [[0], [1], [0]], 1),
                ValueError,
                "[gather] expected indices of as many axes as the tensor, none but axis 1 longer "
                "than its, got shapes (3, 1) and (2, 3)",
            ),
        ),
    ),
    Sample(
        "np.scatter_add",
        lambda x, values, indices, axis: tnp.scatter_add(x, indices, values, axis),
        _scattered(normal),
        lambda _, x, values, indices, axis: x.scatter_add(axis, indices % x.shape[axis], values),
        (PutAdded, PlacesAlong),
        ("np.scatter_add",),
        dtypes=NUMBERS,
        errors=(
            Error(
                lambda: tnp.scatter_add(Tensor.ones(3), [0, 3], [1.0, 2.0], 0),
                IndexError,
                "[scatter_add] index 3 is out of bounds for axis 0 with size 3 (tensor of shape "
                "(3,))",
                on_gpu=False,
            ),
            Error(
                lambda: tnp.scatter_add(Tensor.ones(3), [0, 1], [1.0, 2.0, 3.0], 0),
                ValueError,
                "[scatter_add] values of shape (3,) do not broadcast to the indices, of shape (2,)",
            ),
        ),
    ),
    _reduced("sum", _scattered(normal, "sum", "mean"), PutAdded),
    _reduced("extrema", _scattered(distinct, "amax", "amin"), SegmentExtremum, kinks=True),
    _reduced("prod", _scattered(normal, "prod"), SegmentProd),
    Sample(
        "np.segment_sum",
        lambda x, numbers, count: tnp.segment_sum(x, numbers, count),
        _segments,
        _segment_sum,
        (PutAdded, Dropped),
        ("np.segment_sum",),
        dtypes=NUMBERS,
        errors=(
            Error(
                lambda: tnp.segment_sum(Tensor.ones(3, 2), [0, 1]),
                ValueError,
                "[segment_sum] expected a number for each row of values of shape (3, 2), got shape "
                "(2,)",
            ),
            Error(
                lambda: tnp.segment_sum(Tensor.ones(1), [0], -1),
                ValueError,
                "[segment_sum] expected num_segments ≥ 0, got -1",
            ),
        ),
    ),
]

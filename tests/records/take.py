"""Records of ops/take.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_cupy as tg
import tinygrad_cupy.numpy as tnp
from support.moving import moved_by, moving
from support.sampling import MOVED, Case, Draw, Error, Sample, normal, shapes
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops.take import Offset, PutAdded, ScatterAlong, Take, TakeAlong

from .arrange import axis_of

LIMITS = {"raise": 0, "wrap": 7, "clip": 7}  # how far indices may lie out of bounds


def indices_for(draw: Draw, length: int, shape: tuple[int, ...], beyond: int = 0) -> np.ndarray:
    """Indices into an axis of ``length``, with repeats, counted from either end."""
    elements = st.integers(-length - beyond, length - 1 + beyond)
    found: np.ndarray = draw(hnp.arrays(np.int64, shape, elements=elements))
    return found


def _taken(draw: Draw) -> Case:
    shape = draw(shapes(min_dims=1))
    axis = draw(st.sampled_from([None, axis_of(draw, shape)]))
    length = int(np.prod(shape)) if axis is None else shape[axis]
    mode = draw(st.sampled_from(list(LIMITS)))
    indices = indices_for(draw, length, draw(shapes(max_dims=2, min_side=0)), LIMITS[mode])
    return Case((normal(draw, shape),), {"indices": indices, "axis": axis, "mode": mode})


def along_case(draw: Draw) -> Case:
    """A tensor, an axis, and indices along it, which broadcast along the others."""
    shape = draw(shapes(min_dims=1))
    axis = axis_of(draw, shape)
    sizes = [1 if draw(st.booleans()) else n for n in shape]
    sizes[axis] = draw(st.integers(0, 4))
    indices = indices_for(draw, shape[axis], tuple(sizes))
    return Case((normal(draw, shape),), {"indices": indices, "axis": axis})


def _by_element(x: Tensor, indices: Any) -> Any:
    """Of each row the elements that its own row of indices says."""
    rows = Tensor(indices)
    return tg.vmap(lambda x, i: x.take(i))(x, rows)


def _rows(draw: Draw) -> Case:
    count, length = draw(st.tuples(st.integers(1, 3), st.integers(1, 4)))
    return Case(
        (normal(draw, (count, length)),), {"indices": indices_for(draw, length, (count, 3))}
    )


SAMPLES = [
    moving(
        "take",
        _taken,
        (Take, PutAdded),
        "take",
        errors=(
            Error(
                lambda: Tensor.ones(2, 3).take([0, 3], axis=1),
                IndexError,
                "[take] index 3 is out of bounds for axis 1 with size 3 (tensor of shape (2, 3))",
                on_gpu=False,
            ),
            Error(
                lambda: Tensor.ones(2, 3).take(7),
                IndexError,
                "[take] index 7 is out of bounds for axis 0 with size 6 (tensor of shape (6,))",
            ),
            Error(
                lambda: Tensor.ones(2, 3).take([0.5]),
                TypeError,
                "[take] expected integers as indices, got dtype float64",
            ),
            Error(
                lambda: Tensor.ones(2, 3).take([0], mode="nearest"),
                ValueError,
                "[take] expected mode to be one of ('raise', 'wrap', 'clip'), got 'nearest'",
            ),
        ),
    ),
    Sample(
        "take of each row",
        _by_element,
        _rows,
        lambda torch, x, indices: torch.take_along_dim(x, indices % x.shape[1], 1),
        (Take, PutAdded, Offset),
        ("take",),
        dtypes=MOVED,
    ),
    Sample(
        "np.take_along_axis",
        lambda x, indices, axis: tnp.take_along_axis(x, indices, axis),
        along_case,
        moved_by(lambda x, indices, axis: np.take_along_axis(x, indices, axis)),
        (TakeAlong, ScatterAlong),
        ("np.take_along_axis",),
        dtypes=MOVED,
        errors=(
            Error(
                lambda: tnp.take_along_axis(Tensor.ones(2, 3), [0], 1),
                ValueError,
                "[take_along_axis] expected indices of as many axes as the tensor, got shapes (1,) "
                "and (2, 3)",
            ),
            Error(
                lambda: tnp.take_along_axis(Tensor.ones(2, 3), [[0], [3]], 1),
                IndexError,
                "[take_along_axis] index 3 is out of bounds for axis 1 with size 3 (tensor of "
                "shape (2, 3))",
                on_gpu=False,
            ),
            Error(
                lambda: tnp.take_along_axis(Tensor.ones(2, 3), [[0], [1], [1]], 1),
                ValueError,
                "[take_along_axis] shapes (2, 3) and (3, 1) do not broadcast but for axis 1",
            ),
        ),
    ),
]

"""Records of ops/choose.py, and of NumPy's grids and places."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_cupy.numpy as tnp
from support.moving import calling, moved_by, shaped
from support.sampling import (
    MOVED,
    NUMBERS,
    Case,
    Draw,
    Error,
    Sample,
    normal,
    shapes,
    uncaptured,
)
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops.choose import Nonzero, Unravelled, Within
from tinygrad_cupy.ops.comparison import Where
from tinygrad_cupy.ops.indexing import Index
from tinygrad_cupy.ops.shape import Reshape
from tinygrad_cupy.ops.take import PutAdded, Take, TakeAlong

from .arrange import axis_of


def _mask(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    found: np.ndarray = draw(hnp.arrays(bool, shape))
    return found


# --- by conditions --------------------------------------------------------------------------------


def _compressed(draw: Draw, shape: tuple[int, ...]) -> dict[str, Any]:
    axis = draw(st.sampled_from([None, axis_of(draw, shape)]))
    length = int(np.prod(shape)) if axis is None else shape[axis]
    return {"condition": _mask(draw, (draw(st.integers(0, length)),)), "axis": axis}


def _chosen(draw: Draw) -> Case:
    """Three choices and numbers, which broadcast."""
    shape = draw(shapes(min_side=0))
    ones = [tuple(1 if draw(st.booleans()) else n for n in shape) for _ in range(4)]
    mode = draw(st.sampled_from(["raise", "wrap", "clip"]))
    beyond = 0 if mode == "raise" else 4
    numbers = draw(hnp.arrays(np.int64, ones[0], elements=st.integers(-beyond, 2 + beyond)))
    return Case(tuple(normal(draw, s) for s in ones[1:]), {"numbers": numbers, "mode": mode})


def _selected(draw: Draw) -> Case:
    shape = draw(shapes(min_side=0))
    ones = tuple(1 if draw(st.booleans()) else n for n in shape)
    masks = (_mask(draw, shape), _mask(draw, shape))
    return Case((normal(draw, shape), normal(draw, ones)), {"masks": masks})


def _in_torch(torch: Any, a: Any, b: Any, masks: Any) -> Any:
    shape = torch.broadcast_shapes(a.shape, b.shape)
    below = torch.where(masks[1], b.expand(shape), torch.zeros((), dtype=b.dtype))
    return torch.where(masks[0], a.expand(shape), below)


CONDITIONS = [
    Sample(
        "np.compress",
        lambda x, condition, axis: tnp.compress(condition, x, axis),
        shaped(_compressed, min_dims=1),
        moved_by(lambda x, condition, axis: np.compress(condition, x, axis)),
        (Nonzero, Take, PutAdded),
        ("np.compress", "compress"),
        dtypes=MOVED,
        captured=False,
        obstacle="the result's shape depends on values; `where` keeps it",
        errors=(
            Error(
                lambda: Tensor.ones(2).compress([[True]]),
                ValueError,
                "[compress] expected a condition of one axis, got (1, 1)",
            ),
        ),
    ),
    Sample(
        "np.extract",
        lambda x, condition: tnp.extract(condition, x),
        shaped(lambda draw, shape: {"condition": _mask(draw, shape)}),
        lambda _, x, condition: x[condition] if x.ndim else x.reshape(1)[condition.reshape(1)],
        (Take,),
        ("np.extract",),
        dtypes=MOVED,
        captured=False,
        obstacle="the result's shape depends on values",
    ),
    Sample(
        "np.choose",
        lambda *choices, numbers, mode: tnp.choose(numbers, choices, mode=mode),
        _chosen,
        moved_by(lambda *choices, numbers, mode: np.choose(numbers, choices, mode=mode)),
        (TakeAlong, Within),
        ("np.choose", "choose"),
        dtypes=MOVED,
        errors=(
            Error(
                lambda: tnp.choose(Tensor([0, 2]), [Tensor.ones(2), Tensor.ones(2)]),
                ValueError,
                "[choose] expected numbers of 2 choices: index 2 is out of bounds for axis 0 with "
                "size 2",
                on_gpu=False,
            ),
            Error(
                lambda: Tensor([0.5]).choose([Tensor.ones(1)]),
                TypeError,
                "[choose] expected integers that choose, got dtype float32",
            ),
        ),
    ),
    Sample(
        "np.select",
        lambda a, b, masks: tnp.select(list(masks), [a, b]),
        _selected,
        _in_torch,
        (Where,),
        ("np.select",),
        dtypes=NUMBERS,
        errors=(
            Error(
                lambda: tnp.select([], []),
                ValueError,
                "[select] expected as many conditions as choices, at least one, got 0 and 0",
            ),
        ),
    ),
    Sample(
        "np.where",
        lambda a, b, masks: tnp.where(masks[0], a, b),
        _selected,
        lambda torch, a, b, masks: torch.where(masks[0], a, b),
        (Where,),
        ("np.where",),
        dtypes=MOVED,
        errors=(
            Error(
                lambda: tnp.where(Tensor([True]), Tensor([1.0])),
                ValueError,
                "[where] expected x and y or neither, got one of them",
            ),
        ),
    ),
]


# --- what is not 0 --------------------------------------------------------------------------------


def _sparse(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    values = st.sampled_from([0.0, -0.0, 1.0, -2.0])
    found: np.ndarray = draw(hnp.arrays(np.float64, shape, elements=values))
    return found


def _found(name: str, like: Any, *covers: str, **limits: int) -> Sample:
    return Sample(
        f"np.{name}",
        calling(name),
        lambda draw: Case((_sparse(draw, draw(shapes(min_side=0, **limits))),)),
        like,
        (Nonzero,),
        (f"np.{name}", *covers),
        dtypes=MOVED,
        order=0,
        captured=False,
        obstacle="the result's shape depends on values",
    )


NONZERO = [
    _found(
        "nonzero", lambda torch, x: list(torch.nonzero(x, as_tuple=True)), "nonzero", min_dims=1
    ),
    _found("flatnonzero", lambda torch, x: torch.nonzero(x.reshape(-1))[:, 0]),
    _found("argwhere", lambda torch, x: torch.argwhere(x)),
]


# --- grids and places -----------------------------------------------------------------------------


def _lines(draw: Draw) -> Case:
    lines = tuple(normal(draw, (draw(st.integers(0, 3)),)) for _ in range(draw(st.integers(1, 3))))
    indexing, sparse = draw(st.tuples(st.sampled_from(["xy", "ij"]), st.booleans()))
    return Case(lines, {"indexing": indexing, "sparse": sparse})


def _shape_and_order(draw: Draw, least: int = 1) -> tuple[tuple[int, ...], str]:
    return draw(shapes(min_dims=1, min_side=least)), draw(st.sampled_from(["C", "F"]))


def _places(draw: Draw) -> Case:
    shape, order = _shape_and_order(draw)
    count = int(np.prod(shape))
    places = draw(
        hnp.arrays(np.int64, draw(shapes(max_dims=2)), elements=st.integers(0, count - 1))
    )
    return Case((np.zeros(1),), {"places": places, "shape": shape, "order": order})


def _indices(draw: Draw) -> Case:
    dims, order = _shape_and_order(draw)
    mode = draw(st.sampled_from(["raise", "wrap", "clip"]))
    beyond = 0 if mode == "raise" else 5
    indices = tuple(
        draw(hnp.arrays(np.int64, (3,), elements=st.integers(-beyond, n - 1 + beyond)))
        for n in dims
    )
    return Case((np.zeros(1),), {"indices": indices, "dims": dims, "mode": mode, "order": order})


def _axes(draw: Draw) -> Case:
    count = draw(st.integers(1, 3))
    lines = tuple(
        np.array(draw(st.lists(st.integers(0, 2), max_size=3)), int) for _ in range(count)
    )
    return Case((normal(draw, (3,) * count),), {"lines": lines})


GRIDS = [
    Sample(
        "np.meshgrid",
        calling("meshgrid"),
        _lines,
        moved_by(lambda *xs, **options: np.meshgrid(*xs, **options)),
        (Reshape,),
        ("np.meshgrid",),
        dtypes=MOVED,
        errors=(
            Error(
                lambda: tnp.meshgrid(Tensor.ones(2), indexing="yx"),
                ValueError,
                '[meshgrid] expected indexing "xy" or "ij", got \'yx\'',
            ),
        ),
    ),
    Sample(
        "np.unravel_index",
        lambda x, places, shape, order: list(tnp.unravel_index(places, shape, order)),
        _places,
        lambda torch, x, places, shape, order: [
            torch.as_tensor(i) for i in np.unravel_index(places.numpy(), shape, order)
        ],
        (Unravelled,),
        ("np.unravel_index",),
        order=0,
        errors=(
            Error(
                lambda: tnp.unravel_index([6], (2, 3)),
                ValueError,
                "[unravel_index] index 6 is out of bounds for size 6",
                on_gpu=False,
            ),
        ),
    ),
    Sample(
        "np.ravel_multi_index",
        lambda x, indices, dims, mode, order: tnp.ravel_multi_index(indices, dims, mode, order),
        _indices,
        lambda torch, x, indices, dims, mode, order: torch.as_tensor(
            np.ravel_multi_index([i.numpy() for i in indices], dims, mode, order)
        ),
        (Within,),
        ("np.ravel_multi_index",),
        order=0,
        errors=(
            Error(
                lambda: tnp.ravel_multi_index(([0, 2], [0, 1]), (2, 3)),
                ValueError,
                "[ravel_multi_index] index 2 is out of bounds for size 2",
                on_gpu=False,
            ),
            Error(
                lambda: tnp.ravel_multi_index(([0],), (2, 3)),
                ValueError,
                "[ravel_multi_index] expected an index for each of 2 axes, got 1",
            ),
        ),
    ),
    Sample(
        "np.ix_",
        lambda x, lines: x[tnp.ix_(*lines)],
        _axes,
        moved_by(lambda x, lines: x[np.ix_(*lines)]),
        (Index,),
        ("np.ix_",),
        dtypes=MOVED,
        errors=(
            Error(
                lambda: tnp.ix_([[0]]),
                ValueError,
                "[ix_] expected sequences of one axis, got shape (1, 1)",
            ),
        ),
    ),
]

SAMPLES = uncaptured(
    [*CONDITIONS, *NONZERO, *GRIDS], "how many elements are not 0 depends on values", Nonzero
)

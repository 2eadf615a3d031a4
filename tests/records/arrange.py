"""Records of ops/arrange.py, and of NumPy's functions of shapes and axes."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_cupy.numpy as tnp
from support.moving import calling, moved_by, moving, shaped
from support.sampling import MOVED, Case, Draw, Error, Sample, draw_axis, normal, shapes
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops.arrange import Roll
from tinygrad_cupy.ops.indexing import Index
from tinygrad_cupy.ops.reduce import BroadcastTo
from tinygrad_cupy.ops.shape import Permute, Reshape
from tinygrad_cupy.ops.take import PutAdded, Take

Shape = tuple[int, ...]


def axis_of(draw: Draw, shape: Shape) -> int:
    """An axis, counted from either end."""
    return int(draw(st.integers(-len(shape), len(shape) - 1)))


def axes_of(draw: Draw, shape: Shape, count: int) -> tuple[int, ...]:
    """That many different axes."""
    chosen = draw(st.permutations(range(len(shape))))[:count]
    return tuple(axis - len(shape) * draw(st.booleans()) for axis in chosen)


def _axis(draw: Draw, shape: Shape) -> dict[str, Any]:
    return {"axis": axis_of(draw, shape)}


# --- rolling, repeating, turning ------------------------------------------------------------------


def _roll(draw: Draw, shape: Shape) -> dict[str, Any]:
    shift = st.integers(-7, 7)
    if draw(st.booleans()):
        return {"shift": draw(shift), "axis": draw(st.sampled_from([None, axis_of(draw, shape)]))}
    axes = draw(st.lists(st.integers(-len(shape), len(shape) - 1), min_size=1, max_size=3))
    shifts = tuple(draw(shift) for _ in axes)
    return {"shift": draw(st.sampled_from([shifts, 2])), "axis": tuple(axes)}


def _repeat(draw: Draw, shape: Shape) -> dict[str, Any]:
    axis = draw(st.sampled_from([None, *range(-len(shape), len(shape))]))
    length = int(np.prod(shape)) if axis is None else shape[axis]
    counts = np.array([draw(st.integers(0, 3)) for _ in range(length)], np.int64)
    return {"repeats": draw(st.sampled_from([0, 2, 3, counts, counts.tolist()])), "axis": axis}


def _tile(draw: Draw, shape: Shape) -> dict[str, Any]:
    counts = st.integers(0, 3)
    return {"reps": draw(st.one_of(counts, st.lists(counts, max_size=3).map(tuple)))}


def _turned(draw: Draw, shape: Shape) -> dict[str, Any]:
    return {"k": draw(st.integers(-5, 5)), "axes": axes_of(draw, shape, 2)}


def _moved(draw: Draw, shape: Shape) -> dict[str, Any]:
    count = draw(st.integers(0, len(shape)))
    source, destination = axes_of(draw, shape, count), axes_of(draw, shape, count)
    if count == 1 and draw(st.booleans()):
        return {"source": source[0], "destination": destination[0]}
    return {"source": source, "destination": destination}


def _rolled_axis(draw: Draw, shape: Shape) -> dict[str, Any]:
    start = draw(st.integers(-len(shape), len(shape)))
    return {"axis": axis_of(draw, shape), "start": start}


def _swapped(draw: Draw, shape: Shape) -> dict[str, Any]:
    return {"axis1": axis_of(draw, shape), "axis2": axis_of(draw, shape)}


ORDER = [
    moving(
        "roll",
        shaped(_roll, min_dims=1),
        Roll,
        errors=(
            Error(
                lambda: tnp.roll(Tensor.ones(2, 3), 1, 2),
                ValueError,
                "[roll] axis 2 is out of range for a tensor of 2 axes",
            ),
            Error(
                lambda: tnp.roll(Tensor.ones(2, 3), (1, 2, 3), (0, 1)),
                ValueError,
                "[roll] expected as many shifts as axes, got (1, 2, 3) and (0, 1)",
            ),
        ),
    ),
    moving(
        "repeat",
        shaped(_repeat, min_dims=1),
        (Take, PutAdded, BroadcastTo),
        "repeat",
        captured=lambda case: not isinstance(case.options["repeats"], np.ndarray),
        obstacle="an array of a number for each element: the result's length depends on them",
        errors=(
            Error(
                lambda: Tensor.ones(3).repeat([1, 2]),
                ValueError,
                "[repeat] expected one number of repeats or 3, got shape (2,)",
            ),
            Error(
                lambda: Tensor.ones(3).repeat(-1),
                ValueError,
                "[repeat] expected numbers of repeats ≥ 0, got -1",
            ),
            Error(
                lambda: Tensor.ones(3).repeat(1.5),
                TypeError,
                "[repeat] expected whole numbers of repeats, got float64",
            ),
        ),
    ),
    moving(
        "tile",
        shaped(_tile),
        (Reshape, BroadcastTo),
        errors=(
            Error(
                lambda: tnp.tile(Tensor.ones(3), (2, -1)),
                ValueError,
                "[tile] expected numbers of repeats ≥ 0, got (2, -1)",
            ),
        ),
    ),
    moving(
        "rot90",
        shaped(_turned, min_dims=2),
        (Index, Permute),
        errors=(
            Error(
                lambda: tnp.rot90(Tensor.ones(3)),
                ValueError,
                "[rot90] expected at least 2 axes, got shape (3,)",
            ),
            Error(
                lambda: tnp.rot90(Tensor.ones(3, 3), axes=(1, -1)),
                ValueError,
                "[rot90] expected two different axes, got (1, -1)",
            ),
        ),
    ),
    moving(
        "flip", shaped(lambda draw, shape: {"axis": draw_axis(draw, len(shape))}, min_dims=1), Index
    ),
    moving(
        "fliplr",
        shaped(min_dims=2),
        Index,
        errors=(
            Error(
                lambda: tnp.fliplr(Tensor.ones(3)),
                ValueError,
                "[fliplr] expected at least 2 axes, got shape (3,)",
            ),
        ),
    ),
    moving("flipud", shaped(min_dims=1), Index),
]

# --- axes -----------------------------------------------------------------------------------------

AXES = [
    moving(
        "moveaxis",
        shaped(_moved, min_dims=1),
        Permute,
        errors=(
            Error(
                lambda: tnp.moveaxis(Tensor.ones(2, 3), (0, 1), 1),
                ValueError,
                "[moveaxis] expected as many places as axes, all distinct, got (0, 1) and 1",
            ),
        ),
    ),
    moving(
        "rollaxis",
        shaped(_rolled_axis, min_dims=1),
        Permute,
        errors=(
            Error(
                lambda: tnp.rollaxis(Tensor.ones(2, 3), 0, 3),
                ValueError,
                "[rollaxis] start 3 is out of range for 2 axes",
            ),
        ),
    ),
    moving(
        "swapaxes",
        shaped(_swapped, min_dims=1),
        Permute,
        "swapaxes",
        errors=(
            Error(
                lambda: Tensor.ones(2, 3).swapaxes(0, 2),
                ValueError,
                "[swapaxes] axis 2 is out of range for a tensor of 2 axes",
            ),
            Error(
                lambda: tnp.swapaxes(Tensor.ones(2, 3), 0, (1,)),  # type: ignore[arg-type]
                TypeError,
                "[swapaxes] expected one axis, got (1,)",
            ),
        ),
    ),
    moving(
        "transpose",
        shaped(lambda draw, shape: {"axes": draw(st.sampled_from([None, _order(draw, shape)]))}),
        Permute,
    ),
    moving("permute_dims", shaped(lambda draw, shape: {"axes": _order(draw, shape)}), Permute),
    moving(
        "matrix_transpose",
        shaped(min_dims=2),
        Permute,
        errors=(
            Error(
                lambda: tnp.matrix_transpose(Tensor.ones(2)),
                ValueError,
                "[matrix_transpose] expected at least 2 axes, got shape (2,)",
            ),
        ),
    ),
    Sample(
        "mT",
        lambda x: x.mT,
        shaped(min_dims=2),
        lambda _, x: x.mT,
        (Permute,),
        ("mT",),
        dtypes=MOVED,
        errors=(
            Error(
                lambda: Tensor.ones(2).mT,
                ValueError,
                "[mT] expected at least two axes, got shape (2,)",
            ),
        ),
    ),
]


def _order(draw: Draw, shape: Shape) -> tuple[int, ...]:
    return axes_of(draw, shape, len(shape))


# --- shapes ---------------------------------------------------------------------------------------


def _reshaped(draw: Draw, shape: Shape) -> dict[str, Any]:
    size = int(np.prod(shape))
    divisors = [n for n in range(1, size + 1) if size % n == 0] or [1]
    first = draw(st.sampled_from(divisors))
    wanted = draw(st.sampled_from([(first, -1), (-1,), -1, (1, size)]))
    return {"shape": wanted, "order": draw(st.sampled_from(["C", "F"]))}


def _expanded(draw: Draw, shape: Shape) -> dict[str, Any]:
    count = draw(st.integers(1, 2))
    ndim = len(shape) + count
    chosen = draw(st.permutations(range(ndim)))[:count]
    axes = tuple(axis - ndim * draw(st.booleans()) for axis in chosen)
    return {"axis": axes[0] if count == 1 and draw(st.booleans()) else axes}


def _stretched(draw: Draw) -> Case:
    shape = draw(shapes(min_side=0))
    wide = (*draw(shapes(max_dims=2, min_side=0)), *shape)
    ones = tuple(1 if draw(st.booleans()) else n for n in shape)
    return Case((normal(draw, ones),), {"shape": wide})


def _together(draw: Draw) -> Case:
    shape = draw(shapes(min_side=0))
    ones = [tuple(1 if draw(st.booleans()) else n for n in shape) for _ in range(2)]
    lead = draw(st.integers(0, len(shape)))
    return Case((normal(draw, ones[0]), normal(draw, ones[1][lead:])))


SHAPES = [
    moving(
        "ravel",
        shaped(lambda draw, shape: {"order": draw(st.sampled_from(["C", "F"]))}),
        Reshape,
        "ravel",
        errors=(
            Error(
                lambda: Tensor.ones(2).ravel("K"),
                ValueError,
                '[ravel] expected order "C" or "F", got \'K\': how a tensor lies in memory says '
                "nothing of the order of its elements",
            ),
        ),
    ),
    Sample(
        "np.reshape",
        lambda x, shape, order: tnp.reshape(x, shape, order),
        shaped(_reshaped),
        moved_by(lambda x, shape, order: np.reshape(x, shape, order)),
        (Reshape,),
        ("np.reshape",),
        dtypes=MOVED,
    ),
    moving("expand_dims", shaped(_expanded), Reshape),
    moving("squeeze", shaped(lambda draw, shape: {}), Reshape),
    moving(
        "resize",
        shaped(lambda draw, shape: {"new_shape": draw(shapes(min_side=0))}, min_side=1),
        Reshape,
        errors=(
            Error(
                lambda: tnp.resize(Tensor.ones(2), (2, -1)),
                ValueError,
                "[resize] expected sizes ≥ 0, got (2, -1)",
            ),
        ),
    ),
    Sample(
        "np.broadcast_to",
        lambda x, shape: tnp.broadcast_to(x, shape),
        _stretched,
        lambda _, x, shape: x.broadcast_to(shape),
        (BroadcastTo,),
        ("np.broadcast_to",),
        dtypes=MOVED,
    ),
    Sample(
        "np.broadcast_arrays",
        calling("broadcast_arrays"),
        _together,
        lambda torch, *xs: list(torch.broadcast_tensors(*xs)),
        (BroadcastTo,),
        ("np.broadcast_arrays",),
        dtypes=MOVED,
        errors=(
            Error(
                lambda: tnp.broadcast_arrays(Tensor.ones(2), Tensor.ones(3)),
                ValueError,
                "[broadcast_arrays] shapes (2,) and (3,) do not broadcast",
            ),
        ),
    ),
    *[moving(name, shaped(), Reshape) for name in ("atleast_1d", "atleast_2d", "atleast_3d")],
]

SAMPLES = [*ORDER, *AXES, *SHAPES]

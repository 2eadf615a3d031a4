"""Records of NumPy's functions that join and cut, put in and leave out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_cupy.numpy as tnp
from support.moving import moved_by, moving, shaped
from support.sampling import MOVED, Case, Draw, Error, Sample, normal, shapes
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops.indexing import Index
from tinygrad_cupy.ops.shape import Concat
from tinygrad_cupy.ops.take import PutAdded, Take

from .arrange import axis_of

Shape = tuple[int, ...]


def _parts(axis: int | None, **limits: int) -> Callable[[Draw], Case]:
    """Two or three tensors whose shapes agree but along the axis; one drawn where it is None."""

    def cases(draw: Draw) -> Case:
        shape = draw(shapes(**{"min_side": 0, "min_dims": 1, **limits}))
        place = draw(st.integers(0, len(shape) - 1)) if axis is None else axis
        sizes = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
        if place >= len(shape):
            return Case(tuple(normal(draw, shape) for _ in sizes))
        parts = tuple(normal(draw, (*shape[:place], n, *shape[place + 1 :])) for n in sizes)
        return Case(
            parts, {"axis": place - len(shape) * draw(st.booleans())} if axis is None else {}
        )

    return cases


def _alike(**limits: int) -> Callable[[Draw], Case]:
    def cases(draw: Draw) -> Case:
        shape = draw(shapes(**{"min_side": 0, **limits}))
        return Case(tuple(normal(draw, shape) for _ in range(draw(st.integers(1, 3)))))

    return cases


def _stacked(draw: Draw) -> Case:
    shape = draw(shapes(min_side=0))
    parts = tuple(normal(draw, shape) for _ in range(draw(st.integers(1, 3))))
    return Case(parts, {"axis": draw(st.integers(-len(shape) - 1, len(shape)))})


def _blocks(draw: Draw) -> Case:
    """[[a, b], [c, d]] with b and d vectors or matrices."""
    rows, columns = draw(st.tuples(st.integers(0, 3), st.integers(1, 3)))
    return Case(
        (
            normal(draw, (rows, columns)),
            normal(draw, (rows, 2)),
            normal(draw, (columns,)),
            normal(draw, (2,)),
        )
    )


JOINED = [
    moving("concatenate", _parts(None), Concat, several=True),
    moving("concat", _parts(None), Concat, several=True),
    moving("stack", _stacked, Concat, several=True),
    moving("hstack", _parts(1, min_dims=2), Concat, several=True),
    moving("vstack", _parts(0, min_dims=2), Concat, several=True),
    moving("dstack", _alike(), Concat, several=True),
    moving("column_stack", _alike(min_dims=1, max_dims=2), Concat, several=True),
    Sample(
        "np.append",
        lambda a, b: tnp.append(a, b),
        lambda draw: Case((normal(draw, (2,)), normal(draw, (3, 1)))),
        lambda torch, a, b: torch.cat([a.reshape(-1), b.reshape(-1)]),
        (Concat,),
        ("np.append",),
        dtypes=MOVED,
    ),
    Sample(
        "np.block",
        lambda a, b, c, d: tnp.block([[a, b], [c, d]]),
        _blocks,
        moved_by(lambda a, b, c, d: np.block([[a, b], [c, d]])),
        (Concat,),
        ("np.block",),
        dtypes=MOVED,
        errors=(
            Error(
                lambda: tnp.block([[Tensor.ones(1)], Tensor.ones(1)]),
                ValueError,
                "[block] expected lists that are nested equally deep, none empty, got depths "
                "[0, 1]",
            ),
            Error(
                lambda: tnp.block([[], []]),
                ValueError,
                "[block] expected lists that are nested equally deep, none empty, got an empty one",
            ),
            Error(
                lambda: tnp.block([(Tensor.ones(1),)]),
                TypeError,
                "[block] expected lists of arrays, got a tuple among them",
            ),
        ),
    ),
]

# --- cutting --------------------------------------------------------------------------------------


def _indices(draw: Draw) -> Any:
    return draw(st.lists(st.integers(-3, 5), max_size=3))


def _sections(place: int | None, equal: bool, **limits: int) -> Callable[[Draw], Case]:
    """A tensor, and where to cut it: along an axis that is drawn where ``place`` is None."""

    def cases(draw: Draw) -> Case:
        shape = draw(shapes(**{"min_dims": 1, **limits}))
        axis = axis_of(draw, shape) if place is None else min(place, len(shape) - 1)
        count = draw(st.integers(1, 3))
        if equal:
            sizes = list(shape)
            sizes[axis] = count * draw(st.integers(0, 2))
            shape = tuple(sizes)
        options: dict[str, Any] = {} if place is not None else {"axis": axis}
        where = draw(st.one_of(st.just(count), st.just(_indices(draw))))
        return Case((normal(draw, shape),), {"indices_or_sections": where, **options})

    return cases


CUT = [
    moving(
        "split",
        _sections(None, True),
        Index,
        errors=(
            Error(
                lambda: tnp.split(Tensor.ones(2, 3), 2, 1),
                ValueError,
                "[split] cannot cut axis 1 of shape (2, 3) into 2 parts of equal length",
            ),
        ),
    ),
    moving(
        "array_split",
        _sections(None, False),
        Index,
        errors=(
            Error(
                lambda: tnp.array_split(Tensor.ones(2, 3), 0),
                ValueError,
                "[array_split] cannot cut axis 0 of shape (2, 3) into 0 parts",
            ),
        ),
    ),
    moving("hsplit", _sections(1, True), Index),
    moving(
        "vsplit",
        _sections(0, True, min_dims=2),
        Index,
        errors=(
            Error(
                lambda: tnp.vsplit(Tensor.ones(2), 1),
                ValueError,
                "[vsplit] expected at least 2 axes, got shape (2,)",
            ),
        ),
    ),
    moving(
        "dsplit",
        _sections(2, True, min_dims=3),
        Index,
        errors=(
            Error(
                lambda: tnp.dsplit(Tensor.ones(2, 2), 1),
                ValueError,
                "[dsplit] expected at least 3 axes, got shape (2, 2)",
            ),
        ),
    ),
    moving(
        "unstack", shaped(lambda draw, s: {"axis": axis_of(draw, s)}, min_dims=1, min_side=1), Index
    ),
]

# --- putting in and leaving out -------------------------------------------------------------------


def _left_out(draw: Draw, shape: Shape) -> dict[str, Any]:
    axis = axis_of(draw, shape)
    n = shape[axis]
    several = st.lists(st.integers(-n, n - 1), max_size=3) if n else st.just([])
    array = several.map(lambda found: np.array(found, np.int64))
    mask = st.lists(st.booleans(), min_size=n, max_size=n).map(lambda found: np.array(found, bool))
    one = st.integers(-n, n - 1) if n else several
    return {"obj": draw(st.one_of(one, several, array, mask, st.slices(n))), "axis": axis}


def _put_in(draw: Draw) -> Case:
    shape = draw(shapes(min_dims=1))
    axis = axis_of(draw, shape)
    n = shape[axis]
    several = st.lists(st.integers(-n, n), max_size=3)
    array = several.map(lambda found: np.array(found, np.int64))
    places = draw(st.one_of(st.integers(-n, n), several, array, st.slices(n)))
    count = np.empty(n)[places].size if isinstance(places, slice) else np.size(places)
    if isinstance(places, int):
        sizes = np.delete(shape, axis)  # one slice
    else:
        sizes = np.array(shape)
        sizes[axis] = count
    values = normal(draw, tuple(sizes.tolist()))
    return Case((normal(draw, shape), values), {"obj": places, "axis": axis})


def _is_known(case: Case) -> bool:
    """Whether the places are no array, which is on the device."""
    return not isinstance(case.options["obj"], np.ndarray)


OTHERS = [
    moving(
        "delete",
        shaped(_left_out, min_dims=1),
        (Concat, Take, PutAdded),
        captured=_is_known,
        obstacle="an array of places or booleans: what is left depends on its values",
        errors=(
            Error(
                lambda: tnp.delete(Tensor.ones(2, 3), 3, 1),
                IndexError,
                "[delete] index 3 is out of bounds for an axis of 3 elements",
            ),
            Error(
                lambda: tnp.delete(Tensor.ones(3), [5]),
                IndexError,
                "[delete] index 5 is out of bounds for axis 0 with size 3 (tensor of shape (3,))",
            ),
            Error(
                lambda: tnp.delete(Tensor.ones(3), [True, False]),
                ValueError,
                "[delete] expected booleans of shape (3,), got shape (2,)",
            ),
        ),
    ),
    Sample(
        "np.insert",
        lambda x, values, obj, axis: tnp.insert(x, obj, values, axis),
        _put_in,
        moved_by(lambda x, values, obj, axis: np.insert(x, obj, values, axis)),
        (Concat, Take, PutAdded),
        ("np.insert",),
        dtypes=MOVED,
        captured=_is_known,
        obstacle="an array of places: they are read on the host",
        errors=(
            Error(
                lambda: tnp.insert(Tensor.ones(3), 4, 0),
                IndexError,
                "[insert] index 4 is out of bounds for an axis of 3 elements",
            ),
            Error(
                lambda: tnp.insert(Tensor.ones(3), [0, 1], [1.0, 2.0, 3.0]),
                ValueError,
                "[insert] values of shape (3,) do not broadcast to (2,)",
            ),
        ),
    ),
    Sample(
        "np.trim_zeros",
        lambda x, trim: tnp.trim_zeros(_bordered(x), trim),
        shaped(lambda draw, _: {"trim": draw(st.sampled_from(["fb", "f", "b"]))}, max_dims=1),
        lambda torch, x, trim: _trimmed(torch, x, trim),
        (Index,),
        ("np.trim_zeros",),
        dtypes=MOVED,
        captured=False,
        obstacle="the result's shape depends on values",
    ),
]


def _bordered(x: Any) -> Any:
    return tnp.pad(tnp.atleast_1d(x), 2)


def _trimmed(torch: Any, x: Any, trim: Any) -> Any:
    """NumPy says where."""
    wide = torch.nn.functional.pad(x.reshape(-1), (2, 2))
    places = np.arange(1, len(wide) + 1) * (wide.detach().numpy() != 0)
    kept = np.trim_zeros(places, trim)
    first = kept.max() - np.flatnonzero(kept)[-1] if len(kept) and kept.any() else 1
    return wide[first - 1 : first - 1 + len(kept)]


SAMPLES = [*JOINED, *CUT, *OTHERS]

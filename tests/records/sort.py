"""Records of ops/sort.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_cupy.numpy as tnp
from support.sampling import NUMBERS, Case, Draw, Error, Sample, distinct, shapes
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops.sort import (
    ArgPartition,
    ArgSort,
    ArgTopK,
    Partition,
    SearchSorted,
    Sort,
    SortValues,
)
from tinygrad_cupy.ops.take import ScatterAlong, TakeAlong

from .arrange import axis_of

SORTED = (*NUMBERS, "float16", "bool")


def _apart(options: Callable[..., dict[str, Any]], **limits: int) -> Callable[[Draw], Case]:
    """A tensor whose elements differ, and options that depend on its shape."""

    def cases(draw: Draw) -> Case:
        shape = draw(shapes(**{"min_dims": 1, "min_side": 0, **limits}))
        return Case((distinct(draw, shape),), options(draw, shape))

    return cases


def _axis(draw: Draw, shape: tuple[int, ...]) -> dict[str, Any]:
    return {"axis": draw(st.sampled_from([None, axis_of(draw, shape)]))}


def _kth(draw: Draw, shape: tuple[int, ...]) -> dict[str, Any]:
    axis = draw(st.sampled_from([None, axis_of(draw, shape)]))
    n = int(np.prod(shape)) if axis is None else shape[axis]
    one = st.integers(-n, n - 1)
    return {"kth": draw(st.one_of(one, st.lists(one, max_size=2).map(tuple))), "axis": axis}


def _sorted(torch: Any, x: Any, axis: Any, **options: Any) -> Any:
    x, axis = (x.reshape(-1), 0) if axis is None else (x, axis)
    return torch.sort(x, dim=axis, stable=True)


def _k(draw: Draw, shape: tuple[int, ...]) -> dict[str, Any]:
    axis = axis_of(draw, shape)
    k = draw(st.integers(0, shape[axis]))
    return {"k": k, "axis": axis, "largest": draw(st.booleans())}


def _at_kth(x: Any, kth: Any, axis: Any) -> Any:
    """What a partition promises: the elements at the places asked for."""
    places = list(kth) if isinstance(kth, tuple) else [kth]
    return x[places] if axis is None else x.swapaxes(0, axis)[places]


def _partitioned(torch: Any, x: Any, kth: Any, axis: Any) -> Any:
    values = _sorted(torch, x, axis).values
    places = torch.as_tensor(np.atleast_1d(np.array(kth, np.int64)))
    return values[places] if axis is None else values.swapaxes(0, axis)[places]


def _keys(draw: Draw) -> Case:
    shape = draw(shapes(min_dims=1))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    keys = tuple(rng.integers(0, 3, shape).astype(float) for _ in range(draw(st.integers(1, 3))))
    return Case(keys, {"axis": axis_of(draw, shape)})


def _lexsorted(torch: Any, *keys: Any, axis: int) -> Any:
    return torch.as_tensor(np.lexsort([k.detach().numpy() for k in keys], axis))


def _searched(draw: Draw) -> Case:
    a = np.sort(distinct(draw, (draw(st.integers(0, 5)),)))
    values = distinct(draw, draw(shapes(min_side=0)))
    return Case((a, values), {"side": draw(st.sampled_from(["left", "right"]))})


def _found(torch: Any, a: Any, v: Any, side: Any) -> Any:
    if not len(a):
        return torch.zeros(v.shape, dtype=torch.int64)
    return torch.as_tensor(np.searchsorted(a.detach().numpy(), v.detach().numpy(), side))


def _in_place(x: Tensor, name: str, **options: Any) -> Tensor:
    copy = x.clone()
    assert getattr(copy, name)(**options) is None
    return copy


SAMPLES = [
    Sample(
        "np.sort",
        lambda x, axis: tnp.sort(x, axis),
        _apart(_axis),
        lambda torch, x, axis: _sorted(torch, x, axis).values,
        (Sort, ScatterAlong),
        ("np.sort",),
        dtypes=SORTED,
        kinks=True,
        errors=(
            Error(
                lambda: tnp.sort(Tensor.ones(2), kind="bubble"),
                ValueError,
                "[sort] expected kind to be one of (None, 'quicksort', 'mergesort', 'heapsort', "
                "'stable'), got 'bubble'",
            ),
            Error(
                lambda: tnp.sort(Tensor.ones(2), kind="stable", stable=True),
                ValueError,
                "[sort] expected kind or stable, got both: 'stable' and True",
            ),
            Error(
                lambda: tnp.sort(Tensor.ones(2), order="x"),
                ValueError,
                "[sort] a tensor has no fields to order by, got order='x'",
            ),
            Error(
                lambda: tnp.sort(Tensor(1.0)),
                ValueError,
                "[sort] axis -1 is out of range for a tensor of 0 axes",
            ),
        ),
    ),
    Sample(
        "sort without a gradient",
        lambda x, axis: tnp.sort(x.detach(), axis),
        _apart(_axis),
        lambda torch, x, axis: _sorted(torch, x, axis).values,
        (SortValues,),
        ("np.sort",),
        dtypes=SORTED,
        order=0,
        kinks=True,
    ),
    Sample(
        "sort",
        lambda x, axis: _in_place(x, "sort", axis=axis),
        _apart(lambda draw, shape: {"axis": axis_of(draw, shape)}),
        lambda torch, x, axis: _sorted(torch, x, axis).values,
        (Sort, ScatterAlong),
        ("sort",),
        dtypes=SORTED,
        kinks=True,
    ),
    Sample(
        "partition",
        lambda x, kth, axis: _at_kth(_in_place(x, "partition", kth=kth, axis=axis), kth, axis),
        _apart(
            lambda draw, shape: {"kth": draw(st.integers(0, min(shape) - 1)), "axis": -1},
            min_side=1,
        ),
        _partitioned,
        (ArgPartition, TakeAlong),
        ("partition",),
        dtypes=SORTED,
        kinks=True,
    ),
    Sample(
        "np.argsort",
        lambda x, axis: tnp.argsort(x, axis),
        _apart(_axis),
        lambda torch, x, axis: _sorted(torch, x, axis).indices,
        (ArgSort,),
        ("np.argsort", "argsort"),
        dtypes=SORTED,
        order=0,
        kinks=True,
    ),
    Sample(
        "np.partition",
        lambda x, kth, axis: _at_kth(tnp.partition(x, kth, axis), kth, axis),
        _apart(_kth, min_side=1),
        _partitioned,
        (ArgPartition, TakeAlong, ScatterAlong),
        ("np.partition",),
        dtypes=SORTED,
        kinks=True,
        errors=(
            Error(
                lambda: tnp.partition(Tensor.ones(2), 2),
                ValueError,
                "[partition] kth 2 is out of bounds for an axis of 2 elements",
            ),
            Error(
                lambda: tnp.partition(Tensor.ones(2), 0, kind="quick"),
                ValueError,
                "[partition] expected kind \"introselect\" and no order, got 'quick' and None",
            ),
        ),
    ),
    Sample(
        "partition without a gradient",
        lambda x, kth, axis: _at_kth(tnp.partition(x.detach(), kth, axis), kth, axis),
        _apart(_kth, min_side=1),
        _partitioned,
        (Partition,),
        ("np.partition",),
        dtypes=SORTED,
        order=0,
        kinks=True,
    ),
    Sample(
        "np.argpartition",
        lambda x, kth, axis: _at_kth(
            tnp.take_along_axis(x, tnp.argpartition(x, kth, axis), axis), kth, axis
        ),
        _apart(_kth, min_side=1),
        _partitioned,
        (ArgPartition,),
        ("np.argpartition", "argpartition"),
        dtypes=SORTED,
        kinks=True,
    ),
    Sample(
        "np.topk",
        lambda x, **options: tnp.topk(x, **options)[0],
        _apart(_k),
        lambda torch, x, k, axis, largest: torch.topk(x, k, axis, largest).values,
        (ArgTopK, TakeAlong, ScatterAlong),
        ("np.topk",),
        dtypes=(*NUMBERS, "float16"),
        kinks=True,
        errors=(
            Error(
                lambda: tnp.topk(Tensor.ones(2, 3), 3, 0),
                ValueError,
                "[topk] expected 0 to 2 elements of axis 0 of shape (2, 3), got 3",
            ),
        ),
    ),
    Sample(
        "np.lexsort",
        lambda *keys, axis: tnp.lexsort(keys, axis),
        _keys,
        _lexsorted,
        (ArgSort,),
        ("np.lexsort",),
        dtypes=NUMBERS,
        order=0,
        kinks=True,
        errors=(
            Error(
                lambda: tnp.lexsort([]),
                TypeError,
                "[lexsort] expected at least one key, got none",
            ),
            Error(
                lambda: tnp.lexsort([Tensor.ones(2), Tensor.ones(3)]),
                ValueError,
                "[lexsort] expected keys of one shape, got [(2,), (3,)]",
            ),
        ),
    ),
    Sample(
        "np.searchsorted",
        lambda a, v, side: tnp.searchsorted(a, v, side),
        _searched,
        _found,
        (SearchSorted,),
        ("np.searchsorted", "searchsorted"),
        dtypes=NUMBERS,
        order=0,
        kinks=True,
        errors=(
            Error(
                lambda: tnp.searchsorted(Tensor.ones(2, 2), 1.0),
                ValueError,
                "[searchsorted] expected one axis to search in, got shape (2, 2)",
            ),
            Error(
                lambda: tnp.searchsorted(Tensor.ones(2), 1.0, "middle"),
                ValueError,
                '[searchsorted] expected side "left" or "right", got \'middle\'',
            ),
            Error(
                lambda: tnp.searchsorted(Tensor.ones(2), 1.0, sorter=[0]),
                ValueError,
                "[searchsorted] expected a sorter of shape (2,), got (1,)",
            ),
        ),
    ),
]

"""Records of ops/sets.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_cupy.numpy as tnp
from support.moving import calling
from support.sampling import NUMBERS, Case, Draw, Error, Sample, shapes, uncaptured
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops.sets import UniqueParts, UniqueValues
from tinygrad_cupy.ops.sort import SearchSorted
from tinygrad_cupy.ops.take import PutAdded, Take

SETS = (*NUMBERS, "float16", "bool")


def few(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    """Values of which many are equal."""
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    return rng.integers(-2, 3, shape) * 0.5


def apart(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    """Values that differ, some of them found in another drawing."""
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    return rng.permutation(16)[: int(np.prod(shape))].reshape(shape) * 0.5 - 2


def _one(values: Any, **limits: int) -> Callable[[Draw], Case]:
    return lambda draw: Case((values(draw, draw(shapes(**{"min_side": 0, **limits}))),))


def _values(found: Any, torch: Any, *tensors: Any) -> Any:
    """What NumPy finds among the values, each taken from where it stands first."""
    everything = torch.cat([x.reshape(-1) for x in tensors])
    values = everything.detach().numpy()
    return everything[torch.as_tensor([int(np.flatnonzero(values == v)[0]) for v in found]).long()]


def of_values(name: str, cases: Any, ops: Any, **options: Any) -> Sample:
    """The record of a function whose result is some of the values."""

    def in_torch(torch: Any, *tensors: Any) -> Any:
        found = getattr(np, name)(*[x.detach().numpy() for x in tensors])
        return _values(np.sort(found), torch, *tensors)  # NumPy's unique_values has no order

    return Sample(
        f"np.{name}",
        calling(name),
        cases,
        in_torch,
        ops,
        (f"np.{name}",),
        dtypes=SETS,
        captured=False,
        obstacle="the result's shape depends on values",
        kinks=True,
        **options,
    )


def _parts(name: str) -> Sample:
    def in_torch(torch: Any, x: Any) -> Any:
        values, *rest = getattr(np, name)(x.detach().numpy())
        return [_values(values, torch, x), *[torch.as_tensor(part) for part in rest]]

    return Sample(
        f"np.{name}",
        lambda x: list(getattr(tnp, name)(x)),
        _one(few),
        in_torch,
        (UniqueParts,),
        (f"np.{name}",),
        dtypes=SETS,
        captured=False,
        obstacle="the result's shape depends on values",
        order=0,
        kinks=True,
    )


def _overlapping(name: str) -> Sample:
    """Of the first elements and the last, some of which are the same."""

    def in_torch(torch: Any, x: Any) -> Any:
        values = x.detach().numpy()
        return _values(getattr(np, name)(values[:4], values[2:]), torch, x)

    return Sample(
        f"np.{name}",
        lambda x: getattr(tnp, name)(x[:4], x[2:]),
        lambda draw: Case((apart(draw, (draw(st.integers(0, 7)),)),)),
        in_torch,
        (UniqueParts,) if name == "union1d" else (UniqueParts, SearchSorted),
        (f"np.{name}",),
        dtypes=SETS,
        captured=False,
        obstacle="the result's shape depends on values",
        kinks=True,
    )


def _rows(torch: Any, x: Any, axis: int) -> Any:
    _, first = np.unique(x.detach().numpy(), return_index=True, axis=axis)
    return x.index_select(axis, torch.as_tensor(first))


SETS_OF_VALUES = [
    of_values("unique", _one(apart, max_dims=2), (UniqueParts, Take, PutAdded)),
    Sample(
        "unique of integers",
        lambda x: tnp.unique(x.detach()),
        _one(few),
        lambda torch, x: torch.unique(x),
        (UniqueValues,),
        ("np.unique",),
        dtypes=SETS,
        captured=False,
        obstacle="the result's shape depends on values",
        order=0,
        kinks=True,
    ),
    Sample(
        "unique along an axis",
        lambda x, axis: tnp.unique(x, axis=axis),
        lambda draw: (
            Case((few(draw, draw(shapes(min_dims=2, max_dims=2))),), {"axis": 0})
            if draw(st.booleans())
            else Case((few(draw, (3, 4, 2)),), {"axis": 1})
        ),
        _rows,
        (UniqueParts, Take, PutAdded),
        ("np.unique",),
        dtypes=SETS,
        captured=False,
        obstacle="the result's shape depends on values",
        kinks=True,
        differences=False,  # of equal elements only the first has a slope
        errors=(
            Error(
                lambda: tnp.unique(Tensor.ones(2), axis=1),
                ValueError,
                "[unique] axis 1 is out of range for a tensor of 1 axes",
            ),
        ),
    ),
    of_values("unique_values", _one(apart, max_dims=2), (UniqueParts,)),
    *[_parts(name) for name in ("unique_all", "unique_counts", "unique_inverse")],
    *[_overlapping(name) for name in ("union1d", "intersect1d", "setdiff1d", "setxor1d")],
    Sample(
        "np.isin",
        lambda x, among: tnp.isin(x, among),
        lambda draw: Case(
            (few(draw, draw(shapes(min_side=0))), few(draw, draw(shapes(min_side=0))))
        ),
        lambda torch, x, among: torch.isin(x.detach(), among.detach()),
        (SearchSorted,),
        ("np.isin",),
        dtypes=NUMBERS,
        order=0,
        kinks=True,
        errors=(
            Error(
                lambda: tnp.isin(Tensor.ones(2), [1.0], kind="hash"),
                ValueError,
                '[isin] expected kind "sort", "table" or None, got \'hash\'',
            ),
        ),
    ),
]

SAMPLES = uncaptured(
    SETS_OF_VALUES,
    "how many distinct elements there are depends on values",
    UniqueParts,
    UniqueValues,
)

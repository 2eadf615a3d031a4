"""Records of ops/reduce.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from support.axes import dims, empty, over_axis
from support.sampling import (
    FLOATS,
    MOVED,
    NUMBERS,
    Case,
    Draw,
    Error,
    Sample,
    distinct,
    draw_axis,
    method,
    normal,
    shapes,
)
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import exponential, reduce


def _sum(torch: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    if not x.ndim:
        return x.sum()
    return torch.sum(x, dims(x, axis), keepdim=keepdims)


def _mean(torch: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    return torch.mean(x, dims(x, axis), keepdim=keepdims) if x.ndim else x.mean()


def _var(torch: Any, x: Any, axis: Any, keepdims: bool, correction: int) -> Any:
    return torch.var(x, dims(x, axis), correction=correction, keepdim=keepdims)


def _std(torch: Any, x: Any, axis: Any, keepdims: bool, correction: int) -> Any:
    return torch.std(x, dims(x, axis), correction=correction, keepdim=keepdims)


def _extremum(name: str) -> Any:
    def reference(torch: Any, x: Any, axis: Any, keepdims: bool) -> Any:
        return getattr(torch, name)(x, dims(x, axis), keepdim=keepdims)

    return reference


def _position(name: str) -> Any:
    def reference(torch: Any, x: Any, axis: Any, keepdims: bool) -> Any:
        return getattr(torch, name)(x, axis, keepdim=keepdims)

    return reference


def _position_case(draw: Draw) -> Case:
    shape = draw(shapes(min_dims=1))
    options = {"axis": draw_axis(draw, len(shape), several=False), "keepdims": draw(st.booleans())}
    return Case((distinct(draw, shape),), options)


def _stretched_case(draw: Draw) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A shape and one that it broadcasts to."""
    full = draw(shapes(min_side=0))
    lead = draw(st.integers(0, len(full)))
    small = tuple(draw(st.sampled_from([1, n])) for n in full[lead:])
    return small, full


def _broadcast_case(draw: Draw) -> Case:
    small, full = _stretched_case(draw)
    return Case((normal(draw, small),), {"shape": full})


def _sum_to_case(draw: Draw) -> Case:
    small, full = _stretched_case(draw)
    return Case((normal(draw, full),), {"shape": small})


HALF: Any = 0.5
BOTH: Any = (0, 1)


def _out_of_range(call: Callable[[Tensor], Any], name: str) -> Error:
    text = f"[{name}] axis 2 is out of range for a tensor of 2 axes"
    return Error(lambda: call(Tensor(np.zeros((3, 2)))), ValueError, text)


SAMPLES = [
    Sample(
        "sum",
        method("sum"),
        over_axis(normal, min_side=0),
        _sum,
        (reduce.Sum, reduce.BroadcastTo),
        ("sum",),
        dtypes=(*FLOATS, "int64", "bool"),
        errors=(
            _out_of_range(lambda x: x.sum(2), "sum"),
            _out_of_range(lambda x: x.sum((0, 2)), "sum"),
            Error(
                lambda: Tensor([[1.0]]).sum((0, -2)),
                ValueError,
                "[sum] expected distinct axes, got (0, -2)",
            ),
            Error(
                lambda: Tensor([[1.0]]).sum(HALF),
                TypeError,
                "[sum] expected an axis or a tuple of axes, got 0.5",
            ),
        ),
    ),
    Sample(
        "mean",
        method("mean"),
        over_axis(normal),
        _mean,
        (reduce.Mean, reduce.BroadcastTo),
        ("mean",),
        errors=(_out_of_range(lambda x: x.mean(2), "mean"),),
    ),
    Sample(
        "var",
        method("var"),
        over_axis(normal, min_dims=1, min_side=2, correction=st.integers(0, 1)),
        _var,
        (reduce.Centre, reduce.Mean),
        ("var",),
        errors=(_out_of_range(lambda x: x.var(2), "var"),),
    ),
    Sample(
        "std",
        method("std"),
        over_axis(distinct, min_dims=1, min_side=2, correction=st.integers(0, 1)),
        _std,
        (exponential.Sqrt,),
        ("std",),
        kinks=True,
    ),
    Sample(
        "max",
        method("max"),
        over_axis(distinct, min_dims=1),
        _extremum("amax"),
        (reduce.Extremum,),
        ("max",),
        dtypes=NUMBERS,
        kinks=True,
        errors=(empty(lambda x: x.max(0), "max"), _out_of_range(lambda x: x.max(2), "max")),
    ),
    Sample(
        "min",
        method("min"),
        over_axis(distinct, min_dims=1),
        _extremum("amin"),
        (reduce.Extremum,),
        ("min",),
        dtypes=NUMBERS,
        kinks=True,
        errors=(empty(lambda x: x.min(0), "min"), _out_of_range(lambda x: x.min(2), "min")),
    ),
    Sample(
        "argmax",
        method("argmax"),
        _position_case,
        _position("argmax"),
        (reduce.ArgExtremum,),
        ("argmax",),
        dtypes=NUMBERS,
        order=0,
        kinks=True,
        errors=(
            empty(lambda x: x.argmax(0), "argmax"),
            _out_of_range(lambda x: x.argmax(2), "argmax"),
            Error(
                lambda: Tensor([[1.0]]).argmax(BOTH),
                TypeError,
                "[argmax] expected one axis or None, got (0, 1)",
            ),
        ),
    ),
    Sample(
        "argmin",
        method("argmin"),
        _position_case,
        _position("argmin"),
        (reduce.ArgExtremum,),
        ("argmin",),
        dtypes=NUMBERS,
        order=0,
        kinks=True,
        errors=(
            empty(lambda x: x.argmin(0), "argmin"),
            _out_of_range(lambda x: x.argmin(2), "argmin"),
        ),
    ),
    Sample(
        "broadcast_to",
        lambda x, shape: x.broadcast_to(*shape),
        _broadcast_case,
        lambda torch, x, shape: torch.broadcast_to(x, shape),
        (reduce.BroadcastTo, reduce.SumTo),
        ("broadcast_to",),
        dtypes=MOVED,
        errors=(
            Error(
                lambda: Tensor.ones(2, 3).broadcast_to(3, 3),
                ValueError,
                "[broadcast_to] cannot stretch shape (2, 3) to (3, 3)",
            ),
        ),
    ),
    Sample(
        "sum_to",
        method("sum_to"),
        _sum_to_case,
        lambda _, x, shape: x.sum_to_size(shape),
        (reduce.SumTo, reduce.BroadcastTo),
        ("sum_to",),
    ),
]

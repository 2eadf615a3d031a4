"""Records of ops/reduce.py."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from support.axes import dims, out_of_range, over_axis
from support.sampling import (
    FLOATS,
    MOVED,
    Case,
    Draw,
    Error,
    Sample,
    distinct,
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
            out_of_range(lambda x: x.sum(2), "sum"),
            out_of_range(lambda x: x.sum((0, 2)), "sum"),
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
        errors=(out_of_range(lambda x: x.mean(2), "mean"),),
    ),
    Sample(
        "var",
        method("var"),
        over_axis(normal, min_dims=1, min_side=2, correction=st.integers(0, 1)),
        _var,
        (reduce.Centre, reduce.Mean),
        ("var",),
        errors=(out_of_range(lambda x: x.var(2), "var"),),
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

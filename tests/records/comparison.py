"""Records of ops/comparison.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_cupy as tg
import tinygrad_cupy.numpy as tnp
from support.elementwise import binary, one, two, ufunc
from support.sampling import (
    MOVED,
    NUMBERS,
    Case,
    Draw,
    Error,
    Sample,
    broadcastable,
    distinct,
    method,
    normal,
    rng_of,
    shapes,
)
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import comparison


def _clip_case(draw: Draw) -> Case:
    low = draw(st.sampled_from([None, -0.52]))
    high = draw(st.sampled_from([None, 0.43] if low is not None else [0.43]))
    return Case((distinct(draw, draw(shapes())),), {"low": low, "high": high})


def _even(draw: Draw, shape: tuple[int, ...]) -> Any:
    return np.rint(normal(draw, shape) * 4) * 0.2


def _odd(draw: Draw, shape: tuple[int, ...]) -> Any:
    return np.rint(normal(draw, shape) * 4) * 0.2 + 0.1


def _where_case(draw: Draw) -> Case:
    a, b, c = broadcastable(draw, 3)
    return Case((normal(draw, a), normal(draw, b)), {"condition": np.asarray(normal(draw, c) > 0)})


def _ties(draw: Draw, shape: tuple[int, ...]) -> Any:
    return np.rint(normal(draw, shape))


def _infinite(draw: Draw, shape: tuple[int, ...]) -> Any:
    return rng_of(draw).choice([-np.inf, -2.0, 0.0, np.inf, np.nan], shape)


def _limits_case(draw: Draw) -> Case:
    """Values and limits that lie 0.1 from each other at least; the limits may cross."""
    a, b, c = broadcastable(draw, 3)
    return Case((_even(draw, a), _odd(draw, b), _odd(draw, c) + 0.05))


def _numpy_clip(x: Any, low: Any, high: Any) -> Any:
    return tnp.clip(x, low, high)


def _torch_clip(torch: Any, x: Any, low: Any, high: Any) -> Any:
    return torch.clip(x, low, high)


def _comparison(name: str, operator: Any) -> Sample:
    return Sample(
        name,
        call=operator,
        cases=two(_ties, _ties),
        torch=lambda _, a, b: operator(a, b),
        ops=(comparison.Compare,),
        covers=(f"__{name}__",),
        dtypes=MOVED,
        order=0,
    )


SAMPLES = [
    binary(
        "maximum",
        comparison.Maximum,
        lambda a, b: a.maximum(b),
        two(_even, _odd),
        torch=lambda t, a, b: t.maximum(a, b),
        covers=("maximum",),
        dtypes=NUMBERS,
        kinks=True,
        errors=(
            Error(
                lambda: Tensor([1.0]).maximum("2"),
                TypeError,
                "[maximum] expected a tensor, an array or a number, got str",
            ),
        ),
    ),
    binary(
        "minimum",
        comparison.Minimum,
        lambda a, b: a.minimum(b),
        two(_even, _odd),
        torch=lambda t, a, b: t.minimum(a, b),
        covers=("minimum",),
        dtypes=NUMBERS,
        kinks=True,
        errors=(
            Error(
                lambda: Tensor([1.0, 2.0]).minimum(Tensor([1.0, 2.0, 3.0])),
                ValueError,
                "[Minimum] shapes (2,) and (3,) do not broadcast",
            ),
            Error(
                lambda: Tensor([1.0]).minimum({2.0}),
                TypeError,
                "[minimum] expected a tensor, an array or a number, got set",
            ),
        ),
    ),
    ufunc("fmax", comparison.Fmax, two(_even, _odd), dtypes=NUMBERS, kinks=True),
    ufunc("fmin", comparison.Fmin, two(_even, _odd), dtypes=NUMBERS, kinks=True),
    ufunc("isposinf", comparison.Compare, one(_infinite), order=0),
    ufunc("isneginf", comparison.Compare, one(_infinite), order=0),
    Sample(
        "where",
        call=lambda a, b, condition: tg.where(condition, a, b),
        cases=_where_case,
        torch=lambda t, a, b, condition: t.where(condition, a, b),
        ops=(comparison.Where, comparison.Not),
        covers=("where", "tg.where"),
        dtypes=MOVED,
        errors=(
            Error(
                lambda: Tensor([1.0]).where(np.ones(1), 0),
                TypeError,
                "[where] expected a boolean condition, got dtype float64",
            ),
            Error(
                lambda: tg.where(np.ones(1, bool), 1.0, 2),
                TypeError,
                "[where] expected a tensor as a or b, got float and int",
            ),
            Error(
                lambda: Tensor([1.0]).where(Tensor([True]), "no"),
                TypeError,
                "[where] expected a tensor, an array or a number, got str",
            ),
        ),
    ),
    Sample(
        "clip",
        call=method("clip"),
        cases=_clip_case,
        torch=lambda t, x, low, high: t.clip(x, low, high),
        ops=(comparison.Clip,),
        covers=("clip",),
        kinks=True,
        errors=(
            Error(
                lambda: Tensor([1.0]).clip(),
                ValueError,
                "[clip] expected a lower or an upper limit, got neither",
            ),
        ),
    ),
    Sample(
        "clip between tensors",
        call=lambda x, low, high: x.clip(min=low, max=high),
        cases=_limits_case,
        torch=lambda t, x, low, high: t.minimum(t.maximum(x, low), high),
        ops=(comparison.AtLeast, comparison.AtMost),
        covers=("clip",),
        dtypes=NUMBERS,
        kinks=True,
        errors=(
            Error(
                lambda: Tensor([1.0]).clip(0.0, min=0.0),
                TypeError,
                "[clip] expected low by one of its two names, got both",
            ),
        ),
    ),
    ufunc("clip", comparison.Clip, _clip_case, call=_numpy_clip, torch=_torch_clip, kinks=True),
    _comparison("eq", lambda a, b: a == b),
    _comparison("ne", lambda a, b: a != b),
    _comparison("lt", lambda a, b: a < b),
    _comparison("le", lambda a, b: a <= b),
    _comparison("gt", lambda a, b: a > b),
    _comparison("ge", lambda a, b: a >= b),
]

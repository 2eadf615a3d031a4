"""Records of ops/arithmetic.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from support.elementwise import binary, one, two, ufunc
from support.sampling import (
    FLOATS,
    MOVED,
    NUMBERS,
    Case,
    Draw,
    Error,
    Sample,
    method,
    nonzero,
    normal,
    positive,
    shapes,
)
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import arithmetic

BETWEEN_TENSORS = [
    binary(
        "add",
        arithmetic.Add,
        lambda a, b: a + b,
        two(),
        dtypes=NUMBERS,
        errors=(
            Error(
                lambda: Tensor.ones(2, 3) + Tensor.ones(4),
                ValueError,
                "[Add] shapes (2, 3) and (4,) do not broadcast",
            ),
        ),
    ),
    binary("sub", arithmetic.Sub, lambda a, b: a - b, two(), dtypes=NUMBERS),
    binary("mul", arithmetic.Mul, lambda a, b: a * b, two(), dtypes=NUMBERS),
    binary("truediv", arithmetic.Div, lambda a, b: a / b, two(second=nonzero)),
    binary("pow", arithmetic.Pow, lambda a, b: a**b, two(positive), covers=("__pow__",)),
    ufunc("power", arithmetic.Pow, two(positive), torch=lambda t, a, b: t.pow(a, b)),
    Sample(
        "neg",
        call=lambda x: -x,
        cases=one(normal),
        torch=lambda _, x: -x,
        ops=(arithmetic.Mul,),
        covers=("__neg__",),
        dtypes=NUMBERS,
    ),
]


# --- with a scalar ------------------------------------------------------------------------------

SCALARS = [2, 3.0, -1.5, np.float64(0.5), np.float32(2), np.int64(3), True]
EXPONENTS = [2, 3, 0, 1, 0.5, -1, -1.5, np.float64(2.5)]
BASES = [1, 2, 0.5, np.float64(2.5), np.int64(3)]


def _with_scalar(
    name: str, op: Any, operator: Any, values: Any = nonzero, scalars: Any = (SCALARS, SCALARS)
) -> Sample:
    """``tensor ∘ scalar`` and ``scalar ∘ tensor``: a NumPy scalar works as Python's does."""

    def case(draw: Draw) -> Case:
        swapped = draw(st.booleans())
        options = {"scalar": draw(st.sampled_from(scalars[swapped])), "swapped": swapped}
        return Case((values(draw, draw(shapes(min_side=0))),), options)

    def call(x: Any, scalar: Any, swapped: bool) -> Any:
        return operator(scalar, x) if swapped else operator(x, scalar)

    def reference(torch: Any, x: Any, scalar: Any, swapped: bool) -> Any:
        scalar = scalar.item() if isinstance(scalar, np.generic) else scalar
        return operator(float(scalar), x) if swapped else operator(x, float(scalar))

    covers = (f"__{name}__", f"__r{name}__")
    return Sample(f"{name} scalar", call, case, reference, (op,), covers)


WITH_SCALAR = [
    _with_scalar("add", arithmetic.Add, lambda a, b: a + b),
    _with_scalar("sub", arithmetic.Sub, lambda a, b: a - b),
    _with_scalar("mul", arithmetic.Mul, lambda a, b: a * b),
    _with_scalar("truediv", arithmetic.Div, lambda a, b: a / b),
    _with_scalar("pow", arithmetic.Pow, lambda a, b: a**b, positive, (EXPONENTS, BASES)),
    Sample(
        "pow method",
        call=method("pow"),
        cases=lambda draw: Case((normal(draw, draw(shapes())),), {"exponent": 3}),
        torch=lambda _, x, exponent: x**exponent,
        ops=(arithmetic.Pow,),
        covers=("pow",),
    ),
]


# --- casts --------------------------------------------------------------------------------------


def _astype_case(draw: Draw) -> Case:
    return Case((normal(draw, draw(shapes(min_side=0))),), {"dtype": draw(st.sampled_from(FLOATS))})


CASTS = [
    Sample(
        "astype",
        call=method("astype"),
        cases=_astype_case,
        torch=lambda t, x, dtype: x.to(getattr(t, dtype)),
        ops=(arithmetic.Cast,),
        covers=("astype",),
        dtypes=MOVED,
        differences=False,
    ),
]


def _weighted_case(draw: Draw) -> Case:
    shape = draw(shapes())
    weights = tuple(draw(st.lists(st.sampled_from([-2.0, -0.3, 0.5, 3.0]), min_size=1, max_size=4)))
    return Case(tuple(normal(draw, shape) for _ in weights), {"weights": weights})


WEIGHTED = Sample(
    "weighted sum",
    lambda *xs, weights: arithmetic.WeightedSum(weights)(*xs),
    _weighted_case,
    lambda _, *xs, weights: sum(x * weight for x, weight in zip(xs, weights, strict=True)),
    (arithmetic.WeightedSum,),
    (),
)

SAMPLES = [*BETWEEN_TENSORS, *WITH_SCALAR, *CASTS, WEIGHTED]

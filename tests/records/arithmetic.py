"""Records of ops/elementwise.py and ops/functions.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_cupy as tg
from support.sampling import (
    FLOATS,
    MOVED,
    Case,
    Draw,
    Error,
    Sample,
    broadcastable,
    distinct,
    method,
    nonzero,
    normal,
    positive,
    shapes,
)
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import activation, comparison
from tinygrad_cupy.ops import arithmetic as ops
from tinygrad_cupy.ops import unary as functions

INTS = (*FLOATS, "int64")


def _one(values: Callable[..., np.ndarray]) -> Callable[[Draw], Case]:
    return lambda draw: Case((values(draw, draw(shapes(min_side=0))),))


def _function(name: str, op: Any, values: Any = normal, **options: Any) -> Sample:
    """A method without arguments that PyTorch calls the same."""
    return Sample(
        name,
        call=lambda x: getattr(x, name)(),
        cases=_one(values),
        torch=options.pop("torch", lambda torch, x: getattr(torch, name)(x)),
        ops=op if isinstance(op, tuple) else (op,),
        covers=(name,),
        **options,
    )


FUNCTIONS = [
    _function("exp", functions.Exp),
    _function("expm1", functions.Expm1),
    _function("log", functions.Log, positive),
    _function("sqrt", functions.Sqrt, positive),
    _function("abs", functions.Abs, nonzero, kinks=True, dtypes=INTS),
    Sample(
        "abs()", abs, _one(nonzero), lambda _, x: abs(x), (functions.Abs,), ("__abs__",), kinks=True
    ),
    _function("sign", functions.Sign, nonzero, kinks=True, dtypes=INTS),
    _function("sin", functions.Sin),
    _function("cos", functions.Cos),
    _function("erf", functions.Erf),
    _function("tanh", activation.Tanh),
    _function("sigmoid", activation.Sigmoid),
    _function("softplus", activation.Softplus, torch=lambda t, x: t.nn.functional.softplus(x)),
    _function("relu", (activation.Relu, activation.ReluBackward), nonzero, kinks=True),
    _function("silu", activation.Silu, torch=lambda t, x: t.nn.functional.silu(x)),
]


# --- activations with an argument ---------------------------------------------------------------


def _leaky_case(draw: Draw) -> Case:
    options = {"negative_slope": draw(st.floats(0, 2))}
    return Case((nonzero(draw, draw(shapes(min_side=0))),), options)


def _elu_case(draw: Draw) -> Case:
    return Case((nonzero(draw, draw(shapes(min_side=0))),), {"alpha": draw(st.floats(0.5, 2))})


def _gelu_case(draw: Draw) -> Case:
    options = {"approximate": draw(st.sampled_from(["none", "tanh"]))}
    return Case((normal(draw, draw(shapes(min_side=0))),), options)


def _clip_case(draw: Draw) -> Case:
    low = draw(st.sampled_from([None, -0.52]))
    high = draw(st.sampled_from([None, 0.43] if low is not None else [0.43]))
    return Case((distinct(draw, draw(shapes())),), {"low": low, "high": high})


ACTIVATIONS = [
    Sample(
        "leaky_relu",
        call=method("leaky_relu"),
        cases=_leaky_case,
        torch=lambda t, x, negative_slope: t.nn.functional.leaky_relu(x, negative_slope),
        ops=(comparison.Where, comparison.Not),
        covers=("leaky_relu",),
        kinks=True,
    ),
    Sample(
        "elu",
        call=method("elu"),
        cases=_elu_case,
        torch=lambda t, x, alpha: t.nn.functional.elu(x, alpha),
        ops=(comparison.Where, comparison.Not),
        covers=("elu",),
        kinks=True,
    ),
    Sample(
        "gelu",
        call=method("gelu"),
        cases=_gelu_case,
        torch=lambda t, x, approximate: t.nn.functional.gelu(x, approximate=approximate),
        ops=(activation.Gelu, activation.GeluTanh, functions.Erf, activation.Tanh),
        covers=("gelu",),
        errors=(
            Error(
                lambda: Tensor([1.0]).gelu("exact"),
                ValueError,
                '[gelu] expected approximate "none" or "tanh", got \'exact\'',
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
]


# --- arithmetic ---------------------------------------------------------------------------------


def _two(first: Any = normal, second: Any = normal) -> Callable[[Draw], Case]:
    def cases(draw: Draw) -> Case:
        a, b = broadcastable(draw, 2)
        return Case((first(draw, a), second(draw, b)))

    return cases


def _even(draw: Draw, shape: tuple[int, ...]) -> Any:
    return np.rint(normal(draw, shape) * 4) * 0.2


def _odd(draw: Draw, shape: tuple[int, ...]) -> Any:
    return np.rint(normal(draw, shape) * 4) * 0.2 + 0.1


def _binary(
    name: str, op: Any, operator: Callable[[Any, Any], Any], cases: Any, **options: Any
) -> Sample:
    return Sample(
        name,
        call=operator,
        cases=cases,
        torch=options.pop("torch", lambda _, a, b: operator(a, b)),
        ops=(op,),
        covers=options.pop("covers", (f"__{name}__",)),
        **options,
    )


def _where_case(draw: Draw) -> Case:
    a, b, c = broadcastable(draw, 3)
    return Case((normal(draw, a), normal(draw, b)), {"condition": np.asarray(normal(draw, c) > 0)})


ARITHMETIC = [
    _binary(
        "add",
        ops.Add,
        lambda a, b: a + b,
        _two(),
        dtypes=INTS,
        errors=(
            Error(
                lambda: Tensor.ones(2, 3) + Tensor.ones(4),
                ValueError,
                "[Add] shapes (2, 3) and (4,) do not broadcast",
            ),
        ),
    ),
    _binary("sub", ops.Sub, lambda a, b: a - b, _two(), dtypes=INTS),
    _binary("mul", ops.Mul, lambda a, b: a * b, _two(), dtypes=INTS),
    _binary("truediv", ops.Div, lambda a, b: a / b, _two(second=nonzero)),
    _binary("pow", ops.Pow, lambda a, b: a**b, _two(positive), covers=("__pow__",)),
    Sample(
        "neg",
        call=lambda x: -x,
        cases=_one(normal),
        torch=lambda _, x: -x,
        ops=(ops.Mul,),
        covers=("__neg__",),
        dtypes=INTS,
    ),
    _binary(
        "maximum",
        comparison.Maximum,
        lambda a, b: a.maximum(b),
        _two(_even, _odd),
        torch=lambda t, a, b: t.maximum(a, b),
        covers=("maximum",),
        dtypes=INTS,
        kinks=True,
        errors=(
            Error(
                lambda: Tensor([1.0]).maximum("2"),
                TypeError,
                "[maximum] expected a tensor, an array or a number, got str",
            ),
        ),
    ),
    _binary(
        "minimum",
        comparison.Minimum,
        lambda a, b: a.minimum(b),
        _two(_even, _odd),
        torch=lambda t, a, b: t.minimum(a, b),
        covers=("minimum",),
        dtypes=INTS,
        kinks=True,
        errors=(
            Error(
                lambda: Tensor([1.0, 2.0]).minimum(Tensor([1.0, 2.0, 3.0])),
                ValueError,
                "[Minimum] shapes (2,) and (3,) do not broadcast",
            ),
            Error(
                lambda: Tensor([1.0]).minimum([2.0]),
                TypeError,
                "[minimum] expected a tensor, an array or a number, got list",
            ),
        ),
    ),
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
    _with_scalar("add", ops.Add, lambda a, b: a + b),
    _with_scalar("sub", ops.Sub, lambda a, b: a - b),
    _with_scalar("mul", ops.Mul, lambda a, b: a * b),
    _with_scalar("truediv", ops.Div, lambda a, b: a / b),
    _with_scalar("pow", ops.Pow, lambda a, b: a**b, positive, (EXPONENTS, BASES)),
    Sample(
        "pow method",
        call=method("pow"),
        cases=lambda draw: Case((normal(draw, draw(shapes())),), {"exponent": 3}),
        torch=lambda _, x, exponent: x**exponent,
        ops=(ops.Pow,),
        covers=("pow",),
    ),
]


# --- comparisons and casts ----------------------------------------------------------------------


def _ties(draw: Draw, shape: tuple[int, ...]) -> Any:
    return np.rint(normal(draw, shape))


def _comparison(name: str, operator: Any) -> Sample:
    return Sample(
        name,
        call=operator,
        cases=_two(_ties, _ties),
        torch=lambda _, a, b: operator(a, b),
        ops=(comparison.Compare,),
        covers=(f"__{name}__",),
        dtypes=MOVED,
        order=0,
    )


COMPARISONS = [
    _comparison("eq", lambda a, b: a == b),
    _comparison("ne", lambda a, b: a != b),
    _comparison("lt", lambda a, b: a < b),
    _comparison("le", lambda a, b: a <= b),
    _comparison("gt", lambda a, b: a > b),
    _comparison("ge", lambda a, b: a >= b),
]


def _astype_case(draw: Draw) -> Case:
    return Case((normal(draw, draw(shapes(min_side=0))),), {"dtype": draw(st.sampled_from(FLOATS))})


CASTS = [
    Sample(
        "astype",
        call=method("astype"),
        cases=_astype_case,
        torch=lambda t, x, dtype: x.to(getattr(t, dtype)),
        ops=(ops.Cast,),
        covers=("astype",),
        dtypes=MOVED,
        differences=False,
    ),
]

SAMPLES = [
    *FUNCTIONS,
    *ACTIVATIONS,
    *ARITHMETIC,
    *WITH_SCALAR,
    *COMPARISONS,
    *CASTS,
]

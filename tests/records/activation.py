"""Records of ops/activation.py."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from support.elementwise import function
from support.sampling import Case, Draw, Error, Sample, method, nonzero, normal, shapes
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import activation, comparison, unary


def _leaky_case(draw: Draw) -> Case:
    options = {"negative_slope": draw(st.floats(0, 2))}
    return Case((nonzero(draw, draw(shapes(min_side=0))),), options)


def _elu_case(draw: Draw) -> Case:
    return Case((nonzero(draw, draw(shapes(min_side=0))),), {"alpha": draw(st.floats(0.5, 2))})


def _gelu_case(draw: Draw) -> Case:
    options = {"approximate": draw(st.sampled_from(["none", "tanh"]))}
    return Case((normal(draw, draw(shapes(min_side=0))),), options)


def _softplus_case(draw: Draw) -> Case:
    options = {
        "beta": draw(st.sampled_from([-1.0, 0.5, 1.0, 3.0])),
        "threshold": draw(st.sampled_from([None, 0.0])),
    }
    return Case((nonzero(draw, draw(shapes(min_side=0))),), options)


def _their_softplus(torch: Any, x: Any, beta: float, threshold: float | None) -> Any:
    return torch.nn.functional.softplus(x, beta, 50.0 if threshold is None else threshold)


SAMPLES = [
    function("tanh", activation.Tanh),
    function("sigmoid", activation.Sigmoid),
    function("softplus", activation.Softplus, torch=lambda t, x: t.nn.functional.softplus(x)),
    Sample(
        "softplus of a steepness",
        call=method("softplus"),
        cases=_softplus_case,
        torch=_their_softplus,
        ops=(activation.Softplus,),
        covers=("softplus",),
        kinks=True,
        errors=(
            Error(
                lambda: Tensor([1.0]).softplus(0.0),
                ValueError,
                "[softplus] expected a beta other than 0",
            ),
        ),
    ),
    function("relu", (activation.Relu, activation.ReluBackward), nonzero, kinks=True),
    function("silu", activation.Silu, torch=lambda t, x: t.nn.functional.silu(x)),
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
        ops=(activation.Gelu, activation.GeluTanh, unary.Erf, activation.Tanh),
        covers=("gelu",),
        errors=(
            Error(
                lambda: Tensor([1.0]).gelu("exact"),
                ValueError,
                '[gelu] expected approximate "none" or "tanh", got \'exact\'',
            ),
        ),
    ),
]

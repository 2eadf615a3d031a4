"""Records of ops/softmax.py."""

from __future__ import annotations

from typing import Any

import tinygrad_cupy as tg
from support.axes import dims, empty, out_of_range, over_axis
from support.elementwise import special
from support.sampling import Case, Draw, Sample, draw_axis, method, nonzero, normal, rng_of, shapes
from tinygrad_cupy.ops import entropy, softmax


def _logsumexp(torch: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    return torch.logsumexp(x, dims(x, axis), keepdim=keepdims) if x.ndim else x


def _axis_case(draw: Draw) -> Case:
    shape = draw(shapes(min_dims=1))
    return Case((normal(draw, shape) * 3,), {"axis": draw_axis(draw, len(shape))})


def _whole_case(draw: Draw) -> Case:
    """Over all axes, as SciPy's default is, too."""
    shape = draw(shapes(min_dims=1))
    return Case((normal(draw, shape),), {"axis": draw_axis(draw, len(shape))})


def _weighted_case(draw: Draw) -> Case:
    """Weights of either sign; those of a row and those of single elements."""
    shape = draw(shapes(min_dims=2))
    axis, keepdims = draw_axis(draw, len(shape)), bool(rng_of(draw).integers(2))
    a, b = normal(draw, shape), nonzero(draw, shape if keepdims else shape[1:])
    return Case((a, b), {"axis": axis, "keepdims": keepdims})


def _weighted(a: Any, b: Any, axis: Any, keepdims: bool) -> Any:
    return tg.special.logsumexp(a, axis, b, keepdims, return_sign=True)[0]


def _weighted_torch(torch: Any, a: Any, b: Any, axis: Any, keepdims: bool) -> Any:
    return (b * a.exp()).sum(dims(a, axis), keepdim=keepdims).abs().log()


def _log_softmax(torch: Any, x: Any, axis: Any) -> Any:
    return x - torch.logsumexp(x, dims(x, axis), keepdim=True)


SAMPLES = [
    Sample(
        "logsumexp",
        method("logsumexp"),
        over_axis(lambda draw, shape: normal(draw, shape) * 3),
        _logsumexp,
        (softmax.LogSumExp,),
        ("logsumexp",),
        errors=(out_of_range(lambda x: x.logsumexp(2), "logsumexp"),),
    ),
    Sample(
        "softmax",
        method("softmax"),
        _axis_case,
        lambda torch, x, axis: _log_softmax(torch, x, axis).exp(),
        (softmax.Softmax,),
        ("softmax",),
        errors=(empty(lambda x: x.softmax(0), "softmax"),),
    ),
    Sample(
        "log_softmax",
        method("log_softmax"),
        _axis_case,
        _log_softmax,
        (softmax.LogSoftmax,),
        ("log_softmax",),
        errors=(empty(lambda x: x.log_softmax(0), "log_softmax"),),
    ),
    special(
        "logsumexp",
        softmax.LogSumExp,
        over_axis(normal),
        torch=_logsumexp,
        errors=(out_of_range(lambda x: tg.special.logsumexp(x, 2), "logsumexp"),),
    ),
    special(
        "logsumexp",
        entropy.Xlogy,
        _weighted_case,
        call=_weighted,
        torch=_weighted_torch,
        record="special.logsumexp weighted",
    ),
    special(
        "softmax",
        softmax.Softmax,
        _whole_case,
        torch=lambda torch, x, axis: _log_softmax(torch, x, axis).exp(),
    ),
    special("log_softmax", softmax.LogSoftmax, _whole_case, torch=_log_softmax),
]

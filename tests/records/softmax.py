"""Records of ops/softmax.py."""

from __future__ import annotations

from typing import Any

from support.axes import dims, empty, out_of_range, over_axis
from support.sampling import Case, Draw, Sample, draw_axis, method, normal, shapes
from tinygrad_cupy.ops import softmax


def _logsumexp(torch: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    return torch.logsumexp(x, dims(x, axis), keepdim=keepdims) if x.ndim else x


def _axis_case(draw: Draw) -> Case:
    shape = draw(shapes(min_dims=1))
    return Case((normal(draw, shape) * 3,), {"axis": draw_axis(draw, len(shape))})


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
]

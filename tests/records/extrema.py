"""Records of ops/extrema.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from support.axes import dims, empty, out_of_range, over_axis
from support.sampling import (
    NUMBERS,
    Case,
    Draw,
    Error,
    Sample,
    distinct,
    draw_axis,
    method,
    rng_of,
    shapes,
)
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import extrema


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


def _masked_case(draw: Draw) -> Case:
    shape = draw(shapes(min_dims=1))
    mask = np.asarray(rng_of(draw).random(shape) < 0.7)
    mask[0] = True
    return Case((distinct(draw, shape),), {"mask": mask})


BOTH: Any = (0, 1)

SAMPLES = [
    Sample(
        "max",
        method("max"),
        over_axis(distinct, min_dims=1),
        _extremum("amax"),
        (extrema.Extremum,),
        ("max",),
        dtypes=NUMBERS,
        kinks=True,
        errors=(empty(lambda x: x.max(0), "max"), out_of_range(lambda x: x.max(2), "max")),
    ),
    Sample(
        "min",
        method("min"),
        over_axis(distinct, min_dims=1),
        _extremum("amin"),
        (extrema.Extremum,),
        ("min",),
        dtypes=NUMBERS,
        kinks=True,
        errors=(empty(lambda x: x.min(0), "min"), out_of_range(lambda x: x.min(2), "min")),
    ),
    Sample(
        "argmax",
        method("argmax"),
        _position_case,
        _position("argmax"),
        (extrema.ArgExtremum,),
        ("argmax",),
        dtypes=NUMBERS,
        order=0,
        kinks=True,
        errors=(
            empty(lambda x: x.argmax(0), "argmax"),
            out_of_range(lambda x: x.argmax(2), "argmax"),
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
        (extrema.ArgExtremum,),
        ("argmin",),
        dtypes=NUMBERS,
        order=0,
        kinks=True,
        errors=(
            empty(lambda x: x.argmin(0), "argmin"),
            out_of_range(lambda x: x.argmin(2), "argmin"),
        ),
    ),
    Sample(
        "max where",
        lambda x, mask: x.max(0, initial=-1e3, where=mask),
        _masked_case,
        lambda torch, x, mask: torch.where(mask, x, torch.full_like(x, -1e3)).amax(0),
        (extrema.MaskedExtremum,),
        ("max", "maximum"),
        kinks=True,
        errors=(
            Error(
                lambda: Tensor.ones(2).max(where=np.ones(2, bool)),
                ValueError,
                "[max] expected initial= beside where=: it may choose nothing",
            ),
        ),
    ),
]

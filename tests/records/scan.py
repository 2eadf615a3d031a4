"""Records of ops/scan.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_cupy.numpy as tnp
from support.axes import out_of_range
from support.sampling import (
    FLOATS,
    NUMBERS,
    Case,
    Draw,
    Error,
    Sample,
    distinct,
    draw_axis,
    method,
    normal,
    rng_of,
    shapes,
)
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import scan

from .product import with_zeros

Values = Callable[[Draw, tuple[int, ...]], np.ndarray]


def along(values: Values, **limits: int) -> Callable[[Draw], Case]:
    """A tensor, and one axis or None."""

    def cases(draw: Draw) -> Case:
        shape = draw(shapes(min_side=0, **limits))
        return Case((values(draw, shape),), {"axis": draw_axis(draw, len(shape), several=False)})

    return cases


def _reference(name: str) -> Any:
    def reference(torch: Any, x: Any, axis: Any) -> Any:
        flat = x.reshape(-1) if axis is None else x
        if name.startswith("cumm") and not flat.numel():  # PyTorch refuses
            return flat.clone()
        found = getattr(torch, name)(flat, 0 if axis is None else axis)
        return found if isinstance(found, torch.Tensor) else found.values

    return reference


def _line(name: str, op: Any, values: Values, **options: Any) -> Sample:
    return Sample(
        name,
        method(name),
        along(values),
        _reference(name),
        op if isinstance(op, tuple) else (op,),
        (name,),
        errors=(
            out_of_range(lambda x: getattr(x, name)(2), name),
            Error(
                lambda: getattr(Tensor.ones(2, 3), name)((0, 1)),
                TypeError,
                f"[{name}] expected one axis or None, got (0, 1)",
            ),
        ),
        **options,
    )


def _angles(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    """No two neighbours half a period apart, where one more is added or not."""
    turns = rng_of(draw).integers(-2, 3, shape) * 2 * np.pi
    return turns + rng_of(draw).uniform(-0.7, 0.7, shape)


def _unwrapped(torch: Any, x: Any, axis: int) -> Any:
    added = torch.from_numpy(np.unwrap(x.detach().numpy(), axis=axis)) - x.detach()
    return x + added.to(x.dtype)


def _last_axis(draw: Draw) -> Case:
    shape = draw(shapes(min_dims=1, min_side=1))
    return Case((_angles(draw, shape),), {"axis": draw_axis(draw, len(shape), several=False) or 0})


SAMPLES = [
    _line("cumsum", scan.CumSum, normal, dtypes=(*NUMBERS, "bool")),
    _line("cumprod", (scan.CumProd, scan.Recurrence), with_zeros, dtypes=(*NUMBERS, "bool")),
    _line("cummax", (scan.CumExtremum, scan.SegmentedSum), distinct, dtypes=NUMBERS, kinks=True),
    _line("cummin", scan.CumExtremum, distinct, dtypes=NUMBERS, kinks=True),
    _line("logcumsumexp", (scan.LogCumSumExp, scan.Recurrence), normal, dtypes=FLOATS),
    Sample(
        "np.unwrap",
        lambda x, axis: tnp.unwrap(x, axis=axis),
        _last_axis,
        _unwrapped,
        (scan.Unwrapping,),
        ("np.unwrap",),
        kinks=True,
    ),
]

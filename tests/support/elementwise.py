"""Cases and records of operations that work element by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .sampling import Case, Draw, Sample, broadcastable, normal, shapes


def one(values: Callable[..., np.ndarray]) -> Callable[[Draw], Case]:
    """One tensor of any shape, sometimes with no elements."""
    return lambda draw: Case((values(draw, draw(shapes(min_side=0))),))


def two(first: Any = normal, second: Any = normal) -> Callable[[Draw], Case]:
    """Two tensors whose shapes broadcast."""

    def cases(draw: Draw) -> Case:
        a, b = broadcastable(draw, 2)
        return Case((first(draw, a), second(draw, b)))

    return cases


def function(name: str, op: Any, values: Any = normal, **options: Any) -> Sample:
    """A method without arguments that PyTorch calls the same."""
    return Sample(
        name,
        call=lambda x: getattr(x, name)(),
        cases=one(values),
        torch=options.pop("torch", lambda torch, x: getattr(torch, name)(x)),
        ops=op if isinstance(op, tuple) else (op,),
        covers=(name,),
        **options,
    )


def binary(
    name: str, op: Any, operator: Callable[[Any, Any], Any], cases: Any, **options: Any
) -> Sample:
    """An operation of two tensors; that of Python's operator unless told otherwise."""
    return Sample(
        name,
        call=operator,
        cases=cases,
        torch=options.pop("torch", lambda _, a, b: operator(a, b)),
        ops=(op,),
        covers=options.pop("covers", (f"__{name}__",)),
        **options,
    )

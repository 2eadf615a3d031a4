"""Cases and errors of operations that reduce over axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tinygrad_cupy import Tensor

from .sampling import Case, Draw, Error, draw_axis, shapes


def over_axis(
    values: Any, min_dims: int = 0, min_side: int = 1, **extra: Any
) -> Callable[[Draw], Case]:
    """A tensor, an axis and whether to keep it; ``extra`` are strategies of more options."""

    def cases(draw: Draw) -> Case:
        shape = draw(shapes(min_dims=min_dims, min_side=min_side))
        options = {"axis": draw_axis(draw, len(shape)), "keepdims": draw(st.booleans())}
        options |= {name: draw(strategy) for name, strategy in extra.items()}
        return Case((values(draw, shape),), options)

    return cases


def dims(x: Any, axis: Any) -> tuple[int, ...]:
    """The axes in PyTorch's words."""
    if axis is None:
        return tuple(range(x.ndim))
    return (axis,) if isinstance(axis, int) else tuple(axis)


def empty(call: Callable[[Tensor], Any], name: str) -> Error:
    """What a reduction without an identity says of an axis of length 0."""
    text = f"[{name}] no elements to reduce along axis 0 of (0, 2)"
    return Error(lambda: call(Tensor(np.zeros((0, 2)))), ValueError, text)


def out_of_range(call: Callable[[Tensor], Any], name: str) -> Error:
    """What a reduction says of an axis that is not there."""
    text = f"[{name}] axis 2 is out of range for a tensor of 2 axes"
    return Error(lambda: call(Tensor(np.zeros((3, 2)))), ValueError, text)

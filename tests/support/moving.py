"""Records of NumPy's functions that only move elements: NumPy says where each comes from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_cupy.numpy as tnp

from .sampling import MOVED, Case, Draw, Error, Options, Sample, normal, shapes


def shaped(
    options: Callable[[Draw, tuple[int, ...]], Options] = lambda draw, shape: {}, **limits: int
) -> Callable[[Draw], Case]:
    """A tensor of random shape, sometimes empty, and options that depend on the shape."""

    def cases(draw: Draw) -> Case:
        shape = draw(shapes(**{"min_side": 0, **limits}))
        return Case((normal(draw, shape),), options(draw, shape))

    return cases


def calling(name: str) -> Callable[..., Any]:
    """A call of the function of our namespace, its results as a list if there are several."""

    def call(*tensors: Any, **options: Any) -> Any:
        found = getattr(tnp, name)(*tensors, **options)
        return list(found) if isinstance(found, tuple | list) else found

    return call


def spread(call: Callable[..., Any]) -> Callable[..., Any]:
    """``call`` of a list of the tensors."""
    return lambda *tensors, **options: call(list(tensors), **options)


def moved_by(function: Callable[..., Any]) -> Callable[..., Any]:
    """The elements that NumPy's ``function`` puts in each place, taken by PyTorch's indexing."""

    def taken(torch: Any, *tensors: Any, **options: Any) -> Any:
        places, start = [], 0
        for x in tensors:
            places.append(np.arange(start, start + x.numel()).reshape(tuple(x.shape)))
            start += x.numel()
        found = function(*places, **{k: _as_numpy(v) for k, v in options.items()})
        everything = torch.cat([x.reshape(-1) for x in tensors])
        if isinstance(found, tuple | list):
            return [everything[torch.as_tensor(np.array(one))] for one in found]
        return everything[torch.as_tensor(np.array(found))]

    return taken


def _as_numpy(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_as_numpy(v) for v in value)
    return value.numpy() if hasattr(value, "numpy") else value


def moving(
    name: str,
    cases: Callable[[Draw], Case],
    ops: Any,
    *covers: str,
    several: bool = False,
    errors: tuple[Error, ...] = (),
    captured: bool | Callable[[Case], bool] = True,
    obstacle: str = "",
) -> Sample:
    """The record of ``np.name``, of one tensor or of a list of ``several``."""
    of_list = spread if several else lambda call: call
    return Sample(
        f"np.{name}",
        of_list(calling(name)),
        cases,
        moved_by(of_list(getattr(np, name))),
        ops if isinstance(ops, tuple) else (ops,),
        (f"np.{name}", *covers),
        dtypes=MOVED,
        errors=errors,
        captured=captured,
        obstacle=obstacle,
    )

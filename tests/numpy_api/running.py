"""How the calls of calls.py are run."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, backend

from .calls import INPUTS, NOT_DIFFERENTIABLE


def run(expression: str, np_: Any, inputs: dict[str, Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of NaN, and of slices of it alone
        return eval(expression, {"np": np_, **inputs})


def tensors(requires_grad: bool = False) -> dict[str, Tensor]:
    made = {}
    for name, values in INPUTS.items():
        array = backend.to_device(values.copy(), tg.default_device())
        made[name] = Tensor(array, requires_grad=requires_grad and values.dtype.kind == "f")
    return made


def leaves(value: Any) -> Iterator[Any]:
    """What a result consists of."""
    if isinstance(value, tuple | list):
        for part in value:
            yield from leaves(part)
    else:
        yield value


def floats(expression: str, inputs: dict[str, Any]) -> list[Tensor]:
    """What a call gives that may carry a gradient."""
    found = leaves(run(expression, np, inputs))
    return [y for y in found if isinstance(y, Tensor) and y.dtype.kind == "f"]


def names_in(expression: str) -> list[str]:
    return [n for n in INPUTS if re.search(rf"\b{n}\b", expression)]


def is_recorded(expression: str) -> bool:
    """Whether gradients go through it: where it writes in place, as far as such writes are."""
    if ":=" not in expression:
        return True
    x: Any = Tensor([1.0], requires_grad=True) * 1
    try:
        x[0] = x[0] * 2
    except RuntimeError:
        return False
    return True


def carries_gradient(name: str, expression: str) -> bool:
    """Whether a call gives something differentiable."""
    if name in NOT_DIFFERENTIABLE or not is_recorded(expression):
        return False
    return any(y.requires_grad for y in floats(expression, tensors(requires_grad=True)))

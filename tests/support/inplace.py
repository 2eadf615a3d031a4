"""What tests of gradients of writes in place share."""

from __future__ import annotations

import gc
from typing import Any

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor


def leaf(*numbers: float) -> Tensor:
    return Tensor(list(numbers), dtype="float64", requires_grad=True)


def zeros(*shape: int) -> Tensor:
    return Tensor.zeros(*shape, dtype="float64")


def gradient(y: Any, x: Tensor) -> Any:
    return tg.grad(y, x, retain_graph=True).tolist()


def alive() -> int:
    """How many tensors and operations there are."""
    return sum(issubclass(type(x), Tensor | tg.Op) for x in gc.get_objects())

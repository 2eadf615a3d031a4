"""What a `Trainer` does with one batch: functions of their arguments alone, so that `jit` fits.

A batch comes as tensors `item`, with a function `gather` that makes (x, y) of them: a loader's
`batch` of rows, or None when the tensors are x and y themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_cupy.tensor import Tensor

from .meter import score
from .module import Module
from .optim.optimizer import Optimizer

Loss = Callable[[Tensor, Tensor], Tensor]  # (logits, target) -> scalar
Gather = Callable[..., tuple[Tensor, Tensor]] | None


def train(model: Module, optimizer: Optimizer, loss: Loss, gather: Gather, *item: Tensor) -> Tensor:
    """One optimizer step; its `score`."""
    x, y = _batch(gather, item)
    optimizer.zero_grad()
    logits = model(x)
    value = loss(logits, y)
    value.backward()
    optimizer.step()
    return score(value, logits, y)


def validate(model: Module, loss: Loss, gather: Gather, *item: Tensor) -> Tensor:
    """The `score` of a batch."""
    x, y = _batch(gather, item)
    logits = model(x)
    return score(loss(logits, y), logits, y)


def evaluate(
    model: Module, loss: Loss, gather: Gather, *item: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The `score` of a batch, its labels and the probabilities (N, C)."""
    x, y = _batch(gather, item)
    logits = model(x)
    return score(loss(logits, y), logits, y), y, logits.softmax(axis=1)


def predict(model: Module, gather: Gather, *item: Tensor) -> Tensor:
    """Class probabilities (N, C) of x, which may come without y."""
    x = item[0] if gather is None else gather(*item)[0]
    probabilities: Tensor = model(x).softmax(axis=1)
    return probabilities


def _batch(gather: Gather, item: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    x, y = item if gather is None else gather(*item)
    return x, y

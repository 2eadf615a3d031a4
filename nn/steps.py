"""What a `Trainer` does with one batch: functions of their arguments alone, so that `jit` fits.

A batch comes as tensors `item`, with a function `gather` that makes (x, y) of them: a loader's
`batch` of rows, or None when the tensors are x and y themselves. Both may be tuples, lists and
dicts of tensors, as the model and the loss take them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_cupy.backend.capture import observe
from tinygrad_cupy.tensor import Tensor

from .inputs import forward, parted
from .meter import is_classification, score
from .module import Module
from .optim.optimizer import Optimizer

Loss = Callable[[Any, Any], Tensor]  # (output, target) -> scalar
Gather = Callable[..., Any] | None
Augment = Callable[[Any, Any], tuple[Any, Any]] | None
Answer = Callable[[Any], Any] | None


def train(
    model: Module, optimizer: Optimizer, loss: Loss, augment: Augment, gather: Gather, *item: Any
) -> Tensor:
    """One optimizer step; its `score`, of the targets as they were before `augment`."""
    x, y = _batch(gather, item)
    seen, target = (x, y) if augment is None else augment(x, y)
    optimizer.zero_grad()
    output = forward(model, seen)
    value = loss(output, target)
    value.backward()
    optimizer.step()
    return score(value, output, y, ignored_by(loss))


def validate(model: Module, loss: Loss, gather: Gather, *item: Any) -> Tensor:
    """The `score` of a batch."""
    x, y = _batch(gather, item)
    output = forward(model, x)
    return score(loss(output, y), output, y, ignored_by(loss))


def evaluate(
    model: Module, loss: Loss, answer: Answer, gather: Gather, *item: Any
) -> tuple[Tensor, Any, Any]:
    """The `score` of a batch, its targets and the answers: the probabilities (N, C) of classes."""
    x, y = _batch(gather, item)
    output = forward(model, x)
    if answer is None:
        found = output.softmax(axis=1) if is_classification(output, y) else output
    else:
        found = answer(output)
    return score(loss(output, y), output, y, ignored_by(loss)), y, found


def predict(model: Module, answer: Callable[[Any], Any], gather: Gather, *item: Any) -> Any:
    """The answer to x, which may come without y."""
    x, _ = _batch(gather, item)
    return answer(forward(model, x))


def ignored_by(loss: Loss) -> int:
    """The class that a loss leaves out by its `ignore_index`; -1, which is none, without one."""
    found = getattr(loss, "ignore_index", None)
    if not isinstance(found, int | np.integer):
        return -1
    observe(loss, "ignore_index")
    return int(found)


def softmax(output: Tensor) -> Tensor:
    """The probabilities of classes (N, C)."""
    return output.softmax(axis=1)


@dataclass(frozen=True)
class Inputs:
    """A loader's `batch` whose batches are inputs alone, also where they are pairs."""

    gather: Callable[..., Any]

    def __call__(self, *item: Any) -> tuple[Any, None]:
        return self.gather(*item), None


def _batch(gather: Gather, item: tuple[Any, ...]) -> tuple[Any, Any]:
    if gather is not None:
        return parted(gather(*item), None)
    return item if len(item) == 2 else (item[0], None)

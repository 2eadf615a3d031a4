"""What a `Trainer` does with one batch: functions of their arguments alone, so that `jit` fits.

A batch comes as tensors `item`, with a function `gather` that makes (x, y) of them: a loader's
`batch` of rows, or None when the tensors are x and y themselves. Both may be tuples, lists and
dicts of tensors, as the model and the loss take them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_cupy.autograd.autocast import autocast
from tinygrad_cupy.backend.capture import observe
from tinygrad_cupy.backend.ranks import ranks
from tinygrad_cupy.tensor import Tensor

from .inputs import forward, parted
from .meter import count_by_share, is_classification, score
from .module import Module
from .optim.averaging import AveragedModel
from .optim.clip import clip_grad_norm
from .optim.optimizer import Optimizer
from .optim.scaler import GradScaler
from .running_metrics import Metrics

Loss = Callable[[Any, Any], Tensor]  # (output, target) -> scalar
Gather = Callable[..., Any] | None
Augment = Callable[[Any, Any], tuple[Any, Any]] | None
Answer = Callable[[Any], Any] | None
Scored = tuple[Tensor, ...]  # the score of a step, and the sums of its metrics where it has any


@dataclass(frozen=True, eq=False)
class Options:
    """What a training step does beside a forward pass, a backward pass and an update.

    autocast: "bf16", or "fp16" with a `scaler`, in the forward pass
    clip_norm: the most that the joint norm of the gradients is
    averaged: is given the weights after each update
    """

    clip_norm: float | None = None
    autocast: str | None = None
    scaler: GradScaler | None = None
    averaged: AveragedModel | None = None

    def update(self, optimizer: Optimizer, value: Tensor) -> None:
        """Backward pass and update."""
        if self.scaler is None:
            value.backward()
        else:
            with np.errstate(over="ignore", invalid="ignore"):  # the scaler looks for it
                self.scaler.scale(value).backward()
        if self.clip_norm is not None:
            if self.scaler is not None:
                self.scaler.unscale_(optimizer)
            clip_grad_norm(optimizer.params, self.clip_norm)
        if self.scaler is None:
            optimizer.step()
        else:
            self.scaler.step(optimizer)
            self.scaler.update()


def train(
    model: Module,
    optimizer: Optimizer,
    loss: Loss,
    augment: Augment,
    options: Options,
    metrics: Metrics,
    gather: Gather,
    *item: Any,
) -> Scored:
    """One optimizer step; its `score`, of the targets as they were before `augment`."""
    x, y = _batch(gather, item)
    seen, target = (x, y) if augment is None else augment(x, y)
    optimizer.zero_grad()
    with nullcontext() if options.autocast is None else autocast(options.autocast):
        output = forward(model, seen)
        value = loss(output, target)
    parallel = optimizer.parallel if ranks.parallel else None
    if parallel is None:
        options.update(optimizer, value)
        scored = _scored(metrics, loss, value, output, y)
    else:  # the score goes to the other ranks with the gradients
        scored = _scored(metrics, loss, value, output, y)
        parallel.carry(scored[0])
        options.update(optimizer, value)
    if options.averaged is not None:
        options.averaged.update_parameters(model)
    return scored


def validate(model: Module, loss: Loss, metrics: Metrics, gather: Gather, *item: Any) -> Scored:
    """The `score` of a batch."""
    x, y = _batch(gather, item)
    output = forward(model, x)
    return _scored(metrics, loss, loss(output, y), output, y)


def evaluate(
    model: Module, loss: Loss, answer: Answer, metrics: Metrics, gather: Gather, *item: Any
) -> tuple[Scored, Any, Any]:
    """The `score` of a batch, its targets and the answers: the probabilities (N, C) of classes."""
    x, y = _batch(gather, item)
    output = forward(model, x)
    if answer is None:
        found = output.softmax(axis=1) if is_classification(output, y) else output
    else:
        found = answer(output)
    return _scored(metrics, loss, loss(output, y), output, y), y, found


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


def _scored(metrics: Metrics, loss: Loss, value: Tensor, output: Any, y: Any) -> Scored:
    scored = score(value, output, y, ignored_by(loss))
    if ranks.split is None:
        return (scored, metrics.sums(output, y)) if metrics else (scored,)
    count_by_share(scored, getattr(loss, "reduction", "mean") == "sum")
    return (scored, ranks.world.of_each_rank(metrics.sums(output, y))) if metrics else (scored,)


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

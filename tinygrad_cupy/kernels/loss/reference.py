"""Softmax cross-entropy on arrays of either kind. Letters: R rows, C classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...backend import Array, array_module
from ..common import sums

IGNORED, ILLEGAL = -1, -2  # in the place of a class


class Target(NamedTuple):
    """What a loss makes of its target."""

    place: Array  # (R,): the class of each row, or IGNORED, or ILLEGAL
    divisor: Array  # (): what the summed loss is divided by; for a mean the rows counted, or 1

    def weight(self, dtype: Any) -> Array:
        """(R,): 1, 0 where ignored, NaN where the target is no class."""
        xp = array_module(self.place)
        counted = xp.where(self.place == ILLEGAL, np.nan, self.place != IGNORED)
        return counted.astype(dtype)

    def expected(self, classes: int, smoothing: float, dtype: Any) -> Array:
        """q, (R, C), for class 0 where the target is no class."""
        xp, rows = array_module(self.place), len(self.place)
        smooth = np.dtype(dtype).type(smoothing)
        q = xp.full((rows, classes), smooth / classes, dtype)
        q[xp.arange(rows), xp.maximum(self.place, 0)] += 1 - smooth
        return q


def _softmax(logits: Array) -> tuple[Array, Array, Array]:
    """Logits less their row's largest, exp of that, and its sums: (R, C), (R, C), (R, 1)."""
    xp = array_module(logits)
    shifted = logits - logits.max(axis=1, keepdims=True)
    exp = xp.exp(shifted)
    return shifted, exp, sums.total(exp, (1,), keepdims=True)


def losses_of(logits: Array, target: Target, smoothing: float) -> Array:
    """The loss (R,) of each row of logits (R, C), 0 where it is ignored."""
    xp, dtype, place = array_module(logits), logits.dtype, target.place
    shifted, _, total = _softmax(logits)
    smooth, rows = dtype.type(smoothing), xp.arange(len(logits))
    losses = xp.log(total)[:, 0] - (1 - smooth) * shifted[rows, xp.maximum(place, 0)]
    if smoothing:
        losses -= smooth * sums.mean(shifted, (1,))
    return xp.where(place != IGNORED, losses * target.weight(dtype), dtype.type(0))


def forward(
    logits: Array,
    labels: Array,
    smoothing: float,
    ignore_index: int,
    reduction: str,
    row_losses: Callable[[Array, Target, float], Array] = losses_of,
) -> tuple[Array, Target]:
    """The loss of logits (R, C) for labels (R,), and what it made of these."""
    xp, dtype = array_module(logits), logits.dtype
    classes = logits.shape[1]
    counted = labels != ignore_index
    legal = (labels >= 0) & (labels < classes)
    place = xp.where(legal, labels.astype(np.int64), ILLEGAL)
    place = xp.where(counted, place, IGNORED).astype(np.int32)
    divisor = xp.maximum(counted.sum(), 1) if reduction == "mean" else xp.ones(())
    target = Target(place, divisor.astype(dtype))
    losses = row_losses(logits, target, smoothing)
    if reduction == "none":
        return losses, target
    loss = sums.total(losses, (0,)) / target.divisor
    if reduction == "mean":
        loss = xp.where(counted.any(), loss, dtype.type(np.nan))  # over nothing, as in PyTorch
    return loss, target


def backward(logits: Array, grad: Array, target: Target, smoothing: float) -> Array:
    """The gradient by the logits, (R, C)."""
    _, exp, total = _softmax(logits)
    exp /= total
    exp -= target.expected(logits.shape[1], smoothing, logits.dtype)
    exp *= (grad / target.divisor * target.weight(logits.dtype))[:, None]
    return exp

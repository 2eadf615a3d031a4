"""Softmax cross-entropy on arrays, forward and backward in one step each."""

from __future__ import annotations

from ...backend import Array, kernel
from . import cuda, native
from .reference import Target

__all__ = ["Target", "cross_entropy", "cross_entropy_backward"]


@kernel(cpu=native.forward, cuda=cuda.forward)
def cross_entropy(
    logits: Array, labels: Array, smoothing: float, ignore_index: int, reduction: str
) -> tuple[Array, Target]:
    """The loss of logits (R, C) for labels (R,), and what it made of these.

    The loss is (R,) for the reduction "none", else ().
    """


@kernel(cpu=native.backward, cuda=cuda.backward)
def cross_entropy_backward(logits: Array, grad: Array, target: Target, smoothing: float) -> Array:
    """The gradient by the logits, (R, C)."""

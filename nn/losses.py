"""Losses as layers: called with (output, target), they give a Tensor to call backward() on."""

from __future__ import annotations

from tinygrad_cupy.backend.dtypes import common_dtype, is_narrow
from tinygrad_cupy.ops.promotion import as_float, single
from tinygrad_cupy.tensor import Tensor

from . import checks
from .module import Module

REDUCTIONS = ("mean", "sum", "none")


class CrossEntropyLoss(Module):
    """-log softmax(logits)[target]: for classifiers that end in plain scores ("logits").

    `logits` (N, C) or (N, C, d1, ...) and `target` integers (N,) or (N, d1, ...) in [0, C).
    `label_smoothing` s in [0, 1] gives every class s / C of the target's weight (Szegedy et al.,
    "Rethinking the Inception architecture", 2015). Targets equal to `ignore_index` count for
    nothing, also not in the mean. `reduction`: "mean", "sum" or "none" (a loss per target).
    """

    def __init__(
        self, label_smoothing: float = 0.0, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        self.label_smoothing = checks.fraction(self, "label_smoothing", label_smoothing)
        self.ignore_index = ignore_index
        self.reduction = checks.choice(self, "reduction", reduction, REDUCTIONS)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return logits.cross_entropy(target, self.label_smoothing, self.ignore_index, self.reduction)

    def extra_repr(self) -> str:
        return f"label_smoothing={self.label_smoothing}, reduction={self.reduction!r}"


class MSELoss(Module):
    """(output - target)^2 for two Tensors of one shape; `reduction` is "mean", "sum" or "none".

    Integers, whose differences and squares would not fit, are taken as float32.
    """

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = checks.choice(self, "reduction", reduction, REDUCTIONS)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        # Broadcasting (8, 1) against (8,) to (8, 8) is a classic silent mistake.
        if output.shape != target.shape:
            raise ValueError(
                f"[MSELoss] expected a target of shape {output.shape}, got {target.shape}"
            )
        loss = self._of_difference(single(as_float(output)) - single(as_float(target)))
        dtype = common_dtype(output.dtype, target.dtype)
        return loss.astype(dtype) if is_narrow(dtype) else loss

    def _of_difference(self, difference: Tensor) -> Tensor:
        squares = difference * difference
        if self.reduction == "none":
            return squares
        return squares.mean() if self.reduction == "mean" else squares.sum()

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"

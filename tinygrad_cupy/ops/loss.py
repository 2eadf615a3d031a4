"""Softmax cross-entropy, forward and backward in one step each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .. import kernels
from ..autograd import FusedOp, TensorBase
from ..autograd.autocast import in_wide
from ..autograd.batching import BatchLevel
from ..autograd.levels import innermost
from ..autograd.tensor_base import expect_real
from ..backend import Array, array_module, device_of, is_cuda, plain_array
from ..backend.capture import active, use
from ..backend.ranks import ranks
from .class_losses import (
    expect_classes,
    is_shares,
    over_all_ranks,
    weighted_cross_entropy,
)
from .losses import REDUCTIONS, tensor_of
from .promotion import as_float, in_single, single

if TYPE_CHECKING:
    from ..autograd.typing import Tensor


class CrossEntropy(FusedOp):
    """-Σ_c q_c · log softmax(x)_c of each row of logits (R, C).

    q is (1 - s) · onehot(target) + s / C for label smoothing s; rows whose target is ignore_index
    count nothing. The gradient is softmax(x) - q. Targets were checked on the CPU; on the GPU a
    target out of range gives NaN.
    """

    autocast = "wide"
    only_real = True

    def __init__(self, target: Array, smoothing: float, ignore_index: int, reduction: str) -> None:
        self.labels, self.smoothing = target, smoothing
        self.ignore_index, self.reduction = ignore_index, reduction

    def forward(self, logits: Array) -> Array:
        how = (self.smoothing, self.ignore_index, self.reduction)
        loss, self.target = kernels.loss.cross_entropy(logits, self.labels, *how)
        del self.labels  # everything after works on copies: the caller may write into it
        return loss

    def backward_arrays(self, grad: Array, logits: Array) -> Any:
        return (kernels.loss.cross_entropy_backward(logits, grad, self.target, self.smoothing),)

    def reference(self, logits: Tensor) -> Tensor:
        dtype = logits.dtype
        expected = self.target.expected(logits.shape[1], self.smoothing, dtype)
        q = logits._wrap(expected * self.target.weight(dtype)[:, None])
        losses = -(logits.log_softmax(axis=1) * q).sum(axis=1)
        if self.reduction == "none":
            return losses
        return losses.sum() / logits._wrap(self.target.divisor)


class LossMixin(TensorBase):
    """Losses as methods."""

    __slots__ = ()

    @in_wide
    def cross_entropy(
        self,
        target: Any,
        label_smoothing: float = 0.0,
        ignore_index: int = -100,
        reduction: str = "mean",
        weight: Any = None,
    ) -> Tensor:
        """Softmax cross-entropy of logits (N, C, …) against class indices (N, …).

        Label smoothing s replaces the one-hot target by (1 - s) · onehot + s / C (Szegedy et al.
        2016). Positions whose target is ``ignore_index`` are left out, of the mean's divisor too.
        ``reduction`` is "mean", "sum" or "none". An index out of range is an error on the CPU; on a
        GPU, where looking would stall it, the loss becomes NaN.

        Floats of the logits' shape are the share of each class, -Σ_c t_c · log softmax(x)_c, whose
        mean is over all positions; an ``ignore_index`` of at least 0 is a ``ValueError`` beside
        them. ``weight`` (C,) is what each class counts; the mean is divided
        by the weights of the classes that are met. Both are computed in several steps.

        Logits (C,) with one class, or (C,) shares, are a row by itself; its loss is ().
        """
        logits = as_float(self)
        if len(logits.shape) == 1:
            labels = tensor_of(logits, target)
            if labels.shape in ((), logits.shape):
                options = (label_smoothing, ignore_index, reduction, weight)
                losses: Tensor = logits.unsqueeze(0).cross_entropy(labels.unsqueeze(0), *options)
                return losses.squeeze(0) if reduction == "none" else losses
        if weight is not None or is_shares(logits, target):
            _expect_options(label_smoothing, reduction)
            expect_real("cross_entropy", logits)
            if ignore_index >= 0 and is_shares(logits, target):
                raise ValueError(
                    "[cross_entropy] expected classes where ignore_index is one, got the shares of "
                    f"each class, of which none is left out, and ignore_index={ignore_index}"
                )
            if len(logits.shape) < 2:
                raise ValueError(
                    "[cross_entropy] expected logits (N, C, …), or (C,) and one class, got shape "
                    f"{logits.shape}"
                )
            return weighted_cross_entropy(
                logits, target, weight, ignore_index, label_smoothing, reduction
            )
        if active.level is not None and isinstance(
            level := innermost((logits, target)), BatchLevel
        ):
            how = (label_smoothing, ignore_index, reduction)
            return level.batched(_of_batch(level, logits, target, *how))  # type: ignore[no-any-return]
        if isinstance(target, TensorBase):
            use(target)
        labels = target.data if isinstance(target, TensorBase) else target
        labels = array_module(logits.data).asarray(labels) if isinstance(labels, list) else labels
        labels = plain_array(labels)
        _expect_options(label_smoothing, reduction)
        shape = logits.shape
        place, device = device_of(labels), device_of(logits.data)
        if place != device:
            raise ValueError(
                f"[cross_entropy] expected the classes on {device} like the logits, got {place}; "
                "move them with .to(device)"
            )
        if labels.dtype.kind not in "iu":
            raise TypeError(f"[cross_entropy] expected integer classes, got dtype {labels.dtype}")
        if len(shape) < 2 or tuple(labels.shape) != (shape[0], *shape[2:]):
            raise ValueError(
                f"[cross_entropy] expected logits (N, C, …) and classes (N, …), got {shape} and "
                f"{tuple(labels.shape)}"
            )
        known = None if is_cuda(labels) else labels
        expect_classes("cross_entropy", known, shape[1], ignore_index)
        rows = logits
        if len(shape) > 2:  # classes last, then (R, C)
            rows = logits.permute(0, *range(2, len(shape)), 1).reshape(-1, shape[1])
        labels = labels if labels.ndim == 1 else labels.reshape(-1)
        whole = reduction == "mean" and ranks.split is not None
        if whole:  # the divisor is that of all ranks
            counted = rows._wrap((labels != ignore_index).sum().astype(single(rows).dtype))
            divisor = over_all_ranks(counted).astype(rows.dtype)
            reduction = "sum"
        op = CrossEntropy(labels, label_smoothing, ignore_index, reduction)
        loss = in_single(rows, op)
        if whole:
            loss = loss / divisor.where(divisor != 0, math.nan)
        return loss.reshape(shape[0], *shape[2:]) if reduction == "none" else loss


def _of_batch(
    b: BatchLevel, logits: Any, target: Any, smoothing: float, ignore_index: int, reduction: str
) -> Any:
    """The losses of a batch of logits (B, N, C, …) and classes (B, N, …): (B,) or (B, N, …)."""
    labels = b.join(target if isinstance(target, TensorBase) else logits._wrap(target), 0)
    losses = b.join(logits, 0).cross_entropy(labels, smoothing, ignore_index, "none")
    rows = b.split(losses, 0).reshape(b.size, -1)
    if reduction == "none":
        return b.split(losses, 0)
    total = rows.sum(1)
    if reduction == "sum":
        return total
    counted = (b.split(labels, 0).reshape(b.size, -1) != ignore_index).sum(1)
    return total / counted.where(counted != 0, math.nan)  # over nothing, as in PyTorch


def _expect_options(label_smoothing: float, reduction: str) -> None:
    if reduction not in REDUCTIONS:
        raise ValueError(f"[cross_entropy] expected reduction in {REDUCTIONS}, got {reduction}")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(
            f"[cross_entropy] expected label_smoothing from 0 to 1, got {label_smoothing}"
        )

"""Losses of scores beside classes: each row (N, C, …) has one class, several, or a share of each.

Classes are checked on the CPU. On a GPU, where looking would stall it, one out of range makes the
loss NaN.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd import TensorBase
from ..autograd.autocast import in_wide
from ..backend import array_module, on_device_of
from ..backend.ranks import ranks
from .losses import (
    expect_one_shape,
    expect_reduction,
    host_values,
    reduced,
    tensor_of,
    together,
)
from .promotion import as_ordered, single
from .take import Take, TakeAlong

if TYPE_CHECKING:
    from ..autograd.typing import Tensor


def _classes(name: str, x: Any, target: Any, ignore_index: int | None) -> tuple[Any, Any, Any]:
    """Of classes (N, …) beside (N, C, …): where to look (0 for none), what counts, what is one."""
    labels = tensor_of(x, target)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"[{name}] expected integer classes, got dtype {labels.dtype}")
    if labels.device != x.device:
        raise ValueError(
            f"[{name}] expected the classes on {x.device}, got {labels.device}; "
            "move them with .to(device)"
        )
    if x.ndim < 2 or tuple(labels.shape) != (x.shape[0], *x.shape[2:]):
        raise ValueError(
            f"[{name}] expected (N, C, …) and classes (N, …), got {x.shape} and "
            f"{tuple(labels.shape)}"
        )
    labels = labels.astype(np.int64)
    legal = (labels >= 0) & (labels < x.shape[1])
    counts = labels == labels if ignore_index is None else labels != ignore_index
    expect_classes(name, host_values(labels), x.shape[1], ignore_index)
    return labels.where(legal, 0), counts, legal | ~counts


def expect_classes(name: str, labels: Any, classes: int, ignore_index: int | None) -> None:
    """Raise ``ValueError`` for labels, an array or None, that are no classes."""
    if labels is None:
        return
    wrong = (labels < 0) | (labels >= classes)
    if ignore_index is not None:
        wrong &= labels != ignore_index
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(
            f"[{name}] expected classes from 0 to {classes - 1}, got {labels[place]} at position "
            f"{place[0] if len(place) == 1 else place}"
        )


def over_all_ranks(divisor: Any) -> Any:
    """What a mean over targets is divided by, which some may not count in.

    Of a batch that is split among ranks it is that of all of them, times the share of this rank,
    as which its loss will count.
    """
    if ranks.split is None:
        return divisor
    found = divisor.detach() * float(ranks.split.present)
    return divisor._wrap(ranks.world.total(found.data)) * ranks.mean_weight()


def _weights(name: str, x: Any, weight: Any) -> Any:
    """The weight of each class, (C,), or None."""
    if weight is None:
        return None
    weight = tensor_of(x, weight)
    if tuple(weight.shape) != (x.shape[1],):
        raise ValueError(
            f"[{name}] expected a weight for each of {x.shape[1]} classes, got shape "
            f"{tuple(weight.shape)}"
        )
    return weight.astype(x.dtype)


def _along_classes(weight: Any, x: Any) -> Any:
    return weight.reshape(1, -1, *[1] * (x.ndim - 2))


def _picked(x: Any, place: Any) -> Any:
    """x (N, C, …) at the class of each place (N, …)."""
    return TakeAlong(1)(x, place.unsqueeze(1)).squeeze(1)


def _of_classes(
    name: str, x: Any, target: Any, weight: Any, ignore_index: int, smoothing: float, reduction: str
) -> Any:
    """The losses of log-probabilities x whose rows have a class each."""
    place, counts, legal = _classes(name, x, target, ignore_index)
    share = counts.astype(x.dtype) if weight is None else Take(0)(weight, place).where(counts, 0)
    share = share.where(legal, math.nan)
    losses = -_picked(x, place).where(counts, 0) * share
    if smoothing:
        every = x if weight is None else x * _along_classes(weight, x)
        even = -every.sum(1).where(counts, 0)
        losses = losses * (1 - smoothing) + even * (smoothing / x.shape[1])
    if reduction == "mean":
        total = over_all_ranks(share.sum())
        return losses.sum() / total.where(total != 0, math.nan)  # over nothing, as in PyTorch
    return losses.sum() if reduction == "sum" else losses


def weighted_cross_entropy(
    logits: Any, target: Any, weight: Any, ignore_index: int, smoothing: float, reduction: str
) -> Tensor:
    """Cross-entropy of what the fused one does not do: weights of classes, or shares of them."""
    name = "cross_entropy"
    x = single(logits)
    weight = _weights(name, x, weight)
    how = (weight, ignore_index, smoothing, reduction)
    x = x.log_softmax(axis=1)
    if not is_shares(logits, target):
        return _of_classes(name, x, target, *how).astype(logits.dtype)  # type: ignore[no-any-return]
    shares = tensor_of(logits, target).astype(x.dtype)
    if smoothing:
        shares = shares * (1 - smoothing) + smoothing / x.shape[1]
    if weight is not None:
        shares = shares * _along_classes(weight, x)
    return reduced(-(x * shares).sum(1), reduction, logits.dtype)


def is_shares(logits: Any, target: Any) -> bool:
    """Whether a target is the share of each class: floats of the logits' shape."""
    dtype = getattr(target, "dtype", None)
    if dtype is None or dtype.kind in "iub":
        return False
    return tuple(target.shape) == tuple(logits.shape)


class ClassLossMixin(TensorBase):
    """Losses of scores and classes as methods. ``reduction`` is "mean", "sum" or "none"."""

    __slots__ = ()

    @in_wide
    def nll_loss(
        self,
        target: Any,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> Tensor:
        """-weight[t] · x[t] of log-probabilities x (N, C, …) and classes t (N, …).

        The mean is divided by the weights of the classes that are met; rows of ``ignore_index``
        count nothing. (C,) and one class are a row by itself.
        """
        name = "nll_loss"
        expect_reduction(name, reduction)
        given: Any = as_ordered(self, name)
        x = single(given)
        if x.ndim == 1:
            labels = tensor_of(x, target)
            losses = x.unsqueeze(0).nll_loss(labels.unsqueeze(0), weight, ignore_index, reduction)
            return losses.squeeze(0) if reduction == "none" else losses
        if x.ndim < 2:
            raise ValueError(f"[{name}] expected log-probabilities (N, C, …), got {x.shape}")
        how = (_weights(name, x, weight), ignore_index, 0.0, reduction)
        return _of_classes(name, x, target, *how).astype(given.dtype)  # type: ignore[no-any-return]

    @in_wide
    def multi_margin_loss(
        self,
        target: Any,
        p: int = 1,
        margin: float = 1.0,
        weight: Any = None,
        reduction: str = "mean",
    ) -> Tensor:
        """Σ_c max(0, margin - x[t] + x[c])^p · weight[t] / C over classes c other than t.

        Scores (N, C) and classes (N,), or a row by itself; ``p`` is 1 or 2.
        """
        name = "multi_margin_loss"
        expect_reduction(name, reduction)
        if p not in (1, 2):
            raise ValueError(f"[{name}] expected p to be 1 or 2, got {p}")
        given: Any = as_ordered(self, name)
        if given.ndim < 2:
            row, one = given.reshape(1, -1), tensor_of(given, target).reshape(1)
            losses = row.multi_margin_loss(one, p, margin, weight, reduction)
            return losses.reshape(())  # type: ignore[no-any-return]
        x = single(given)
        _expect_rows(name, x)
        weight = _weights(name, x, weight)
        place, _, legal = _classes(name, x, target, None)
        short = (x - _picked(x, place).unsqueeze(1) + margin).relu()
        short = short if p == 1 else short * short
        others = _numbers(x) != place.unsqueeze(1)
        losses = short.where(others, 0).sum(1) / x.shape[1]
        losses = losses if weight is None else losses * Take(0)(weight, place)
        return reduced(losses.where(legal, math.nan), reduction, given.dtype)

    @in_wide
    def multilabel_margin_loss(self, target: Any, reduction: str = "mean") -> Tensor:
        """Σ max(0, 1 - x[t] + x[c]) / C over a row's classes t and those c that it has not.

        Scores (N, C) and as many classes, of which a row has those before its first -1; or a row by
        itself.
        """
        name = "multilabel_margin_loss"
        expect_reduction(name, reduction)
        given: Any = as_ordered(self, name)
        x = single(given)
        labels = tensor_of(x, target)
        if x.ndim < 2:
            expect_one_shape(name, x, labels)
            row = given.reshape(1, -1).multilabel_margin_loss(labels.reshape(1, -1), reduction)
            return row.reshape(())  # type: ignore[no-any-return]
        _expect_rows(name, x)
        expect_one_shape(name, x, labels)
        if labels.dtype.kind not in "iu":
            raise TypeError(f"[{name}] expected integer classes, got dtype {labels.dtype}")
        labels = labels.astype(np.int64)
        expect_classes(name, host_values(labels), x.shape[1], -1)
        legal = ((labels >= -1) & (labels < x.shape[1])).all(1)
        said = (labels == -1).astype(np.int64).cumsum(1) == 0  # (N, C): before the first -1
        place = labels.clip(0, x.shape[1] - 1)
        has = ((place.unsqueeze(2) == _numbers(x).unsqueeze(0)) & said.unsqueeze(2)).any(1)
        short = (x.unsqueeze(1) - TakeAlong(1)(x, place).unsqueeze(2) + 1).relu()  # (N, t, c)
        short = short.where(said.unsqueeze(2) & ~has.unsqueeze(1), 0)
        losses = short.sum((1, 2)) / x.shape[1]
        return reduced(losses.where(legal, math.nan), reduction, given.dtype)

    @in_wide
    def multilabel_soft_margin_loss(
        self, target: Any, weight: Any = None, reduction: str = "mean"
    ) -> Tensor:
        """The mean over classes of the binary cross-entropy of each: scores and 0 or 1 (N, C).

        -weight · (t log σ(x) + (1 - t) log σ(-x)), ``weight`` of each class.
        """
        name = "multilabel_soft_margin_loss"
        expect_reduction(name, reduction)
        (x, t), dtype = together(name, self, target)
        expect_one_shape(name, x, t)
        if not x.ndim:
            raise ValueError(f"[{name}] expected scores (N, C), got shape {x.shape}")
        losses = t * (-x).softplus() + (1 - t) * x.softplus()
        if weight is not None:
            losses = losses * tensor_of(x, weight).astype(x.dtype)
        return reduced(losses.mean(-1), reduction, dtype)


def _expect_rows(name: str, x: Any) -> None:
    if x.ndim != 2 or not x.shape[1]:
        raise ValueError(f"[{name}] expected scores (N, C), got shape {x.shape}")


def _numbers(x: Any) -> Any:
    """The numbers of the classes, (1, C)."""
    with on_device_of(x.data):
        return x._wrap(array_module(x.data).arange(x.shape[1])[None])

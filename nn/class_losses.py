"""Losses of scores beside classes, as layers: called with (output, target)."""

from __future__ import annotations

from typing import Any

from tinygrad_cupy.tensor import Tensor

from . import checks
from .loss import Loss, buffer_of


class CrossEntropyLoss(Loss):
    """-log softmax(logits)[target]: for classifiers that end in plain scores ("logits").

    `logits` (N, C) or (N, C, d1, ...) and `target` integers (N,) or (N, d1, ...) in [0, C), or
    floats of the logits' shape: the share of each class; or (C,) and one class, (). With
    `label_smoothing` s in [0, 1] every class gets s / C of the target's weight (Szegedy et al.,
    "Rethinking the Inception architecture", 2015). Targets equal to `ignore_index` count for
    nothing, also not in the mean. `reduction`: "mean", "sum" or "none" (a loss per target).
    `weight` (C,) is what each class counts; the mean is then divided by the weights of the targets.
    A target that is no class is a ValueError on the CPU; on a GPU, where looking would stall it,
    the loss is NaN.

    >>> logits, target = Tensor([[0.0, 0.0], [0.0, 100.0]]), Tensor([0, 1])
    >>> nn.CrossEntropyLoss(reduction="none")(logits, target).round(3)
    Tensor([0.693, 0.   ])
    >>> per_pixel = nn.CrossEntropyLoss(weight=[1.0, 2.0], ignore_index=255)
    >>> per_pixel(Tensor.zeros(8, 2, 4, 4), Tensor.zeros(8, 4, 4, dtype="uint8")).round(3)  # log 2
    Tensor(0.693)
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        ignore_index: int = -100,
        reduction: str = "mean",
        weight: Any = None,
    ) -> None:
        super().__init__(reduction)
        self.label_smoothing = checks.fraction(self, "label_smoothing", label_smoothing)
        self.ignore_index = ignore_index
        self.weight = buffer_of(weight)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        how = (self.label_smoothing, self.ignore_index, self.reduction)
        return logits.cross_entropy(target, *how, self.weight)

    def _shown(self) -> dict[str, Any]:
        return {"label_smoothing": self.label_smoothing, "reduction": self.reduction}


class NLLLoss(Loss):
    """-weight[t] * x[t] of log-probabilities x (N, C, ...) and classes t (N, ...).

    LogSoftmax gives such; CrossEntropyLoss does both. The mean is divided by the weights of the
    targets; those equal to `ignore_index` count nothing.

    >>> log_p = Tensor([[0.5, 0.5], [0.25, 0.75]]).log()
    >>> nn.NLLLoss(reduction="none")(log_p, Tensor([0, 1])).round(3)
    Tensor([0.693, 0.288])
    """

    def __init__(
        self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.weight, self.ignore_index = buffer_of(weight), ignore_index

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        checks.input_tensor(self, output)
        return output.nll_loss(target, self.weight, self.ignore_index, self.reduction)


class MultiMarginLoss(Loss):
    """sum_c max(0, margin - x[t] + x[c])^p * weight[t] / C over classes c other than t.

    Scores x (N, C) and classes t (N,); p is 1 or 2. The hinge loss of several classes.

    >>> nn.MultiMarginLoss()(Tensor([[0.0, 0.5, 2.0]]), Tensor([1])).round(3)  # (0.5 + 2.5) / 3
    Tensor(1.)
    """

    def __init__(
        self, p: int = 1, margin: float = 1.0, weight: Any = None, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        if p not in (1, 2):
            raise ValueError(f"[MultiMarginLoss] p must be 1 or 2, got {p!r}")
        self.p, self.margin = p, checks.real(self, "margin", margin)
        self.weight = buffer_of(weight)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        checks.input_tensor(self, output)
        how = (self.p, self.margin, self.weight, self.reduction)
        return output.multi_margin_loss(target, *how)

    def _shown(self) -> dict[str, Any]:
        return {"p": self.p, "margin": self.margin, "reduction": self.reduction}


class MultiLabelMarginLoss(Loss):
    """sum max(0, 1 - x[t] + x[c]) / C over a row's classes t and those c that it has not.

    Scores x (N, C) and integers (N, C): a row has the classes before its first -1.

    >>> scores = Tensor([[0.0, 0.5, 2.0]])
    >>> nn.MultiLabelMarginLoss()(scores, Tensor([[2, 1, -1]])).round(3)  # (0 + 0.5) / 3
    Tensor(0.167)
    """

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        checks.input_tensor(self, output)
        return output.multilabel_margin_loss(target, self.reduction)


class MultiLabelSoftMarginLoss(Loss):
    """The mean over classes of BCEWithLogitsLoss: scores and targets in [0, 1], (N, C) both.

    `weight` (C,) is what each class counts.

    >>> nn.MultiLabelSoftMarginLoss()(Tensor.zeros(2, 3), Tensor([[0.0, 1.0, 1.0]] * 2)).round(3)
    Tensor(0.693)
    """

    def __init__(self, weight: Any = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.weight = buffer_of(weight)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        self._expect_one_shape(output, target)
        return output.multilabel_soft_margin_loss(target, self.weight, self.reduction)

"""Losses as layers: called with (output, target), they give a Tensor to call backward() on.

Each is the Tensor method of its name. `reduction` is "mean", "sum" or "none" (a loss for each
element or row). A weight is a Buffer: it is moved and saved with the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_cupy.ops.losses import REDUCTIONS, reduced
from tinygrad_cupy.tensor import Tensor

from . import checks
from .module import Buffer, Module


class _Loss(Module):
    """What all have: how the losses of elements are put together, and what shapes must be equal."""

    more_reductions: tuple[str, ...] = ()

    def __init__(self, reduction: str = "mean") -> None:
        choices = (*REDUCTIONS, *self.more_reductions)
        self.reduction = checks.choice(self, "reduction", reduction, choices)

    def _expect_one_shape(self, output: Tensor, *targets: Tensor) -> None:
        """Broadcasting (8, 1) against (8,) to (8, 8) is a classic silent mistake."""
        checks.input_tensor(self, output)
        for target in targets:
            checks.input_tensor(self, target)
            if output.shape != target.shape:
                raise ValueError(
                    f"[{type(self).__name__}] expected a target of shape {output.shape}, got "
                    f"{target.shape}"
                )

    def _shown(self) -> dict[str, Any]:
        return {"reduction": self.reduction}

    def extra_repr(self) -> str:
        return ", ".join([f"{name}={value!r}" for name, value in self._shown().items()])


def _buffer(weight: Any) -> Buffer | None:
    if weight is None or isinstance(weight, Buffer):
        return weight
    return Buffer(weight.detach() if isinstance(weight, Tensor) else weight)


# --- of classes -----------------------------------------------------------------------------------


class CrossEntropyLoss(_Loss):
    """-log softmax(logits)[target]: for classifiers that end in plain scores ("logits").

    `logits` (N, C) or (N, C, d1, ...) and `target` integers (N,) or (N, d1, ...) in [0, C), or
    floats of the logits' shape: the share of each class. `label_smoothing` s in [0, 1] gives every
    class s / C of the target's weight (Szegedy et al., "Rethinking the Inception architecture",
    2015). Targets equal to `ignore_index` count for nothing, also not in the mean. `reduction`:
    "mean", "sum" or "none" (a loss per target). `weight` (C,) is what each class counts; the mean
    is then divided by the weights of the targets.
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
        self.weight = _buffer(weight)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        how = (self.label_smoothing, self.ignore_index, self.reduction)
        return logits.cross_entropy(target, *how, self.weight)

    def _shown(self) -> dict[str, Any]:
        return {"label_smoothing": self.label_smoothing, "reduction": self.reduction}


class NLLLoss(_Loss):
    """-weight[t] * x[t] of log-probabilities x (N, C, ...) and classes t (N, ...).

    LogSoftmax gives such; CrossEntropyLoss does both. The mean is divided by the weights of the
    targets; those equal to `ignore_index` count nothing.
    """

    def __init__(
        self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.weight, self.ignore_index = _buffer(weight), ignore_index

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        checks.input_tensor(self, output)
        return output.nll_loss(target, self.weight, self.ignore_index, self.reduction)


class MultiMarginLoss(_Loss):
    """sum_c max(0, margin - x[t] + x[c])^p * weight[t] / C over classes c other than t.

    Scores x (N, C) and classes t (N,); p is 1 or 2. The hinge loss of several classes.
    """

    def __init__(
        self, p: int = 1, margin: float = 1.0, weight: Any = None, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        if p not in (1, 2):
            raise ValueError(f"[MultiMarginLoss] p must be 1 or 2, got {p!r}")
        self.p, self.margin = p, checks.real(self, "margin", margin)
        self.weight = _buffer(weight)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        checks.input_tensor(self, output)
        how = (self.p, self.margin, self.weight, self.reduction)
        return output.multi_margin_loss(target, *how)

    def _shown(self) -> dict[str, Any]:
        return {"p": self.p, "margin": self.margin, "reduction": self.reduction}


class MultiLabelMarginLoss(_Loss):
    """sum max(0, 1 - x[t] + x[c]) / C over a row's classes t and those c that it has not.

    Scores x (N, C) and integers (N, C): a row has the classes before its first -1.
    """

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        checks.input_tensor(self, output)
        return output.multilabel_margin_loss(target, self.reduction)


class MultiLabelSoftMarginLoss(_Loss):
    """The mean over classes of BCEWithLogitsLoss: scores and targets in [0, 1], (N, C) both.

    `weight` (C,) is what each class counts.
    """

    def __init__(self, weight: Any = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.weight = _buffer(weight)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        self._expect_one_shape(output, target)
        return output.multilabel_soft_margin_loss(target, self.weight, self.reduction)


# --- of probabilities -----------------------------------------------------------------------------


class BCELoss(_Loss):
    """-weight * (t log x + (1 - t) log(1 - x)), x and t in [0, 1]: binary cross-entropy.

    Logarithms are -100 at least. `weight` broadcasts to the output. After a sigmoid take
    BCEWithLogitsLoss, without it.
    """

    def __init__(self, weight: Any = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.weight = _buffer(weight)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        self._expect_one_shape(output, target)
        return output.binary_cross_entropy(target, self.weight, self.reduction)


class BCEWithLogitsLoss(_Loss):
    """BCELoss of sigmoid(x), without overflow: scores x and targets t in [0, 1].

    `weight` broadcasts to the output; `pos_weight`, too, is what positive targets count more: the
    number of negative ones over that of positive ones balances both.
    """

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(reduction)
        self.weight, self.pos_weight = _buffer(weight), _buffer(pos_weight)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        self._expect_one_shape(output, target)
        how = (self.weight, self.reduction, self.pos_weight)
        return output.binary_cross_entropy_with_logits(target, *how)


class KLDivLoss(_Loss):
    """t * (log t - x) of log-probabilities x: the divergence of Kullback and Leibler (1951).

    `log_target`: the targets are logarithms as well. The "mean" is over all elements, as PyTorch's;
    `reduction="batchmean"`, the sum divided by N, is what the divergence is defined as.
    """

    more_reductions = ("batchmean",)

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction)
        self.log_target = bool(log_target)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        self._expect_one_shape(output, target)
        return output.kl_div(target, self.reduction, self.log_target)

    def _shown(self) -> dict[str, Any]:
        return {"reduction": self.reduction, "log_target": self.log_target}


class PoissonNLLLoss(_Loss):
    """exp(x) - t * x for counts t whose mean is exp(x).

    With `log_input=False` the mean is x itself: x - t * log(x + eps). `full` adds Stirling's
    approximation of log t!, which has no gradient by x.
    """

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        eps: float = 1e-8,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.log_input, self.full = bool(log_input), bool(full)
        self.eps = checks.positive(self, "eps", eps)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        self._expect_one_shape(output, target)
        how = (self.log_input, self.full, self.eps, self.reduction)
        return output.poisson_nll_loss(target, *how)

    def _shown(self) -> dict[str, Any]:
        return {"log_input": self.log_input, "full": self.full, "reduction": self.reduction}


class GaussianNLLLoss(_Loss):
    """(log v + (x - t)^2 / v) / 2, v = max(var, eps): called with (output, target, var).

    Nix and Weigend, "Estimating the mean and variance of the target" (1994). `var` has the output's
    shape, the same with a last axis of 1 or without it, or is one number. `full` adds
    log(2 pi) / 2.
    """

    def __init__(self, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.full, self.eps = bool(full), checks.positive(self, "eps", eps)

    def forward(self, output: Tensor, target: Tensor, var: Tensor | float) -> Tensor:
        self._expect_one_shape(output, target)
        return output.gaussian_nll_loss(target, var, self.full, self.eps, self.reduction)

    def _shown(self) -> dict[str, Any]:
        return {"full": self.full, "eps": self.eps, "reduction": self.reduction}


# --- of differences -------------------------------------------------------------------------------


class MSELoss(_Loss):
    """(output - target)^2 for two Tensors of one shape; `reduction` is "mean", "sum" or "none".

    Integers, whose differences and squares would not fit, are taken as float32.
    """

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        self._expect_one_shape(output, target)
        return output.mse_loss(target, self.reduction)


class L1Loss(_Loss):
    """|output - target| for two Tensors of one shape; the slope at 0 is 0."""

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        self._expect_one_shape(output, target)
        return output.l1_loss(target, self.reduction)


class HuberLoss(_Loss):
    """d^2 / 2 where |d| < delta, else delta * (|d| - delta / 2), d = output - target.

    Huber, "Robust estimation of a location parameter" (1964).
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = checks.positive(self, "delta", delta)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        self._expect_one_shape(output, target)
        return output.huber_loss(target, self.reduction, self.delta)

    def _shown(self) -> dict[str, Any]:
        return {"reduction": self.reduction, "delta": self.delta}


class SmoothL1Loss(_Loss):
    """HuberLoss(delta=beta) / beta: d^2 / (2 beta) near 0, |d| - beta / 2 beyond beta.

    Girshick, "Fast R-CNN" (2015). L1Loss where `beta` is 0.
    """

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = checks.number(self, "beta", beta, least=0)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        self._expect_one_shape(output, target)
        return output.smooth_l1_loss(target, self.reduction, self.beta)

    def _shown(self) -> dict[str, Any]:
        return {"reduction": self.reduction, "beta": self.beta}


# --- of margins -----------------------------------------------------------------------------------


class SoftMarginLoss(_Loss):
    """log(1 + exp(-t * x)): scores x and targets t of 1 and -1, of one shape."""

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        self._expect_one_shape(output, target)
        return output.soft_margin_loss(target, self.reduction)


class _MarginLoss(_Loss):
    """What those with a margin have."""

    usual_margin = 0.0

    def __init__(self, margin: float | None = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        given = self.usual_margin if margin is None else margin
        self.margin = checks.real(self, "margin", given)

    def _shown(self) -> dict[str, Any]:
        return {"margin": self.margin, "reduction": self.reduction}


class HingeEmbeddingLoss(_MarginLoss):
    """x where the target is 1, max(0, margin - x) where it is -1; `margin` is 1 by default.

    Distances x and targets of one shape.
    """

    usual_margin = 1.0

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        self._expect_one_shape(output, target)
        return output.hinge_embedding_loss(target, self.margin, self.reduction)


class MarginRankingLoss(_MarginLoss):
    """max(0, margin - t * (x - y)): called with (x, y, t), t = 1 wants x above y, -1 below.

    `margin` is 0 by default. Three tensors of one shape.
    """

    def forward(self, x: Tensor, y: Tensor, target: Tensor) -> Tensor:
        self._expect_one_shape(x, y, target)
        return x.margin_ranking_loss(y, target, self.margin, self.reduction)


class CosineEmbeddingLoss(_MarginLoss):
    """1 - cos(x, y) where the target is 1, max(0, cos(x, y) - margin) where it is -1.

    Called with (x, y, t): vectors (N, D) twice and targets (N,). `margin` is 0 by default.
    """

    def forward(self, x: Tensor, y: Tensor, target: Tensor) -> Tensor:
        checks.input_tensor(self, x)
        return x.cosine_embedding_loss(y, target, self.margin, self.reduction)


class TripletMarginLoss(_Loss):
    """max(0, d(anchor, positive) - d(anchor, negative) + margin), three tensors of one shape.

    Schroff et al., "FaceNet" (2015). d is the p-norm of differences + eps along the last axis.
    `swap` takes the negative's distance to the positive where that is smaller (Balntas et al.
    2016).
    """

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.margin, self.p = checks.positive(self, "margin", margin), p
        self.eps, self.swap = checks.positive(self, "eps", eps), bool(swap)

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        self._expect_one_shape(anchor, positive, negative)
        how = (self.margin, self.p, self.eps, self.swap, self.reduction)
        return anchor.triplet_margin_loss(positive, negative, *how)

    def _shown(self) -> dict[str, Any]:
        return {"margin": self.margin, "p": self.p, "swap": self.swap, "reduction": self.reduction}


class TripletMarginWithDistanceLoss(_Loss):
    """TripletMarginLoss with a distance of your own: `distance_function(a, b)` -> (N,).

    By default PairwiseDistance. A Module among the distances is trained with the loss's parameters.
    """

    def __init__(
        self,
        *,
        distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
        margin: float = 1.0,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.distance_function = distance_function
        self.margin, self.swap = checks.positive(self, "margin", margin), bool(swap)

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        between = self.distance_function or (lambda a, b: a.pairwise_distance(b))
        wrong = between(anchor, negative)
        if self.swap:
            wrong = wrong.minimum(between(positive, negative))
        losses = (between(anchor, positive) - wrong + self.margin).relu()
        return reduced(losses, self.reduction, losses.dtype)

    def _shown(self) -> dict[str, Any]:
        return {"margin": self.margin, "swap": self.swap, "reduction": self.reduction}

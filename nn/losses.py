"""Losses as layers: called with (output, target), they give a Tensor to call backward() on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_cupy.ops.losses import reduced
from tinygrad_cupy.tensor import Tensor

from . import checks
from .loss import Loss, buffer_of

# --- of probabilities -----------------------------------------------------------------------------


class BCELoss(Loss):
    """-weight * (t log x + (1 - t) log(1 - x)), x and t in [0, 1]: binary cross-entropy.

    Logarithms are -100 at least. `weight` broadcasts to the output. After a sigmoid take
    BCEWithLogitsLoss, without it.

    >>> nn.BCELoss()(Tensor([0.5, 0.5]), Tensor([0.0, 1.0])).round(3)  # log 2
    Tensor(0.693)
    """

    def __init__(self, weight: Any = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.weight = buffer_of(weight)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        self._expect_one_shape(output, target)
        return output.binary_cross_entropy(target, self.weight, self.reduction)


class BCEWithLogitsLoss(Loss):
    """BCELoss of sigmoid(x), without overflow: scores x and targets t in [0, 1].

    `weight` broadcasts to the output; `pos_weight`, too, is what positive targets count more: the
    number of negative ones over that of positive ones balances both.

    >>> nn.BCEWithLogitsLoss()(Tensor([0.0, 100.0]), Tensor([1.0, 1.0])).round(3)  # log 2 / 2
    Tensor(0.347)
    """

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(reduction)
        self.weight, self.pos_weight = buffer_of(weight), buffer_of(pos_weight)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        self._expect_one_shape(output, target)
        how = (self.weight, self.reduction, self.pos_weight)
        return output.binary_cross_entropy_with_logits(target, *how)


class KLDivLoss(Loss):
    """t * (log t - x) of log-probabilities x: the divergence of Kullback and Leibler (1951).

    `log_target`: the targets are logarithms as well. The "mean" is over all elements, as PyTorch's;
    `reduction="batchmean"`, the sum divided by N, is what the divergence is defined as.

    >>> p = Tensor([[0.5, 0.5]])
    >>> nn.KLDivLoss("batchmean")(Tensor([[0.25, 0.75]]).log(), p).round(3)
    Tensor(0.144)
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


class PoissonNLLLoss(Loss):
    """exp(x) - t * x for counts t whose mean is exp(x).

    With `log_input=False` the mean is x itself: x - t * log(x + eps). `full` adds Stirling's
    approximation of log t!, which has no gradient by x.

    >>> nn.PoissonNLLLoss(log_input=False)(Tensor([1.0, 4.0]), Tensor([1.0, 0.0])).round(3)
    Tensor(2.5)
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


class GaussianNLLLoss(Loss):
    """(log v + (x - t)^2 / v) / 2, v = max(var, eps): called with (output, target, var).

    Nix and Weigend, "Estimating the mean and variance of the target" (1994). `var` has the output's
    shape, the same with a last axis of 1 or without it, or is one number. `full` adds
    log(2 pi) / 2.

    >>> nn.GaussianNLLLoss()(Tensor([1.0, 3.0]), Tensor([1.0, 1.0]), Tensor([1.0, 1.0]))
    Tensor(1.)
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


class MSELoss(Loss):
    """(output - target)^2 for two Tensors of one shape; `reduction` is "mean", "sum" or "none".

    Integers, whose differences and squares would not fit, are taken as float32. ValueError for two
    shapes, which would be broadcast silently: as of all losses here that take one shape.

    >>> nn.MSELoss()(Tensor([1.0, 2.0]), Tensor([1.0, 4.0]))
    Tensor(2.)
    >>> nn.MSELoss("none")(Tensor([1.0, 2.0]), Tensor([1.0, 4.0]))
    Tensor([0., 4.])
    """

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        self._expect_one_shape(output, target)
        return output.mse_loss(target, self.reduction)


class L1Loss(Loss):
    """|output - target| for two Tensors of one shape; the slope at 0 is 0.

    >>> nn.L1Loss()(Tensor([1.0, 2.0]), Tensor([1.0, 4.0]))
    Tensor(1.)
    """

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        self._expect_one_shape(output, target)
        return output.l1_loss(target, self.reduction)


class HuberLoss(Loss):
    """d^2 / 2 where |d| < delta, else delta * (|d| - delta / 2), d = output - target.

    Huber, "Robust estimation of a location parameter" (1964).

    >>> nn.HuberLoss("none")(Tensor([0.0, 0.0]), Tensor([1.0, 4.0]))
    Tensor([0.5, 3.5])
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = checks.positive(self, "delta", delta)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        self._expect_one_shape(output, target)
        return output.huber_loss(target, self.reduction, self.delta)

    def _shown(self) -> dict[str, Any]:
        return {"reduction": self.reduction, "delta": self.delta}


class SmoothL1Loss(Loss):
    """HuberLoss(delta=beta) / beta: d^2 / (2 beta) near 0, |d| - beta / 2 beyond beta.

    Girshick, "Fast R-CNN" (2015). L1Loss where `beta` is 0.

    >>> nn.SmoothL1Loss("none", beta=2.0)(Tensor([0.0, 0.0]), Tensor([1.0, 4.0]))
    Tensor([0.25, 3.  ])
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


class SoftMarginLoss(Loss):
    """log(1 + exp(-t * x)): scores x and targets t of 1 and -1, of one shape.

    `reduction` is "mean", "sum" or "none".

    >>> nn.SoftMarginLoss("none")(Tensor([0.0, 100.0]), Tensor([1.0, -1.0])).round(3)
    Tensor([  0.693, 100.   ])
    """

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        self._expect_one_shape(output, target)
        return output.soft_margin_loss(target, self.reduction)


class _MarginLoss(Loss):
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

    Distances x and targets of one shape. Hadsell et al., "Dimensionality reduction by learning an
    invariant mapping" (2006), without squares.

    >>> nn.HingeEmbeddingLoss(reduction="none")(Tensor([0.25, 0.25]), Tensor([1.0, -1.0]))
    Tensor([0.25, 0.75])
    """

    usual_margin = 1.0

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        self._expect_one_shape(output, target)
        return output.hinge_embedding_loss(target, self.margin, self.reduction)


class MarginRankingLoss(_MarginLoss):
    """max(0, margin - t * (x - y)): called with (x, y, t), t = 1 wants x above y, -1 below.

    `margin` is 0 by default. Three tensors of one shape.

    >>> x, y, above = Tensor([2.0, 2.0]), Tensor([1.0, 3.0]), Tensor([1.0, 1.0])
    >>> nn.MarginRankingLoss(0.5, "none")(x, y, above)
    Tensor([0. , 1.5])
    """

    def forward(self, x: Tensor, y: Tensor, target: Tensor) -> Tensor:
        self._expect_one_shape(x, y, target)
        return x.margin_ranking_loss(y, target, self.margin, self.reduction)


class CosineEmbeddingLoss(_MarginLoss):
    """1 - cos(x, y) where the target is 1, max(0, cos(x, y) - margin) where it is -1.

    Called with (x, y, t): vectors (N, D) twice and targets (N,). `margin` is 0 by default.

    >>> a, b = Tensor([[1.0, 0.0], [1.0, 0.0]]), Tensor([[2.0, 0.0], [2.0, 0.0]])
    >>> nn.CosineEmbeddingLoss(reduction="none")(a, b, Tensor([1.0, -1.0]))
    Tensor([0., 1.])
    """

    def forward(self, x: Tensor, y: Tensor, target: Tensor) -> Tensor:
        checks.input_tensor(self, x)
        return x.cosine_embedding_loss(y, target, self.margin, self.reduction)


class TripletMarginLoss(Loss):
    """max(0, d(anchor, positive) - d(anchor, negative) + margin), three tensors of one shape.

    Schroff et al., "FaceNet" (2015). d is the p-norm of differences + eps along the last axis.
    `swap` takes the negative's distance to the positive where that is smaller (Balntas et al.
    2016).

    >>> anchor, near, far = Tensor([[0.0, 0.0]]), Tensor([[0.0, 1.0]]), Tensor([[1.5, 0.0]])
    >>> nn.TripletMarginLoss()(anchor, near, far).round(3)  # 1 - 1.5 + 1
    Tensor(0.5)
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


class TripletMarginWithDistanceLoss(Loss):
    """TripletMarginLoss with a distance of your own: `distance_function(a, b)` -> (N,).

    By default PairwiseDistance. A Module among the distances is trained with the loss's parameters.

    >>> loss = nn.TripletMarginWithDistanceLoss(distance_function=lambda a, b: abs(a - b).sum(1))
    >>> anchor, near, far = Tensor([[0.0, 0.0]]), Tensor([[0.0, 1.0]]), Tensor([[1.0, 0.5]])
    >>> loss(anchor, near, far)
    Tensor(0.5)
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
        losses = (between(anchor, positive) - wrong + self.margin).clip(0)
        return reduced(losses, self.reduction, losses.dtype)

    def _shown(self) -> dict[str, Any]:
        return {"margin": self.margin, "swap": self.swap, "reduction": self.reduction}

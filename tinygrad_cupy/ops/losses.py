"""Losses of an output beside its target, under PyTorch's names.

Computed in float32 and rounded once in 16 bits; integers as targets become the output's dtype.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd import TensorBase
from ..autograd.autocast import in_wide
from ..autograd.tensor_base import expect_real
from ..backend import Array, array_module, device_of, full, is_cuda, plain_array
from ..backend.capture import active
from ..backend.dtypes import common_dtype, is_inexact
from .distance import lengths
from .entropy import Xlogy
from .functions import Pair, real_pair
from .promotion import single

if TYPE_CHECKING:
    from ..autograd.typing import Tensor

REDUCTIONS = ("mean", "sum", "none")


# --- what all losses do -------------------------------------------------------------------------


def expect_reduction(name: str, reduction: str, more: tuple[str, ...] = ()) -> None:
    """Raise ``ValueError`` for a ``reduction`` that is none."""
    if reduction not in (*REDUCTIONS, *more):
        raise ValueError(f"[{name}] expected reduction in {REDUCTIONS + more}, got {reduction}")


def reduced(losses: Any, reduction: str, dtype: Any) -> Tensor:
    """The mean, the sum or all of the losses, in the dtype of the result."""
    if reduction == "mean":
        losses = losses.mean()
    elif reduction == "sum":
        losses = losses.sum()
    return losses.astype(dtype)  # type: ignore[no-any-return]


def tensor_of(like: Any, values: Any) -> Any:
    """A tensor as it is; an array, a list or a number as a tensor on the device of ``like``."""
    if isinstance(values, TensorBase):
        return values
    dtype = like.dtype if is_inexact(like.dtype) else like._float  # numbers do not widen
    if isinstance(values, int | float):
        kind = np.int64 if isinstance(values, int) else dtype
        return like._wrap(full((), values, kind, device_of(like.data)))
    if isinstance(values, list):
        values = array_module(like.data).asarray(values)
        values = values.astype(dtype) if values.dtype.kind == "f" else values
    return like._wrap(plain_array(values))


def together(name: str, *given: Any) -> tuple[list[Any], Any]:
    """Tensors in one floating-point dtype (float32 where it has 16 bits), and that of the result.

    Integers and booleans are cast to the dtype of the others.
    """
    tensors = [tensor_of(given[0], values) for values in given]
    for tensor in tensors:
        expect_real(name, tensor)
    floats = [t.data.dtype for t in tensors if is_inexact(t.data.dtype)]
    dtype = common_dtype(*floats) if floats else np.dtype(given[0]._float)
    return [single(t.astype(dtype)) for t in tensors], dtype


def expect_one_shape(name: str, *tensors: Any) -> None:
    """Raise ``ValueError`` unless all have one shape: (8, 1) beside (8,) would become (8, 8)."""
    if len({tuple(t.shape) for t in tensors}) > 1:
        shapes = " and ".join([str(tuple(t.shape)) for t in tensors])
        raise ValueError(f"[{name}] expected one shape, got {shapes}")


def host_values(tensor: Any) -> Array | None:
    """The array of a tensor where looking into it costs nothing: on the CPU, outside of `vmap`."""
    if active.level is not None or is_cuda(tensor.data):
        return None
    return tensor.data


def _of_pair(name: str, output: Any, target: Any, reduction: str) -> tuple[Any, Any, Any]:
    expect_reduction(name, reduction)
    (x, t), dtype = together(name, output, target)
    expect_one_shape(name, x, t)
    return x, t, dtype


# --- of probabilities ---------------------------------------------------------------------------


def _logarithm(x: Any) -> Any:
    """log(x), but -100 at least, without NaN in the slope at 0."""
    there = x > 0
    return x.where(there, 1).log().where(there, -100).maximum(-100)


def _by_probability(grad: Any, a: Any, b: Any) -> Any:
    return grad * ((a - b) / (a * (1 - a)).maximum(1e-12))


def _by_target(grad: Any, a: Any, b: Any) -> Any:
    return grad * (_logarithm(1 - a) - _logarithm(a)) + b.detach() * 0


def _bce(a: Array, b: Array) -> Array:
    xp = array_module(a)
    with np.errstate(divide="ignore", invalid="ignore"):
        found, other = xp.maximum(xp.log(a), -100), xp.maximum(xp.log1p(-a), -100)
    return -(b * found + (1 - b) * other)


BinaryCrossEntropy: type[Pair] = real_pair(
    "binary_cross_entropy",
    "-(b log a + (1 - b) log(1 - a)), each logarithm -100 at least.",
    _by_probability,
    _by_target,
    _bce,
)


class ProbabilityLossMixin(TensorBase):
    """Losses of probabilities as methods. ``reduction`` is "mean", "sum" or "none"."""

    __slots__ = ()

    @in_wide
    def binary_cross_entropy(
        self, target: Any, weight: Any = None, reduction: str = "mean"
    ) -> Tensor:
        """-weight · (t log x + (1 - t) log(1 - x)) of probabilities x and targets t in [0, 1].

        Logarithms are -100 at least, and slopes as for x (1 - x) = 10⁻¹² at least, as in PyTorch.
        On the CPU a value that is no probability raises ``ValueError``. What comes out of a sigmoid
        is better given to `binary_cross_entropy_with_logits` before it.
        """
        name = "binary_cross_entropy"
        x, t, dtype = _of_pair(name, self, target, reduction)
        values = host_values(x)
        if values is not None and ((values < 0) | (values > 1)).any():
            low, high = values.min(), values.max()
            raise ValueError(f"[{name}] expected probabilities from 0 to 1, got {low} to {high}")
        losses = BinaryCrossEntropy.of(x, t)
        return reduced(_weighted(name, losses, weight), reduction, dtype)

    @in_wide
    def binary_cross_entropy_with_logits(
        self, target: Any, weight: Any = None, reduction: str = "mean", pos_weight: Any = None
    ) -> Tensor:
        """`binary_cross_entropy` of the sigmoid of self, without overflow or cancellation.

        weight · (p · t · log(1 + e⁻ˣ) + (1 - t) · (x + log(1 + e⁻ˣ))), p = ``pos_weight`` for the
        positive targets; both broadcast.
        """
        name = "binary_cross_entropy_with_logits"
        x, t, dtype = _of_pair(name, self, target, reduction)
        missed = (-x).softplus()
        if pos_weight is not None:
            missed = missed * ((tensor_of(x, pos_weight).astype(x.dtype) - 1) * t + 1)
        return reduced(_weighted(name, (1 - t) * x + missed, weight), reduction, dtype)

    @in_wide
    def kl_div(self, target: Any, reduction: str = "mean", log_target: bool = False) -> Tensor:
        """t · (log t - x), self x being log-probabilities: the divergence of Kullback and Leibler.

        With ``log_target`` the targets are log-probabilities as well: exp(t) · (t - x). The mean is
        over all elements; ``reduction="batchmean"``, which is the divergence's own, divides the sum
        by the length of the first axis.
        """
        expect_reduction("kl_div", reduction, ("batchmean",))
        x, t, dtype = _of_pair("kl_div", self, target, "none")
        losses = t.exp() * (t - x) if log_target else Xlogy.of(t, t) - t * x
        if reduction == "batchmean":
            return (losses.sum() / (x.shape[0] if x.ndim else 1)).astype(dtype)  # type: ignore[no-any-return]
        return reduced(losses, reduction, dtype)

    @in_wide
    def poisson_nll_loss(
        self,
        target: Any,
        log_input: bool = True,
        full: bool = False,
        eps: float = 1e-8,
        reduction: str = "mean",
    ) -> Tensor:
        """exp(x) - t · x: counts t of a Poisson distribution whose mean is exp(x).

        Without ``log_input`` self is the mean: x - t · log(x + eps). ``full`` adds Stirling's
        log t! ≈ t log t - t + log(2π t) / 2 where t > 1.
        """
        x, t, dtype = _of_pair("poisson_nll_loss", self, target, reduction)
        losses = x.exp() - t * x if log_input else x - t * (x + eps).log()
        if full:
            many = t.where(t > 1, 1)
            stirling = many * many.log() - many + (many * (2 * math.pi)).log() * 0.5
            losses = losses + stirling.where(t > 1, 0)
        return reduced(losses, reduction, dtype)

    @in_wide
    def gaussian_nll_loss(
        self,
        target: Any,
        var: Any,
        full: bool = False,
        eps: float = 1e-6,
        reduction: str = "mean",
    ) -> Tensor:
        """(log v + (x - t)² / v) / 2, v = max(var, eps) (Nix & Weigend 1994).

        ``var`` has the shape of self, the same with a last axis of 1 or without it, or is one
        number; below ``eps`` it has the slope of ``eps``, as in PyTorch. ``full`` adds log(2π) / 2.
        Raises ``ValueError`` for other shapes, on the CPU for a negative variance too.
        """
        name = "gaussian_nll_loss"
        expect_reduction(name, reduction)
        (x, t, v), dtype = together(name, self, target, var)
        expect_one_shape(name, x, t)
        if v.shape not in (x.shape, ()):
            v = v.unsqueeze(-1) if v.shape == x.shape[:-1] else v
            if v.shape != (*x.shape[:-1], 1):
                raise ValueError(
                    f"[{name}] expected a variance of shape {x.shape}, {(*x.shape[:-1], 1)} or "
                    f"{x.shape[:-1]}, got {v.shape}"
                )
        values = host_values(v)
        if values is not None and (values < 0).any():
            raise ValueError(f"[{name}] expected variances ≥ 0, got {values.min()}")
        v = v.where(v >= eps, v - v.detach() + eps)
        apart = x - t
        losses = (v.log() + apart * apart / v) * 0.5
        if full:
            losses = losses + 0.5 * math.log(2 * math.pi)
        return reduced(losses, reduction, dtype)


def _weighted(name: str, losses: Any, weight: Any) -> Any:
    """Losses times a weight that broadcasts to them."""
    if weight is None:
        return losses
    weight = tensor_of(losses, weight).astype(losses.dtype)
    try:
        fits = np.broadcast_shapes(losses.shape, weight.shape) == tuple(losses.shape)
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"[{name}] expected a weight that broadcasts to {losses.shape}, got {weight.shape}"
        )
    return losses * weight


# --- of differences and margins -----------------------------------------------------------------


def _cosine(a: Any, b: Any) -> Any:
    """The cosine between vectors along the last axis, their squares 10⁻¹² longer, as PyTorch's."""
    squares = ((a * a).sum(-1) + 1e-12) * ((b * b).sum(-1) + 1e-12)
    return (a * b).sum(-1) / squares.sqrt()


def _above_0(x: Any) -> Any:
    """max(0, x); its slope at 0 is 1, as in PyTorch's losses, while that of relu is 0."""
    return x.clip(0)


class LossesMixin(ProbabilityLossMixin):
    """Losses of differences and margins as methods. ``reduction`` is "mean", "sum" or "none"."""

    __slots__ = ()

    @in_wide
    def l1_loss(self, target: Any, reduction: str = "mean") -> Tensor:
        """|x - t|, two tensors of one shape; the slope at 0 is 0."""
        x, t, dtype = _of_pair("l1_loss", self, target, reduction)
        return reduced((x - t).abs(), reduction, dtype)

    @in_wide
    def mse_loss(self, target: Any, reduction: str = "mean") -> Tensor:
        """(x - t)², two tensors of one shape."""
        x, t, dtype = _of_pair("mse_loss", self, target, reduction)
        apart = x - t
        return reduced(apart * apart, reduction, dtype)

    @in_wide
    def huber_loss(self, target: Any, reduction: str = "mean", delta: float = 1.0) -> Tensor:
        """d² / 2 where |d| < delta, else delta · (|d| - delta / 2), d = x - t (Huber 1964)."""
        if not delta > 0:
            raise ValueError(f"[huber_loss] expected a delta above 0, got {delta}")
        x, t, dtype = _of_pair("huber_loss", self, target, reduction)
        apart = (x - t).abs()
        far = (apart - 0.5 * delta) * delta
        return reduced((apart * apart * 0.5).where(apart < delta, far), reduction, dtype)

    @in_wide
    def smooth_l1_loss(self, target: Any, reduction: str = "mean", beta: float = 1.0) -> Tensor:
        """d² / (2 beta) where |d| < beta, else |d| - beta / 2, d = x - t (Girshick 2015).

        `huber_loss` divided by ``beta``; |d| where that is 0.
        """
        if not beta >= 0:
            raise ValueError(f"[smooth_l1_loss] expected a beta of at least 0, got {beta}")
        x, t, dtype = _of_pair("smooth_l1_loss", self, target, reduction)
        apart = (x - t).abs()
        if beta:
            near = apart * apart * (0.5 / beta)
            apart = near.where(apart < beta, apart - 0.5 * beta)
        return reduced(apart, reduction, dtype)

    @in_wide
    def soft_margin_loss(self, target: Any, reduction: str = "mean") -> Tensor:
        """log(1 + exp(-t · x)), targets t being 1 and -1."""
        x, t, dtype = _of_pair("soft_margin_loss", self, target, reduction)
        return reduced((-(t * x)).softplus(), reduction, dtype)

    @in_wide
    def hinge_embedding_loss(
        self, target: Any, margin: float = 1.0, reduction: str = "mean"
    ) -> Tensor:
        """x where the target is 1, max(0, margin - x) where it is -1; both added where neither."""
        x, t, dtype = _of_pair("hinge_embedding_loss", self, target, reduction)
        close = _above_0(margin - x).where(t != 1, 0)
        return reduced(close + x.where(t != -1, 0), reduction, dtype)

    @in_wide
    def margin_ranking_loss(
        self, other: Any, target: Any, margin: float = 0.0, reduction: str = "mean"
    ) -> Tensor:
        """max(0, margin - t · (x - other)): t = 1 wants x above other, t = -1 below."""
        name = "margin_ranking_loss"
        expect_reduction(name, reduction)
        (x, y, t), dtype = together(name, self, other, target)
        expect_one_shape(name, x, y, t)
        return reduced(_above_0(margin - t * (x - y)), reduction, dtype)

    @in_wide
    def cosine_embedding_loss(
        self, other: Any, target: Any, margin: float = 0.0, reduction: str = "mean"
    ) -> Tensor:
        """1 - cos where the target is 1, max(0, cos - margin) where it is -1.

        cos between self and other, (N, D) and targets (N,), or (D,) and a target without axes.
        """
        name = "cosine_embedding_loss"
        expect_reduction(name, reduction)
        (x, y, t), dtype = together(name, self, other, target)
        if x.ndim not in (1, 2) or x.shape != y.shape or t.shape != x.shape[:-1]:
            raise ValueError(
                f"[{name}] expected vectors (N, D) twice and targets (N,), or without N, got "
                f"{x.shape}, {y.shape} and {t.shape}"
            )
        cosine = _cosine(x, y)
        near = (1 - cosine).where(t == 1, 0)
        return reduced(near + _above_0(cosine - margin).where(t == -1, 0), reduction, dtype)

    @in_wide
    def triplet_margin_loss(
        self,
        positive: Any,
        negative: Any,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        reduction: str = "mean",
    ) -> Tensor:
        """max(0, d(self, positive) - d(self, negative) + margin) (Schroff et al. 2015).

        d is `pairwise_distance` along the last axis. ``swap`` takes the smaller of the distances of
        the negative to self and to the positive (Balntas et al. 2016).
        """
        name = "triplet_margin_loss"
        expect_reduction(name, reduction)
        if not margin > 0:
            raise ValueError(f"[{name}] expected a margin above 0, got {margin}")
        (a, b, c), dtype = together(name, self, positive, negative)
        expect_one_shape(name, a, b, c)
        if not a.ndim:
            raise ValueError(f"[{name}] expected vectors, got shape {a.shape}")

        def between(x: Any, y: Any) -> Any:
            return lengths(x - y + eps, p, (x.ndim - 1,))

        wrong = between(a, c)
        if swap:
            wrong = wrong.minimum(between(b, c))
        return reduced(_above_0(between(a, b) - wrong + margin), reduction, dtype)

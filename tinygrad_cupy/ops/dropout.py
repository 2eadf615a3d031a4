"""Dropout: the mask comes from the words of its random stream, the same on every device."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .. import kernels, random
from ..autograd import Op, TensorBase
from ..backend import Array
from .promotion import as_float, in_single

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class Dropout(Op):
    """x · mask / (1 - p), the mask drawn once: linear in x, so it is its own backward.

    ``last``: give the result stored N, H, W, C (on a GPU), as the input of the forward was.
    """

    linear = ("x",)

    def __init__(self, p: float, mask: Array | None = None, last: bool = False) -> None:
        self.p, self.mask, self.last = p, mask, last

    def forward(self, x: Array) -> Array:
        if self.mask is not None:
            return kernels.dropout.apply(x, self.mask, self.p, self.last)
        self.last = kernels.dropout.lies_channels_last(x)
        y, self.mask = kernels.dropout.draw(x, self.p, self.last)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        return Dropout(self.p, self.mask, self.last)(grad)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        if self.mask is not None:  # of a gradient: one mask for all
            mask = self.mask
            return b.one_by_one(lambda x: Dropout(self.p, mask, self.last)(x), (x,))  # type: ignore[no-any-return]
        whole = b.whole(x)
        if b.randomness == "same":
            first = Dropout(self.p)
            rows = [first(whole[0])]
            rows += [Dropout(self.p, first.mask, first.last)(whole[i]) for i in range(1, b.size)]
            return whole._stacked(rows)  # type: ignore[no-any-return]
        if x.data.size % 4:  # the draws of each begin at a block of four words
            return b.one_by_one(lambda x: Dropout(self.p)(x), (x,))  # type: ignore[no-any-return]
        return Dropout(self.p)(whole)


class DropoutMixin(TensorBase):
    """Dropout as methods."""

    __slots__ = ()

    def dropout(self, p: float = 0.5, training: bool = True, batch_axis: int | None = 0) -> Tensor:
        """Each element zeroed with probability p, the others divided by 1 - p (Srivastava 2014).

        The identity when not ``training``. Element i in C order is kept where the i-th uniform
        number of the dropout stream is ≥ p, so a seed gives one mask on every device, and where
        a batch is split among ranks (docs/many-gpus.md), as many numbers are left out for the
        samples of the others: they lie along ``batch_axis``; None is a mask that all ranks share.
        """
        _expect_probability("dropout", p)
        if not training or p == 0:
            return self  # type: ignore[return-value]
        if batch_axis == 0:
            return Dropout(p)(as_float(self))
        with random.along(batch_axis):
            return Dropout(p)(as_float(self))

    def dropout1d(self, p: float = 0.5, training: bool = True) -> Tensor:
        """`dropout` of whole channels of self (N, C, L) (Tompson et al. 2015)."""
        return _of_channels("dropout1d", self, 3, p, training)

    def dropout2d(self, p: float = 0.5, training: bool = True) -> Tensor:
        """`dropout` of whole channels of self (N, C, H, W) (Tompson et al. 2015)."""
        return _of_channels("dropout2d", self, 4, p, training)

    def dropout3d(self, p: float = 0.5, training: bool = True) -> Tensor:
        """`dropout` of whole channels of self (N, C, D, H, W) (Tompson et al. 2015)."""
        return _of_channels("dropout3d", self, 5, p, training)

    def alpha_dropout(self, p: float = 0.5, training: bool = True) -> Tensor:
        """Dropout for `selu` (Klambauer et al. 2017): what is dropped is what selu is at -∞.

        Then all is scaled and moved so that mean 0 and variance 1 stay.
        """
        return _alpha("alpha_dropout", self, p, training, len(self.shape))

    def feature_alpha_dropout(self, p: float = 0.5, training: bool = True) -> Tensor:
        """`alpha_dropout` of whole channels of self (N, C, …)."""
        if training and len(self.shape) < 2:
            raise ValueError(f"[feature_alpha_dropout] expected (N, C, …), got {self.shape}")
        return _alpha("feature_alpha_dropout", self, p, training, 2)


LEAST = -1.7580993408473766  # what selu is at -∞: - scale · alpha


def _expect_probability(name: str, p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"[{name}] expected a probability p from 0 to 1, got {p}")


def _ones(x: Any, axes: int) -> Any:
    """Ones of the shape of x, but of its axes behind the first ones, along which they broadcast.

    Made of x, so that each element of a batch has its own.
    """
    few = x.detach()[(*(slice(None),) * axes, *(slice(1),) * (x.ndim - axes))]
    return (few != few).astype(x.dtype) * 0 + 1


def _of_channels(name: str, given: Any, ndim: int, p: float, training: bool) -> Tensor:
    _expect_probability(name, p)
    if given.ndim != ndim:
        raise ValueError(f"[{name}] expected {ndim} axes (N, C, …), got shape {given.shape}")
    if not training or p == 0:
        return given  # type: ignore[no-any-return]
    x: Any = as_float(given)
    return x * _ones(x, 2).dropout(p)  # type: ignore[no-any-return]


def _alpha(name: str, given: Any, p: float, training: bool, axes: int) -> Tensor:
    _expect_probability(name, p)
    if not training or p == 0:
        return given  # type: ignore[no-any-return]
    x: Any = as_float(given)
    if p == 1:
        return x * 0  # type: ignore[no-any-return]

    def compute(x: Any) -> Any:
        kept = _ones(x, axes).dropout(p) * (1 - p)
        scale = 1 / math.sqrt((LEAST * LEAST * p + 1) * (1 - p))
        return x * (kept * scale) + ((1 - kept) * scale - scale * p) * LEAST

    return in_single(x, compute)

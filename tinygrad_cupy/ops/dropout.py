"""Dropout: the mask comes from the words of its random stream, the same on every device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import kernels
from ..autograd import Op, TensorBase
from ..backend import Array
from .promotion import as_float

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
    """Dropout as a method."""

    __slots__ = ()

    def dropout(self, p: float = 0.5, training: bool = True) -> Tensor:
        """Each element zeroed with probability p, the others divided by 1 - p (Srivastava 2014).

        The identity when not ``training``. Element i in C order is kept where the i-th uniform
        number of the dropout stream is ≥ p, so a seed gives one mask on every device.
        """
        if not 0 <= p <= 1:
            raise ValueError(f"[dropout] expected a probability p from 0 to 1, got {p}")
        if not training or p == 0:
            return self  # type: ignore[return-value]
        return Dropout(p)(as_float(self))

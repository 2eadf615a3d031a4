"""Counting elements in bins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import kernels
from ..autograd import Op
from ..backend import Array
from .take import Offset

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class BinCounts(Op):
    """How many of ``place``, integers from 0 to count - 1, are equal: (count,)."""

    differentiable = False

    def __init__(self, count: int) -> None:
        self.count = count

    def forward(self, place: Array) -> Array:
        return kernels.indexing.bin_counts(place, self.count)

    def batch(self, b: BatchLevel, place: Tensor) -> Tensor:
        """In one long row, where each element of the batch has bins of its own."""
        places = Offset(self.count)(b.whole(place).reshape(b.size, -1)).reshape(-1)
        return BinCounts(b.size * self.count)(places).reshape(b.size, self.count)

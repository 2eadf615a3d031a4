"""Counting elements in bins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from ..autograd import Elementwise, Op
from ..backend import Array, array_module
from ..backend.dtypes import is_narrow
from .indexing import Index

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class BinSums(Op):
    """The sums (count,) of ``values`` (N,) that have the same ``place`` (N,), 0 … count - 1."""

    saves = ("place",)
    linear = ("values",)

    def __init__(self, count: int) -> None:
        self.count = count

    def forward(self, values: Array, place: Array) -> Array:
        return kernels.indexing.bin_sums(values, place, self.count)

    def backward(self, grad: Tensor, place: Tensor) -> tuple[Tensor, None]:
        return Index((place.data,)).watch(place)(grad), None

    def batch(self, b: BatchLevel, values: Tensor, place: Tensor) -> Tensor:
        flat = b.whole(values).reshape(-1)
        sums = BinSums(b.size * self.count)(flat, _own_bins(b, place, self.count))
        return sums.reshape(b.size, self.count)


class BinCounts(Op):
    """How many of ``place``, integers from 0 to count - 1, are equal: (count,)."""

    differentiable = False

    def __init__(self, count: int) -> None:
        self.count = count

    def forward(self, place: Array) -> Array:
        return kernels.indexing.bin_counts(place, self.count)

    def batch(self, b: BatchLevel, place: Tensor) -> Tensor:
        counts = BinCounts(b.size * self.count)(_own_bins(b, place, self.count))
        return counts.reshape(b.size, self.count)


def _own_bins(b: BatchLevel, place: Tensor, count: int) -> Tensor:
    """Places in one long row, where each element of the batch has bins of its own."""
    whole: Any = b.whole(place)
    first = whole._wrap(array_module(whole.data).arange(b.size).reshape(b.size, 1) * count)
    found: Tensor = (whole.reshape(b.size, -1) + first).reshape(-1)
    return found


class Digitize(Elementwise):
    """Which bin each element lies in, between the edges ``bins``, which rise or fall: int64."""

    differentiable = False

    def __init__(self, bins: Any, right: bool) -> None:
        self.bins, self.right = bins, right

    def forward(self, x: Array) -> Array:
        x = x.astype(np.float32) if is_narrow(x.dtype) else x
        return self.xp.digitize(x, self.bins, self.right)

"""Pooling on arrays. Letters are explained in `common.windows`."""

from __future__ import annotations

from ...backend import Array, kernel
from ..common.windows import Shape, Windows
from . import cuda, native, reference

__all__ = ["max_gather", "max_pool", "max_scatter", "spread", "sum_pool"]


@kernel(cpu=native.max_pool, cuda=cuda.max_pool)
def max_pool(x: Array, windows: Windows) -> tuple[Array, Array]:
    """y (N, C, OH, OW) of x (N, C, H, W), and its argmax: the tap that each window's was at."""


@kernel(cpu=native.max_scatter, cuda=cuda.max_scatter)
def max_scatter(grad: Array, argmax: Array, windows: Windows, size: Shape) -> Array:
    """The gradient by an input (N, C, *size) of ``grad`` (N, C, OH, OW)."""


@kernel(cpu=reference.max_gather, cuda=cuda.max_gather)
def max_gather(x: Array, argmax: Array, windows: Windows) -> Array:
    """The element (N, C, OH, OW) of each window of x at its argmax; 0 where that is padding."""


@kernel(cpu=native.sum_pool, cuda=cuda.sum_pool)
def sum_pool(x: Array, windows: Windows) -> Array:
    """The sum (N, C, OH, OW) of each window of x, the padding counting as zeros."""


@kernel(cpu=native.spread, cuda=cuda.spread)
def spread(grad: Array, windows: Windows, size: Shape) -> Array:
    """Each element of ``grad`` added to every pixel of its window, (N, C, *size)."""

"""Dropout on arrays: the mask comes from the words of its random stream."""

from __future__ import annotations

from ...backend import Array, kernel
from . import cpu, cuda
from .cuda import lies_channels_last

__all__ = ["apply", "draw", "lies_channels_last"]


@kernel(cpu=cpu.draw, cuda=cuda.draw)
def draw(x: Array, p: float, last: bool) -> tuple[Array, Array]:
    """x · mask / (1 - p) and the mask that was drawn, in C order; ``last``: x lies N, H, W, C."""


@kernel(cpu=cpu.apply, cuda=cuda.apply)
def apply(x: Array, mask: Array, p: float, last: bool) -> Array:
    """x · mask / (1 - p) for a mask that was drawn before; ``last``: stored N, H, W, C."""

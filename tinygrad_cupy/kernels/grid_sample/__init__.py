"""Grids sampled at points between their elements, and the adjoint of that.

Letters as in `plan`: grids (N, C, *sizes) of D axes, points (N, P, D).
"""

from __future__ import annotations

from ...backend import Array, kernel
from . import cpu, cuda
from .plan import Points

__all__ = ["Points", "sample", "slopes", "splat"]


@kernel(cpu=cpu.sample, cuda=cuda.sample)
def sample(x: Array, points: Array, how: Points) -> Array:
    """y (N, C, P): the weighted sum of the elements of x (N, C, *sizes) beside each point."""


@kernel(cpu=cpu.splat, cuda=cuda.splat)
def splat(values: Array, points: Array, how: Points, sizes: tuple[int, ...]) -> Array:
    """x (N, C, *sizes): the values (N, C, P) added, by the same weights, to those elements."""


@kernel(cpu=cpu.slopes, cuda=cuda.slopes)
def slopes(values: Array, x: Array, points: Array, how: Points) -> Array:
    """The gradient (N, P, D) by the points of Σ values (N, C, P) · `sample` of x at them."""

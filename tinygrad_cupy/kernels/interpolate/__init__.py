"""Arrays resized along their last axes: linear maps of one axis after the other, as bands."""

from __future__ import annotations

from ...backend import Array, kernel
from . import cpu, cuda
from .plan import Line

__all__ = ["Line", "resize"]


@kernel(cpu=cpu.resize, cuda=cuda.resize)
def resize(x: Array, lines: tuple[Line | None, ...]) -> Array:
    """x (…, *sizes) with its last one to three axes resized, each as a line says or not at all.

    x is float32 or float64. An axis of ``line.ends[0]`` elements becomes one of ``line.ends[1]``.
    """

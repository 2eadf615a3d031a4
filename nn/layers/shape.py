"""Layers that rearrange."""

from __future__ import annotations

from tinygrad_cupy.nn.module import Module
from tinygrad_cupy.tensor import Tensor


class Flatten(Module):
    """Axes `start_axis` to `end_axis` become one: by default (N, C, H, W) -> (N, C * H * W)."""

    def __init__(self, start_axis: int = 1, end_axis: int = -1) -> None:
        self.start_axis, self.end_axis = start_axis, end_axis

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(self.start_axis, self.end_axis)

    def extra_repr(self) -> str:
        return f"start_axis={self.start_axis}, end_axis={self.end_axis}"

"""Pools over all places of each channel."""

from __future__ import annotations

from tinygrad_cupy.nn import checks
from tinygrad_cupy.nn.module import Module
from tinygrad_cupy.tensor import Tensor


class _GlobalPool(Module):
    """What both have: whether the axes that are pooled stay, with size 1."""

    def __init__(self, keepdims: bool = False) -> None:
        self.keepdims = bool(keepdims)

    def _axes(self, x: Tensor) -> tuple[int, ...]:
        checks.input_tensor(self, x)
        if x.ndim < 3:
            raise ValueError(
                f"[{type(self).__name__}] expected an input of shape (N, C, L, ...), got {x.ndim} "
                f"axes (input shape {x.shape})"
            )
        return tuple(range(2, x.ndim))

    def extra_repr(self) -> str:
        return f"keepdims={self.keepdims}"


class GlobalAvgPool(_GlobalPool):
    """The mean of each channel: (N, C, L, ...) -> (N, C), or (N, C, 1, ...) with `keepdims`.

    What AdaptiveAvgPool(1) and Flatten do together. Lin et al., "Network in network" (2013).

    >>> nn.GlobalAvgPool()(Tensor([[[[1.0, 2.0], [3.0, 6.0]]]]))
    Tensor([[3.]])
    >>> nn.GlobalAvgPool()(Tensor.rand(8, 16, 7, 7)).shape
    (8, 16)
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(self._axes(x), keepdims=self.keepdims)


class GlobalMaxPool(_GlobalPool):
    """The maximum of each channel: (N, C, L, ...) -> (N, C), or (N, C, 1, ...) with `keepdims`.

    Equal maxima share the gradient.

    >>> nn.GlobalMaxPool()(Tensor([[[[1.0, 2.0], [3.0, 6.0]]]]))
    Tensor([[6.]])
    >>> nn.GlobalMaxPool(keepdims=True)(Tensor.rand(8, 16, 7, 7)).shape
    (8, 16, 1, 1)
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.max(self._axes(x), keepdims=self.keepdims)

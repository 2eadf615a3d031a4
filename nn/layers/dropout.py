"""Dropout."""

from __future__ import annotations

from tinygrad_cupy.backend.capture import observe
from tinygrad_cupy.nn import checks
from tinygrad_cupy.nn.module import Module
from tinygrad_cupy.tensor import Tensor


class Dropout(Module):
    """While training, each value is zeroed with probability `p` and the rest scaled by 1 / (1 - p).

    In evaluation the input passes unchanged. Masks come from random stream 2. Default p = 0.5.
    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting" (2014).
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = checks.fraction(self, "p", p)

    def forward(self, x: Tensor) -> Tensor:
        observe(self, "p")
        return x.dropout(self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"

"""Dropout. Masks come from random stream 2, the same on every device."""

from __future__ import annotations

from typing import ClassVar

from tinygrad_cupy.backend.capture import observe
from tinygrad_cupy.nn import checks
from tinygrad_cupy.nn.module import Module
from tinygrad_cupy.tensor import Tensor


class _Dropout(Module):
    """What all have: the probability that a value, or a whole channel, is dropped."""

    method: ClassVar[str]

    def __init__(self, p: float = 0.5) -> None:
        self.p = checks.fraction(self, "p", p)

    def forward(self, x: Tensor) -> Tensor:
        observe(self, "p")
        return getattr(x, self.method)(self.p, self.training)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Dropout(_Dropout):
    """While training, each value is zeroed with probability `p` and the rest scaled by 1 / (1 - p).

    In evaluation the input passes unchanged. Masks come from random stream 2. Default p = 0.5.
    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting" (2014).
    """

    method = "dropout"


class Dropout1d(_Dropout):
    """Dropout of whole channels of sequences (N, C, L). Tompson et al. (2015)."""

    method = "dropout1d"


class Dropout2d(_Dropout):
    """Dropout of whole channels of images (N, C, H, W). Tompson et al. (2015)."""

    method = "dropout2d"


class Dropout3d(_Dropout):
    """Dropout of whole channels of volumes (N, C, D, H, W). Tompson et al. (2015)."""

    method = "dropout3d"


class AlphaDropout(_Dropout):
    """Dropout for SELU: what is dropped is SELU's least value, and mean 0 and variance 1 stay.

    Klambauer et al., "Self-normalizing neural networks" (2017).
    """

    method = "alpha_dropout"


class FeatureAlphaDropout(_Dropout):
    """AlphaDropout of whole channels of (N, C, ...)."""

    method = "feature_alpha_dropout"

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

    In evaluation the input passes unchanged. Masks come from random stream 2. Default p = 0.5;
    ValueError for one outside of [0, 1]. `batch_axis` matters to several ranks alone: where the
    samples of the batch lie; None for a mask that is none of samples (docs/many-gpus.md).
    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting" (2014).

    >>> y = nn.Dropout(0.5)(Tensor.ones(1000))
    >>> sorted(set(y.tolist()))  # zeros, and ones times 1 / (1 - p)
    [0.0, 2.0]
    >>> nn.Dropout(0.5).eval()(Tensor([1.0, 2.0]))
    Tensor([1., 2.])
    """

    method = "dropout"

    def __init__(self, p: float = 0.5, batch_axis: int | None = 0) -> None:
        super().__init__(p)
        self.batch_axis = batch_axis

    def forward(self, x: Tensor) -> Tensor:
        observe(self, "p", "batch_axis")
        return x.dropout(self.p, self.training, self.batch_axis)


class Dropout1d(_Dropout):
    """Dropout of whole channels of sequences (N, C, L). Tompson et al. (2015).

    >>> y = nn.Dropout1d(0.5)(Tensor.ones(20, 10, 4))
    >>> sorted(set(y.sum(2).flatten(0).tolist()))  # a channel is dropped as a whole
    [0.0, 8.0]
    """

    method = "dropout1d"


class Dropout2d(_Dropout):
    """Dropout of whole channels of images (N, C, H, W). Tompson et al. (2015).

    >>> y = nn.Dropout2d(0.5)(Tensor.ones(20, 10, 2, 2))
    >>> sorted(set(y.sum((2, 3)).flatten(0).tolist()))  # a channel is dropped as a whole
    [0.0, 8.0]
    """

    method = "dropout2d"


class Dropout3d(_Dropout):
    """Dropout of whole channels of volumes (N, C, D, H, W). Tompson et al. (2015).

    >>> nn.Dropout3d(0.5)(Tensor.ones(2, 3, 4, 4, 4)).shape
    (2, 3, 4, 4, 4)
    """

    method = "dropout3d"


class AlphaDropout(_Dropout):
    """Dropout for SELU: what is dropped is SELU's least value, and mean 0 and variance 1 stay.

    Klambauer et al., "Self-normalizing neural networks" (2017).

    >>> y = nn.AlphaDropout(0.5)(Tensor.zeros(1000))
    >>> len(set(y.tolist()))  # what was dropped, and what was kept
    2
    """

    method = "alpha_dropout"


class FeatureAlphaDropout(_Dropout):
    """AlphaDropout of whole channels of (N, C, ...).

    >>> y = nn.FeatureAlphaDropout(0.5)(Tensor.zeros(2, 3, 10))
    >>> (y == y[..., :1]).all().item()  # a channel is dropped as a whole
    True
    """

    method = "feature_alpha_dropout"

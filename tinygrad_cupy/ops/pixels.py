"""Channels as pixels, and channels in another order: axes split, exchanged and joined again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..autograd import TensorBase
from ..kernels.common.windows import whole

if TYPE_CHECKING:
    from ..autograd.typing import Tensor


class PixelMixin(TensorBase):
    """Channels and pixels exchanged, as methods."""

    __slots__ = ()

    def pixel_shuffle(self, upscale_factor: int) -> Tensor:
        """(…, C · r², H, W) → (…, C, H · r, W · r), r = upscale_factor: r² channels are a square.

        Source: Shi et al. 2016, "Real-Time Single Image and Video Super-Resolution Using an
        Efficient Sub-Pixel Convolutional Neural Network".
        """
        x: Any = self
        r = whole(upscale_factor, "pixel_shuffle", "upscale_factor", 1)
        *lead, c, h, w = _axes("pixel_shuffle", self)
        if c % r**2:
            raise ValueError(
                f"[pixel_shuffle] expected channels divisible by {r}² = {r**2}, got shape "
                f"{self.shape}"
            )
        m = len(lead)
        split = x.reshape(*lead, c // r**2, r, r, h, w)
        order = (*range(m + 1), m + 3, m + 1, m + 4, m + 2)  # (…, C, H, r, W, r)
        return split.permute(order).reshape(*lead, c // r**2, h * r, w * r)  # type: ignore[no-any-return]

    def pixel_unshuffle(self, downscale_factor: int) -> Tensor:
        """The inverse of `pixel_shuffle`: (…, C, H · r, W · r) → (…, C · r², H, W)."""
        x: Any = self
        r = whole(downscale_factor, "pixel_unshuffle", "downscale_factor", 1)
        *lead, c, h, w = _axes("pixel_unshuffle", self)
        if h % r or w % r:
            raise ValueError(
                f"[pixel_unshuffle] expected a height and a width divisible by {r}, got shape "
                f"{self.shape}"
            )
        m = len(lead)
        split = x.reshape(*lead, c, h // r, r, w // r, r)
        order = (*range(m + 1), m + 2, m + 4, m + 1, m + 3)  # (…, C, r, r, H, W)
        return split.permute(order).reshape(*lead, c * r**2, h // r, w // r)  # type: ignore[no-any-return]

    def channel_shuffle(self, groups: int) -> Tensor:
        """(N, C, …) with the channels of ``groups`` groups dealt out in turn: 0 2 1 3 for two of 2.

        Source: Zhang et al. 2018, "ShuffleNet".
        """
        x: Any = self
        groups = whole(groups, "channel_shuffle", "groups", 1)
        if len(self.shape) < 3 or self.shape[1] % groups:
            raise ValueError(
                f"[channel_shuffle] expected shape (N, C, …) with channels divisible by {groups}, "
                f"got {self.shape}"
            )
        n, c, *size = self.shape
        split = x.reshape(n, groups, c // groups, *size)
        return split.swapaxes(1, 2).reshape(n, c, *size)  # type: ignore[no-any-return]


def _axes(op: str, x: Any) -> tuple[int, ...]:
    if len(x.shape) < 3:
        raise ValueError(f"[{op}] expected an input of shape (…, C, H, W), got {x.shape}")
    return tuple(x.shape)

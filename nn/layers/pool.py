"""Pooling layers over images (N, C, H, W)."""

from __future__ import annotations

from tinygrad_cupy.kernels.common.windows import Pair
from tinygrad_cupy.nn import checks
from tinygrad_cupy.nn.module import Module
from tinygrad_cupy.tensor import Tensor


class MaxPool2d(Module):
    """The maximum of each window: OH = (H + 2 * padding - dilation * (KH - 1) - 1) // stride + 1.

    `stride` is `kernel_size` unless given; `padding` is with -inf. All are pixels, one integer or a
    pair (height, width). Of equal maxima the first gets the whole gradient.
    """

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
    ) -> None:
        self.kernel_size = checks.pair(self, "kernel_size", kernel_size)
        self.stride = checks.pair(self, "stride", kernel_size if stride is None else stride)
        self.padding = _padding(self, padding, self.kernel_size)
        self.dilation = checks.pair(self, "dilation", dilation)

    @property
    def acts_as(self) -> str | None:
        """ "pool" for the plain halving that other layers' kernels can do as well."""
        plain = ((2, 2), (2, 2), (0, 0), (1, 1))
        given = (self.kernel_size, self.stride, self.padding, self.dilation)
        return "pool" if given == plain else None

    def forward(self, x: Tensor) -> Tensor:
        checks.input_axes(self, x, "N, C, H, W")
        return x.max_pool2d(self.kernel_size, self.stride, self.padding, self.dilation)

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}"
        )


class AvgPool2d(Module):
    """The mean of each window: OH = (H + 2 * padding - KH) // stride + 1.

    `stride` is `kernel_size` unless given; padding is with zeros, which count in the mean.
    """

    def __init__(
        self, kernel_size: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0
    ) -> None:
        self.kernel_size = checks.pair(self, "kernel_size", kernel_size)
        self.stride = checks.pair(self, "stride", kernel_size if stride is None else stride)
        self.padding = _padding(self, padding, self.kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        checks.input_axes(self, x, "N, C, H, W")
        return x.avg_pool2d(self.kernel_size, self.stride, self.padding)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveAvgPool2d(Module):
    """Means over windows chosen so that the output is `output_size`: (N, C, *output_size).

    Output row i averages the input rows from floor(i * H / OH) to ceil((i + 1) * H / OH).
    """

    def __init__(self, output_size: int | Pair) -> None:
        self.output_size = checks.pair(self, "output_size", output_size)

    def forward(self, x: Tensor) -> Tensor:
        checks.input_axes(self, x, "N, C, H, W")
        return x.adaptive_avg_pool2d(self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


def _padding(layer: Module, padding: int | Pair, kernel_size: Pair) -> Pair:
    """A window must hold at least one pixel of the image, so padding is at most half a kernel."""
    both = checks.pair(layer, "padding", padding, least=0)
    if any(pad > size // 2 for pad, size in zip(both, kernel_size, strict=True)):
        raise ValueError(
            f"[{type(layer).__name__}] padding must be at most half of kernel_size, got "
            f"{both} with kernel_size {kernel_size}"
        )
    return both

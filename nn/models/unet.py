"""U-Net: a class for each pixel."""

from __future__ import annotations

from tinygrad_cupy.kernels.common.windows import Shape
from tinygrad_cupy.nn.layers.activation import ReLU
from tinygrad_cupy.nn.layers.conv import Conv2d, ConvTranspose2d
from tinygrad_cupy.nn.layers.norm import BatchNorm2d
from tinygrad_cupy.nn.layers.sequential import Sequential
from tinygrad_cupy.nn.module import Module
from tinygrad_cupy.ops.shape import concat
from tinygrad_cupy.tensor import Tensor

from .blocks import conv
from .sizes import expect_at_least

WIDTHS = (32, 64, 128, 256)
LEAST = 1 << (len(WIDTHS) - 1)


def _double(inputs: int, outputs: int) -> Sequential:
    """Twice conv 3x3, batch norm, ReLU."""
    layers: list[Module] = []
    for channels in (inputs, outputs):
        layers += [conv(channels, outputs, 3), BatchNorm2d(outputs), ReLU()]
    return Sequential(*layers)


class UNet(Module):
    """Ronneberger et al., "U-Net" (2015), of four levels: (N, C, H, W) -> (N, classes, H, W).

    On the way down two convolutions and a max-pool 2 at each level, of 32, 64, 128 and 256
    channels; on the way up a transposed convolution 2x2 of stride 2, and two convolutions of its
    result beside what the same level had on the way down. Convolutions are padded and normalized
    by batches, so that the result has the size of the image; sizes need not be multiples of 8.
    Parameters: down.0.0 (conv), down.0.1 (norm), down.0.3, down.0.4, ..., down.3.4; up.0 ... up.2
    (the transposed ones, from below) and join.0.0 ... join.2.4; head.

    >>> net = nn.models.build("unet", classes=2, in_channels=3, image_size=16)
    >>> net.eval()(Tensor.rand(1, 3, 16, 16)).shape
    (1, 2, 16, 16)
    """

    def __init__(self, classes: int, in_channels: int) -> None:
        inputs = (in_channels, *WIDTHS)
        self.down = [_double(*pair) for pair in zip(inputs, WIDTHS, strict=False)]
        upwards = list(zip(WIDTHS[:0:-1], WIDTHS[-2::-1], strict=True))  # (256, 128), ...
        self.up = [ConvTranspose2d(low, high, 2, 2) for low, high in upwards]
        self.join = [_double(2 * high, high) for _, high in upwards]
        self.head = Conv2d(WIDTHS[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        beside = []
        for level, down in enumerate(self.down):
            x = down(x.max_pool2d(2) if level else x)
            beside.append(x)
        for up, join, other in zip(self.up, self.join, beside[-2::-1], strict=True):
            x = join(concat([_as_large(up(x), other), other], axis=1))
        return self.head(x)  # type: ignore[no-any-return]


def _as_large(x: Tensor, other: Tensor) -> Tensor:
    """x with a row and a column of zeros behind it where a max-pool had dropped the last."""
    missing = [(0, more - n) for n, more in zip(x.shape, other.shape, strict=True)]
    missing[1] = (0, 0)
    return x.pad(missing) if any(after for _, after in missing) else x


def unet(name: str, classes: int, in_channels: int, image_size: Shape) -> UNet:
    """The U-Net; ValueError for images that vanish on the way down."""
    expect_at_least(name, image_size, (LEAST, LEAST))
    return UNet(classes, in_channels)

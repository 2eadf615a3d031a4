"""VGG of 11 layers with batch norm, in torchvision's parameter names."""

from __future__ import annotations

from tinygrad_cupy.kernels.common.windows import Shape
from tinygrad_cupy.nn.layers.activation import ReLU
from tinygrad_cupy.nn.layers.dropout import Dropout
from tinygrad_cupy.nn.layers.linear import Linear
from tinygrad_cupy.nn.layers.norm import BatchNorm2d
from tinygrad_cupy.nn.layers.pool import MaxPool2d
from tinygrad_cupy.nn.layers.sequential import Sequential
from tinygrad_cupy.nn.module import Module
from tinygrad_cupy.tensor import Tensor

from .blocks import conv
from .sizes import expect_at_least, stem_of

STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))
LEAST = 1 << len(STAGES)  # pixels that five halvings leave something of


class VGG(Module):
    """Simonyan and Zisserman, "Very deep convolutional networks" (2015), configuration A.

    (N, C, H, W) -> (N, classes): `features`, eight times conv 3x3, batch norm and ReLU with five
    max-pools; a mean over a grid of 7x7 windows; `classifier`, two layers of 4096 with ReLU and
    dropout 0.5, and the last. The stem "small" keeps the features and takes the mean of all pixels
    and two layers of 512, which is a thirtieth of the parameters. Parameters: features.0, .1, ...,
    classifier.0, .3, .6; convolutions start from N(0, 2 / fan_out).

    >>> net = nn.models.build("vgg11_bn", 1000, 3, image_size=224)  # doctest: +SKIP
    >>> weights = torchvision.models.vgg11_bn(weights="DEFAULT")  # doctest: +SKIP
    >>> net.load_state_dict(weights.state_dict())  # doctest: +SKIP
    """

    def __init__(self, classes: int, in_channels: int, image_size: Shape, stem: str) -> None:
        small = stem == "small"
        features: list[Module] = []
        inputs = in_channels
        for stage in STAGES:
            for width in stage:
                features += [conv(inputs, width, 3, bias=True), BatchNorm2d(width), ReLU()]
                inputs = width
            # So small an image would vanish: the last pixels make windows of their own.
            features.append(MaxPool2d(2, ceil_mode=min(image_size) < LEAST))
        self.features = Sequential(*features)
        self.grid, width = (1, 512) if small else (7, 4096)
        self.classifier = Sequential(
            Linear(inputs * self.grid * self.grid, width),
            ReLU(),
            Dropout(0.5),
            Linear(width, width),
            ReLU(),
            Dropout(0.5),
            Linear(width, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x).adaptive_avg_pool2d(self.grid)
        return self.classifier(x.flatten(1))  # type: ignore[no-any-return]


def vgg(
    name: str, classes: int, in_channels: int, image_size: Shape, stem: str | None = None
) -> VGG:
    """The VGG of that name: "vgg11_bn"."""
    stem = stem_of(name, stem, image_size)
    if stem == "imagenet":
        expect_at_least(name, image_size, (LEAST, LEAST))
    return VGG(classes, in_channels, image_size, stem)

"""MobileNetV2, in torchvision's parameter names."""

from __future__ import annotations

from tinygrad_cupy.kernels.common.windows import Shape
from tinygrad_cupy.nn.layers.dropout import Dropout
from tinygrad_cupy.nn.layers.linear import Linear
from tinygrad_cupy.nn.layers.norm import BatchNorm2d
from tinygrad_cupy.nn.layers.piecewise import ReLU6
from tinygrad_cupy.nn.layers.sequential import Sequential
from tinygrad_cupy.nn.module import Module
from tinygrad_cupy.tensor import Tensor

from .blocks import conv
from .sizes import stem_of

# Expansion, channels, blocks, stride of the first: table 2 of the paper.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _conv_norm(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> Module:
    layer = conv(inputs, outputs, size, stride, groups)
    return Sequential(layer, BatchNorm2d(outputs), ReLU6())


class InvertedResidual(Module):
    """conv 1x1 to `expansion` times the channels, conv 3x3 by channel, conv 1x1; + x if it fits."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        self.adds = stride == 1 and inputs == outputs
        inside = inputs * expansion
        layers = [_conv_norm(inputs, inside, 1)] if expansion != 1 else []
        layers.append(_conv_norm(inside, inside, 3, stride, groups=inside))
        self.conv = Sequential(*layers, conv(inside, outputs, 1), BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return x + y if self.adds else y  # type: ignore[no-any-return]


class MobileNetV2(Module):
    """Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks" (2018).

    (N, C, H, W) -> (N, classes): `features`, a convolution 3x3, 17 inverted residuals, a
    convolution 1x1 to 1280 channels; the mean over pixels; `classifier`: dropout 0.2, fc. With the
    stem "imagenet" an image is halved five times, with "small", for images of up to 64 pixels,
    three times: the first convolution and the first stage of stride 2 keep the size. Parameters:
    features.0.0, ..., features.18.1, classifier.1; convolutions start from N(0, 2 / fan_out).

    >>> net = nn.models.build("mobilenet_v2", classes=5, in_channels=3, image_size=16)
    >>> net.eval()(Tensor.rand(1, 3, 16, 16)).shape
    (1, 5)
    """

    def __init__(self, classes: int, in_channels: int, stem: str) -> None:
        small = stem == "small"
        features = [_conv_norm(in_channels, 32, 3, 1 if small else 2)]
        inputs = 32
        for expansion, outputs, blocks, stride in STAGES:
            for place in range(blocks):
                keeps = place or (small and outputs == 24)
                step = 1 if keeps else stride
                features.append(InvertedResidual(inputs, outputs, step, expansion))
                inputs = outputs
        features.append(_conv_norm(inputs, 1280, 1))
        self.features = Sequential(*features)
        self.classifier = Sequential(Dropout(0.2), Linear(1280, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))  # type: ignore[no-any-return]


def mobilenet(
    name: str, classes: int, in_channels: int, image_size: Shape, stem: str | None = None
) -> MobileNetV2:
    """The MobileNet of that name: "mobilenet_v2"."""
    return MobileNetV2(classes, in_channels, stem_of(name, stem, image_size))

"""Residual networks of 18, 34 and 50 layers, in torchvision's parameter names."""

from __future__ import annotations

from typing import ClassVar

from tinygrad_cupy.kernels.common.windows import Shape
from tinygrad_cupy.nn.layers.linear import Linear
from tinygrad_cupy.nn.layers.norm import BatchNorm2d
from tinygrad_cupy.nn.layers.sequential import Sequential
from tinygrad_cupy.nn.module import Module
from tinygrad_cupy.tensor import Tensor

from .blocks import conv, with_relu
from .sizes import stem_of


class _Block(Module):
    """relu(f(x) + x); where stride or channels differ, `downsample` makes the x of the sum."""

    expansion: ClassVar[int]  # channels of the result / width

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        self._body(inputs, width, stride)
        outputs, self.downsample = width * self.expansion, None
        if stride != 1 or inputs != outputs:
            self.downsample = Sequential(conv(inputs, outputs, 1, stride), BatchNorm2d(outputs))

    def _body(self, inputs: int, width: int, stride: int) -> None:
        raise NotImplementedError

    def _residual(self, x: Tensor) -> Tensor:
        """f(x)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        beside = x if self.downsample is None else self.downsample(x)
        return (self._residual(x) + beside).relu()


class BasicBlock(_Block):
    """f: conv 3x3, batch norm, ReLU, conv 3x3, batch norm."""

    expansion = 1

    def _body(self, inputs: int, width: int, stride: int) -> None:
        self.conv1 = conv(inputs, width, 3, stride)
        self.bn1 = BatchNorm2d(width)
        self.conv2 = conv(width, width, 3)
        self.bn2 = BatchNorm2d(width)

    def _residual(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv2(with_relu(self.bn1, self.conv1(x))))  # type: ignore[no-any-return]


class Bottleneck(_Block):
    """f: conv 1x1, conv 3x3 (with the stride), conv 1x1 to 4 times the width; norms, ReLU."""

    expansion = 4

    def _body(self, inputs: int, width: int, stride: int) -> None:
        self.conv1 = conv(inputs, width, 1)
        self.bn1 = BatchNorm2d(width)
        self.conv2 = conv(width, width, 3, stride)
        self.bn2 = BatchNorm2d(width)
        self.conv3 = conv(width, 4 * width, 1)
        self.bn3 = BatchNorm2d(4 * width)

    def _residual(self, x: Tensor) -> Tensor:
        x = with_relu(self.bn1, self.conv1(x))
        x = with_relu(self.bn2, self.conv2(x))
        return self.bn3(self.conv3(x))  # type: ignore[no-any-return]


class ResNet(Module):
    """He et al., "Deep residual learning for image recognition" (2016).

    (N, C, H, W) -> (N, classes): a stem; four stages of blocks of width 64, 128, 256, 512, each but
    the first of stride 2; the mean over pixels; `fc`. The stem "imagenet" is a convolution 7x7 of
    stride 2 and a max-pool 3x3 of stride 2, "small" a convolution 3x3, for images of up to 64
    pixels. Parameters: conv1, bn1, layer1.0.conv1, ..., layer4.1.bn2, fc; convolutions start from
    N(0, 2 / fan_out).

    >>> net = nn.models.build("resnet18", 1000, 3, image_size=224)  # doctest: +SKIP
    >>> weights = torchvision.models.resnet18(weights="DEFAULT")  # doctest: +SKIP
    >>> net.load_state_dict(weights.state_dict())  # doctest: +SKIP
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, int, int, int],
        classes: int,
        in_channels: int,
        stem: str,
    ) -> None:
        self.stem = stem
        small = stem == "small"
        self.conv1 = conv(in_channels, 64, 3) if small else conv(in_channels, 64, 7, 2)
        self.bn1 = BatchNorm2d(64)
        inputs = 64
        stages = []
        for stage, depth in enumerate(depths):
            width = 64 << stage
            blocks: list[Module] = []
            for place in range(depth):
                blocks.append(block(inputs, width, 2 if stage and not place else 1))
                inputs = width * block.expansion
            stages.append(Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.fc = Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = with_relu(self.bn1, self.conv1(x))
        if self.stem == "imagenet":
            x = x.max_pool2d(3, 2, 1)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return self.fc(x.mean((2, 3)))  # type: ignore[no-any-return]


_DEPTHS: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}


def resnet(
    name: str, classes: int, in_channels: int, image_size: Shape, stem: str | None = None
) -> ResNet:
    """The ResNet of that name: "resnet18", "resnet34" or "resnet50"."""
    block, depths = _DEPTHS[name]
    return ResNet(block, depths, classes, in_channels, stem_of(name, stem, image_size))

"""The models of nn.models, written with PyTorch's layers, to compare with.

Of the residual nets, VGG and MobileNet the names are torchvision's, which is not needed here.
"""

from __future__ import annotations

import importlib
from typing import Any

torch: Any = importlib.import_module("torch")
layers = torch.nn


class Block(layers.Module):  # type: ignore[misc, name-defined]
    """Of ResNet-18 and -34, or with `wide` of ResNet-50."""

    def __init__(self, inputs: int, width: int, stride: int, wide: bool) -> None:
        super().__init__()
        conv, norm = layers.Conv2d, layers.BatchNorm2d
        outputs = width * (4 if wide else 1)
        if wide:
            self.conv1 = conv(inputs, width, 1, bias=False)
            self.bn1 = norm(width)
            self.conv2 = conv(width, width, 3, stride, 1, bias=False)
            self.bn2 = norm(width)
            self.conv3 = conv(width, outputs, 1, bias=False)
            self.bn3 = norm(outputs)
        else:
            self.conv1 = conv(inputs, width, 3, stride, 1, bias=False)
            self.bn1 = norm(width)
            self.conv2 = conv(width, width, 3, 1, 1, bias=False)
            self.bn2 = norm(width)
        self.downsample = None
        if stride > 1 or inputs != outputs:
            shortcut = conv(inputs, outputs, 1, stride, bias=False)
            self.downsample = layers.Sequential(shortcut, norm(outputs))
        self.wide, self.relu = wide, layers.ReLU()

    def forward(self, x: Any) -> Any:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.wide:
            y = self.bn3(self.conv3(self.relu(y)))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(layers.Module):  # type: ignore[misc, name-defined]
    """Of these numbers of blocks."""

    def __init__(self, depths: tuple[int, ...], wide: bool, classes: int, small: bool) -> None:
        super().__init__()
        first = (3, 64, 3, 1, 1) if small else (3, 64, 7, 2, 3)
        self.conv1 = layers.Conv2d(*first, bias=False)
        self.bn1 = layers.BatchNorm2d(64)
        self.small, self.relu, inputs = small, layers.ReLU(), 64
        for stage, depth in enumerate(depths):
            blocks, width = [], 64 * 2**stage
            for place in range(depth):
                blocks.append(Block(inputs, width, 2 if stage and not place else 1, wide))
                inputs = width * (4 if wide else 1)
            setattr(self, f"layer{stage + 1}", layers.Sequential(*blocks))
        self.fc = layers.Linear(inputs, classes)

    def forward(self, x: Any) -> Any:
        x = self.relu(self.bn1(self.conv1(x)))
        x = x if self.small else torch.max_pool2d(x, 3, 2, 1)
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return self.fc(x.mean((2, 3)))


class Vgg11(layers.Module):  # type: ignore[misc, name-defined]
    """With batch norm; `small` is ours."""

    def __init__(self, classes: int, small: bool) -> None:
        super().__init__()
        parts: list[Any] = []
        inputs = 3
        for width in (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0):
            if not width:
                parts.append(layers.MaxPool2d(2, 2))
                continue
            parts.append(layers.Conv2d(inputs, width, 3, padding=1))
            parts += [layers.BatchNorm2d(width), layers.ReLU()]
            inputs = width
        self.features = layers.Sequential(*parts)
        self.avgpool = layers.AdaptiveAvgPool2d(1 if small else 7)
        seen, width = (512, 512) if small else (512 * 49, 4096)
        self.classifier = layers.Sequential(
            *(layers.Linear(seen, width), layers.ReLU(), layers.Dropout()),
            *(layers.Linear(width, width), layers.ReLU(), layers.Dropout()),
            layers.Linear(width, classes),
        )

    def forward(self, x: Any) -> Any:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def _conv_norm(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> Any:
    conv = layers.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    return layers.Sequential(conv, layers.BatchNorm2d(outputs), layers.ReLU6())


class Inverted(layers.Module):  # type: ignore[misc, name-defined]
    """An inverted residual."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        inside = expansion * inputs
        parts = [_conv_norm(inside, inside, 3, stride, inside)]
        if expansion > 1:
            parts = [_conv_norm(inputs, inside, 1), *parts]
        parts += [layers.Conv2d(inside, outputs, 1, bias=False), layers.BatchNorm2d(outputs)]
        self.conv = layers.Sequential(*parts)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Any) -> Any:
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNet(layers.Module):  # type: ignore[misc, name-defined]
    """MobileNetV2; `small` is ours."""

    def __init__(self, classes: int, small: bool) -> None:
        super().__init__()
        strides = [1, 1 if small else 2, 2, 2, 1, 2, 1]
        channels, counts = [16, 24, 32, 64, 96, 160, 320], [1, 2, 3, 4, 3, 3, 1]
        parts, inputs = [_conv_norm(3, 32, 3, 1 if small else 2)], 32
        for stage, (outputs, count) in enumerate(zip(channels, counts, strict=True)):
            for place in range(count):
                stride = 1 if place else strides[stage]
                parts.append(Inverted(inputs, outputs, stride, 6 if stage else 1))
                inputs = outputs
        self.features = layers.Sequential(*parts, _conv_norm(inputs, 1280, 1))
        self.classifier = layers.Sequential(layers.Dropout(0.2), layers.Linear(1280, classes))

    def forward(self, x: Any) -> Any:
        return self.classifier(self.features(x).mean((2, 3)))


class ViT(layers.Module):  # type: ignore[misc, name-defined]
    """For images whose sides are multiples of 4."""

    def __init__(self, classes: int, patches: int) -> None:
        super().__init__()
        self.class_token = layers.Parameter(torch.zeros(1, 1, 192))
        self.positions = layers.Parameter(torch.zeros(1, 1 + patches, 192))
        self.patch = layers.Conv2d(3, 192, 4, 4)
        layer = layers.TransformerEncoderLayer(
            *(192, 3, 768, 0.0, "gelu"), batch_first=True, norm_first=True
        )
        self.encoder = layers.TransformerEncoder(
            layer, 6, layers.LayerNorm(192), enable_nested_tensor=False
        )
        self.head = layers.Linear(192, classes)

    def forward(self, x: Any) -> Any:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(x.shape[0], 1, 192), x], 1) + self.positions
        return self.head(self.encoder(x)[:, 0])


class UNet(layers.Module):  # type: ignore[misc, name-defined]
    """Of four levels."""

    def __init__(self, classes: int, colours: int) -> None:
        super().__init__()
        widths = [32, 64, 128, 256]
        pairs = zip([colours, *widths], widths, strict=False)
        self.down = layers.ModuleList([self.double(*pair) for pair in pairs])
        up = [layers.ConvTranspose2d(n, n // 2, 2, 2) for n in (256, 128, 64)]
        self.up = layers.ModuleList(up)
        self.join = layers.ModuleList([self.double(n, n // 2) for n in (256, 128, 64)])
        self.head = layers.Conv2d(32, classes, 1)

    @staticmethod
    def double(inputs: int, outputs: int) -> Any:
        parts: list[Any] = []
        for channels in (inputs, outputs):
            parts.append(layers.Conv2d(channels, outputs, 3, padding=1, bias=False))
            parts += [layers.BatchNorm2d(outputs), layers.ReLU()]
        return layers.Sequential(*parts)

    def forward(self, x: Any) -> Any:
        found = []
        for level, part in enumerate(self.down):
            x = part(torch.max_pool2d(x, 2) if level else x)
            found.append(x)
        for level in range(3):
            x, beside = self.up[level](x), found[2 - level]
            missing = [n - m for n, m in zip(beside.shape[2:], x.shape[2:], strict=True)]
            x = torch.nn.functional.pad(x, (0, missing[1], 0, missing[0]))
            x = self.join[level](torch.cat([x, beside], 1))
        return self.head(x)


def model(
    name: str, classes: int, image_size: tuple[int, int], small: bool = True, colours: int = 3
) -> Any:
    """The model of that name; of colour images, but for the U-Net, which takes any."""
    if name.startswith("resnet"):
        depths = (2, 2, 2, 2) if name == "resnet18" else (3, 4, 6, 3)
        return ResNet(depths, name == "resnet50", classes, small)
    if name == "vit_tiny":
        return ViT(classes, image_size[0] // 4 * (image_size[1] // 4))
    if name == "unet":
        return UNet(classes, colours)
    return {"vgg11_bn": Vgg11, "mobilenet_v2": MobileNet}[name](classes, small)

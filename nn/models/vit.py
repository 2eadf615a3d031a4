"""A small vision transformer."""

from __future__ import annotations

from tinygrad_cupy.kernels.common.windows import Shape
from tinygrad_cupy.nn import init
from tinygrad_cupy.nn.layers.conv import Conv2d
from tinygrad_cupy.nn.layers.layer_norm import LayerNorm
from tinygrad_cupy.nn.layers.linear import Linear
from tinygrad_cupy.nn.layers.transformer import TransformerEncoder, TransformerEncoderLayer
from tinygrad_cupy.nn.module import Module, Parameter
from tinygrad_cupy.ops.shape import concat
from tinygrad_cupy.tensor import Tensor

PATCH, WIDTH, DEPTH, HEADS = 4, 192, 6, 3


class ViT(Module):
    """Dosovitskiy et al., "An image is worth 16x16 words" (2021): (N, C, H, W) -> (N, classes).

    Patches of 4x4 pixels become vectors of 192 features; in front of them comes a learned one, and
    all get learned positions; six layers of a transformer (3 heads, 768 features inside, GELU,
    normalized first) follow, a last norm, and `head` reads the first vector. An image whose sides
    are no multiples of 4 is padded with zeros on its right and below. Positions are learned for one
    size of image; another is an error.

    Parameters: class_token (1, 1, 192), positions (1, 1 + patches, 192), patch.weight
    (192, C, 4, 4) and patch.bias, encoder.layers.0.self_attn.in_proj_weight, ... as in PyTorch's
    TransformerEncoder, encoder.norm, head. Token and positions start from N(0, 0.02^2).

    >>> net = nn.models.build("vit_tiny", classes=5, in_channels=3, image_size=16)
    >>> net(Tensor.rand(1, 3, 16, 16)).shape
    (1, 5)
    """

    def __init__(self, classes: int, in_channels: int, image_size: Shape) -> None:
        self.image_size = image_size
        patches = -(-image_size[0] // PATCH) * -(-image_size[1] // PATCH)
        self.class_token = Parameter(init.normal((1, 1, WIDTH), 0.02))
        self.positions = Parameter(init.normal((1, 1 + patches, WIDTH), 0.02))
        self.patch = Conv2d(in_channels, WIDTH, PATCH, PATCH)
        self.encoder = TransformerEncoder(_layer(), 1, LayerNorm(WIDTH))
        self.encoder.layers += [_layer() for _ in range(DEPTH - 1)]  # each with weights of its own
        self.encoder.num_layers = DEPTH
        self.head = Linear(WIDTH, classes)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[2:] != self.image_size:
            raise ValueError(
                f"[ViT] expected images (N, C, {self.image_size[0]}, {self.image_size[1]}), of the "
                f"size that its positions are for, got shape {x.shape}"
            )
        missing = [(0, -n % PATCH) for n in self.image_size]
        x = x.pad([(0, 0), (0, 0), *missing]) if any(after for _, after in missing) else x
        x = self.patch(x).flatten(2).swapaxes(1, 2)  # (N, patches, 192)
        first = self.class_token.astype(x.dtype).broadcast_to(x.shape[0], 1, WIDTH)
        x = self.encoder(concat([first, x], axis=1) + self.positions)
        return self.head(x[:, 0])  # type: ignore[no-any-return]


def _layer() -> TransformerEncoderLayer:
    return TransformerEncoderLayer(
        *(WIDTH, HEADS, 4 * WIDTH, 0.0, "gelu"), batch_first=True, norm_first=True
    )


def vit(name: str, classes: int, in_channels: int, image_size: Shape) -> ViT:
    """The vision transformer of that name: "vit_tiny"."""
    return ViT(classes, in_channels, image_size)

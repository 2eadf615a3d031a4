"""Convolution layers. The math is the Tensor method of the same name.

Letters in shapes: N batch, C input channels, O output channels, H height, W width, KH x KW the
kernel, g groups.
"""

from __future__ import annotations

from tinygrad_cupy.kernels.common.windows import Pair
from tinygrad_cupy.nn import checks, init
from tinygrad_cupy.nn.module import Module
from tinygrad_cupy.tensor import Tensor


class Conv2d(Module):
    """Cross-correlation of images (N, C, H, W) -> (N, O, OH, OW).

    OH = (H + 2 * padding - dilation * (KH - 1) - 1) // stride + 1, and OW alike. `kernel_size`,
    `stride`, `padding` (zeros) and `dilation` are one integer or a pair (height, width), in pixels.
    `groups` splits the channels into parts that do not see each other. `weight` (O, C/g, KH, KW)
    and `bias` (O,) start from U(-b, b), b = 1 / sqrt(C/g * KH * KW). Called with `relu` or `pool`,
    ReLU and MaxPool2d(2) are applied as well, in the same kernel.
    """

    fuses = ("relu", "pool")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        self.in_channels = checks.integer(self, "in_channels", in_channels)
        self.out_channels = checks.integer(self, "out_channels", out_channels)
        self.kernel_size = checks.pair(self, "kernel_size", kernel_size)
        self.stride = checks.pair(self, "stride", stride)
        self.padding = checks.pair(self, "padding", padding, least=0)
        self.dilation = checks.pair(self, "dilation", dilation)
        self.groups = checks.integer(self, "groups", groups)
        checks.groups_divide(self, self.groups, self.in_channels, self.out_channels)
        shape = (self.out_channels, self.in_channels // self.groups, *self.kernel_size)
        self.weight, self.bias = init.weight_and_bias(self, shape, self.out_channels, bias)

    def forward(self, x: Tensor, relu: bool = False, pool: bool = False) -> Tensor:
        checks.input_axes(self, x, "N, C, H, W")
        checks.input_size(self, x, 1, self.in_channels, "input channels")
        where = (self.stride, self.padding, self.dilation, self.groups)
        if relu or pool:
            return x.conv2d_block(self.weight, self.bias, *where, relu, pool)
        return x.conv2d(self.weight, self.bias, *where)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        text += f", stride={self.stride}"
        return text + _not_default(
            padding=(self.padding, (0, 0)),
            dilation=(self.dilation, (1, 1)),
            groups=(self.groups, 1),
            bias=(self.bias is not None, True),
        )


class ConvTranspose2d(Module):
    """The adjoint of Conv2d, (N, C, H, W) -> (N, O, OH, OW): a learned upsampling.

    OH = (H - 1) * stride - 2 * padding + dilation * (KH - 1) + output_padding + 1, and OW alike.
    Arguments as in Conv2d; `output_padding` (below stride or dilation) picks one of the sizes that
    a strided Conv2d maps to the same one. `weight` is (C, O/g, KH, KW); it and `bias` (O,) start
    from U(-b, b), b = 1 / sqrt(O/g * KH * KW).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        output_padding: int | Pair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Pair = 1,
    ) -> None:
        self.in_channels = checks.integer(self, "in_channels", in_channels)
        self.out_channels = checks.integer(self, "out_channels", out_channels)
        self.kernel_size = checks.pair(self, "kernel_size", kernel_size)
        self.stride = checks.pair(self, "stride", stride)
        self.padding = checks.pair(self, "padding", padding, least=0)
        self.output_padding = checks.pair(self, "output_padding", output_padding, least=0)
        self.dilation = checks.pair(self, "dilation", dilation)
        limits = [max(both) for both in zip(self.stride, self.dilation, strict=True)]
        if any(extra >= limit for extra, limit in zip(self.output_padding, limits, strict=True)):
            raise ValueError(
                f"[ConvTranspose2d] output_padding must be below stride or dilation, got "
                f"{self.output_padding} with stride {self.stride} and dilation {self.dilation}"
            )
        self.groups = checks.integer(self, "groups", groups)
        checks.groups_divide(self, self.groups, self.in_channels, self.out_channels)
        shape = (self.in_channels, self.out_channels // self.groups, *self.kernel_size)
        self.weight, self.bias = init.weight_and_bias(self, shape, self.out_channels, bias)

    def forward(self, x: Tensor) -> Tensor:
        checks.input_axes(self, x, "N, C, H, W")
        checks.input_size(self, x, 1, self.in_channels, "input channels")
        return x.conv_transpose2d(
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            output_padding=self.output_padding,
            dilation=self.dilation,
            groups=self.groups,
        )

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        text += f", stride={self.stride}"
        return text + _not_default(
            padding=(self.padding, (0, 0)),
            output_padding=(self.output_padding, (0, 0)),
            dilation=(self.dilation, (1, 1)),
            groups=(self.groups, 1),
            bias=(self.bias is not None, True),
        )


def _not_default(**values: tuple[object, object]) -> str:
    """ ", name=value" for each (value, default) that differ."""
    return "".join(f", {name}={value}" for name, (value, usual) in values.items() if value != usual)

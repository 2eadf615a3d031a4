"""Convolution layers. The math is the Tensor method of the same name.

Letters in shapes: N batch, C input channels, O output channels, H height, W width, KH x KW the
kernel, g groups; L the length of sequences, D the depth of volumes.
"""

from __future__ import annotations

import math
from typing import ClassVar

from tinygrad_cupy.kernels.common.windows import AXES, Shape, Sizes
from tinygrad_cupy.nn import checks, init
from tinygrad_cupy.nn.module import Module
from tinygrad_cupy.ops.padding import pad
from tinygrad_cupy.tensor import Tensor

# PyTorch's names of what stands around an input, and NumPy's.
PADDING_MODES = {
    "zeros": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}


class _Convolution(Module):
    """What all have: sizes of windows over `ndim` axes, channels in groups, weight and bias."""

    ndim: ClassVar[int]
    transposed: ClassVar[bool] = False  # whether the weight is (C, O/g, ...), not (O, C/g, ...)

    def _set_up(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes,
        padding: Sizes | str,
        dilation: Sizes,
        groups: int,
        bias: bool,
    ) -> None:
        self.in_channels = checks.integer(self, "in_channels", in_channels)
        self.out_channels = checks.integer(self, "out_channels", out_channels)
        self.kernel_size = checks.sizes(self, "kernel_size", kernel_size, self.ndim)
        self.stride = checks.sizes(self, "stride", stride, self.ndim)
        self.padding: Shape | str
        if isinstance(padding, str):
            self.padding = checks.choice(self, "padding", padding, ("same", "valid"))
        else:
            self.padding = checks.sizes(self, "padding", padding, self.ndim, least=0)
        self.dilation = checks.sizes(self, "dilation", dilation, self.ndim)
        self.groups = checks.integer(self, "groups", groups)
        checks.groups_divide(self, self.groups, self.in_channels, self.out_channels)
        channels = [self.out_channels, self.in_channels]
        first, second = reversed(channels) if self.transposed else channels
        shape = (first, second // self.groups, *self.kernel_size)
        self.weight, self.bias = init.weight_and_bias(self, shape, self.out_channels, bias)

    def _check(self, x: Tensor) -> None:
        axes = AXES[self.ndim]
        checks.input_axes(self, x, f"N, C, {axes}", f"C, {axes}")
        checks.input_size(self, x, -1 - self.ndim, self.in_channels, "input channels")

    def _repr(self, **others: tuple[object, object]) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        text += f", stride={self.stride}"
        return text + _not_default(
            padding=(self.padding, (0,) * self.ndim),
            **others,
            dilation=(self.dilation, (1,) * self.ndim),
            groups=(self.groups, 1),
            bias=(self.bias is not None, True),
        )


class _Conv(_Convolution):
    """Cross-correlation of inputs (N, C, ...) by weight (O, C/g, ...)."""

    padding_mode = "zeros"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
    ) -> None:
        windows = (kernel_size, stride, padding, dilation)
        self._set_up(in_channels, out_channels, *windows, groups, bias)
        self.padding_mode = checks.choice(self, "padding_mode", padding_mode, tuple(PADDING_MODES))
        if self.padding_mode != "zeros":
            self.fuses: tuple[str, ...] = ()
        if self.padding == "same" and math.prod(self.stride) > 1:
            raise ValueError(
                f'[{type(self).__name__}] padding="same" needs a stride of 1, got {self.stride}'
            )

    def _padded(self, x: Tensor) -> tuple[Tensor, Shape | str]:
        """The input with what stands around it, if not zeros, and how far zeros are to."""
        if self.padding_mode == "zeros" or self.padding == "valid":
            return x, self.padding
        if isinstance(self.padding, str):  # "same": what is odd of it comes behind
            spans = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            sides = [(span // 2, span - span // 2) for span in spans]
        else:
            sides = [(n, n) for n in self.padding]
        around = [*[(0, 0)] * (x.ndim - self.ndim), *sides]
        return pad(x, around, mode=PADDING_MODES[self.padding_mode]), (0,) * self.ndim

    def extra_repr(self) -> str:
        return self._repr() + _not_default(padding_mode=(self.padding_mode, "zeros"))


class Conv1d(_Conv):
    """Conv2d of sequences (N, C, L) -> (N, O, OL), weight (O, C/g, K).

    >>> nn.Conv1d(4, 16, 5, padding="same")(Tensor.rand(2, 4, 100)).shape
    (2, 16, 100)
    """

    ndim = 1

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        x, padding = self._padded(x)
        where = (self.stride, padding, self.dilation, self.groups)
        return x.conv1d(self.weight, self.bias, *where)


class Conv2d(_Conv):
    """Cross-correlation of images (N, C, H, W) -> (N, O, OH, OW), or of one without N.

    OH = (H + 2 * padding - dilation * (KH - 1) - 1) // stride + 1, and OW alike. `kernel_size`,
    `stride`, `padding` and `dilation` are one integer or a pair (height, width), in pixels;
    `padding` may be "same", which keeps the size, or "valid", which is 0. Around the image are
    zeros, or by `padding_mode` its mirror image ("reflect", the edge not repeated), its edge
    ("replicate") or its other side ("circular").
    `groups` splits the channels into parts that do not see each other. `weight` (O, C/g, KH, KW)
    and `bias` (O,) start from U(-b, b), b = 1 / sqrt(C/g * KH * KW). Called with `relu` or `pool`,
    ReLU and MaxPool2d(2) are applied as well, in the same kernel.
    ValueError for an input of other axes or channels, for groups that do not divide C and O, and
    for "same" with a stride. LeCun et al., "Backpropagation applied to handwritten zip code
    recognition" (1989).

    >>> conv = nn.Conv2d(3, 16, 3, stride=2, padding=1)
    >>> conv(Tensor.rand(8, 3, 32, 32)).shape
    (8, 16, 16, 16)
    >>> conv.weight.shape, conv.bias.shape
    ((16, 3, 3, 3), (16,))
    """

    ndim = 2
    fuses = ("relu", "pool")

    def forward(self, x: Tensor, relu: bool = False, pool: bool = False) -> Tensor:
        self._check(x)
        x, padding = self._padded(x)
        where = (self.stride, padding, self.dilation, self.groups)
        if relu or pool:
            return x.conv2d_block(self.weight, self.bias, *where, relu, pool)
        return x.conv2d(self.weight, self.bias, *where)


class Conv3d(_Conv):
    """Conv2d of volumes (N, C, D, H, W) -> (N, O, OD, OH, OW), weight (O, C/g, KD, KH, KW).

    >>> nn.Conv3d(1, 4, 3)(Tensor.rand(2, 1, 8, 8, 8)).shape
    (2, 4, 6, 6, 6)
    """

    ndim = 3

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        x, padding = self._padded(x)
        where = (self.stride, padding, self.dilation, self.groups)
        return x.conv3d(self.weight, self.bias, *where)


class _ConvTranspose(_Convolution):
    """The adjoint of a `_Conv`: weight (C, O/g, ...)."""

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sizes = 1,
    ) -> None:
        checks.sizes(self, "padding", padding, self.ndim, least=0)  # no word
        windows = (kernel_size, stride, padding, dilation)
        self._set_up(in_channels, out_channels, *windows, groups, bias)
        self.output_padding = checks.sizes(
            self, "output_padding", output_padding, self.ndim, least=0
        )
        limits = [max(both) for both in zip(self.stride, self.dilation, strict=True)]
        if any(extra >= limit for extra, limit in zip(self.output_padding, limits, strict=True)):
            raise ValueError(
                f"[{type(self).__name__}] output_padding must be below stride or dilation, got "
                f"{self.output_padding} with stride {self.stride} and dilation {self.dilation}"
            )

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        method = getattr(x, f"conv_transpose{self.ndim}d")
        return method(  # type: ignore[no-any-return]
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            output_padding=self.output_padding,
            dilation=self.dilation,
            groups=self.groups,
        )

    def extra_repr(self) -> str:
        return self._repr(output_padding=(self.output_padding, (0,) * self.ndim))


class ConvTranspose1d(_ConvTranspose):
    """ConvTranspose2d of sequences (N, C, L) -> (N, O, OL), weight (C, O/g, K).

    >>> nn.ConvTranspose1d(4, 2, 4, stride=2, padding=1)(Tensor.rand(2, 4, 50)).shape
    (2, 2, 100)
    """

    ndim = 1


class ConvTranspose2d(_ConvTranspose):
    """The adjoint of Conv2d, (N, C, H, W) -> (N, O, OH, OW): a learned upsampling.

    OH = (H - 1) * stride - 2 * padding + dilation * (KH - 1) + output_padding + 1, and OW alike.
    Arguments as in Conv2d; `output_padding` (below stride or dilation) picks one of the sizes that
    a strided Conv2d maps to the same one. `weight` is (C, O/g, KH, KW); it and `bias` (O,) start
    from U(-b, b), b = 1 / sqrt(O/g * KH * KW). ValueError as of Conv2d, and for a larger
    output_padding. Zeiler et al., "Deconvolutional networks" (2010).

    >>> up = nn.ConvTranspose2d(16, 3, 2, stride=2)
    >>> up(Tensor.rand(8, 16, 16, 16)).shape
    (8, 3, 32, 32)
    >>> up.weight.shape
    (16, 3, 2, 2)
    """

    ndim = 2


class ConvTranspose3d(_ConvTranspose):
    """ConvTranspose2d of volumes (N, C, D, H, W), weight (C, O/g, KD, KH, KW).

    >>> nn.ConvTranspose3d(4, 1, 2, stride=2)(Tensor.rand(2, 4, 3, 4, 5)).shape
    (2, 1, 6, 8, 10)
    """

    ndim = 3


def _not_default(**values: tuple[object, object]) -> str:
    """ ", name=value" for each (value, default) that differ."""
    return "".join(f", {name}={value}" for name, (value, usual) in values.items() if value != usual)

"""Layers that rearrange."""

from __future__ import annotations

from typing import Any

from tinygrad_cupy.kernels.common.windows import Sizes
from tinygrad_cupy.nn import checks
from tinygrad_cupy.nn.module import Module
from tinygrad_cupy.ops.interpolate import MODES
from tinygrad_cupy.tensor import Tensor


class Flatten(Module):
    """Axes `start_axis` to `end_axis` become one: by default (N, C, H, W) -> (N, C * H * W).

    >>> nn.Flatten()(Tensor.rand(8, 16, 7, 7)).shape
    (8, 784)
    """

    def __init__(self, start_axis: int = 1, end_axis: int = -1) -> None:
        self.start_axis, self.end_axis = start_axis, end_axis

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(self.start_axis, self.end_axis)

    def extra_repr(self) -> str:
        return f"start_axis={self.start_axis}, end_axis={self.end_axis}"


class Unflatten(Module):
    """`axis` becomes several of the sizes given, one of which may be -1: Flatten undone.

    >>> nn.Unflatten(1, (16, -1, 7))(Tensor.rand(8, 784)).shape
    (8, 16, 7, 7)
    """

    def __init__(self, axis: int, unflattened_size: tuple[int, ...]) -> None:
        self.axis, self.unflattened_size = axis, tuple(unflattened_size)

    def forward(self, x: Tensor) -> Tensor:
        checks.input_tensor(self, x)
        axis = self.axis + x.ndim if self.axis < 0 else self.axis
        if not 0 <= axis < x.ndim:
            raise ValueError(f"[Unflatten] expected an axis {self.axis}, got shape {x.shape}")
        return x.reshape(*x.shape[:axis], *self.unflattened_size, *x.shape[axis + 1 :])

    def extra_repr(self) -> str:
        return f"axis={self.axis}, unflattened_size={self.unflattened_size}"


class Upsample(Module):
    """(N, C, ...) of one to three axes behind the channels, resized to `size` or by `scale_factor`.

    `mode` is "nearest", "nearest-exact", "linear" (N, C, L), "bilinear" or "bicubic" (N, C, H, W),
    "trilinear" (N, C, D, H, W) or "area"; `align_corners` and `recompute_scale_factor` as in
    `Tensor.interpolate`. ValueError unless one of size and scale_factor is given.

    >>> nn.Upsample(scale_factor=2)(Tensor([[[1.0, 2.0]]]))
    Tensor([[[1., 1., 2., 2.]]])
    >>> nn.Upsample((48, 64), mode="bilinear")(Tensor.rand(2, 3, 24, 32)).shape
    (2, 3, 48, 64)
    """

    def __init__(
        self,
        size: int | tuple[int, ...] | None = None,
        scale_factor: float | tuple[float, ...] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        if (size is None) == (scale_factor is None):
            raise ValueError(
                f"[{type(self).__name__}] expected either size or scale_factor, got size {size!r} "
                f"and scale_factor {scale_factor!r}"
            )
        self.size, self.scale_factor = size, scale_factor
        self.mode = checks.choice(self, "mode", mode, tuple(MODES))
        self.align_corners, self.recompute_scale_factor = align_corners, recompute_scale_factor

    def forward(self, x: Tensor) -> Tensor:
        checks.input_tensor(self, x)
        how = (self.mode, self.align_corners, self.recompute_scale_factor)
        return x.interpolate(self.size, self.scale_factor, *how)

    def extra_repr(self) -> str:
        what = "scale_factor" if self.size is None else "size"
        return f"{what}={getattr(self, what)}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """Upsample of images (N, C, H, W) by "nearest".

    >>> nn.UpsamplingNearest2d(scale_factor=2)(Tensor([[[[1.0, 2.0]]]]))
    Tensor([[[[1., 1., 2., 2.],
              [1., 1., 2., 2.]]]])
    """

    def __init__(self, size: Sizes | None = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, "nearest")


class UpsamplingBilinear2d(Upsample):
    """Upsample of images (N, C, H, W) by "bilinear", the corners' centres staying in place.

    >>> nn.UpsamplingBilinear2d((1, 3))(Tensor([[[[1.0, 2.0]]]]))
    Tensor([[[[1. , 1.5, 2. ]]]])
    """

    def __init__(self, size: Sizes | None = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, "bilinear", align_corners=True)


class Unfold(Module):
    """Windows as columns: (N, C, H, W) -> (N, C * KH * KW, L), L the number of windows.

    Of sequences and volumes too, where `kernel_size` has one or three numbers. L is the product of
    (H + 2 * padding - dilation * (KH - 1) - 1) // stride + 1 and alike of W; windows come row by
    row.

    >>> nn.Unfold(2)(Tensor([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]]))
    Tensor([[[1., 2.],
             [2., 3.],
             [4., 5.],
             [5., 6.]]])
    """

    def __init__(
        self, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1
    ) -> None:
        self.kernel_size, self.dilation = kernel_size, dilation
        self.padding, self.stride = padding, stride

    def forward(self, x: Tensor) -> Tensor:
        checks.input_tensor(self, x)
        return x.unfold(self.kernel_size, self.stride, self.padding, self.dilation)

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, "
            f"stride={self.stride}"
        )


class Fold(Module):
    """The adjoint of Unfold: (N, C * KH * KW, L) -> (N, C, *output_size), overlaps added up.

    >>> nn.Fold((2, 3), 2)(Tensor.ones(1, 4, 2))  # the middle column is in both windows
    Tensor([[[[1., 2., 1.],
              [1., 2., 1.]]]])
    """

    def __init__(
        self,
        output_size: Sizes,
        kernel_size: Sizes,
        dilation: Sizes = 1,
        padding: Sizes = 0,
        stride: Sizes = 1,
    ) -> None:
        self.output_size, self.kernel_size, self.dilation = output_size, kernel_size, dilation
        self.padding, self.stride = padding, stride

    def forward(self, x: Tensor) -> Tensor:
        checks.input_tensor(self, x)
        where = (self.stride, self.padding, self.dilation)
        return x.fold(self.output_size, self.kernel_size, *where)

    def extra_repr(self) -> str:
        return (
            f"output_size={self.output_size}, kernel_size={self.kernel_size}, "
            f"dilation={self.dilation}, padding={self.padding}, stride={self.stride}"
        )


class PixelShuffle(Module):
    """(..., C * r * r, H, W) -> (..., C, H * r, W * r), r = `upscale_factor`.

    Shi et al., "Real-time single image and video super-resolution" (2016).

    >>> nn.PixelShuffle(3)(Tensor.rand(8, 9, 4, 4)).shape
    (8, 1, 12, 12)
    """

    def __init__(self, upscale_factor: int) -> None:
        self.upscale_factor = checks.integer(self, "upscale_factor", upscale_factor)

    def forward(self, x: Tensor) -> Tensor:
        checks.input_tensor(self, x)
        return x.pixel_shuffle(self.upscale_factor)

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """(..., C, H * r, W * r) -> (..., C * r * r, H, W), r = `downscale_factor`.

    >>> nn.PixelUnshuffle(3)(Tensor.rand(8, 1, 12, 12)).shape
    (8, 9, 4, 4)
    """

    def __init__(self, downscale_factor: int) -> None:
        self.downscale_factor = checks.integer(self, "downscale_factor", downscale_factor)

    def forward(self, x: Tensor) -> Tensor:
        checks.input_tensor(self, x)
        return x.pixel_unshuffle(self.downscale_factor)

    def extra_repr(self) -> str:
        return f"downscale_factor={self.downscale_factor}"


class ChannelShuffle(Module):
    """(N, C, ...) with the channels of `groups` groups dealt out in turn.

    Zhang et al., "ShuffleNet" (2017).

    >>> nn.ChannelShuffle(2)(Tensor.arange(6.0).reshape(1, 6, 1)).flatten()
    Tensor([0., 3., 1., 4., 2., 5.])
    """

    def __init__(self, groups: int) -> None:
        self.groups = checks.integer(self, "groups", groups)

    def forward(self, x: Tensor) -> Tensor:
        checks.input_tensor(self, x)
        return x.channel_shuffle(self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"

"""Pooling layers: over images (N, C, H, W), sequences (N, C, L) and volumes (N, C, D, H, W).

Each takes one without N, too. The math is the Tensor method of the same name.
"""

from __future__ import annotations

from typing import Any, ClassVar

from tinygrad_cupy.kernels.common.windows import AXES, Shape, Sizes
from tinygrad_cupy.nn import checks
from tinygrad_cupy.nn.module import Module
from tinygrad_cupy.tensor import Tensor


class _Pool(Module):
    """What all have: windows over `ndim` axes, and the method that pools."""

    ndim: ClassVar[int]
    method: ClassVar[str]  # without the number of axes

    def _set_windows(self, kernel_size: Sizes, stride: Sizes | None) -> None:
        self.kernel_size = checks.sizes(self, "kernel_size", kernel_size, self.ndim)
        steps = kernel_size if stride is None else stride
        self.stride = checks.sizes(self, "stride", steps, self.ndim)

    def _pooled(self, x: Tensor, *arguments: Any) -> Any:
        axes = AXES[self.ndim]
        checks.input_axes(self, x, f"N, C, {axes}", f"C, {axes}")
        return getattr(x, f"{self.method}{self.ndim}d")(*arguments)


class _MaxPool(_Pool):
    """Maxima of windows."""

    method = "max_pool"

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        self._set_windows(kernel_size, stride)
        self.padding = _padding(self, padding, self.kernel_size)
        self.dilation = checks.sizes(self, "dilation", dilation, self.ndim)
        self.return_indices, self.ceil_mode = bool(return_indices), bool(ceil_mode)

    def forward(self, x: Tensor) -> Any:
        where = (self.kernel_size, self.stride, self.padding, self.dilation)
        return self._pooled(x, *where, self.ceil_mode, self.return_indices)

    def extra_repr(self) -> str:
        text = (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}"
        )
        return text + ", ceil_mode=True" * self.ceil_mode


class MaxPool1d(_MaxPool):
    """MaxPool2d of sequences (N, C, L).

    >>> nn.MaxPool1d(2)(Tensor([[1.0, 5.0, 3.0, 2.0]]))
    Tensor([[5., 3.]])
    """

    ndim = 1


class MaxPool2d(_MaxPool):
    """The maximum of each window: OH = (H + 2 * padding - dilation * (KH - 1) - 1) // stride + 1.

    `stride` is `kernel_size` unless given; `padding` is with -inf. All are pixels, one integer or a
    pair (height, width). Of equal maxima the first gets the whole gradient. With `ceil_mode` OH is
    rounded up, with `return_indices` the result is (maxima, their places), for MaxUnpool2d.
    ValueError for other axes, and for padding above half of the kernel.

    >>> nn.MaxPool2d(3, stride=2, padding=1)(Tensor.rand(8, 16, 32, 32)).shape
    (8, 16, 16, 16)
    >>> nn.MaxPool2d(2)(Tensor([[[1.0, 5.0], [3.0, 2.0]]]))
    Tensor([[[5.]]])
    """

    ndim = 2

    @property
    def acts_as(self) -> str | None:
        """ "pool" for the plain halving that other layers' kernels can do as well."""
        plain = ((2, 2), (2, 2), (0, 0), (1, 1), False, False)
        windows = (self.kernel_size, self.stride, self.padding, self.dilation)
        return "pool" if (*windows, self.return_indices, self.ceil_mode) == plain else None


class MaxPool3d(_MaxPool):
    """MaxPool2d of volumes (N, C, D, H, W).

    >>> nn.MaxPool3d(2)(Tensor.rand(2, 3, 4, 6, 8)).shape
    (2, 3, 2, 3, 4)
    """

    ndim = 3


class _MaxUnpool(_Pool):
    """The inverse of a `_MaxPool`."""

    method = "max_unpool"

    def __init__(self, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0) -> None:
        self._set_windows(kernel_size, stride)
        self.padding = checks.sizes(self, "padding", padding, self.ndim, least=0)

    def forward(self, x: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        where = (self.kernel_size, self.stride, self.padding, output_size)
        return self._pooled(x, indices, *where)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """MaxUnpool2d of sequences (N, C, L).

    >>> y, where = nn.MaxPool1d(2, return_indices=True)(Tensor([[1.0, 5.0, 3.0, 2.0]]))
    >>> nn.MaxUnpool1d(2)(y, where)
    Tensor([[0., 5., 3., 0.]])
    """

    ndim = 1


class MaxUnpool2d(_MaxUnpool):
    """Zeros with maxima where MaxPool2d(..., return_indices=True) found them.

    Called with the maxima, their places and, where several sizes lead to theirs, `output_size`.

    >>> y, where = nn.MaxPool2d(2, return_indices=True)(Tensor([[[1.0, 5.0], [3.0, 2.0]]]))
    >>> nn.MaxUnpool2d(2)(y, where)
    Tensor([[[0., 5.],
             [0., 0.]]])
    """

    ndim = 2


class MaxUnpool3d(_MaxUnpool):
    """MaxUnpool2d of volumes (N, C, D, H, W).

    >>> y, where = nn.MaxPool3d(2, return_indices=True)(Tensor.rand(2, 3, 4, 6, 8))
    >>> nn.MaxUnpool3d(2)(y, where).shape
    (2, 3, 4, 6, 8)
    """

    ndim = 3


class _AvgPool(_Pool):
    """Means of windows."""

    method = "avg_pool"

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        self._set_windows(kernel_size, stride)
        self.padding = _padding(self, padding, self.kernel_size)
        self.ceil_mode, self.count_include_pad = bool(ceil_mode), bool(count_include_pad)
        if divisor_override is not None:
            divisor_override = checks.integer(self, "divisor_override", divisor_override)
        self.divisor_override = divisor_override

    def forward(self, x: Tensor) -> Tensor:
        where = (self.kernel_size, self.stride, self.padding, self.ceil_mode)
        divisor = () if self.divisor_override is None else (self.divisor_override,)
        return self._pooled(x, *where, self.count_include_pad, *divisor)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(_AvgPool):
    """AvgPool2d of sequences (N, C, L), without a `divisor_override`.

    >>> nn.AvgPool1d(2)(Tensor([[1.0, 5.0, 3.0, 2.0]]))
    Tensor([[3. , 2.5]])
    """

    ndim = 1

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)


class AvgPool2d(_AvgPool):
    """The mean of each window: OH = (H + 2 * padding - KH) // stride + 1.

    `stride` is `kernel_size` unless given; `padding` is with zeros, which count in the mean unless
    `count_include_pad` is False. With `ceil_mode` OH is rounded up; `divisor_override` is what sums
    are divided by instead of the count. ValueError as of MaxPool2d.

    >>> nn.AvgPool2d(2)(Tensor.rand(8, 16, 32, 32)).shape
    (8, 16, 16, 16)
    >>> nn.AvgPool2d(2)(Tensor([[[1.0, 5.0], [3.0, 2.0]]]))
    Tensor([[[2.75]]])
    """

    ndim = 2


class AvgPool3d(_AvgPool):
    """AvgPool2d of volumes (N, C, D, H, W).

    >>> nn.AvgPool3d(2)(Tensor.rand(2, 3, 4, 6, 8)).shape
    (2, 3, 2, 3, 4)
    """

    ndim = 3


class _LPPool(_Pool):
    """Norms of windows."""

    method = "lp_pool"

    def __init__(
        self,
        norm_type: float,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        ceil_mode: bool = False,
    ) -> None:
        self.norm_type, self.ceil_mode = norm_type, bool(ceil_mode)
        self._set_windows(kernel_size, stride)

    def forward(self, x: Tensor) -> Tensor:
        where = (self.kernel_size, self.stride, self.ceil_mode)
        return self._pooled(x, self.norm_type, *where)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class LPPool1d(_LPPool):
    """LPPool2d of sequences (N, C, L).

    >>> nn.LPPool1d(2, 2)(Tensor([[3.0, 4.0, 0.0, 1.0]]))
    Tensor([[5., 1.]])
    """

    ndim = 1


class LPPool2d(_LPPool):
    """(sum of x^p) ^ (1 / p) of each window, p = `norm_type`: (N, C, H, W) -> (N, C, OH, OW).

    OH = (H - KH) // stride + 1, rounded up with `ceil_mode`; `stride` is `kernel_size` unless it
    is given.

    >>> nn.LPPool2d(2, 2)(Tensor([[[3.0, 4.0], [0.0, 0.0]]]))
    Tensor([[[5.]]])
    """

    ndim = 2


class LPPool3d(_LPPool):
    """LPPool2d of volumes (N, C, D, H, W).

    >>> nn.LPPool3d(2, 2)(Tensor.rand(2, 3, 4, 6, 8)).shape
    (2, 3, 2, 3, 4)
    """

    ndim = 3


class _Adaptive(_Pool):
    """Windows chosen so that the output has a given size."""

    def __init__(self, output_size: Sizes | tuple[int | None, ...] | None) -> None:
        self.output_size = _grid(self, output_size)

    def forward(self, x: Tensor) -> Any:
        return self._pooled(x, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_Adaptive):
    """AdaptiveAvgPool2d of sequences (N, C, L).

    >>> nn.AdaptiveAvgPool1d(2)(Tensor([[1.0, 2.0, 3.0, 6.0]]))
    Tensor([[1.5, 4.5]])
    """

    ndim = 1
    method = "adaptive_avg_pool"


class AdaptiveAvgPool2d(_Adaptive):
    """Means over windows chosen so that the output is `output_size`: (N, C, *output_size).

    Output row i averages the input rows from floor(i * H / OH) to ceil((i + 1) * H / OH). None, for
    an axis or for all, leaves the size as it is. Lin et al., "Network in network" (2013), for 1.

    >>> nn.AdaptiveAvgPool2d((7, None))(Tensor.rand(2, 16, 13, 9)).shape
    (2, 16, 7, 9)
    """

    ndim = 2
    method = "adaptive_avg_pool"


class AdaptiveAvgPool3d(_Adaptive):
    """AdaptiveAvgPool2d of volumes (N, C, D, H, W).

    >>> nn.AdaptiveAvgPool3d(1)(Tensor.rand(2, 3, 4, 6, 8)).shape
    (2, 3, 1, 1, 1)
    """

    ndim = 3
    method = "adaptive_avg_pool"


class _AdaptiveMax(_Adaptive):
    """Maxima over the windows of `_Adaptive`."""

    method = "adaptive_max_pool"

    def __init__(
        self,
        output_size: Sizes | tuple[int | None, ...] | None,
        return_indices: bool = False,
    ) -> None:
        super().__init__(output_size)
        self.return_indices = bool(return_indices)

    def forward(self, x: Tensor) -> Any:
        return self._pooled(x, self.output_size, self.return_indices)


class AdaptiveMaxPool1d(_AdaptiveMax):
    """AdaptiveMaxPool2d of sequences (N, C, L).

    >>> nn.AdaptiveMaxPool1d(2)(Tensor([[1.0, 2.0, 3.0, 6.0]]))
    Tensor([[2., 6.]])
    """

    ndim = 1


class AdaptiveMaxPool2d(_AdaptiveMax):
    """Maxima over the windows of AdaptiveAvgPool2d; with `return_indices` their places as well.

    >>> nn.AdaptiveMaxPool2d(7)(Tensor.rand(2, 16, 13, 9)).shape
    (2, 16, 7, 7)
    """

    ndim = 2


class AdaptiveMaxPool3d(_AdaptiveMax):
    """AdaptiveMaxPool2d of volumes (N, C, D, H, W).

    >>> nn.AdaptiveMaxPool3d(1)(Tensor.rand(2, 3, 4, 6, 8)).shape
    (2, 3, 1, 1, 1)
    """

    ndim = 3


def _grid(layer: _Pool, output_size: Any) -> Any:
    """`output_size` as one number or None for each axis."""
    each = isinstance(output_size, tuple | list)
    given = output_size if each else (output_size,) * layer.ndim
    if None not in given:
        return checks.sizes(layer, "output_size", output_size, layer.ndim)
    known = tuple([1 if one is None else one for one in given])
    found = checks.sizes(layer, "output_size", known, layer.ndim)
    return tuple([None if a is None else b for a, b in zip(given, found, strict=True)])


def _padding(layer: _Pool, padding: Sizes, kernel_size: Shape) -> Shape:
    """A window must hold at least one pixel of the image, so padding is at most half a kernel."""
    each = checks.sizes(layer, "padding", padding, layer.ndim, least=0)
    if any(pad > size // 2 for pad, size in zip(each, kernel_size, strict=True)):
        raise ValueError(
            f"[{type(layer).__name__}] padding must be at most half of kernel_size, got "
            f"{each} with kernel_size {kernel_size}"
        )
    return each

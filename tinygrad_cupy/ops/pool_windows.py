"""Pooling as methods: maxima, means and norms of windows, in one to three dimensions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..autograd import TensorBase
from ..backend import Array, array_module, on_device_of
from ..backend.dtypes import is_narrow
from ..kernels.common.windows import Shape, Sizes, Windows, sizes
from .pool import MaxIndices, MaxPool, SumPool, over
from .promotion import as_float, in_single
from .sliding import of_batch, with_batch

if TYPE_CHECKING:
    from ..autograd.typing import Tensor


class PoolMixin(TensorBase):
    """Pooling as methods."""

    __slots__ = ()

    def max_pool1d(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        """`max_pool2d` of sequences (N, C, L)."""
        how = (kernel_size, stride, padding, dilation, ceil_mode)
        return _max_pool("max_pool1d", 1, self, *how, return_indices=return_indices)

    def max_pool2d(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        """The largest element of each window of self (N, C, H, W), padded with -∞.

        stride defaults to kernel_size; padding is at most half of it. With ceil_mode the last
        window of an axis may end behind it, as long as it begins in the image or in front of it.
        With return_indices the result is a pair: the maxima, and their places row · W + column in
        the image as int64, which `max_unpool2d` takes. Ties give the whole gradient to the first
        maximum in C order, as PyTorch does. One image (C, H, W) gives one.
        """
        how = (kernel_size, stride, padding, dilation, ceil_mode)
        return _max_pool("max_pool2d", 2, self, *how, return_indices=return_indices)

    def max_pool3d(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        """`max_pool2d` of volumes (N, C, D, H, W): first over planes, then over the depth."""
        how = (kernel_size, stride, padding, dilation, ceil_mode)
        return _max_pool("max_pool3d", 3, self, *how, return_indices=return_indices)

    def avg_pool1d(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> Tensor:
        """`avg_pool2d` of sequences (N, C, L), without a divisor_override."""
        how = (kernel_size, stride, padding, ceil_mode, count_include_pad)
        return _avg_pool("avg_pool1d", 1, self, *how)

    def avg_pool2d(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Tensor:
        """The mean of each window of self (N, C, H, W), padding counted as zeros.

        stride defaults to kernel_size; padding is at most half of it. ceil_mode is that of
        `max_pool2d`; what ends behind the padding does not count. Without count_include_pad the
        padding does not count either. divisor_override, an integer, stands for all counts. Windows
        are added up as by `sum`; of integers the means are float32.
        """
        how = (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
        return _avg_pool("avg_pool2d", 2, self, *how)

    def avg_pool3d(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Tensor:
        """`avg_pool2d` of volumes (N, C, D, H, W): first over planes, then over the depth."""
        how = (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
        return _avg_pool("avg_pool3d", 3, self, *how)

    def lp_pool1d(
        self,
        norm_type: float,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        ceil_mode: bool = False,
    ) -> Tensor:
        """`lp_pool2d` of sequences (N, C, L)."""
        how = (norm_type, kernel_size, stride, ceil_mode)
        return _lp_pool("lp_pool1d", 1, self, *how)  # type: ignore[no-any-return]

    def lp_pool2d(
        self,
        norm_type: float,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        ceil_mode: bool = False,
    ) -> Tensor:
        """(Σ xᵖ)^(1/p) of each window of self (N, C, H, W), p = norm_type: of x, not of |x|.

        p = ±∞ gives the maximum or minimum of |x|. stride and ceil_mode are those of `avg_pool2d`,
        whose means are multiplied by the kernel's size, as in PyTorch. Where the sum is 0, so is
        the gradient; where it is negative the result is NaN.
        """
        how = (norm_type, kernel_size, stride, ceil_mode)
        return _lp_pool("lp_pool2d", 2, self, *how)  # type: ignore[no-any-return]

    def lp_pool3d(
        self,
        norm_type: float,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        ceil_mode: bool = False,
    ) -> Tensor:
        """`lp_pool2d` of volumes (N, C, D, H, W)."""
        how = (norm_type, kernel_size, stride, ceil_mode)
        return _lp_pool("lp_pool3d", 3, self, *how)  # type: ignore[no-any-return]


def _windows(
    op: str, x: Tensor, ndim: int, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool
) -> Windows:
    """The windows of a pool of x (N, C, …); ``ceil``: one that begins inside may end outside."""
    steps = kernel if stride is None else stride
    windows = Windows.parse(op, kernel, steps, padding, dilation, ndim)
    if any(2 * p > k for p, k in zip(windows.padding, windows.kernel, strict=True)):
        raise ValueError(
            f"[{op}] expected padding of at most half the kernel {windows.kernel}, got "
            f"{windows.padding}"
        )
    size = x.shape[2:]
    if ceil and min(size):
        behind = zip(size, *windows[:4], strict=True)
        windows = windows._replace(behind=tuple(_behind(*numbers) for numbers in behind))
    return windows.fitted(op, x.shape, x.data, x.shape[1])


def _behind(n: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """What is wanting behind an axis for a last window that begins in it or in front of it."""
    reach = dilation * (kernel - 1) + 1
    wanting = -(n + 2 * padding - reach) % stride
    begins = n + 2 * padding - reach + wanting  # from the padding's start
    return wanting if 0 <= begins < n + padding else 0


def _max_pool(op: str, ndim: int, x: TensorBase, *how: Any, return_indices: bool = False) -> Any:
    batch, is_one = with_batch(op, x, ndim)
    windows = _windows(op, batch, ndim, *how)
    y = over(batch, windows, MaxPool)
    if not return_indices:
        return y.squeeze(0) if is_one else y
    indices = MaxIndices(windows)(batch)
    return (y.squeeze(0), indices.squeeze(0)) if is_one else (y, indices)


def _avg_pool(
    op: str,
    ndim: int,
    x: TensorBase,
    kernel: Any,
    stride: Any,
    padding: Any,
    ceil: bool,
    count_padding: bool,
    divisor: int | None = None,
) -> Tensor:
    if divisor is not None and (isinstance(divisor, bool) or not divisor):
        raise ValueError(f"[{op}] expected a divisor_override other than 0, got {divisor!r}")

    def compute(x: Tensor) -> Tensor:
        windows = _windows(op, x, ndim, kernel, stride, padding, 1, ceil)
        by: Any = divisor or windows.taps
        if divisor is None and (
            any(windows.behind) or not (count_padding or not windows.is_padded)
        ):
            with on_device_of(x.data):
                counts = _counts(array_module(x.data), windows, x.shape[2:], count_padding)
            by = x._wrap(counts).astype(_single(x.dtype))
        return in_single(x, lambda x: over(x, windows, SumPool) / by)

    return of_batch(op, as_float(x), ndim, compute)


def _single(dtype: Any) -> Any:
    return "float32" if is_narrow(dtype) else dtype


def _counts(xp: Any, windows: Windows, size: Shape, padding_too: bool) -> Array:
    """How many elements each window has, those of ``behind`` never counted, (OH, OW)."""
    counts: Any = 1
    numbers = zip(windows.output_size("pool", size), size, *windows[:3], strict=True)
    for axis, (out, n, kernel, stride, padding) in enumerate(numbers):
        more = padding if padding_too else 0
        start = xp.arange(out) * stride - padding
        count = xp.minimum(start + kernel, n + more) - xp.maximum(start, -more)
        counts = counts * count.reshape(-1, *(1,) * (len(size) - 1 - axis))
    return counts


def _lp_pool(
    op: str, ndim: int, x: TensorBase, norm_type: float, kernel: Any, stride: Any, ceil: bool
) -> Any:
    x = as_float(x)
    if math.isinf(norm_type):
        sign = math.copysign(1, norm_type)
        return sign * _max_pool(op, ndim, sign * abs(x), kernel, stride, 0, 1, ceil)
    if not norm_type:
        raise ValueError(f"[{op}] expected a norm_type other than 0, got {norm_type!r}")

    def compute(x: Tensor) -> Any:
        taps = math.prod(sizes(kernel, op, "kernel_size", 1, ndim))
        sums: Any = _avg_pool(op, ndim, x**norm_type, kernel, stride, 0, ceil, True) * taps
        there: Any = sums != 0
        return (sums.where(there, 1.0) ** (1 / norm_type)).where(there, 0.0)

    return in_single(x, compute)

"""Transposed convolution, the gradient of convolution by its input, as methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..autograd import TensorBase
from ..autograd.autocast import of_product
from ..backend import expect_memory, is_cuda
from ..kernels.common.windows import Geometry, Sizes, Windows, sizes, whole
from .conv import ConvInput, bias_of, expect_stacks, same_dtype
from .promotion import single
from .sliding import of_batch

if TYPE_CHECKING:
    from ..autograd.typing import Tensor


class ConvTransposeMixin(TensorBase):
    """Transposed convolutions as methods."""

    __slots__ = ()

    def conv_transpose1d(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        dilation: Sizes = 1,
        groups: int = 1,
    ) -> Tensor:
        """`conv_transpose2d` of sequences: self (N, C, L) with weight (C, O/groups, K)."""
        where = (stride, padding, output_padding, dilation, groups)
        return _each("conv_transpose1d", 1, self, weight, bias, *where)

    def conv_transpose2d(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        dilation: Sizes = 1,
        groups: int = 1,
    ) -> Tensor:
        """The adjoint of `conv2d`: self (N, C, H, W), weight (C, O/groups, KH, KW), bias (O,).

        Result: (N, O, OH, OW) with
        OH = (H - 1) stride - 2 padding + dilation (KH - 1) + output_padding + 1, OW likewise.
        output_padding, below stride or dilation, chooses among the sizes that `conv2d` would
        bring to H. Raises as `conv2d` does, and ``ValueError`` when padding leaves nothing.
        """
        where = (stride, padding, output_padding, dilation, groups)
        return _each("conv_transpose2d", 2, self, weight, bias, *where)

    def conv_transpose3d(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        dilation: Sizes = 1,
        groups: int = 1,
    ) -> Tensor:
        """`conv_transpose2d` of volumes: (N, C, D, H, W) with weight (C, O/groups, KD, KH, KW)."""
        where = (stride, padding, output_padding, dilation, groups)
        return _each("conv_transpose3d", 3, self, weight, bias, *where)


def _each(op: str, ndim: int, x: Any, weight: Any, bias: Any, *where: Any) -> Tensor:
    def compute(x: Tensor) -> Tensor:
        return _transposed(op, ndim, x, weight, bias, *where)

    return of_batch(op, x, ndim, compute)


def _transposed(
    op: str,
    ndim: int,
    x: Tensor,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    dilation: Any,
    groups: int,
) -> Tensor:
    x, weight = same_dtype(op, x, weight, ndim)
    groups = whole(groups, op, "groups", 1)
    if x.shape[1] != weight.shape[0] or weight.shape[0] % groups:
        raise ValueError(
            f"[{op}] expected {weight.shape[0]} input channels, divisible by groups={groups}, for "
            f"weight {weight.shape}, got {x.shape[1]} (input shape {x.shape})"
        )
    windows = Windows.parse(op, weight.shape[2:], stride, padding, dilation, ndim)
    extra = sizes(output_padding, op, "output_padding", 0, ndim)
    steps = zip(extra, windows.stride, windows.dilation, strict=True)
    if any(e >= max(s, d) for e, s, d in steps):
        raise ValueError(
            f"[{op}] expected output_padding below stride {windows.stride} or dilation "
            f"{windows.dilation}, got {extra}"
        )
    size = tuple(
        (n - 1) * s - 2 * p + d * (k - 1) + e + 1
        for n, k, s, p, d, e in zip(x.shape[2:], *windows[:4], extra, strict=True)
    )
    if min(size) < 1:
        raise ValueError(f"[{op}] padding {windows.padding} leaves nothing of input {x.shape}")
    channels = weight.shape[1] * groups
    biases = bias_of(op, bias, channels, x)
    dtype = of_product(x.data.dtype)
    if biases:  # 16 bits are rounded once, when the bias is in
        x, weight = single(x), single(weight)
    shape = (x.shape[0], channels, *size)
    windows = windows.fitted(op, shape, x.data, 0)
    expect_memory(op, shape, x.data.itemsize, is_cuda(x.data))
    if ndim == 3:
        expect_stacks(op, windows, x.shape[0], channels, size, x.data)
    y: Any = ConvInput(Geometry(windows, groups), shape)(x, weight)
    for b in biases:
        y = y + b.reshape(-1, *(1,) * ndim)
    return y.astype(dtype)  # type: ignore[no-any-return]

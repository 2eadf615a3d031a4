"""Maxima put back where they came from: the adjoint of max-pool, in one to three dimensions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .. import kernels
from ..autograd import Op, TensorBase
from ..backend import Array, expect_memory, is_cuda
from ..kernels.common.windows import Shape, Sizes, Windows, sizes
from .promotion import as_float, in_single
from .sliding import with_batch
from .take import TakeAlong, bounds_error, index_tensor

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class Unpool(Op):
    """Zeros, ``size`` of them, with values (…, m) at places (…, m), each line by its own.

    Values with one place are equal where a max-pool found them. Their mean is put there, and each
    takes the gradient of the place, as in PyTorch.
    """

    only_real = True
    saves = ("places",)
    saved_for = (0,)
    linear = ("values",)

    def __init__(self, size: int) -> None:
        self.size = size

    def forward(self, values: Array, places: Array) -> Array:
        axis = values.ndim - 1
        sums, counts = (
            kernels.take.scatter_along(one, places, axis, self.size, False)
            for one in (values, self.xp.ones_like(values))
        )
        return sums / self.xp.maximum(counts, 1)

    def backward(self, grad: Tensor, places: Tensor) -> tuple[Tensor, None]:
        return TakeAlong(len(grad.shape) - 1)(grad, places), None

    def batch(self, b: BatchLevel, values: Tensor, places: Tensor) -> Tensor:
        return Unpool(self.size)(b.whole(values), b.whole(places))


class UnpoolMixin(TensorBase):
    """The inverse of max-pool as methods."""

    __slots__ = ()

    def max_unpool1d(
        self,
        indices: Any,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        output_size: Any = None,
    ) -> Tensor:
        """`max_unpool2d` of sequences (N, C, L)."""
        how = (kernel_size, stride, padding, output_size)
        return _unpool("max_unpool1d", 1, self, indices, *how)

    def max_unpool2d(
        self,
        indices: Any,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        output_size: Any = None,
    ) -> Tensor:
        """Zeros (N, C, *output_size) with self (N, C, OH, OW) at the places ``indices``.

        ``indices``, of self's shape, are those of ``max_pool2d(…, return_indices=True)``; the other
        arguments are its. output_size, (H, W) or the whole shape, chooses among the sizes that the
        pool would bring to OH × OW; by default (OH - 1) stride - 2 padding + KH, OW likewise. Of
        values with one place, as windows that overlap have, the mean is put there, and each takes
        the gradient of the place.

        Raises ``ValueError`` where shapes do not fit, ``IndexError`` for a place outside, which on
        a GPU is taken modulo the size.
        """
        how = (kernel_size, stride, padding, output_size)
        return _unpool("max_unpool2d", 2, self, indices, *how)

    def max_unpool3d(
        self,
        indices: Any,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        output_size: Any = None,
    ) -> Tensor:
        """`max_unpool2d` of volumes (N, C, D, H, W)."""
        how = (kernel_size, stride, padding, output_size)
        return _unpool("max_unpool3d", 3, self, indices, *how)


def _unpool(
    op: str,
    ndim: int,
    x: TensorBase,
    indices: Any,
    kernel: Any,
    stride: Any,
    padding: Any,
    output_size: Any,
) -> Tensor:
    batch, is_one = with_batch(op, x, ndim)
    places = index_tensor(op, x, indices)
    if places.shape != x.shape:
        raise ValueError(f"[{op}] expected indices of shape {x.shape}, got {places.shape}")
    windows = Windows.parse(op, kernel, kernel if stride is None else stride, padding, 1, ndim)
    n, c, *found = batch.shape
    size = _size(op, windows, tuple(found), output_size)
    expect_memory(op, (n, c, *size), batch.dtype.itemsize, is_cuda(batch.data))
    lines, count = (n, c, math.prod(found)), math.prod(size)
    places = places.reshape(lines)

    def compute(x: Tensor) -> Any:
        try:
            return Unpool(count)(x.reshape(lines), places)
        except IndexError as error:
            raise bounds_error(op, x, error) from None

    y = in_single(as_float(batch), compute).reshape(n, c, *size)
    return y.squeeze(0) if is_one else y


def _size(op: str, windows: Windows, found: Shape, output_size: Any) -> Shape:
    """That of the output, for results of ``found`` windows."""
    geometry = list(zip(found, windows.kernel, windows.stride, windows.padding, strict=True))
    usual = tuple([(n - 1) * s - 2 * p + k for n, k, s, p in geometry])
    if output_size is None:
        size = usual
    else:
        ndim = len(found)
        given = output_size
        if isinstance(given, tuple | list) and len(given) in (ndim + 1, ndim + 2):
            given = tuple(given[-ndim:])
        size = sizes(given, op, "output_size", 1, ndim)
    near = zip(size, usual, windows.stride, strict=True)
    if min(size) < 1 or any(abs(n - u) >= s for n, u, s in near):
        raise ValueError(
            f"[{op}] expected an output_size less than a stride {windows.stride} from {usual}, "
            f"got {size} for windows {found}"
        )
    return size

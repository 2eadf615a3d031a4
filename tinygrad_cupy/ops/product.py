"""Products over axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import kernels
from ..autograd import Op, TensorBase
from ..backend import Array
from ..backend.dtypes import widest
from .axes import Axis, as_rows, behind_batch, from_rows, kept_shape, reduced_axes
from .masked import delivered, prepared
from .scan import CumProd, moved_up

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class Prod(Op):
    """Π x over axes.

    The gradient by an element is the product of all others: of those before and of those behind it,
    which two scans give. Nothing is divided by: any number of elements may be 0.
    """

    autocast = "wide"
    saves = ("x",)

    def __init__(self, axes: tuple[int, ...], keepdims: bool) -> None:
        self.axes, self.keepdims = axes, keepdims

    def forward(self, x: Array) -> Array:
        return kernels.reduce.product(x, self.axes, self.keepdims)

    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        # In float64: one of the two may leave the range of float32 where their product does not.
        rows = as_rows(x, self.axes).astype(widest(x.dtype))
        others = from_rows(_before(rows) * _before(rows.flip(-1)).flip(-1), x.shape, self.axes)
        wide = grad.reshape(kept_shape(x.shape, self.axes)).astype(rows.dtype)
        return (others * wide).astype(x.dtype)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return Prod(behind_batch(self.axes), self.keepdims)(b.whole(x))


def _before(rows: Tensor) -> Tensor:
    """For each element the product of those before it in its row."""
    last = len(rows.shape) - 1
    return moved_up(CumProd(last)(rows), last, 1)


class ProductMixin(TensorBase):
    """Products as methods."""

    __slots__ = ()

    def prod(
        self,
        axis: Axis = None,
        keepdims: bool = False,
        *,
        dtype: Any = None,
        out: Any = None,
        initial: Any = None,
        where: Any = True,
    ) -> Tensor:
        """Product over ``axis``, in self's dtype; booleans and integers are multiplied as int64.

        Of those elements alone ``where`` booleans that broadcast hold, and times ``initial``. The
        gradient is right to any order where elements are 0.
        """
        axes = reduced_axes(axis, len(self.shape), "prod")
        x = prepared(self, "prod", dtype, where, 1)
        found = Prod(axes, bool(keepdims))(x)
        return delivered(found if initial is None else found * initial, dtype, out)

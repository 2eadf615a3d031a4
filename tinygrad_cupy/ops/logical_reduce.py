"""Whether all elements hold, or any."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..autograd import Op, TensorBase
from ..backend import Array
from .axes import Axis, behind_batch, reduced_axes
from .masked import delivered, mask_of

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class LogicalReduce(Op):
    """Whether "all" elements along axes hold, or "any": booleans."""

    differentiable = False

    def __init__(self, name: str, axes: tuple[int, ...], keepdims: bool) -> None:
        self.name, self.axes, self.keepdims = name, axes, keepdims

    def forward(self, x: Array) -> Array:
        return getattr(self.xp, self.name)(x, axis=self.axes, keepdims=self.keepdims)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return LogicalReduce(self.name, behind_batch(self.axes), self.keepdims)(b.whole(x))


class LogicalReduceMixin(TensorBase):
    """`all` and `any` as methods."""

    __slots__ = ()

    def all(
        self, axis: Axis = None, keepdims: bool = False, *, out: Any = None, where: Any = True
    ) -> Tensor:
        """Whether all elements along ``axis`` are other than 0: a tensor of booleans.

        Of those alone ``where`` booleans that broadcast hold. NaN is other than 0.
        """
        return self._holding("all", axis, keepdims, out, where)

    def any(
        self, axis: Axis = None, keepdims: bool = False, *, out: Any = None, where: Any = True
    ) -> Tensor:
        """Whether any element along ``axis`` is other than 0; see `all`."""
        return self._holding("any", axis, keepdims, out, where)

    def _holding(self, name: str, axis: Axis, keepdims: bool, out: Any, where: Any) -> Tensor:
        axes = reduced_axes(axis, len(self.shape), name)
        x: Any = self
        x = x if x.dtype == bool else x != 0
        if where is not True:
            x = x.where(mask_of(x, where, name), name == "all")
        return delivered(LogicalReduce(name, axes, bool(keepdims))(x), None, out)

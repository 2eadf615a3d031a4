"""Elements taken by index along an axis, and values put or added where indices say: adjoint pairs.

`Take` has one list of indices for the whole axis, `TakeAlong` one for every line along it. What
indices say more than once is added up in the gradient, always in the same order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from ..autograd import FusedOp, Op, TensorBase
from ..autograd.mode import mode
from ..backend import Array, constant, device_of, plain_array, to_device_of

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class Take(FusedOp):
    """x at ``indices`` along an axis, in whose place the axes of the indices come."""

    saves = ("indices",)
    saved_for = (0,)
    linear = ("x",)

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, x: Array, indices: Array) -> Array:
        self.size = x.shape[self.axis]
        return kernels.take.take(x, indices, self.axis)

    def backward_arrays(self, grad: Array, indices: Array) -> tuple[Array, None]:
        return kernels.take.put_added(grad, indices, self.axis, self.size), None

    def backward(self, grad: Tensor, indices: Tensor) -> tuple[Tensor, None]:
        return PutAdded(self.axis, self.size)(grad, indices), None

    def batch(self, b: BatchLevel, x: Tensor, indices: Tensor) -> Tensor:
        if not b.has(indices):
            return Take(self.axis + 1)(b.whole(x), indices)
        if not b.has(x):
            return _to_front(Take(self.axis)(x, b.whole(indices)), self.axis)
        joined = b.join(x, self.axis)  # the elements' axes one after the other
        places = _offset(b, indices, x.shape[self.axis])
        return _to_front(Take(self.axis)(joined, places), self.axis)


class PutAdded(Op):
    """Zeros, ``size`` along an axis, to which values are added at ``indices``: adjoint of `Take`.

    The axes of ``values`` from ``axis`` on are those of the indices.
    """

    saves = ("indices",)
    saved_for = (0,)
    linear = ("values",)

    def __init__(self, axis: int, size: int) -> None:
        self.axis, self.size = axis, size

    def forward(self, values: Array, indices: Array) -> Array:
        return kernels.take.put_added(values, indices, self.axis, self.size)

    def backward(self, grad: Tensor, indices: Tensor) -> tuple[Tensor, None]:
        return Take(self.axis)(grad, indices), None

    def batch(self, b: BatchLevel, values: Tensor, indices: Tensor) -> Tensor:
        whole = b.whole(values)
        if not b.has(indices):
            return PutAdded(self.axis + 1, self.size)(whole, indices)
        # (B, pre, indices, post) as (pre, B, indices, post), into (pre, B * size, post)
        order = [*range(1, self.axis + 1), 0, *range(self.axis + 1, len(whole.shape))]
        places = _offset(b, indices, self.size)
        found = PutAdded(self.axis, b.size * self.size)(whole.permute(order), places)
        return b.split(found, self.axis)  # type: ignore[no-any-return]


def _offset(b: BatchLevel, indices: Tensor, size: int) -> Tensor:
    """The indices of all elements (B, …), into their axes of ``size`` one after the other."""
    return Offset(size)(b.whole(indices))


class Offset(Op):
    """Indices (B, …) into B axes of ``size`` as indices into these one after the other."""

    differentiable = False

    def __init__(self, size: int) -> None:
        self.size = size

    def forward(self, indices: Array) -> Array:
        return kernels.take.offset(indices, self.size)


def _to_front(x: Tensor, axis: int) -> Tensor:
    """x with an axis moved in front."""
    order = [axis, *range(axis), *range(axis + 1, len(x.shape))]
    return x.permute(order) if axis else x


class TakeAlong(FusedOp):
    """x (…, n, …) at ``indices`` (…, m, …) along an axis, each line by its own.

    ``distinct``: no line's indices say anything twice, as those that sort it.
    """

    saves = ("indices",)
    saved_for = (0,)
    linear = ("x",)

    def __init__(self, axis: int, distinct: bool = False) -> None:
        self.axis, self.distinct = axis, distinct

    def forward(self, x: Array, indices: Array) -> Array:
        self.size = x.shape[self.axis]
        return kernels.take.take_along(x, indices, self.axis, self.distinct)

    def backward_arrays(self, grad: Array, indices: Array) -> tuple[Array, None]:
        found = kernels.take.scatter_along(grad, indices, self.axis, self.size, self.distinct)
        return found, None

    def backward(self, grad: Tensor, indices: Tensor) -> tuple[Tensor, None]:
        return ScatterAlong(self.axis, self.size, self.distinct)(grad, indices), None

    def batch(self, b: BatchLevel, x: Tensor, indices: Tensor) -> Tensor:
        return TakeAlong(self.axis + 1, self.distinct)(b.whole(x), b.whole(indices))


class ScatterAlong(Op):
    """Zeros, ``size`` along an axis, to which values are added at the indices of their line.

    The adjoint of `TakeAlong`. Where ``distinct``, they are put there.
    """

    saves = ("indices",)
    saved_for = (0,)
    linear = ("values",)

    def __init__(self, axis: int, size: int, distinct: bool = False) -> None:
        self.axis, self.size, self.distinct = axis, size, distinct

    def forward(self, values: Array, indices: Array) -> Array:
        return kernels.take.scatter_along(values, indices, self.axis, self.size, self.distinct)

    def backward(self, grad: Tensor, indices: Tensor) -> tuple[Tensor, None]:
        return TakeAlong(self.axis, self.distinct)(grad, indices), None

    def batch(self, b: BatchLevel, values: Tensor, indices: Tensor) -> Tensor:
        op = ScatterAlong(self.axis + 1, self.size, self.distinct)
        return op(b.whole(values), b.whole(indices))


# --- indices --------------------------------------------------------------------------------------


def index_tensor(name: str, x: TensorBase, indices: Any, made: bool = False) -> Any:
    """``indices``, a tensor, an array, a list or a number, as a tensor of integers where x is.

    An array beside a tensor that wants a gradient is copied: its owner may write into it. One that
    was ``made`` for this call has no other owner.
    """
    if isinstance(indices, TensorBase):
        tensor: Any = indices
    else:
        made = made or not hasattr(indices, "dtype")
        array = plain_array(np.asarray(indices) if not hasattr(indices, "dtype") else indices)
        if not array.size and array.dtype.kind == "f":  # an empty list
            array = array.astype(np.int64)
        placed = constant(array, device_of(x.data)) if made else to_device_of(array, x.data)
        kept = placed is indices and not made and x.requires_grad and mode.recording
        tensor = x._wrap(placed.copy() if kept else placed)
    kind = tensor.dtype.kind
    if kind not in "iub":
        raise TypeError(f"[{name}] expected integers as indices, got dtype {tensor.dtype}")
    return tensor if kind == "i" else tensor.astype(np.int64)


def bounds_error(name: str, x: TensorBase, error: IndexError) -> IndexError:
    """The error of an index out of bounds, with the tensor's shape."""
    return IndexError(f"[{name}] {error} (tensor of shape {x.shape})")

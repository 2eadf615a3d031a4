"""Sorting, partial sorting, and searching in what is sorted.

NaN comes last, as in NumPy, and equal elements stay in their order. A sorted tensor's gradient goes
to where its elements came from: by the permutation that sorted them, which is only computed where a
gradient is wanted.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from ..autograd import FusedOp, Op, TensorBase
from ..autograd.levels import Tracer
from ..autograd.mode import mode
from ..backend import Array
from .arrange import axis_of_line, one_axis
from .diagonal import DiagonalMixin
from .promotion import constant_like, in_one_dtype
from .take import ScatterAlong, TakeAlong, index_tensor

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor

KINDS = (None, "quicksort", "mergesort", "heapsort", "stable")


class Ordered(Op):
    """What has an axis to sort along and no derivative: values in order, or where they stand."""

    differentiable = False

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        op = copy.copy(self)
        op.axis += 1
        return op(b.whole(x))


class SortValues(Ordered):
    """The values in ascending order; see `sort` for those with a gradient."""

    def forward(self, x: Array) -> Array:
        return kernels.sort.sort(x, self.axis)


class ArgSort(Ordered):
    """Where the elements in ascending order stand, as int64."""

    def forward(self, x: Array) -> Array:
        return kernels.sort.argsort(x, self.axis)


class Sort(FusedOp):
    """The values in ascending order, and, for the gradient, the order in which they stood."""

    saves = ()

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, x: Array) -> Array:
        y, self.order = kernels.sort.sort_and_order(x, self.axis)
        return y

    def backward_arrays(self, grad: Array) -> tuple[Array]:
        size = grad.shape[self.axis]
        return (kernels.take.scatter_along(grad, self.order, self.axis, size, True),)

    def backward(self, grad: Tensor) -> Tensor:
        size = grad.shape[self.axis]
        return ScatterAlong(self.axis, size, distinct=True)(grad, grad._wrap(self.order))

    def jvp(self, y: Tensor, inputs: Sequence[Any], tangents: Sequence[Any]) -> Any:
        order = ArgSort(self.axis)(inputs[0])
        return TakeAlong(self.axis, distinct=True)(tangents[0], order)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return Sort(self.axis + 1)(b.whole(x))


class Partition(Ordered):
    """Values with each of the ``places`` as in the sorted axis, what is less in front of it."""

    def __init__(self, axis: int, places: tuple[int, ...]) -> None:
        self.axis, self.places = axis, places

    def forward(self, x: Array) -> Array:
        return kernels.sort.partition(x, self.places, self.axis)


class ArgPartition(Ordered):
    """Where the elements of `Partition` stand, as int64."""

    def __init__(self, axis: int, places: tuple[int, ...]) -> None:
        self.axis, self.places = axis, places

    def forward(self, x: Array) -> Array:
        return kernels.sort.argpartition(x, self.places, self.axis)


class ArgTopK(Ordered):
    """Where the k largest or smallest elements stand, the most extreme first, as int64."""

    def __init__(self, axis: int, k: int, largest: bool) -> None:
        self.axis, self.k, self.largest = axis, k, largest

    def forward(self, x: Array) -> Array:
        return kernels.sort.argtopk(x, self.k, self.axis, self.largest)


class SearchSorted(Op):
    """Where in ascending ``a`` (n,) each of ``v`` belongs; ``rows``: axes of batches in front."""

    differentiable = False

    def __init__(self, right: bool, rows: int = 0) -> None:
        self.right, self.rows = right, rows

    def forward(self, a: Array, v: Array) -> Array:
        return kernels.sort.search(a, v, self.right, self.rows)

    def batch(self, b: BatchLevel, a: Tensor, v: Tensor) -> Tensor:
        return SearchSorted(self.right, self.rows + 1)(b.whole(a), b.whole(v))


# --- functions ------------------------------------------------------------------------------------


def is_followed(x: Any) -> bool:
    """Whether a derivative by x may be asked for."""
    return isinstance(x, Tracer) or (mode.recording and x.requires_grad)


def expect_kind(name: str, kind: Any, stable: Any, order: Any = None) -> None:
    """Raise ``ValueError`` for what NumPy's sorting does not take; all kinds are stable here."""
    if kind not in KINDS:
        raise ValueError(f"[{name}] expected kind to be one of {KINDS}, got {kind!r}")
    if kind is not None and stable is not None:
        raise ValueError(f"[{name}] expected kind or stable, got both: {kind!r} and {stable}")
    if order is not None:
        raise ValueError(f"[{name}] a tensor has no fields to order by, got order={order!r}")


def expect_introselect(name: str, kind: str, order: Any) -> None:
    """Raise ``ValueError`` for another kind of partition, and for an order of fields."""
    if kind != "introselect" or order is not None:
        raise ValueError(
            f'[{name}] expected kind "introselect" and no order, got {kind!r} and {order!r}'
        )


def _along(x: Any, axis: Any) -> tuple[Any, Any]:
    """x and the axis to sort along; flattened where there is none."""
    return (x.reshape(-1), 0) if axis is None else (x, axis)


def _lines(x: Any, axis: Any, name: str) -> tuple[Any, int]:
    x, axis = _along(x, axis)
    return x, one_axis(axis, len(x.shape), name)


def sort(x: Tensor, axis: int | None = -1) -> Tensor:
    """The elements in ascending order along ``axis``, NaN last; of the flattened tensor if None."""
    x, place = _lines(x, axis, "sort")
    return (Sort if is_followed(x) else SortValues)(place)(x)


def argsort(x: Tensor, axis: int | None = -1) -> Tensor:
    """Where the elements in ascending order stand; equal ones in their order."""
    x, place = axis_of_line(*_along(x, axis), "argsort")
    return ArgSort(place)(x)


def _places(kth: Any, length: int, name: str) -> tuple[int, ...]:
    if isinstance(kth, TensorBase):
        kth = kth.numpy()  # type: ignore[attr-defined]
    wanted = [operator.index(k) for k in np.asarray(kth).reshape(-1)]
    for k in wanted:
        if not -length <= k < length:
            raise ValueError(f"[{name}] kth {k} is out of bounds for an axis of {length} elements")
    return tuple(sorted({k % length for k in wanted}))


def partition(x: Tensor, kth: Any, axis: int | None = -1) -> Tensor:
    """Elements with the ``kth`` (one or several) as if sorted: none before it is greater."""
    x, place = _lines(x, axis, "partition")
    places = _places(kth, x.shape[place], "partition")
    if not is_followed(x):
        return Partition(place, places)(x)
    return TakeAlong(place, distinct=True)(x, ArgPartition(place, places)(x))


def argpartition(x: Tensor, kth: Any, axis: int | None = -1) -> Tensor:
    """Where the elements of `partition` stand."""
    x, place = axis_of_line(*_along(x, axis), "argpartition")
    return ArgPartition(place, _places(kth, x.shape[place], "argpartition"))(x)


def topk(x: Tensor, k: int, axis: int = -1, largest: bool = True) -> tuple[Tensor, Tensor]:
    """The k largest (or smallest) elements along ``axis``, the most extreme first, and where.

    NaN counts as the largest. Which of equal elements are chosen is not said.
    """
    place = one_axis(axis, len(x.shape), "topk")
    k = operator.index(k)
    if not 0 <= k <= x.shape[place]:
        raise ValueError(
            f"[topk] expected 0 to {x.shape[place]} elements of axis {axis} of shape {x.shape}, "
            f"got {k}"
        )
    found = ArgTopK(place, k, bool(largest))(x)
    return TakeAlong(place, distinct=True)(x, found), found


def lexsort(keys: list[Tensor], axis: int = -1) -> Tensor:
    """Where the elements stand, sorted by the last key, equal ones by the one before it, …"""
    if not keys:
        raise TypeError("[lexsort] expected at least one key, got none")
    if len({key.shape for key in keys}) > 1:
        raise ValueError(f"[lexsort] expected keys of one shape, got {[k.shape for k in keys]}")
    place = one_axis(axis, len(keys[0].shape), "lexsort")
    order: Any = ArgSort(place)(keys[0])
    for key in keys[1:]:
        ordered = TakeAlong(place, distinct=True)(key.detach(), order)
        order = TakeAlong(place, distinct=True)(order, ArgSort(place)(ordered))
    return order  # type: ignore[no-any-return]


def searchsorted(a: Tensor, v: Any, side: str = "left", sorter: Any = None) -> Tensor:
    """Where in ascending ``a`` (n,) each element of ``v`` belongs to keep it sorted, as int64.

    Before what is equal for the side "left", behind it for "right". NaN counts as the largest.
    """
    if side not in ("left", "right"):
        raise ValueError(f'[searchsorted] expected side "left" or "right", got {side!r}')
    if len(a.shape) != 1:
        raise ValueError(f"[searchsorted] expected one axis to search in, got shape {a.shape}")
    if sorter is not None:
        order = index_tensor("searchsorted", a, sorter)
        if order.shape != a.shape:
            raise ValueError(
                f"[searchsorted] expected a sorter of shape {a.shape}, got {order.shape}"
            )
        a = TakeAlong(0, distinct=True)(a.detach(), order)
    return SearchSorted(side == "right")(*in_one_dtype(a, v))


class SortMixin(DiagonalMixin):
    """Sorting and searching as methods."""

    __slots__ = ()

    def sort(
        self, axis: int = -1, kind: Any = None, order: Any = None, *, stable: Any = None
    ) -> None:
        """Sort in place along ``axis``, as NumPy's method does; see `tinygrad_cupy.numpy.sort`.

        By the rules of ``x[...] = y``: not a leaf that wants a gradient outside of ``no_grad``.
        """
        expect_kind("sort", kind, stable, order)
        x: Any = self
        x[...] = sort(x, axis)

    def partition(
        self, kth: Any, axis: int = -1, kind: str = "introselect", order: Any = None
    ) -> None:
        """Sort in part, in place, as NumPy's method does; see `tinygrad_cupy.numpy.partition`."""
        expect_introselect("partition", kind, order)
        x: Any = self
        x[...] = partition(x, kth, axis)

    def argsort(
        self, axis: int | None = -1, kind: Any = None, order: Any = None, *, stable: Any = None
    ) -> Tensor:
        """Where the elements in ascending order along ``axis`` stand, NaN last, as int64.

        Equal ones stay in their order, whatever ``kind`` and ``stable`` say.
        """
        expect_kind("argsort", kind, stable, order)
        x: Any = self
        return argsort(x, axis)

    def argpartition(
        self, kth: Any, axis: int | None = -1, kind: str = "introselect", order: Any = None
    ) -> Tensor:
        """Where elements stand, with the ``kth`` as if sorted: none before it is greater."""
        expect_introselect("argpartition", kind, order)
        x: Any = self
        return argpartition(x, kth, axis)

    def searchsorted(self, v: Any, side: str = "left", sorter: Any = None) -> Tensor:
        """Where in self (n,), which is ascending, each element of ``v`` belongs, as int64."""
        x: Any = self
        return searchsorted(x, constant_like(x, v), side, sorter)

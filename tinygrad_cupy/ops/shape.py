"""Rearranging elements: reshaping, axes, padding and joining."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from ..autograd import Op, TensorBase
from ..backend import Array, may_share_memory
from .axes import Axis, behind_batch, in_order, normalize_axis, reduced_axes
from .hints import name_ours
from .indexing import IndexingMixin
from .promotion import in_one_dtype

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class Reshape(Op):
    view = rearranges = True
    linear = ("x",)

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def forward(self, x: Array) -> Array:
        self.source = tuple(x.shape)
        return x.reshape(self.shape)

    def backward(self, grad: Tensor) -> Tensor:
        return Reshape(self.source)(grad)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return Reshape((b.size, *self.shape))(b.whole(x))


class Permute(Op):
    view = rearranges = True
    linear = ("x",)

    def __init__(self, axes: tuple[int, ...]) -> None:
        self.axes = axes

    def forward(self, x: Array) -> Array:
        return x.transpose(self.axes)

    def backward(self, grad: Tensor) -> Tensor:
        return Permute(tuple(int(i) for i in np.argsort(self.axes)))(grad)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return Permute((0, *behind_batch(self.axes)))(b.whole(x))


class Pad(Op):
    """Elements of ``value``, or of one value for each side, added around."""

    def __init__(self, width: tuple[tuple[int, int], ...], value: Any) -> None:
        self.width, self.value = width, value

    def forward(self, x: Array) -> Array:
        return self.xp.pad(x, self.width, constant_values=self.value)

    def backward(self, grad: Tensor) -> Tensor:
        inside = (
            slice(low, n - high) for (low, high), n in zip(self.width, grad.shape, strict=True)
        )
        return grad[tuple(inside)]

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        value = ((0, 0), *self.value) if isinstance(self.value, tuple) else self.value
        return Pad(((0, 0), *self.width), value)(b.whole(x))


class Concat(Op):
    linear = ("arrays",)
    jointly = True

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, *arrays: Array) -> Array:
        self.sizes = [a.shape[self.axis] for a in arrays]
        return kernels.shape.concat(arrays[0], list(arrays[1:]), self.axis)

    def backward(self, grad: Tensor) -> tuple[Tensor, ...]:
        return tuple(grad.split(self.sizes, self.axis))

    def batch(self, b: BatchLevel, *arrays: Tensor) -> Tensor:
        return Concat(self.axis + 1)(*[b.whole(x) for x in arrays])


class ShapeMixin(IndexingMixin):
    """Shapes and axes as methods."""

    __slots__ = ()

    def reshape(self, *shape: Any, order: str = "C") -> Tensor:
        """The same elements in C order under another shape; one size may be -1.

        With ``order="F"`` the first axis is the fastest, of both shapes.
        """
        wanted = _sequence(shape)
        if order != "C" and not in_order(order, "reshape"):
            return self.transpose().reshape(tuple(reversed(wanted))).transpose()
        size = math.prod(self.shape)
        known = math.prod(n for n in wanted if n != -1)
        guess = size // known if known and wanted.count(-1) == 1 else -1
        full = tuple(guess if n == -1 else int(n) for n in wanted)
        if any(n < 0 for n in full) or math.prod(full) != size:
            raise ValueError(f"[reshape] cannot make shape {wanted} of {self.shape}")
        return Reshape(full)(self)

    def flatten(
        self, start_axis: int | str | None = None, end_axis: int = -1, order: str = "C"
    ) -> Tensor:
        """Axes ``start_axis`` … ``end_axis`` (inclusive) joined into one, a view where possible.

        Without axes, or with an order as the first argument, NumPy's method: a copy of all
        elements, in C order or with the first axis fastest ("F"). `ravel` gives a view.
        """
        if start_axis is None or isinstance(start_axis, str):
            x: Any = self
            flat: Tensor = x.ravel(order if start_axis is None else start_axis)
            return flat.clone() if may_share_memory(flat.data, self.data) else flat
        ndim = len(self.shape)
        if ndim == 0:
            return self.reshape(1)
        (start,) = normalize_axis(start_axis, ndim, "flatten")
        (end,) = normalize_axis(end_axis, ndim, "flatten")
        if start > end:
            raise ValueError(f"[flatten] start_axis {start_axis} is behind end_axis {end_axis}")
        joined = math.prod(self.shape[start : end + 1])
        return self.reshape(*self.shape[:start], joined, *self.shape[end + 1 :])

    def permute(self, *axes: Any) -> Tensor:
        """A view with the axes in the order given; as `transpose` with arguments."""
        order = _sequence(axes)
        ndim = len(self.shape)
        if sorted(a % ndim if -ndim <= a < ndim else a for a in order) != list(range(ndim)):
            raise ValueError(f"[permute] expected each of {ndim} axes once, got {order}")
        return Permute(tuple(a % ndim for a in order))(self)

    def transpose(self, *axes: Any) -> Tensor:
        """A view with the axes reversed, or in the order given (NumPy's transpose)."""
        given = axes and axes != (None,)  # NumPy takes None for all, too
        return self.permute(*(axes if given else [tuple(reversed(range(len(self.shape))))]))

    @property
    def T(self) -> Tensor:
        """The view with all axes reversed."""
        return self.transpose()

    def squeeze(self, axis: Axis = None) -> Tensor:
        """Without the axes of size 1: those named, or all."""
        if axis is None:
            return self.reshape(tuple(n for n in self.shape if n != 1))
        axes = reduced_axes(axis, len(self.shape), "squeeze")
        for a in axes:
            if self.shape[a] != 1:
                raise ValueError(f"[squeeze] axis {a} of shape {self.shape} is not of size 1")
        return self.reshape(tuple(n for i, n in enumerate(self.shape) if i not in axes))

    def unsqueeze(self, axis: int) -> Tensor:
        """With a new axis of size 1 at position ``axis`` of the result."""
        (place,) = normalize_axis(axis, len(self.shape) + 1, "unsqueeze")
        return self.reshape(*self.shape[:place], 1, *self.shape[place:])

    def _stacked(self, tensors: list[Any]) -> Tensor:
        """`stack` along a new first axis, for the engine."""
        return stack(tensors)

    def pad(self, width: Any, value: float = 0.0) -> Tensor:
        """Elements of ``value`` added around; ``width`` is ((before, after), …), one per axis."""
        try:
            pairs = tuple((operator.index(low), operator.index(high)) for low, high in width)
        except (TypeError, ValueError):
            pairs = ((-1, -1),)
        if len(pairs) != len(self.shape) or any(n < 0 for pair in pairs for n in pair):
            raise ValueError(
                f"[pad] expected {len(self.shape)} pairs (before, after) of numbers ≥ 0 for shape "
                f"{self.shape}, got {width}"
            )
        return Pad(pairs, value)(self) if pairs else self  # type: ignore[return-value]

    def flip(self, axis: Axis = None) -> Tensor:
        """A view with the order of elements reversed along ``axis`` (all axes when None)."""
        axes = normalize_axis(axis, len(self.shape), "flip")
        key = (slice(None, None, -1 if i in axes else 1) for i in range(len(self.shape)))
        return self[tuple(key)]

    def split(self, sizes: int | Sequence[int], axis: int = 0) -> list[Tensor]:
        """Views along ``axis``: of the sizes listed, or that many of equal size."""
        (place,) = normalize_axis(axis, len(self.shape), "split")
        length = self.shape[place]
        if isinstance(sizes, int | np.integer):
            if sizes < 1 or length % sizes:
                raise ValueError(
                    f"[split] cannot cut axis {axis} of shape {self.shape} into {sizes} equal parts"
                )
            sizes = [length // int(sizes)] * int(sizes)
        if sum(sizes) != length or min(sizes, default=0) < 0:
            raise ValueError(
                f"[split] expected sizes that add up to {length} (axis {axis} of shape "
                f"{self.shape}), got {list(sizes)}"
            )
        ends = np.cumsum(sizes)
        before = (slice(None),) * place
        return [
            self[(*before, slice(int(end) - n, int(end)))]
            for n, end in zip(sizes, ends, strict=True)
        ]


def _sequence(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """f(1, 2) and f((1, 2)) alike."""
    one = len(arguments) == 1 and not isinstance(arguments[0], int | np.integer)
    return tuple(arguments[0]) if one else arguments


@name_ours
def concat(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Tensors joined along an existing axis; all other sizes must agree.

    dtypes are promoted to one. Raises ``ValueError`` when there is none, sizes differ or the axis
    is out of range, ``TypeError`` for what is no tensor.

    >>> tg.concat([Tensor.ones(2, 3), Tensor.zeros(4, 3)]).shape
    (6, 3)
    """
    tensors = list(tensors)
    if not tensors:
        raise ValueError("[concat] expected at least one tensor, got none")
    _expect_tensors("concat", tensors)
    (place,) = normalize_axis(axis, len(tensors[0].shape), "concat")
    shapes = [t.shape for t in tensors]
    if len({s[:place] + s[place + 1 :] for s in shapes}) > 1 or len({len(s) for s in shapes}) > 1:
        raise ValueError(f"[concat] expected shapes that agree but for axis {axis}, got {shapes}")
    return Concat(place)(*in_one_dtype(*tensors))


@name_ours
def stack(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Tensors of one shape joined along a new axis at position ``axis`` of the result.

    Raises as `concat` does, and ``ValueError`` when shapes differ.

    >>> tg.stack([Tensor([1.0, 2.0]), Tensor([3.0, 4.0])], axis=1)
    Tensor([[1., 3.],
            [2., 4.]])
    """
    tensors = list(tensors)
    _expect_tensors("stack", tensors)
    shapes = [t.shape for t in tensors]
    if len(set(shapes)) > 1:
        raise ValueError(f"[stack] expected tensors of one shape, got {shapes}")
    return concat([t.unsqueeze(axis) for t in tensors], axis)


def _expect_tensors(op: str, values: list[Tensor]) -> None:
    for value in values:
        if not isinstance(value, TensorBase):
            raise TypeError(f"[{op}] expected tensors, got {type(value).__name__}")

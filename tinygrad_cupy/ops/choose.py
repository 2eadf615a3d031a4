"""Elements chosen by conditions and by numbers, and where there are any."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd import Op, TensorBase
from ..autograd.levels import bottoms
from ..backend import Array, array_module, is_cuda, on_device_of
from ..backend.capture import refuse_size
from .arrange import axis_of_line, one_axis
from .promotion import in_one_dtype
from .sort import SortMixin
from .take import Take, TakeAlong, bounds_error, index_tensor

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor

MODES = ("raise", "wrap", "clip")


class Nonzero(Op):
    """Where x is not 0, in C order: one row of indices (int64) for each axis."""

    differentiable = False

    def forward(self, x: Array) -> Array:
        if is_cuda(x):
            refuse_size("nonzero")
        x = x != 0 if x.dtype.kind == "V" else x  # bfloat16, which CuPy does not count
        found = self.xp.nonzero(x if x.ndim else x.reshape(1))
        return self.xp.stack(found)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return b.one_by_one(Nonzero(), (x,))  # type: ignore[no-any-return]


def nonzero(x: Tensor) -> tuple[Tensor, ...]:
    """Where x is not 0: the indices along each axis."""
    if not x.shape:
        raise ValueError("[nonzero] expected at least one axis, got shape ()")
    found = Nonzero()(x)
    return tuple([found[axis] for axis in range(len(x.shape))])


def argwhere(x: Tensor) -> Tensor:
    """Where x is not 0: a row of indices (k, axes) for each such element."""
    found = Nonzero()(x).T
    return found if x.shape else found[:, :0]


# --- by index -------------------------------------------------------------------------------------


def _within(indices: Tensor, size: int, mode: str, name: str) -> Tensor:
    """Indices that are within the axis by the rules of ``mode``."""
    if mode not in MODES:
        raise ValueError(f"[{name}] expected mode to be one of {MODES}, got {mode!r}")
    if mode == "raise" or size == 0:
        return indices
    return Within(size, mode)(indices)


class Within(Op):
    """Integers limited to 0 … size - 1 ("clip"), or modulo size ("wrap")."""

    differentiable = False
    elementwise = True

    def __init__(self, size: int, mode: str) -> None:
        self.size, self.mode = size, mode

    def forward(self, indices: Array) -> Array:
        if self.mode == "clip":
            return indices.clip(0, self.size - 1)
        return indices % self.size


def take(x: Tensor, indices: Any, axis: int | None = None, mode: str = "raise") -> Tensor:
    """Elements at ``indices`` along ``axis``; see `ChooseMixin.take`."""
    if axis is None:
        return take(x.reshape(-1), indices, 0, mode)
    x, place = axis_of_line(x, axis, "take")
    if mode == "raise" and isinstance(indices, int | np.integer):
        try:
            return x[(*(slice(None),) * place, int(indices))].clone()
        except IndexError as error:
            raise IndexError(str(error).replace("[index]", "[take]", 1)) from error
    found = _within(index_tensor("take", x, indices), x.shape[place], mode, "take")
    try:
        return Take(place)(x, found)
    except IndexError as error:
        raise bounds_error("take", x, error) from error


def take_along_axis(x: Tensor, indices: Any, axis: int | None = -1) -> Tensor:
    """x at ``indices`` along ``axis``, each line by its own; both broadcast along the others."""
    name = "take_along_axis"
    if axis is None:
        x, axis = x.reshape(-1), 0
    places = index_tensor(name, x, indices)
    if len(places.shape) != len(x.shape):
        raise ValueError(
            f"[{name}] expected indices of as many axes as the tensor, got shapes {places.shape} "
            f"and {x.shape}"
        )
    place = one_axis(axis, len(x.shape), name)
    x, places = lines_in_one_shape(name, place, x, places)
    try:
        return TakeAlong(place)(x, places)
    except IndexError as error:
        raise bounds_error(name, x, error) from error


def lines_in_one_shape(name: str, axis: int, *tensors: Any) -> list[Any]:
    """Tensors broadcast along all axes but one."""
    others = [t.shape[:axis] + t.shape[axis + 1 :] for t in tensors]
    try:
        shape = np.broadcast_shapes(*others)
    except ValueError as error:
        raise ValueError(
            f"[{name}] shapes {' and '.join(str(t.shape) for t in tensors)} do not broadcast but "
            f"for axis {axis}"
        ) from error
    return [
        t if other == shape else t.broadcast_to(*shape[:axis], t.shape[axis], *shape[axis:])
        for t, other in zip(tensors, others, strict=True)
    ]


def compress(condition: Any, x: Tensor, axis: int | None = None) -> Tensor:
    """The elements along ``axis`` where ``condition``, of one axis and at most as long, holds."""
    if axis is None:
        return compress(condition, x.reshape(-1), 0)
    x, place = axis_of_line(x, axis, "compress")
    if not isinstance(condition, TensorBase):
        condition = np.asarray(condition) if not is_cuda(condition) else condition
        condition = x._wrap(condition)
    if len(condition.shape) != 1:
        raise ValueError(f"[compress] expected a condition of one axis, got {condition.shape}")
    (kept,) = nonzero(condition)
    return take(x, kept if kept.device == x.device else kept.numpy(), place)


def choose(x: Any, choices: Sequence[Tensor], mode: str = "raise") -> Tensor:
    """At each place the element of that one of ``choices`` that x, of integers, says."""
    if x.dtype.kind not in "iub":
        raise TypeError(f"[choose] expected integers that choose, got dtype {x.dtype}")
    if not choices:
        raise ValueError("[choose] expected at least one choice, got none")
    shape = np.broadcast_shapes(x.shape, *[c.shape for c in choices])
    wide = [c.broadcast_to(shape) for c in in_one_dtype(*choices)]
    numbers = _within(index_tensor("choose", x, x), len(choices), mode, "choose")
    number = numbers.broadcast_to(shape).reshape(1, *shape)
    try:
        return TakeAlong(0)(wide[0]._stacked(wide), number).reshape(shape)
    except IndexError as error:
        raise ValueError(f"[choose] expected numbers of {len(choices)} choices: {error}") from error


def select(conditions: Sequence[Any], choices: Sequence[Any], default: Any = 0) -> Any:
    """At each place the element of the first choice whose condition holds there, or the default."""
    pairs = list(zip(conditions, choices, strict=True))
    return functools.reduce(
        lambda below, pair: pair[1].where(pair[0], below), reversed(pairs), default
    )


# --- places in the flattened tensor ---------------------------------------------------------------

Axes = Sequence[tuple[int, int]]  # length and step of each axis


class Unravelled(Op):
    """Of places, the index along an axis of ``size`` that is stepped through by ``step``."""

    differentiable = False
    elementwise = True

    def __init__(self, size: int, step: int) -> None:
        self.size, self.step = size, step

    def forward(self, places: Array) -> Array:
        return places // max(self.step, 1) % max(self.size, 1)


def unravel(places: Tensor, axes: Axes) -> list[Tensor]:
    """Places as an index along each axis."""
    count = math.prod([size for size, _ in axes])
    expect_within("unravel_index", places, count)
    return [Unravelled(size, step)(places) for size, step in axes]


def ravel(indices: Sequence[Tensor], axes: Axes, modes: Sequence[str]) -> Tensor:
    """Indices along each axis as places."""
    total: Any = None
    for index, (size, step), mode in zip(indices, axes, modes, strict=True):
        if mode == "raise":
            expect_within("ravel_multi_index", index, size)
        part: Any = _within(index, size, mode, "ravel_multi_index").astype(np.int64) * step
        total = part if total is None else total + part
    return total  # type: ignore[no-any-return]


def expect_within(name: str, numbers: Tensor, count: int) -> None:
    """Raise ``ValueError`` where integers on the CPU are not all from 0 to count - 1."""
    for bottom in bottoms(numbers):
        array = bottom.data
        if not is_cuda(array) and array.size and not 0 <= array.min() <= array.max() < count:
            wrong = array.min() if array.min() < 0 else array.max()
            raise ValueError(f"[{name}] index {wrong} is out of bounds for size {count}")


def counted(x: Tensor, count: int) -> Tensor:
    """0, 1, … count - 1 where x is."""
    with on_device_of(x.data):
        return x._wrap(array_module(x.data).arange(count))


class ChooseMixin(SortMixin):
    """Choosing elements, as methods."""

    __slots__ = ()

    def take(self, indices: Any, axis: int | None = None, mode: str = "raise") -> Tensor:
        """Elements at ``indices`` (any shape) along ``axis``; of the flattened tensor without one.

        ``mode`` says what becomes of indices out of bounds: "raise" an ``IndexError``, "wrap"
        counts on from the start, "clip" takes the nearest. On a GPU, where an error would have to
        be waited for, "raise" wraps, as CuPy's indexing does.
        """
        x: Any = self
        return take(x, indices, axis, mode)

    def compress(self, condition: Any, axis: int | None = None) -> Tensor:
        """The elements along ``axis`` where ``condition`` (one axis) holds."""
        x: Any = self
        return compress(condition, x, axis)

    def choose(self, choices: Sequence[Any], mode: str = "raise") -> Tensor:
        """At each place the element of that one of ``choices`` that self, of integers, says."""
        x: Any = self
        return choose(x, choices, mode)

    def nonzero(self) -> tuple[Tensor, ...]:
        """Where self is not 0: the indices along each axis, as int64, in C order."""
        x: Any = self
        return nonzero(x)

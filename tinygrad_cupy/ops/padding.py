"""NumPy's modes of `pad`: what stands around a tensor comes from its elements.

Axis after axis is widened, so that corners come from what the axes before have added. What repeats
or mirrors the tensor is cut from it as views and joined, so its gradient is added up by slices.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..autograd import Elementwise, Op, TensorBase
from ..backend import Array, array_module, on_device_of
from ..backend.dtypes import is_inexact, widest
from .promotion import as_float, constant_like, in_single
from .shape import Pad, concat
from .sort import sort
from .take import Take

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor

Pairs = tuple[tuple[Any, Any], ...]  # (before, after) of each axis

# The keywords of each mode, and what stands for those that are not given.
OPTIONS: dict[str, dict[str, Any]] = {
    "constant": {"constant_values": 0},
    "edge": {},
    "empty": {},
    "linear_ramp": {"end_values": 0},
    "maximum": {"stat_length": None},
    "mean": {"stat_length": None},
    "median": {"stat_length": None},
    "minimum": {"stat_length": None},
    "reflect": {"reflect_type": "even"},
    "symmetric": {"reflect_type": "even"},
    "wrap": {},
}


def pad(x: Tensor, width: Any, mode: Any = "constant", **options: Any) -> Tensor:
    """x with ``width`` elements before and behind along each axis; see `numpy.pad`.

    ``width`` is a number, a pair, one pair for each axis, or a dictionary of these by axis. What
    "empty" adds is 0. Raises ``TypeError`` for a function as ``mode``: it would write into arrays.
    """
    if callable(mode):
        raise TypeError(
            "[pad] expected the name of a mode, got a function, which writes into arrays: compute "
            "what stands around and join it with concatenate"
        )
    if mode not in OPTIONS:
        raise ValueError(f"[pad] expected mode to be one of {tuple(OPTIONS)}, got {mode!r}")
    unknown = set(options) - set(OPTIONS[mode])
    if unknown:
        raise ValueError(
            f"[pad] mode {mode!r} takes {tuple(OPTIONS[mode])}, got {tuple(sorted(unknown))}"
        )
    widths = _widths(width, len(x.shape))
    if not any(n for pair in widths for n in pair):
        return x.clone()
    given = OPTIONS[mode] | options
    if mode in ("constant", "empty"):
        return _constant(x, widths, given.get("constant_values", 0))
    _expect_elements(x, widths, mode)

    def padded(x: Tensor) -> Tensor:
        widen = _MODES[mode](x, **given)
        for axis, (low, high) in enumerate(widths):
            if low or high:
                x = widen(x, axis, low, high)
        return x

    return in_single(x, padded)  # one element may have many gradients


def _widths(width: Any, ndim: int) -> Pairs:
    if isinstance(width, dict):
        by_axis: list[Any] = [(0, 0)] * ndim
        for axis, pair in width.items():
            by_axis[operator.index(axis)] = (pair, pair) if np.ndim(pair) == 0 else tuple(pair)
        width = by_axis
    found = np.asarray(width)
    if found.dtype.kind not in "iu" and found.size:
        raise TypeError(f"[pad] expected a width of whole numbers, got {width}")
    pairs = _pairs("a width", found.astype(np.int64), ndim)
    if any(n < 0 for pair in pairs for n in pair):
        raise ValueError(f"[pad] expected a width of numbers ≥ 0, got {width}")
    return tuple((int(low), int(high)) for low, high in pairs)


def _pairs(what: str, values: Any, ndim: int) -> Pairs:
    """(before, after) for each axis, from a number, a pair, or one pair for each axis."""
    is_tensor = isinstance(values, TensorBase)
    found: Any = values if is_tensor else np.asarray(values)
    if found.shape in ((2,), (1, 2), (1,), (), (1, 1), (ndim, 1), (ndim, 2)):
        sides = (ndim, 2)
        wide = found.broadcast_to(sides) if is_tensor else np.broadcast_to(found, sides).tolist()
        return tuple((wide[i][0], wide[i][1]) for i in range(ndim))
    raise ValueError(
        f"[pad] expected {what} as a number, a pair or {ndim} pairs (before, after), got {values}"
    )


def _expect_elements(x: Tensor, widths: Pairs, mode: str) -> None:
    if 0 not in x.shape:
        return
    for axis, (n, pair) in enumerate(zip(x.shape, widths, strict=True)):
        if n == 0 and any(pair):
            raise ValueError(
                f"[pad] mode {mode!r} has no elements along axis {axis} of shape {x.shape} to "
                "continue"
            )


def _constant(x: Tensor, widths: Pairs, values: Any) -> Tensor:
    pairs = _pairs("values", values, len(x.shape))
    if not isinstance(values, TensorBase):
        return Pad(widths, pairs)(x)
    for axis, (sizes, pair) in enumerate(zip(widths, pairs, strict=True)):
        around = [
            value.astype(x.dtype).broadcast_to(*_with(x.shape, axis, n))
            for n, value in zip(sizes, pair, strict=True)
        ]
        x = concat([around[0], x, around[1]], axis)
    return x


# --- along one axis -------------------------------------------------------------------------------


def _with(shape: tuple[int, ...], axis: int, n: int) -> tuple[int, ...]:
    """``shape`` with n elements along ``axis``."""
    return (*shape[:axis], n, *shape[axis + 1 :])


def _part(x: Tensor, axis: int, *bounds: int | None) -> Tensor:
    """The slice of x along ``axis``."""
    return x[(*(slice(None),) * axis, slice(*bounds))]


def _joined(x: Tensor, axis: int, before: Tensor | None, behind: Tensor | None) -> Tensor:
    return concat([part for part in (before, x, behind) if part is not None], axis)


Widen = Callable[[Any, int, int, int], Any]  # of x, the axis, and the widths before and behind


def _edge(x: Tensor, axis: int, low: int, high: int) -> Tensor:
    first, last = _part(x, axis, 1), _part(x, axis, x.shape[axis] - 1, None)
    return _joined(
        x,
        axis,
        first.broadcast_to(*_with(x.shape, axis, low)) if low else None,
        last.broadcast_to(*_with(x.shape, axis, high)) if high else None,
    )


def _linear_ramp(x: Tensor, end_values: Any) -> Widen:
    ends = _pairs("end values", end_values, len(x.shape))

    def ramp(edge: Any, end: Any, n: int, axis: int) -> Any:
        """From the end towards the edge, in float64 as NumPy computes it."""
        if not is_inexact(edge.dtype):
            return Ramp(end, axis, n)(edge)
        with on_device_of(edge.data):
            count = array_module(edge.data).arange(n, dtype=np.float64)
        wide = edge.astype(widest(edge.dtype))
        end = constant_like(wide, end)
        step = (wide - end) / n
        steps = edge._wrap(count.reshape(_with((1,) * len(edge.shape), axis, n)))
        return (steps * step + end).astype(edge.dtype)

    def widen(x: Tensor, axis: int, low: int, high: int) -> Tensor:
        first, last = _part(x, axis, 1), _part(x, axis, x.shape[axis] - 1, None)
        return _joined(
            x,
            axis,
            ramp(first, ends[axis][0], low, axis) if low else None,
            ramp(last, ends[axis][1], high, axis).flip(axis) if high else None,
        )

    return widen


class Ramp(Op):
    """n steps from ``end`` towards the integers at an edge, which they do not reach, rounded down.

    ``lead``: axes of batches in front.
    """

    differentiable = False

    def __init__(self, end: Any, axis: int, n: int, lead: int = 0) -> None:
        self.end, self.axis, self.n, self.lead = end, axis, n, lead

    def forward(self, edge: Array) -> Array:
        xp = self.xp
        count = xp.arange(self.n, dtype=np.float64)
        count = count.reshape(_with((1,) * edge.ndim, self.axis, self.n))
        rise = edge.astype(np.float64) - self.end
        step = rise / self.n
        # As NumPy's linspace rounds, which computes all in another order where one does not rise.
        level = (step == 0).any(axis=tuple(range(self.lead, edge.ndim)), keepdims=True)
        ramp = xp.where(level, count / self.n * rise, count * step) + self.end
        return xp.floor(ramp).astype(edge.dtype)

    def batch(self, b: BatchLevel, edge: Tensor) -> Tensor:
        return Ramp(self.end, self.axis + 1, self.n, self.lead + 1)(b.whole(edge))


class Rounded(Elementwise):
    """Values that become integers, rounded to the nearest."""

    differentiable = False

    def forward(self, x: Array) -> Array:
        return self.xp.rint(x)


def _median(x: Tensor, axis: int) -> Tensor:
    """The middle along an axis, which is kept; NaN where there is one."""
    n = x.shape[axis]
    ordered = sort(as_float(x), axis)
    middle = _part(ordered, axis, (n - 1) // 2, n // 2 + 1).mean(axis, keepdims=True)
    last = _part(ordered, axis, n - 1, None)
    return middle.where(last == last, last)


_STATISTICS: dict[str, Callable[[Any, int], Any]] = {
    "maximum": lambda x, axis: x.max(axis, keepdims=True),
    "minimum": lambda x, axis: x.min(axis, keepdims=True),
    "mean": lambda x, axis: x.mean(axis, keepdims=True),
    "median": _median,
}


def _statistic(x: Tensor, stat_length: Any, name: str) -> Widen:
    lengths: Pairs = ((None, None),) * len(x.shape)
    if stat_length is not None:
        lengths = _pairs("a stat_length", stat_length, len(x.shape))
    statistic = _STATISTICS[name]

    def of(x: Tensor, axis: int) -> Any:
        if x.shape[axis] == 0:
            raise ValueError(f"[pad] expected a stat_length > 0 for mode {name!r}, got 0")
        if is_inexact(x.dtype) or name in ("maximum", "minimum"):
            return statistic(x, axis)
        return Rounded()(statistic(x.astype(np.float64), axis)).astype(x.dtype)

    def widen(x: Tensor, axis: int, low: int, high: int) -> Tensor:
        n = x.shape[axis]
        front, back = (n if length is None else min(length, n) for length in lengths[axis])
        first = of(_part(x, axis, front), axis) if low else None
        last = first
        if high and not (low and front == back == n):
            last = of(_part(x, axis, n - back, None), axis)
        return _joined(
            x,
            axis,
            first.broadcast_to(*_with(x.shape, axis, low)) if first is not None else None,
            last.broadcast_to(*_with(x.shape, axis, high)) if last is not None and high else None,
        )

    return widen


# --- repeated and mirrored ------------------------------------------------------------------------

PIECES = 16  # that are cut and joined; more are taken by index


class Piece(NamedTuple):
    """Elements ``start`` … ``stop`` - 1 of the axis, maybe mirrored, ``turn`` periods on."""

    start: int
    stop: int
    mirrored: bool
    turn: int


def _pieces(n: int, half: int, mirrors: bool, first: int, last: int) -> list[Piece]:
    """What places first … last - 1 of a continued axis of n elements hold.

    It goes on ``half`` elements in one direction, then as many in the other, if it ``mirrors``.
    """
    found, place = [], first
    while place < last:
        turn, at = divmod(place, half)
        count = min(half - at, last - place)
        if mirrors and turn % 2:
            found.append(Piece(n - at - count, n - at, True, turn // 2))
        else:
            found.append(Piece(at, at + count, False, turn // 2))
        place += count
    return found


def _taken(x: Tensor, axis: int, half: int, mirrors: bool, low: int, high: int) -> Tensor:
    """The continued axis by index."""
    n = x.shape[axis]
    xp = array_module(x.data)
    with on_device_of(x.data):
        turn, at = xp.divmod(xp.arange(-low, n + high), half)
        places = xp.where(turn % 2 == 1, n - 1 - at, at) if mirrors else at
    return Take(axis)(x, x._wrap(places))


def _continued(mirrors: bool, edge_twice: bool, odd: bool) -> Widen:
    def cut(x: Tensor, axis: int, piece: Piece) -> Tensor:
        part = _part(x, axis, piece.start, piece.stop)
        part = part.flip(axis) if piece.mirrored else part
        if not odd:
            return part
        first, last = _part(x, axis, 1), _part(x, axis, x.shape[axis] - 1, None)
        part = last * 2 - part if piece.mirrored else part
        return part + (last - first) * (2 * piece.turn) if piece.turn else part

    def widen(x: Tensor, axis: int, low: int, high: int) -> Tensor:
        n = x.shape[axis]
        half = n if edge_twice else n - 1
        if half == 0:  # NumPy's: one element has nothing to mirror
            return _edge(x, axis, low, high)
        before = _pieces(n, half, mirrors, -low, 0)
        behind = _pieces(n, half, mirrors, n, n + high)
        if len(before) + len(behind) > PIECES and not odd:
            return _taken(x, axis, half, mirrors, low, high)
        parts = [[cut(x, axis, piece) for piece in pieces] for pieces in (before, behind)]
        return concat([*parts[0], x, *parts[1]], axis)

    return widen


def _mirrored(_: Tensor, reflect_type: str, edge_twice: bool) -> Widen:
    if reflect_type not in ("even", "odd"):
        raise ValueError(f'[pad] expected reflect_type "even" or "odd", got {reflect_type!r}')
    return _continued(True, edge_twice, reflect_type == "odd")


_MODES: dict[str, Callable[..., Widen]] = {
    "edge": lambda x: _edge,
    "linear_ramp": _linear_ramp,
    "reflect": functools.partial(_mirrored, edge_twice=False),
    "symmetric": functools.partial(_mirrored, edge_twice=True),
    "wrap": lambda x: _continued(False, True, False),
    **{name: functools.partial(_statistic, name=name) for name in _STATISTICS},
}

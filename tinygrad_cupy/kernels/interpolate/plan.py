"""How an axis is resized: a band matrix (out, size), whose rows are weights of a few neighbours.

Row i has its weights at columns start[i], start[i] + 1, … From row to row the start never falls, so
that the transpose, which the gradient is made by, is a band matrix as well.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

FEW = 16  # neighbours that are added up in float32 as they are
CUBIC = -0.75  # Keys' parameter, as PyTorch has it
CUBIC_ANTIALIAS = -0.5  # and where it antialiases, as Pillow does


class Band(NamedTuple):
    """start (out,) int32, from 0 to size - taps, and weights (out, taps) float64."""

    size: int
    start: np.ndarray
    weights: np.ndarray

    @property
    def taps(self) -> int:
        return int(self.weights.shape[1])


class Windows(NamedTuple):
    """Rows of a band, a few (J) at a time: all weigh the K neighbours from start on.

    start (out / J,) int32, from 0 to size - K, and weights (out / J, K, J) float64, 0 where a row
    of the band has none; out / J is rounded up.
    """

    start: np.ndarray
    weights: np.ndarray


class Line(NamedTuple):
    """An axis of ``size`` elements resized to ``out``; ``transposed``: from ``out`` to ``size``.

    ``scale`` is the distance of output points, in input points, where it is not size / out;
    ``aligned``: the first and the last points of both lie on each other.
    """

    mode: str
    size: int
    out: int
    scale: float | None = None
    aligned: bool = False
    antialias: bool = False
    transposed: bool = False

    @property
    def T(self) -> Line:
        """The adjoint."""
        return self._replace(transposed=not self.transposed)

    @property
    def ends(self) -> tuple[int, int]:
        """Elements before and after."""
        return (self.out, self.size) if self.transposed else (self.size, self.out)

    @property
    def band(self) -> Band:
        return _band(self)

    def windows(self, each: int) -> Windows:
        """The band by ``each`` rows at a time."""
        return _windows(self, each)


@functools.lru_cache(1024)
def is_long(lines: tuple[Line | None, ...]) -> bool:
    """Whether an element of the result has more neighbours along an axis than float32 adds up."""
    return any(line is not None and line.band.taps > FEW for line in lines)


@functools.lru_cache(256)
def _band(line: Line) -> Band:
    if line.transposed:
        return _transposed(_band(line.T))
    first, weights = _MODES[line.mode, line.antialias](line)
    place = first[:, None] + np.arange(weights.shape[1])
    return _of_places(line.size, np.clip(place, 0, line.size - 1), weights)


@functools.lru_cache(256)
def _windows(line: Line, each: int) -> Windows:
    size, start, weights = line.band
    out, taps = weights.shape
    first = start[::each]
    last = start[np.minimum(np.arange(each - 1, out + each - 1, each), out - 1)]
    reach = int((last - first).max(initial=0)) + taps
    first = np.minimum(first, size - reach)
    made = np.zeros((len(first), reach, each))
    window, row = np.divmod(np.arange(out), each)
    place = (start - first[window])[:, None] + np.arange(taps)
    made[window[:, None], place, row[:, None]] = weights
    return Windows(first.astype(np.int32), made)


# --- modes: the first neighbour (out,) and the weights (out, taps) ------------------------------


def _distance(line: Line) -> float:
    """Of output points, in input points."""
    if line.aligned:
        return (line.size - 1) / (line.out - 1) if line.out > 1 else 0.0
    return line.size / line.out if line.scale is None else line.scale


def _source(line: Line) -> np.ndarray:
    """Where the output points lie among the input's."""
    at = np.arange(line.out)
    return at * _distance(line) if line.aligned else (at + 0.5) * _distance(line) - 0.5


def _nearest(line: Line) -> tuple[np.ndarray, np.ndarray]:
    at = np.arange(line.out)
    shift = 0.5 if line.mode == "nearest-exact" else 0.0
    if line.size == line.out:
        first = at
    else:  # in float32, as PyTorch has it: which neighbour it is depends on the rounding
        distance = np.float32(line.size) / np.float32(line.out)
        distance = distance if line.scale is None else np.float32(line.scale)
        first = ((at.astype(np.float32) + np.float32(shift)) * distance).astype(np.int64)
    return np.minimum(first, line.size - 1), np.ones((line.out, 1))


def _linear(line: Line) -> tuple[np.ndarray, np.ndarray]:
    source = np.maximum(_source(line), 0)
    first = np.minimum(source.astype(np.int64), line.size - 1)
    share = np.minimum(source - first, 1.0)
    return first, np.stack([1 - share, share], 1)


def _cubic(line: Line) -> tuple[np.ndarray, np.ndarray]:
    source = _source(line)
    below = np.floor(source)
    share = source - below
    weights = [_keys(np.abs(share + 1 - k), CUBIC) for k in range(4)]
    return below.astype(np.int64) - 1, np.stack(weights, 1)


def _area(line: Line) -> tuple[np.ndarray, np.ndarray]:
    """Means of spans, as `Tensor.adaptive_avg_pool2d` takes them."""
    at = np.arange(line.out)
    first, stop = at * line.size // line.out, -(-(at + 1) * line.size // line.out)
    counts = (stop - first)[:, None]
    within = np.arange(counts.max(initial=1)) < counts
    return first, within / counts


def _smooth(reach: int, shape: Callable[[np.ndarray], np.ndarray]) -> Callable[[Line], Rows]:
    """A kernel of this reach, stretched over the input points between two output points."""

    def rows(line: Line) -> tuple[np.ndarray, np.ndarray]:
        stretch = max(_distance(line), 1.0)
        centre = (np.arange(line.out) + 0.5) * _distance(line)
        first = np.maximum((centre - reach * stretch + 0.5).astype(np.int64), 0)
        stop = np.minimum((centre + reach * stretch + 0.5).astype(np.int64), line.size)
        place = first[:, None] + np.arange((stop - first).max(initial=1))
        weights = shape(np.abs(place + 0.5 - centre[:, None]) / stretch)
        weights = np.where(place < stop[:, None], weights, 0)
        return first, weights / weights.sum(1, keepdims=True)

    return rows


def _keys(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic kernel (1981) at distances ≥ 0."""
    x = distance
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0))


Rows = tuple[np.ndarray, np.ndarray]
_MODES: dict[tuple[str, bool], Callable[[Line], Rows]] = {
    ("nearest", False): _nearest,
    ("nearest-exact", False): _nearest,
    ("linear", False): _linear,
    ("cubic", False): _cubic,
    ("area", False): _area,
    ("linear", True): _smooth(1, lambda x: np.maximum(1 - x, 0)),
    ("cubic", True): _smooth(2, lambda x: _keys(x, CUBIC_ANTIALIAS)),
}


# --- bands --------------------------------------------------------------------------------------


def _of_places(size: int, place: np.ndarray, weights: np.ndarray) -> Band:
    """Of weights (out, taps) at places (out, taps) of an axis; those of one place are added up."""
    out, taps = weights.shape
    return _of_entries(size, out, np.repeat(np.arange(out), taps), place.ravel(), weights.ravel())


def _transposed(band: Band) -> Band:
    out, taps = band.weights.shape
    place = (band.start[:, None] + np.arange(taps)).ravel()
    return _of_entries(out, band.size, place, np.repeat(np.arange(out), taps), band.weights.ravel())


def _of_entries(
    size: int, out: int, row: np.ndarray, column: np.ndarray, weights: np.ndarray
) -> Band:
    used = weights != 0
    row, column, weights = row[used], column[used], weights[used]
    low, high = np.full(out, size - 1), np.zeros(out, np.int64)
    np.minimum.at(low, row, column)
    np.maximum.at(high, row, column)
    low = np.minimum.accumulate(low[::-1])[::-1]  # a weight of 0 may have left a gap
    taps = max(int((high - low).max(initial=0)) + 1, 1)
    start = np.minimum(low, size - taps)
    made = np.zeros((out, taps))
    np.add.at(made, (row, column - start[row]), weights)
    return Band(size, start.astype(np.int32), made)

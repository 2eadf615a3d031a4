"""Elements by their rank: medians and quantiles.

A quantile lies between two elements that are neighbours in order; its gradient goes to these two.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from ..autograd import Op, TensorBase
from ..autograd.levels import Tracer
from ..backend import Array, array_module, device_of, is_cuda, to_device
from ..backend.dtypes import is_float
from .axes import Axis, as_rows, kept_shape, nonempty_axes, normalize_axis
from .comparison import where
from .indexing import Scatter
from .promotion import as_float, in_single
from .shape import concat

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class Ranked(Op):
    """The elements of x (…, n) that have the ``ranks`` (…, K), integers, along the last axis.

    NaN are behind all others. ``among`` are all ranks that occur, where that is known.
    """

    def __init__(self, among: tuple[int, ...] | None = None) -> None:
        self.among = among

    def forward(self, x: Array, ranks: Array) -> Array:
        self.shape = tuple(x.shape)
        found = kernels.order_statistics.positions(x, ranks, self.among)
        grids = [
            self.xp.arange(n).reshape([n if i == axis else 1 for i in range(x.ndim)])
            for axis, n in enumerate(self.shape[:-1])
        ]
        self.key = (*grids, found)
        return x[self.key]

    def backward(self, grad: Tensor) -> tuple[Tensor, None]:
        return Scatter(self.key, self.shape)(grad), None

    def batch(self, b: BatchLevel, x: Tensor, ranks: Tensor) -> Tensor:
        ranks = b.whole(ranks) if b.has(ranks) else ranks
        return Ranked(self.among)(b.whole(x), ranks)


class Places(Op):
    """Where the quantiles q (…, K) of that many elements, ``count`` (…, 1), lie: (…, 4K).

    First come the ranks of the elements below, then those above, then how far it is from one to
    the other, and how fast that grows with q.
    """

    differentiable = False

    def __init__(self, method: str) -> None:
        self.method = method

    def forward(self, q: Array, count: Array) -> Array:
        return self.xp.concatenate(_places(self.method, q, count), -1)

    def batch(self, b: BatchLevel, q: Tensor, count: Tensor) -> Tensor:
        between = [1] * (len(count.shape) - len(q.shape))
        q = b.whole(q).reshape(b.size, *between, *q.shape)
        return Places(self.method)(q, b.whole(count))


# --- where a quantile lies ------------------------------------------------------------------------

# Hyndman and Fan, Sample quantiles in statistical packages, 1996: α and β of the continuous ones.
CONTINUOUS = {
    "interpolated_inverted_cdf": (0, 1),
    "hazen": (0.5, 0.5),
    "weibull": (0, 0),
    "linear": (1, 1),
    "median_unbiased": (1 / 3, 1 / 3),
    "normal_unbiased": (3 / 8, 3 / 8),
}
DISCRETE = ("inverted_cdf", "closest_observation", "lower", "higher", "nearest")
METHODS = (*CONTINUOUS, *DISCRETE, "averaged_inverted_cdf", "midpoint")


def _places(method: str, q: Array, count: Any) -> tuple[Array, Array, Array, Array]:
    """The ranks below and above the quantiles q of ``count`` elements, and how far between.

    And how fast that grows with q. ``count`` is a number or an array (…, 1).
    """
    xp = array_module(q)
    speed = count + 0 * q - 1
    if method in CONTINUOUS and method != "linear":
        alpha, beta = CONTINUOUS[method]
        place = count * q + (alpha + q * (1 - alpha - beta)) - 1
        speed = speed + (2 - alpha - beta)
    elif method in ("inverted_cdf", "averaged_inverted_cdf"):
        place = count * q - 1
    elif method == "closest_observation":
        place = count * q - 1.5
    else:
        place = (count - 1) * q
    low = xp.floor(place)
    part = place - low
    if method not in CONTINUOUS:
        part, speed = _step(method, place, low, part), 0 * speed
    last = xp.maximum(count - 1, 0) + 0 * place
    still = (place < 0) | (place >= last)
    low = xp.clip(low, 0, last)
    part, speed = (xp.where(still, 0.0, v) for v in (part, speed))
    return low, xp.minimum(low + 1, last), part, speed


def _step(method: str, place: Array, low: Array, part: Array) -> Array:
    """How far it is to the element above by a method that takes steps."""
    xp, whole = array_module(place), part == 0
    if method == "lower":
        return 0 * part
    if method == "nearest":
        return xp.rint(place) - low
    if method == "averaged_inverted_cdf":
        return xp.where(whole, 0.5, 1.0)
    if method == "midpoint":
        return xp.where(whole, 0.0, 0.5)
    if method == "closest_observation":  # of two that are as close the one of even rank, from 1
        whole = whole & (low % 2 == 1)
    return xp.where(whole, 0.0, 1.0)


# --- medians and quantiles ------------------------------------------------------------------------


def quantile(
    x: Any, q: Any, axis: Axis, method: str, keepdims: bool, name: str, skip_nan: bool = False
) -> Tensor:
    """The quantiles q, from 0 to 1, of the elements along ``axis``: q's axes stand in front.

    In x's dtype, whatever q's. A NaN among the elements is the quantile, unless ``skip_nan``. A
    tensor q may want a gradient; its values are not looked at on a GPU or in `vmap`.
    """
    axes = nonempty_axes(x.shape, axis, name)
    if method not in METHODS:
        raise ValueError(f"[{name}] expected a method among {', '.join(METHODS)}, got {method!r}")
    moving: Any = q if isinstance(q, TensorBase) else None
    given = np.asarray(q, np.float64) if moving is None else moving
    if moving is None:
        _expect_quantiles(given, name)
    elif not isinstance(moving, Tracer) and not is_cuda(moving.data):
        _expect_quantiles(moving.data, name)
    x = x if method in DISCRETE else as_float(x)

    def found(x: Tensor) -> Tensor:
        rows, line = as_rows(x, axes), given.reshape(-1)
        some = skip_nan and is_float(x.dtype)
        if moving is None and not some:
            return _of_all(rows, line, method)
        places: Any = _like(rows, line) if moving is None else line.astype(np.float64)
        return _by_places(rows, places, method, some)

    y: Any = in_single(x, found)  # (…, K)
    last = len(y.shape) - 1
    kept = kept_shape(x.shape, axes) if keepdims else y.shape[:-1]
    done: Tensor = y.permute(last, *range(last)).reshape(*given.shape, *kept)
    return done


def _expect_quantiles(q: np.ndarray, name: str) -> None:
    if not ((q >= 0) & (q <= 1)).all():
        raise ValueError(f"[{name}] expected quantiles from 0 to 1, got {q.tolist()}")


def median(x: Any, axis: Axis, keepdims: bool, name: str, skip_nan: bool = False) -> Tensor:
    """The middle element along ``axis``, or the mean of the two middle ones; NaN of none."""
    axes = normalize_axis(axis, len(x.shape), name)
    if 0 in [x.shape[a] for a in axes]:
        empty: Tensor = as_float(x).mean(axes, keepdims)
        return empty
    return quantile(as_float(x), 0.5, axes, "linear", keepdims, name, skip_nan)


def _of_all(rows: Tensor, q: np.ndarray, method: str) -> Tensor:
    """The quantiles of each row (…, n) of rows: (…, K)."""
    n = rows.shape[-1]
    low, high, part, _ = _places(method, q, n)
    ranks = _like(rows, np.concatenate([low, high]).astype(np.int64))
    among = {int(rank) for rank in (*low, *high)}
    if is_float(rows.dtype):
        ranks = _behind_nan(rows, ranks)
        among.add(n - 1)
    return _between(Ranked(tuple(sorted(among)))(rows, ranks), _like(rows, part))


def _by_places(rows: Tensor, q: Tensor, method: str, skip_nan: bool) -> Tensor:
    """As `_of_all`, with a tensor q; ``skip_nan``: of what is not NaN, NaN where nothing is."""
    if skip_nan:
        count = (rows == rows).sum(-1, True).astype(np.float64)
    else:
        count = _like(rows, np.full([1] * len(rows.shape), float(rows.shape[-1])))
    low, high, part, speed = Places(method)(q.detach(), count).split(4, -1)
    ranks = concat([low, high], -1).astype(np.int64)
    if not skip_nan and is_float(rows.dtype):
        ranks = _behind_nan(rows, ranks)
    return _between(Ranked()(rows, ranks), part + (q - q.detach()) * speed)


def _behind_nan(rows: Tensor, ranks: Tensor) -> Tensor:
    """``ranks``, or the last one in rows that hold a NaN: it is NaN."""
    holding: Any = rows != rows
    return where(holding.any(-1, True), rows.shape[-1] - 1, ranks)


def _like(x: Tensor, values: np.ndarray) -> Tensor:
    """``values`` as a constant on the device of x."""
    return x._wrap(to_device(values, device_of(x.data)))


def _between(ends: Tensor, share: Tensor) -> Tensor:
    """Between the elements below and above, ``ends`` (…, 2K), by the ``share`` of the latter."""
    low, high = ends.split(2, -1)
    if not is_float(ends.dtype):
        return low.where(share == 0, high)
    share = share.astype(ends.dtype)
    width = high - low
    # From the nearer end, so that nothing comes out beyond it.
    found = (low + width * share).where(share < 0.5, high - width * (1 - share))
    mean = low * (1 - share) + high * share
    mean = low.where(share == 0, high.where(share == 1, mean))
    # In the middle as `np.median`; and between infinities of one sign that infinity.
    return found.where((share != 0.5).where(width.abs() < math.inf, False), mean)

"""Elements by their rank: medians and quantiles.

A quantile lies between two elements that are neighbours in order; its gradient goes to these two.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from ..autograd import Op, TensorBase
from ..backend import Array, array_module, device_of, to_device
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
    """Where the quantiles q of that many elements, ``count`` (…, 1), lie by a method: (…, 3K).

    First come the ranks of the elements below, then those above, then how far it is from one to
    the other.
    """

    differentiable = False

    def __init__(self, method: str, q: np.ndarray) -> None:
        self.method, self.q = method, q

    def forward(self, count: Array) -> Array:
        q = self.xp.asarray(self.q)
        return self.xp.concatenate(_places(self.method, q, count), -1)

    def batch(self, b: BatchLevel, count: Tensor) -> Tensor:
        return Places(self.method, self.q)(b.whole(count))


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


def _places(method: str, q: Array, count: Any) -> tuple[Array, Array, Array]:
    """The ranks below and above the quantiles q of ``count`` elements, and how far between.

    ``count`` is a number or an array (…, 1).
    """
    xp = array_module(q)
    if method in CONTINUOUS and method != "linear":
        alpha, beta = CONTINUOUS[method]
        place = count * q + (alpha + q * (1 - alpha - beta)) - 1
    elif method in ("inverted_cdf", "averaged_inverted_cdf"):
        place = count * q - 1
    elif method == "closest_observation":
        place = count * q - 1.5
    else:
        place = (count - 1) * q
    low = xp.floor(place)
    part = place - low
    if method == "inverted_cdf":
        part = xp.where(part == 0, 0.0, 1.0)
    elif method == "averaged_inverted_cdf":
        part = xp.where(part == 0, 0.5, 1.0)
    elif method == "closest_observation":  # of two that are as close the one of even rank, from 1
        part = xp.where((part == 0) & (low % 2 == 1), 0.0, 1.0)
    elif method == "lower":
        part = part * 0
    elif method == "higher":
        part = xp.where(part == 0, 0.0, 1.0)
    elif method == "midpoint":
        part = xp.where(part == 0, 0.0, 0.5)
    elif method == "nearest":
        part = xp.rint(place) - low
    last = xp.maximum(count - 1, 0)
    part = xp.where((place < 0) | (place >= last), 0.0, part)
    low = xp.clip(low, 0, last)
    return low, xp.minimum(low + 1, last), part


def _speed(method: str, q: np.ndarray, count: int) -> np.ndarray:
    """How fast the place moves with q."""
    alpha, beta = CONTINUOUS.get(method, (0, 0))
    place = count * q + (alpha + q * (1 - alpha - beta)) - 1
    moves = (method in CONTINUOUS) & (place >= 0) & (place < count - 1)
    return np.where(moves, count + 1 - alpha - beta, 0.0)


# --- medians and quantiles ------------------------------------------------------------------------


def quantile(
    x: Any, q: Any, axis: Axis, method: str, keepdims: bool, name: str, skip_nan: bool = False
) -> Tensor:
    """The quantiles q, from 0 to 1, of the elements along ``axis``: q's axes stand in front.

    In x's dtype, whatever q's. A NaN among the elements is the quantile, unless ``skip_nan``. Of a
    tensor q the values are read on the host; its gradient is right but for ``skip_nan``.
    """
    axes = nonempty_axes(x.shape, axis, name)
    if method not in METHODS:
        raise ValueError(f"[{name}] expected a method among {', '.join(METHODS)}, got {method!r}")
    moving: Any = q if isinstance(q, TensorBase) else None
    places = np.asarray(q if moving is None else moving.detach().numpy(), np.float64)
    if not ((places >= 0) & (places <= 1)).all():
        raise ValueError(f"[{name}] expected quantiles from 0 to 1, got {places.tolist()}")
    x = x if method in DISCRETE else as_float(x)
    line = places.reshape(-1)

    def found(x: Tensor) -> Tensor:
        rows = as_rows(x, axes)
        if skip_nan and is_float(x.dtype):
            return _of_numbers(rows, line, method)
        return _of_all(rows, line, method, moving)

    y: Any = in_single(x, found)  # (…, K)
    last = len(y.shape) - 1
    kept = kept_shape(x.shape, axes) if keepdims else y.shape[:-1]
    done: Tensor = y.permute(last, *range(last)).reshape(*places.shape, *kept)
    return done


def median(x: Any, axis: Axis, keepdims: bool, name: str, skip_nan: bool = False) -> Tensor:
    """The middle element along ``axis``, or the mean of the two middle ones; NaN of none."""
    axes = normalize_axis(axis, len(x.shape), name)
    if 0 in [x.shape[a] for a in axes]:
        empty: Tensor = as_float(x).mean(axes, keepdims)
        return empty
    return quantile(as_float(x), 0.5, axes, "linear", keepdims, name, skip_nan)


def _of_all(rows: Tensor, q: np.ndarray, method: str, moving: Any) -> Tensor:
    """The quantiles of each row (…, n) of rows: (…, K)."""
    n = rows.shape[-1]
    low, high, part = _places(method, q, n)
    ranks: Any = _like(rows, np.concatenate([low, high]).astype(np.int64))
    among = {int(rank) for rank in (*low, *high)}
    if is_float(rows.dtype):
        ranks = where((rows != rows).any(-1, True), n - 1, ranks)  # where NaN is
        among.add(n - 1)
    share = _like(rows, part)
    if moving is not None:
        moving = moving.reshape(-1).astype(np.float64)
        share = share + (moving - moving.detach()) * _like(rows, _speed(method, q, n))
    return _between(Ranked(tuple(sorted(among)))(rows, ranks), share)


def _of_numbers(rows: Tensor, q: np.ndarray, method: str) -> Tensor:
    """As `_of_all`, of what is not NaN; NaN where nothing is."""
    count = (rows == rows).sum(-1, True).astype(np.float64)
    low, high, part = Places(method, q)(count).split(3, -1)
    return _between(Ranked()(rows, concat([low, high], -1).astype(np.int64)), part)


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

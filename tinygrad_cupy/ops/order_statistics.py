"""Elements by their rank: medians and quantiles.

A quantile lies between two elements that are neighbours in order; its gradient goes to these two.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd import Op, TensorBase
from ..autograd.levels import Tracer
from ..autograd.tensor_base import expect_real
from ..backend import Array, array_module, is_cuda
from ..backend.dtypes import is_float
from .axes import Axis, as_rows, kept_shape, nonempty_axes, normalize_axis
from .comparison import where
from .promotion import as_float, in_single, numbers_like
from .shape import concat
from .sort import ArgPartition, ArgSort
from .take import TakeAlong

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


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
    expect_real(name, x)
    if method not in METHODS:
        raise ValueError(f"[{name}] expected a method among {', '.join(METHODS)}, got {method!r}")
    known = None  # the values of q
    if not isinstance(q, TensorBase):
        known = np.asarray(q, np.float64)
    elif not isinstance(q, Tracer) and not is_cuda(q.data):
        known = q.data
    if known is not None and not ((known >= 0) & (known <= 1)).all():
        raise ValueError(f"[{name}] expected quantiles from 0 to 1, got {known.tolist()}")
    line: Any = q if isinstance(q, TensorBase) else numbers_like(x, known)
    x = x if method in DISCRETE else as_float(x)

    def found(x: Tensor) -> Tensor:
        rows = as_rows(x, axes)
        some = skip_nan and is_float(x.dtype)
        among = None if known is None or some else _among(method, known, rows)
        return _of_rows(rows, line.reshape(-1).astype(np.float64), method, some, among)

    y: Any = in_single(x, found)  # (…, K)
    last = len(y.shape) - 1
    kept = kept_shape(x.shape, axes) if keepdims else y.shape[:-1]
    done: Tensor = y.permute(last, *range(last)).reshape(*line.shape, *kept)
    return done


def median(x: Any, axis: Axis, keepdims: bool, name: str, skip_nan: bool = False) -> Tensor:
    """The middle element along ``axis``, or the mean of the two middle ones; NaN of none."""
    axes = normalize_axis(axis, len(x.shape), name)
    if 0 in [x.shape[a] for a in axes]:
        empty: Tensor = as_float(x).mean(axes, keepdims)
        return empty
    return quantile(as_float(x), 0.5, axes, "linear", keepdims, name, skip_nan)


def _among(method: str, q: np.ndarray, rows: Tensor) -> tuple[int, ...]:
    """The ranks that the quantiles of rows are found at, where all are known."""
    low, high, *_ = _places(method, q.reshape(-1), rows.shape[-1])
    last = [rows.shape[-1] - 1] if is_float(rows.dtype) else []  # where NaN is
    return tuple(sorted({int(rank) for rank in (*low, *high, *last)}))


def _of_rows(
    rows: Tensor, q: Tensor, method: str, skip_nan: bool, among: tuple[int, ...] | None
) -> Tensor:
    """The quantiles q (K,) of each row (…, n) of rows: (…, K).

    With ``skip_nan`` of what is not NaN, and NaN where nothing is. ``among`` are all ranks that
    occur, where that is known.
    """
    n, last = rows.shape[-1], len(rows.shape) - 1
    if skip_nan:
        count: Any = (rows == rows).sum(-1, True).astype(np.float64)
    else:
        count = numbers_like(rows, np.full([1] * len(rows.shape), n, np.float64))
    low, high, part, speed = Places(method)(q.detach(), count).split(4, -1)
    ranks: Any = concat([low, high], -1).astype(np.int64)
    if not skip_nan and is_float(rows.dtype):
        holding: Any = rows != rows
        ranks = where(holding.any(-1, True), n - 1, ranks)  # NaN is the last
    plain = rows.detach()
    order = (ArgSort(last) if among is None else ArgPartition(last, among))(plain)
    chosen = TakeAlong(last)(order, ranks.broadcast_to(*rows.shape[:-1], ranks.shape[-1]))
    return _between(TakeAlong(last)(rows, chosen), part + (q - q.detach()) * speed)


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

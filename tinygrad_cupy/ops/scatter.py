"""Values that meet at places of a tensor: their sums, products, extrema and means.

`SegmentReduce` and `SegmentProd` reduce elements of one axis by the places that they are given; the
functions here put what they are called with in that form. Nothing is reduced by atomics: the same
bits in every run.
"""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from ..autograd import FusedOp, Op
from ..backend import Array, array_module, is_cuda, on_device_of
from .arrange import one_axis
from .promotion import as_float, constant_like, in_one_dtype, in_single, single
from .shape import concat
from .take import (
    Offset,
    PutAdded,
    ScatterAlong,
    TakeAlong,
    bounds_error,
    index_tensor,
)

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class PlacesAlong(Op):
    """Where in C order the elements of a tensor of ``shape`` lie that indices along an axis name.

    ``lead``: axes of batches in front, each of which counts from its own start.
    """

    differentiable = False

    def __init__(self, axis: int, shape: tuple[int, ...], lead: int = 0) -> None:
        self.axis, self.shape, self.lead = axis, shape, lead

    def forward(self, indices: Array) -> Array:
        if not is_cuda(indices):
            kernels.take.expect_bounds(indices, self.axis, self.shape[self.axis])
        return kernels.take.places_along(indices, self.axis, self.shape, self.lead)

    def batch(self, b: BatchLevel, indices: Tensor) -> Tensor:
        return PlacesAlong(self.axis + 1, (b.size, *self.shape), self.lead + 1)(b.whole(indices))


class SegmentExtremum(Op):
    """The largest ("max") or smallest ("min") of the values (M,) at each of ``count`` places.

    Where no value is stands the type's own limit. Equal values share the gradient equally.
    """

    only_real = True
    saves = ("values", "places", "y")

    def __init__(self, kind: Any, count: int) -> None:
        self.kind, self.count = kind, count

    def forward(self, values: Array, places: Array) -> Array:
        return kernels.scatter.reduce(values, places, self.count, self.kind)

    def backward(
        self, grad: Tensor, values: Tensor, places: Tensor, y: Tensor
    ) -> tuple[Tensor, None]:
        hits, share = kernels.scatter.shares(values.data, places.data, y.data)
        weights = grad._wrap(share.astype(grad.dtype))
        taken = TakeAlong(0)(grad, places) * weights
        return taken.where(hits, 0), None

    def batch(self, b: BatchLevel, values: Tensor, places: Tensor) -> Tensor:
        flat, joined = _joined(b, values, places, self.count)
        found = SegmentExtremum(self.kind, b.size * self.count)(flat, joined)
        return found.reshape(b.size, self.count)


class SegmentProd(FusedOp):
    """The product of the values (M,) at each of ``count`` places, 1 where there is none."""

    saves = ("values", "places")

    def __init__(self, count: int) -> None:
        self.count = count

    def forward(self, values: Array, places: Array) -> Array:
        return kernels.scatter.reduce(values, places, self.count, "prod")

    def backward_arrays(self, grad: Array, values: Array, places: Array) -> Any:
        others = kernels.scatter.product_of_others(values, places, self.count)
        return grad[places] * others, None

    def reference(self, values: Tensor, places: Tensor) -> Tensor:
        """Neighbours of one place multiplied in pairs, pairs in pairs, …: ⌈log₂ M⌉ times."""
        runs = kernels.scatter.runs_of(places.data, self.count)
        x = TakeAlong(0, distinct=True)(single(values), values._wrap(runs.order))
        step, size = 1, values.shape[0]
        while step < size:
            behind = x[step:].pad(((0, step),), 1)
            x = x * behind.where(kernels.scatter.paired(runs, step), 1)
            step *= 2
        found = ScatterAlong(0, self.count)(x.where(runs.heads, 0), values._wrap(runs.places))
        return (found + found._wrap(runs.empty.astype(found.dtype))).astype(values.dtype)

    def batch(self, b: BatchLevel, values: Tensor, places: Tensor) -> Tensor:
        flat, joined = _joined(b, values, places, self.count)
        return SegmentProd(b.size * self.count)(flat, joined).reshape(b.size, self.count)


def _joined(b: BatchLevel, values: Tensor, places: Tensor, count: int) -> tuple[Any, Any]:
    """The values and places of all elements, one after the other."""
    whole = b.whole(values).reshape(-1)
    return whole, Offset(count)(b.whole(places)).reshape(-1)


class Dropped(Op):
    """Numbers of segments, those outside of 0 … count - 1 as ``count``."""

    differentiable = False
    elementwise = True

    def __init__(self, count: int) -> None:
        self.count = count

    def forward(self, numbers: Array) -> Array:
        inside = (numbers >= 0) & (numbers < self.count)
        return self.xp.where(inside, numbers, np.int64(self.count))


# --- functions ------------------------------------------------------------------------------------

REDUCTIONS = ("sum", "mean", "prod", "amax", "amin")


def gather(x: Tensor, indices: Any, axis: int) -> Tensor:
    """x at ``indices`` along ``axis``, each line by its own: the result has their shape.

    Along the other axes the indices may be fewer than x: the first lines are taken.
    """
    place, found = _indices("gather", x, indices, axis)
    start = [n if at != place else x.shape[at] for at, n in enumerate(found.shape)]
    lines = x if tuple(start) == x.shape else x[tuple(slice(n) for n in start)]
    try:
        return TakeAlong(place)(lines, found)
    except IndexError as error:
        raise bounds_error("gather", x, error) from error


def scatter_add(x: Tensor, indices: Any, values: Any, axis: int) -> Tensor:
    """x with ``values`` added where ``indices`` say along ``axis``: the adjoint of `gather`."""
    x, flat, places = _laid_out("scatter_add", x, indices, values, axis)
    return in_single(x, lambda x: x + _added(flat, places, x))


def scatter_reduce(
    x: Tensor, indices: Any, values: Any, axis: int, reduce: str, include_self: bool = True
) -> Tensor:
    """x with ``values`` reduced into it where ``indices`` say; see `numpy.scatter_reduce`."""
    if reduce not in REDUCTIONS:
        raise ValueError(f"[scatter_reduce] expected one of {REDUCTIONS}, got {reduce!r}")
    if reduce == "mean":
        x, values = as_float(x), as_float(constant_like(x, values))
    x, flat, places = _laid_out("scatter_reduce", x, indices, values, axis)
    size = math.prod(x.shape)
    counts = PutAdded(0, size)(_ones(places), places).reshape(x.shape)
    hit: Any = counts > 0
    if reduce in ("sum", "mean"):

        def compute(x: Tensor) -> Tensor:
            found = _added(flat, places, x)
            found = found + x if include_self else found.where(hit, x)
            if reduce == "sum":
                return found
            total = counts + 1 if include_self else counts.where(hit, 1)
            return found / total.astype(x.dtype)

        return in_single(x, compute)
    if include_self:
        flat = concat([x.reshape(-1), flat])
        places = concat([_all_places(x), places])
    op = SegmentProd(size) if reduce == "prod" else SegmentExtremum(reduce[1:], size)
    found = op(flat, places).reshape(x.shape)
    return found if include_self else found.where(hit, x)


def segment_sum(values: Tensor, segment_ids: Any, num_segments: int | None = None) -> Tensor:
    """The sums of rows of ``values`` with the same number; see `numpy.segment_sum`."""
    ids = index_tensor("segment_sum", values, segment_ids)
    if not values.shape or ids.shape != values.shape[:1]:
        raise ValueError(
            f"[segment_sum] expected a number for each row of values of shape {values.shape}, got "
            f"shape {ids.shape}"
        )
    if num_segments is None:
        num_segments = int(ids.max()) + 1 if ids.shape[0] else 0
    count = operator.index(num_segments)
    if count < 0:
        raise ValueError(f"[segment_sum] expected num_segments ≥ 0, got {count}")
    return PutAdded(0, count + 1)(values, Dropped(count)(ids))[:count]


def _indices(name: str, x: Tensor, indices: Any, axis: int) -> tuple[int, Any]:
    """The axis, and the indices as a tensor that fits x along the others."""
    place = one_axis(axis, len(x.shape), name)
    found = index_tensor(name, x, indices)
    fits = len(found.shape) == len(x.shape) and all(
        n <= m for at, (n, m) in enumerate(zip(found.shape, x.shape, strict=True)) if at != place
    )
    if not fits:
        raise ValueError(
            f"[{name}] expected indices of as many axes as the tensor, none but axis {place} "
            f"longer than its, got shapes {found.shape} and {x.shape}"
        )
    return place, found


def _laid_out(
    name: str, x: Tensor, indices: Any, values: Any, axis: int
) -> tuple[Tensor, Tensor, Tensor]:
    """x, the values, and where in x, flattened, they go; x and the values in one dtype."""
    place, found = _indices(name, x, indices, axis)
    x, given = in_one_dtype(x, constant_like(x, values))
    try:
        wide = given.broadcast_to(found.shape)
    except ValueError as error:
        raise ValueError(
            f"[{name}] values of shape {given.shape} do not broadcast to the indices, of shape "
            f"{found.shape}"
        ) from error
    try:
        places = PlacesAlong(place, x.shape)(found)
    except IndexError as error:
        raise bounds_error(name, x, error) from error
    return x, wide.reshape(-1), places.reshape(-1)


def _added(values: Tensor, places: Tensor, like: Tensor) -> Tensor:
    """The sums of the values at each place, in the shape and the dtype of ``like``."""
    sums = PutAdded(0, math.prod(like.shape))(values.astype(like.dtype), places)
    return sums.reshape(like.shape)


def _all_places(x: Tensor) -> Tensor:
    with on_device_of(x.data):
        return x._wrap(array_module(x.data).arange(math.prod(x.shape)))


def _ones(places: Tensor) -> Tensor:
    with on_device_of(places.data):
        return places._wrap(array_module(places.data).ones(places.shape))

"""Pooling to a given size: means and maxima of a grid of windows that cover the input.

Window i of an axis of n places spans ⌊i n / count⌋ up to ⌈(i + 1) n / count⌉, as in PyTorch.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..autograd import Op, TensorBase
from ..backend import Array, array_module, expect_memory, is_cuda, on_device_of
from ..backend.dtypes import widest
from ..kernels.common.windows import Shape, Windows, sizes
from .pool import MaxIndices, MaxPool, over
from .promotion import as_float
from .sliding import of_batch, with_batch
from .take import Take

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class Spans(Op):
    """Sums over ``count`` spans that cover ``axis``: from ⌊i n / count⌋ up to ⌈(i + 1) n / count⌉.

    The spans that hold a place are a span themselves, by the same formula: the adjoint is `Spans`
    to n. No product with zeros: NaN and infinity stay in the spans that hold them.
    """

    linear = ("x",)

    def __init__(self, count: int, axis: int) -> None:
        self.count, self.axis = count, axis

    def forward(self, x: Array) -> Array:
        xp, self.size = self.xp, x.shape[self.axis]
        longest = -(-self.size // self.count) + 1  # at most
        if self.count < longest:
            return self._one_by_one(x)
        start, stop = _spans(xp, self.size, self.count)
        y: Array = xp.take(x, start, self.axis)
        for k in range(1, longest):
            tap = xp.take(x, xp.minimum(start + k, self.size - 1), self.axis)
            y += xp.where(_along(start + k < stop, self.axis, x.ndim), tap, 0)
        return y

    def _one_by_one(self, x: Array) -> Array:
        before = (slice(None),) * self.axis
        y = self.xp.empty((*x.shape[: self.axis], self.count, *x.shape[self.axis + 1 :]), x.dtype)
        for i in range(self.count):
            stop = -(-(i + 1) * self.size // self.count)
            y[(*before, i)] = x[(*before, slice(i * self.size // self.count, stop))].sum(self.axis)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        return Spans(self.size, self.axis)(grad)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return b.split(Spans(self.count, self.axis)(b.join(x, 0)), 0)  # type: ignore[no-any-return]


def _spans(xp: Any, size: int, count: int) -> tuple[Array, Array]:
    """Where `count` spans of an axis of ``size`` start and stop."""
    place = xp.arange(count)
    return place * size // count, -(-(place + 1) * size // count)


def _along(values: Array, axis: int, ndim: int) -> Array:
    """Values for an axis of an array of ``ndim`` axes, as they broadcast to it."""
    return values.reshape(-1, *(1,) * (ndim - 1 - axis))


class AdaptivePoolMixin(TensorBase):
    """Pooling to a given size, as methods."""

    __slots__ = ()

    def adaptive_avg_pool1d(self, output_size: Any) -> Tensor:
        """`adaptive_avg_pool2d` of sequences (N, C, L)."""
        return _avg("adaptive_avg_pool1d", 1, self, output_size)

    def adaptive_avg_pool2d(self, output_size: Any) -> Tensor:
        """Means over a grid of output_size windows that cover self (N, C, H, W).

        output_size is one number or one for each axis, None for one that stays as it is. Window i
        spans pixels ⌊i · H / OH⌋ up to ⌈(i + 1) · H / OH⌉, as in PyTorch. Where all are of one size
        they are added up as by `mean`; else one direction after the other, in float64.
        """
        return _avg("adaptive_avg_pool2d", 2, self, output_size)

    def adaptive_avg_pool3d(self, output_size: Any) -> Tensor:
        """`adaptive_avg_pool2d` of volumes (N, C, D, H, W)."""
        return _avg("adaptive_avg_pool3d", 3, self, output_size)

    def adaptive_max_pool1d(self, output_size: Any, return_indices: bool = False) -> Any:
        """`adaptive_max_pool2d` of sequences (N, C, L)."""
        return _max("adaptive_max_pool1d", 1, self, output_size, return_indices)

    def adaptive_max_pool2d(self, output_size: Any, return_indices: bool = False) -> Any:
        """Maxima over a grid of output_size windows that cover self (N, C, H, W).

        Windows are those of `adaptive_avg_pool2d`; return_indices and ties are as in `max_pool2d`.
        """
        return _max("adaptive_max_pool2d", 2, self, output_size, return_indices)

    def adaptive_max_pool3d(self, output_size: Any, return_indices: bool = False) -> Any:
        """`adaptive_max_pool2d` of volumes (N, C, D, H, W)."""
        return _max("adaptive_max_pool3d", 3, self, output_size, return_indices)


def _grid(op: str, x: Any, ndim: int, output_size: Any) -> Shape:
    """How many windows there are along each axis of x (N, C, …)."""
    given = output_size
    if isinstance(given, tuple | list) and None in given and len(given) == ndim:
        pairs = zip(given, x.shape[2:], strict=True)
        given = tuple([max(n, 1) if one is None else one for one, n in pairs])
    elif given is None:
        given = tuple([max(n, 1) for n in x.shape[2:]])
    out = sizes(given, op, "output_size", 1, ndim)
    if 0 in x.shape[2:]:
        raise ValueError(
            f"[{op}] expected images of at least one pixel, got shape {tuple(x.shape)}"
        )
    return out


def _avg(op: str, ndim: int, x: TensorBase, output_size: Any) -> Tensor:
    def compute(x: Any) -> Any:
        out, dtype = _grid(op, x, ndim, output_size), x.data.dtype
        shape = tuple(x.shape)
        if not any(n % count for n, count in zip(shape[2:], out, strict=True)):
            split = [part for n, m in zip(shape[2:], out, strict=True) for part in (m, n // m)]
            return x.reshape(*shape[:2], *split).mean(tuple(range(3, 2 * ndim + 2, 2)))
        for axis in range(2, ndim + 2):
            widened = (*shape[:2], *out[: axis - 1], *shape[axis + 1 :])
            expect_memory(op, widened, 8, is_cuda(x.data))
        x = x.astype(widest(x.dtype))
        for axis, count in enumerate(out, 2):
            with on_device_of(x.data):
                start, stop = _spans(array_module(x.data), x.shape[axis], count)
            x = Spans(count, axis)(x) / x._wrap(_along(stop - start, axis, ndim + 2))
        return x.astype(dtype)

    return of_batch(op, as_float(x), ndim, compute)


def _max(op: str, ndim: int, x: TensorBase, output_size: Any, return_indices: bool) -> Any:
    batch, is_one = with_batch(op, x, ndim)
    out, wide = _grid(op, batch, ndim, output_size), batch
    tables: list[Any] = []
    for axis, count in enumerate(out, 2):
        n = batch.shape[axis]
        if n % count == 0:
            tables.append(None)
            continue
        # All windows as long as the longest: the last element of a shorter one comes again.
        with on_device_of(batch.data):
            xp = array_module(batch.data)
            start, stop = _spans(xp, n, count)
            places = start[:, None] + xp.arange(-(-n // count) + 1)
            table = batch._wrap(xp.minimum(places, stop[:, None] - 1).reshape(-1))
        widened = (*wide.shape[:axis], table.shape[0], *wide.shape[axis + 1 :])
        expect_memory(op, widened, batch.dtype.itemsize, is_cuda(batch.data))
        wide, tables = Take(axis)(wide, table), [*tables, table]
    kernel = tuple(n // count for n, count in zip(wide.shape[2:], out, strict=True))
    windows = Windows(kernel, kernel, (0,) * ndim, (1,) * ndim)
    y = over(wide, windows, MaxPool)
    if not return_indices:
        return y.squeeze(0) if is_one else y
    indices = _narrowed(MaxIndices(windows)(wide), wide.shape[2:], batch.shape[2:], tables)
    return (y.squeeze(0), indices.squeeze(0)) if is_one else (y, indices)


def _narrowed(indices: Any, wide: Shape, size: Shape, tables: list[Any]) -> Any:
    """Places in axes of ``wide`` as places in the axes that were widened by ``tables``."""
    found: Any = 0
    for axis, table in enumerate(tables):
        behind, step = math.prod(wide[axis + 1 :]), math.prod(size[axis + 1 :])
        place = indices // behind % wide[axis]
        found = found + (place if table is None else Take(0)(table, place)) * step
    return found

"""Unique elements and set operations.

Which elements there are has no derivative; a gradient of values goes to the first of equal ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .. import kernels
from ..autograd import Op
from ..backend import Array, array_module, is_cuda, on_device_of
from ..backend.capture import refuse_size
from .arrange import moveaxis, one_axis
from .choose import Within
from .promotion import in_one_dtype
from .shape import concat
from .sort import argsort, is_followed, searchsorted, sort
from .take import Take

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class UniqueValues(Op):
    """The distinct elements in ascending order, where no gradient of them is wanted."""

    differentiable = False

    def __init__(self, equal_nan: bool) -> None:
        self.equal_nan = equal_nan

    def forward(self, x: Array) -> Array:
        if is_cuda(x):
            refuse_size("unique")
        return kernels.sets.values(x, self.equal_nan)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return b.one_by_one(UniqueValues(self.equal_nan), (x,))  # type: ignore[no-any-return]


class UniqueParts(Op):
    """Of the k distinct elements or rows: first places (k), counts (k), and which each is (n)."""

    differentiable = False

    def __init__(self, equal_nan: bool, rows: bool) -> None:
        self.equal_nan, self.rows = equal_nan, rows

    def forward(self, x: Array) -> Array:
        if is_cuda(x):
            refuse_size("unique")
        return kernels.sets.parts(x, self.equal_nan, self.rows)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        op = UniqueParts(self.equal_nan, self.rows)
        return b.one_by_one(lambda x: op(x), (x,))  # type: ignore[no-any-return]


class Unique(NamedTuple):
    """What `unique` finds."""

    values: Tensor
    indices: Tensor
    inverse: Tensor
    repeats: Tensor


def unique(x: Tensor, axis: int | None = None, equal_nan: bool = True) -> Unique:
    """The distinct elements in ascending order, or slices along ``axis``.

    With them, where each stands first, which of them each element is, and how often each comes.
    """
    place = 0 if axis is None else one_axis(axis, len(x.shape), "unique")
    lines = x.reshape(-1) if axis is None else x
    rows = lines if place == 0 else moveaxis(lines, place, 0)
    found = UniqueParts(equal_nan, axis is not None)(rows)
    count = (found.shape[0] - rows.shape[0]) // 2
    index, counts, inverse = found[:count], found[count : 2 * count], found[2 * count :]
    shaped = inverse.reshape(x.shape) if axis is None else inverse
    return Unique(Take(place)(lines, index), index, shaped, counts)


def unique_values(x: Tensor, equal_nan: bool = True) -> Tensor:
    """The distinct elements in ascending order."""
    if is_followed(x):
        return unique(x, None, equal_nan).values
    return UniqueValues(equal_nan)(x)


def isin(x: Tensor, among: Tensor, invert: bool = False) -> Tensor:
    """Whether each element of x is one of ``among`` (or is none, if ``invert``); NaN never is."""
    x, among = in_one_dtype(x.detach(), among.detach().reshape(-1))
    size = among.shape[0]
    if not size:
        with on_device_of(x.data):
            return x._wrap(array_module(x.data).full(x.shape, invert))
    ordered = sort(among)
    places = Within(size, "clip")(searchsorted(ordered, x))
    nearest = Take(0)(ordered, places)
    found: Any = nearest != x if invert else nearest == x
    return found  # type: ignore[no-any-return]


def union1d(a: Tensor, b: Tensor) -> Tensor:
    """The distinct elements of both, in ascending order."""
    return unique_values(concat([part.reshape(-1) for part in in_one_dtype(a, b)]))


def intersect1d(a: Tensor, b: Tensor, assume_unique: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """The distinct elements that both have, in ascending order, and where each has them first.

    Gradients go to those of ``a``.
    """
    a, b = (part.reshape(-1) for part in in_one_dtype(a, b))
    in_a, in_b = _distinct(a, assume_unique), _distinct(b, assume_unique)
    first = in_a[isin(Take(0)(a, in_a), b)]
    second = in_b[isin(Take(0)(b, in_b), a)]
    return Take(0)(a, first), first, second


def _distinct(x: Tensor, assume_unique: bool) -> Tensor:
    """Where the distinct elements of x (n,) stand, in ascending order."""
    return argsort(x) if assume_unique else unique(x).indices


def setdiff1d(a: Tensor, b: Tensor, assume_unique: bool = False) -> Tensor:
    """The distinct elements of ``a`` that ``b`` has not, ascending; as they stand, if unique."""
    a = a.reshape(-1) if assume_unique else unique_values(a)
    return a[isin(a, b, invert=True)]


def setxor1d(a: Tensor, b: Tensor, assume_unique: bool = False) -> Tensor:
    """The distinct elements that one of the two has and the other has not, in ascending order."""
    a, b = (part.reshape(-1) for part in in_one_dtype(a, b))
    if not assume_unique:
        a, b = unique_values(a), unique_values(b)
    return sort(concat([a[isin(a, b, invert=True)], b[isin(b, a, invert=True)]]))

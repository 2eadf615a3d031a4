"""Products of two arrays with labelled axes, and diagonals: what `einsum` is made of.

A label is one letter. Of a product y of a and b, labels of all three are the *batch*, those of a
and b alone are *summed*, and those of y and one operand are *rows* (of a) or *columns* (of b).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence

import numpy as np

from ..backend import Array, Reduction, array_module, blas, kernel
from ..backend.cpu_memory import aligned_empty
from ..backend.cpu_threads import by_parts, part_along
from ..backend.dtypes import through_single
from .common import dots_cuda

Shape = tuple[int, ...]
LARGE = 1 << 18  # elements of a product without sums that several threads write
FEW = 1 << 6  # elements of a line that are multiplied together with those of others
LONG = 1 << 8  # products that a block of a GPU adds up
MANY = 1 << 10  # sums that keep a GPU busy by themselves
MANY_ROWS, SHORT = 1 << 13, 1 << 8  # of a matrix whose columns are added up on a GPU


class _View:
    """An array with its axes in another order, then with another shape; None: as it is."""

    __slots__ = ("axes", "shape")

    def __init__(self, labels: Sequence[str], order: Sequence[str], shape: Shape | None) -> None:
        axes = tuple([labels.index(c) for c in order])
        self.axes = None if axes == tuple(range(len(axes))) else axes
        self.shape = shape

    def __call__(self, x: Array) -> Array:
        x = x if self.axes is None else x.transpose(self.axes)
        return x if self.shape is None else x.reshape(self.shape)


class Pair:
    """How y is computed from a and b, told by their labels: two views, one product, a view.

    Each has a label once. What y has, a or b has; what a or b alone has, y has. So the gradients
    by a and b are products of the same kind: `by_a` and `by_b`.
    """

    def __init__(self, a: str, b: str, y: str, sizes: dict[str, int]) -> None:
        self.labels, self.sizes = (a, b, y), sizes
        longer = a if _size(a, sizes) >= _size(b, sizes) else b  # whose elements rather stay
        summed = [c for c in longer if c not in y]
        self.sums, self.size = bool(summed), _size(y, sizes)
        if self.sums:
            self._plan_matrices(summed)
        else:
            self.a, self.b = (
                _View(x, [c for c in y if c in x], self._stretched(x)) for x in (a, b)
            )

    def _stretched(self, labels: str) -> Shape | None:
        """The shape with axes of one element where y has axes of its own."""
        y = self.labels[2]
        full = [self.sizes[c] if c in labels else 1 for c in y]
        return None if y.endswith("".join([c for c in y if c in labels])) else tuple(full)

    def _plan_matrices(self, summed: list[str]) -> None:
        a, b, y = self.labels
        batch = [c for c in y if c in a and c in b]
        rows, columns = [c for c in a if c not in b], [c for c in b if c not in a]
        self.dots = not rows and not columns
        self.swapped = y != "" and y[-1] in rows and bool(columns)  # yᵀ = bᵀ aᵀ ends as y does
        self.a = self._matrices(a, batch, *((summed, rows) if self.swapped else (rows, summed)))
        self.b = self._matrices(
            b, batch, *((columns, summed) if self.swapped else (summed, columns))
        )
        made = [*batch, *columns, *rows] if self.swapped else [*batch, *rows, *columns]
        plain = len(rows) == len(columns) == 1
        self.shape = None if plain else tuple([self.sizes[c] for c in made])
        self.y = _View(made, y, None)

    def _matrices(self, labels: str, batch: list[str], down: list[str], right: list[str]) -> _View:
        """Of an operand: (…, down, right), the axes of each of the two as one."""
        outer = [self.sizes[c] for c in batch]
        plain = len(down) == len(right) == 1
        shape = None if plain else (*outer, _size(down, self.sizes), _size(right, self.sizes))
        return _View(labels, [*batch, *down, *right], shape)

    @functools.cached_property
    def by_a(self) -> Pair:
        """The gradient by a, from that by y and b."""
        a, b, y = self.labels
        return pair(y, b, a, self.sizes)

    @functools.cached_property
    def by_b(self) -> Pair:
        """The gradient by b, from a and that by y."""
        a, b, y = self.labels
        return pair(a, y, b, self.sizes)

    def of_batch(self, size: int, a_too: bool, b_too: bool) -> Pair:
        """The same for ``size`` elements at once, along the first axes of y and of a, b or both."""
        a, b, y = self.labels
        new = chr(max([ord(c) for c in (*a, *b, "a")]) + 1)
        return pair(new * a_too + a, new * b_too + b, new + y, self.sizes | {new: size})


def _size(labels: Iterable[str], sizes: dict[str, int]) -> int:
    return math.prod([sizes[c] for c in labels])


def pair(a: str, b: str, y: str, sizes: dict[str, int]) -> Pair:
    """The `Pair` of these labels; made once."""
    return _pair(a, b, y, tuple([sizes[c] for c in a]), tuple([sizes[c] for c in b]))


@functools.lru_cache(4096)
def _pair(a: str, b: str, y: str, shape_a: Shape, shape_b: Shape) -> Pair:
    return Pair(a, b, y, dict(zip(a + b, shape_a + shape_b, strict=True)))


# --- products -----------------------------------------------------------------------------------


def _contract_cpu(a: Array, b: Array, how: Pair) -> Array:
    return _through_blas(a, b, how) if how.sums else _multiply(how.a(a), how.b(b), how)


def _contract_cuda(a: Array, b: Array, how: Pair) -> Array:
    if not how.sums:
        return how.a(a) * how.b(b)
    if a.dtype.kind != "f" or a.dtype.itemsize < 4:
        return _through_blas(a, b, how)
    if how.dots:
        return how.y(_dots(how.a(a)[..., 0, :], how.b(b)[..., 0]))
    if len(how.labels[2]) == 1 and not how.swapped:
        left, right = how.a(a), how.b(b)
        if right.shape[1:] == (1,):
            found = _of_columns(left.T, right[:, 0])
        else:
            found = _of_columns(right, left[0]) if len(left) == 1 else None
        if found is not None:
            return how.y(found.reshape(how.sizes[how.labels[2]]))
    return _through_blas(a, b, how)


def _of_columns(x: Array, w: Array) -> Array | None:
    """Σ w · x over the many rows of x, which are short; None where that is better left to BLAS."""
    if x.ndim != 2 or w.ndim != 1 or not x.flags.c_contiguous:
        return None
    suits = len(x) >= MANY_ROWS and 0 < x.shape[1] <= SHORT
    return dots_cuda.weighted_sums(x, w) if suits else None


def _through_blas(a: Array, b: Array, how: Pair) -> Array:
    left, right = how.a(a), how.b(b)
    y = blas.matmul(right, left) if how.swapped else blas.matmul(left, right)
    return how.y(y if how.shape is None else y.reshape(how.shape))


def _multiply(a: np.ndarray, b: np.ndarray, how: Pair) -> np.ndarray:
    """a · b, which broadcast; a large product is written by several threads."""
    if how.size < LARGE:
        return np.asarray(a * b)
    y = aligned_empty(np.broadcast_shapes(a.shape, b.shape), a.dtype)
    axis = int(np.argmax(y.shape)) - y.ndim
    lines = b.size == y.shape[-1] <= FEW and a.shape[-1] == 1 and axis == -y.ndim < -2
    repeated = np.tile(b.reshape(-1), y.shape[-2]) if lines else None

    def task(part: slice) -> None:
        left, right, out = (part_along(x, axis, part) for x in (a, b, y))
        if repeated is None:
            np.multiply(left, right, out=out)
        else:  # NumPy takes its time for each of many short lines
            out[...] = left
            several = out.reshape(-1, repeated.size)
            several *= repeated

    by_parts(np, task, y.shape[axis], -(-y.shape[axis] * LARGE // (2 * y.size)))
    return y


def _dots(u: Array, v: Array) -> Array:
    """Σ u · v over the last axis on a GPU."""
    *outer, length = u.shape
    if length < LONG and math.prod(outer) >= MANY:
        return _dot(u, v, axis=len(outer))
    return dots_cuda.dots(u, v)


_product = "(double)u * (double)v"
_dot = Reduction("T u, T v", "T y", _product, "a + b", "y = (T)a", "dot_products", "double")


@kernel(cpu=_contract_cpu, cuda=_contract_cuda)
def contract(a: Array, b: Array, how: Pair) -> Array:
    """The product y of a and b, which are of one dtype, as ``how`` says; integers are int64."""


@through_single
def cross(a: Array, b: Array) -> Array:
    """The cross products (…, 3) of a and b, which broadcast and are of one dtype."""
    xp = array_module(a)
    y = xp.empty(np.broadcast_shapes(a.shape, b.shape), a.dtype)
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        xp.multiply(a[..., j], b[..., k], out=y[..., i])
        y[..., i] -= a[..., k] * b[..., j]
    return y


# --- diagonals ----------------------------------------------------------------------------------


def diagonal(x: Array, given: str, made: str) -> Array:
    """The view of x, of axes ``given``, with the axes ``made``: each label once."""
    view, labels = x, given
    for label in made:
        while (first := labels.index(label)) != (second := labels.rindex(label)):
            view = view.diagonal(0, first, second)  # its axis becomes the last one
            labels = labels[:first] + labels[first + 1 : second] + labels[second + 1 :] + label
    if isinstance(view, np.ndarray) and x.flags.writeable:
        view.flags.writeable = True  # NumPy's method says no; its einsum says yes
    return view if labels == made else view.transpose([labels.index(c) for c in made])


def from_diagonal(values: Array, given: str, made: str) -> Array:
    """The reverse of `diagonal`: zeros with ``values``, of axes ``given``, on a diagonal."""
    sizes = dict(zip(given, values.shape, strict=True))
    y = array_module(values).zeros([sizes[c] for c in made], values.dtype)
    diagonal(y, made, given)[...] = values
    return y

"""Products of float32 matrices on a CPU by ``product.c``, where the machine has a C compiler.

Panels of one factor are packed and the other is read where it lies, where BLAS copies both; that
counts where one of them is small, as a batch is. Letters: M rows, N columns, K terms.
"""

from __future__ import annotations

import ctypes
import functools
import math
from typing import NamedTuple

import numpy as np

from .arrays import Array, strides_of
from .c_source import CSource
from .cpu_threads import PARTS, thread_count

DEEP = 2048  # terms of a panel whose sums go to places apart
GROUP = 1 << 16  # floats of panels that stay in the second cache
PART = 1 << 18  # multiplications of a stack for which it pays to wake a thread
MANY = 4  # panels for each thread, with which all end at about the same time
TOGETHER = 4  # panels that a thread does at a time
FEW = 64  # elements of a factor that BLAS need not copy either
SMALL = 1 << 15  # multiplications of a matrix in a stack; to pack a panel takes longer
KEPT = 1 << 12  # matrices of a stack of which is kept where they begin
MOST = 1 << 29  # multiplications; from here on BLAS is as fast
LONG = 1 << 11  # terms, where they are not neighbours in the left factor
FLOAT = 4  # bytes

Steps = tuple[int, ...]

_file = CSource(__file__, "c_panels.h", "product.c")


class _Product(ctypes.Structure):
    """As ``Product`` in product.c."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            *("rows", "columns", "terms", "depth", "group"),
            *("a_row", "a_term", "b_term", "b_column", "y_row", "y_column", "by_rows"),
            *("bias_row", "bias_column", "relu"),
        )
    ]


def pays(a: Array, b: Array) -> bool:
    """Whether BLAS is not as fast at a (M, K) @ b (K, N), or at each matrix of stacks."""
    rows, (terms, columns) = a.shape[-2], b.shape[-2:]
    less, work = min(rows, columns), rows * terms * columns
    if work > MOST:
        return False
    if a.ndim == b.ndim == 2:
        if terms > LONG and strides_of(a)[1] > FLOAT:
            return False
        return bool(less > 1 and less * terms >= FEW)
    # BLAS is slow at many small matrices whose terms lie side by side.
    return bool((less > 1 and work >= SMALL) or strides_of(b)[-1] > FLOAT)


def product(a: Array, b: Array, y: Array, bias: Array | None = None, relu: bool = False) -> bool:
    """Write a (M, K) @ b (K, N) + bias (N,) into y (M, N), and with ``relu`` max(·, 0) of that.

    y shares no memory with the others. False, and nothing is done, where it cannot be done here.
    """
    if a.ndim != 2 or b.ndim != 2 or y.ndim != 2 or not _fit(a, b, y):
        return False
    steps = strides_of(a), strides_of(b), strides_of(y)
    plan = _plan(a.shape, b.shape[1], *steps, relu, thread_count())
    if plan is None:
        return False
    left, right, out = (b.T, a.T, y.T) if plan.turned else (a, b, y)
    vector = None if bias is None else np.require(bias, np.float32, ["C", "A"])
    if vector is not None and vector.shape != y.shape[1:]:
        return False
    arrays = (left, right, vector, out)
    _file.run("product", plan.sizes, plan.items, arrays, plan.scratch, plan.each)
    return True


def stacked(a: Array, b: Array, y: Array) -> bool:
    """`product` of each matrix of a (…, M, K) and b (…, K, N), broadcast to y (…, M, N)."""
    if not _fit(a, b, y) or y.shape[:-2] != np.broadcast_shapes(a.shape[:-2], b.shape[:-2]):
        return False
    work = a.shape[-2] * a.shape[-1] * b.shape[-1]
    steps = (strides_of(x)[-2:] for x in (a, b, y))
    plan = _plan(a.shape[-2:], b.shape[-1], *steps, False, thread_count())
    if plan is None:
        return False
    if plan.turned:
        a, b, y = (x.swapaxes(-1, -2) for x in (b, a, y))
    find = _kept_places if math.prod(y.shape[:-2]) <= KEPT else _places
    places = find(*((x.shape[:-2], strides_of(x)[:-2]) for x in (a, b, y)))
    if places is None:
        return False
    arrays = (a, b, places, y)
    _file.run("stacked_product", plan.sizes, len(places), arrays, plan.scratch, -(-PART // work))
    return True


def _fit(a: Array, b: Array, y: Array) -> bool:
    """Whether C can write a @ b into y: of those last two axes, all of float32."""
    if _file.library is None or not (a.dtype == b.dtype == y.dtype == np.float32):
        return False
    if a.shape[-1] != b.shape[-2] or y.shape[-2:] != (a.shape[-2], b.shape[-1]):
        return False
    return bool(a.flags.aligned and b.flags.aligned and y.flags.behaved)


class _Plan(NamedTuple):
    """How a product is computed; ``turned``: as y.T = b.T @ a.T."""

    sizes: _Product
    items: int
    each: int  # of them, that a thread does at a time
    scratch: int
    turned: bool


@functools.lru_cache(1024)
def _plan(
    shape: tuple[int, int],
    columns: int,
    of_a: Steps,
    of_b: Steps,
    of_y: Steps,
    relu: bool,
    threads: int,
) -> _Plan | None:
    """For a of this shape and arrays of these strides in bytes; None where there is none.

    Which parts there are depends on the number of threads, no sum does.
    """
    rows, terms = shape
    if not rows * terms * columns or not all(map(_is_plain, (of_a, of_b, of_y))):
        return None
    # Panels are made of the right factor. Where its terms are what lies side by side it is
    # reordered one by one, so it should be the smaller one; and rows of y be written in order.
    terms_apart = of_a[1] == FLOAT == of_b[0]
    turned = of_y[1] > FLOAT or (terms_apart and columns > 2 * rows)
    if turned:
        rows, columns, of_a, of_b, of_y = columns, rows, of_b[::-1], of_a[::-1], of_y[::-1]
    depth = min(terms, _file.size("product_depth") if of_y[1] <= FLOAT else DEEP)
    width, tile = _file.size("product_width"), _file.size("product_tile")
    panels, tiles = -(-columns // width), -(-rows // tile)
    threads = min(threads, PARTS)
    # A part copies a tile whose terms are not neighbours, or packs all panels.
    uneven = panels < MANY * threads and panels % threads > 0
    by_rows = tiles >= min(panels, MANY * threads) and (of_a[1] > FLOAT or uneven)
    items = tiles if by_rows else panels
    shares = 2 * threads if by_rows else threads * -(-panels // (TOGETHER * threads))
    each = -(-items // shares)
    group = max(1, min(panels if by_rows else each, GROUP // (depth * width)))
    steps = [step // FLOAT for step in (*of_a, *of_b, *of_y)]
    sizes = _Product(rows, columns, terms, depth, group, *steps, by_rows, turned, not turned, relu)
    return _Plan(sizes, items, each, _file.size("product_scratch", sizes), turned)


def _places(*leading: tuple[tuple[int, ...], Steps]) -> np.ndarray | None:
    """(matrices, arrays): where each begins, in floats, of arrays with such leading axes.

    None where one does not begin at a whole number of floats behind the first.
    """
    shape = leading[-1][0]
    found = []
    for axes, steps in leading:
        place = np.zeros(shape, np.int64)
        for axis, (size, step) in enumerate(zip(axes, steps, strict=True), len(shape) - len(axes)):
            if step % FLOAT or step < 0:
                return None
            if size > 1:
                along = np.arange(size) * (step // FLOAT)
                place += along.reshape(-1, *(1,) * (len(shape) - axis - 1))
        found.append(place.reshape(-1))
    return np.ascontiguousarray(np.stack(found, 1))


_kept_places = functools.lru_cache(1024)(_places)


def _is_plain(steps: Steps) -> bool:
    """Whether an array has rows or columns of neighbours."""
    return (FLOAT in steps or 0 in steps) and not any(s % FLOAT or s < 0 for s in steps)

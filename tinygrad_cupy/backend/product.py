"""Products of float32 matrices on a CPU by ``product.c``, where the machine has a C compiler.

A product of few rows reads its larger factor once and copies nothing but a panel of the smaller
one, where BLAS copies both. Letters: M rows, N columns, K terms.
"""

from __future__ import annotations

import ctypes
import functools

import numpy as np

from .arrays import Array, strides_of
from .c_source import CSource
from .cpu_threads import PARTS

DEPTH = 256  # terms of a panel
DEEP = 2048  # of one whose sums go to places apart
GROUP = 1 << 16  # floats of panels that stay in the second cache
MANY = 16  # tiles of rows that suffice for all threads
MOST = 1 << 28  # multiplications; from here on BLAS is as fast
LONG = 1 << 11  # terms, where they are not neighbours in the left factor
FLOAT = 4  # bytes

_file = CSource(__file__, "c_panels.h", "product.c")


class _Product(ctypes.Structure):
    """As ``Product`` in product.c."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            *("rows", "columns", "terms", "depth", "group"),
            *("a_row", "a_term", "b_term", "b_column", "y_row", "y_column", "by_rows"),
        )
    ]


def product(a: Array, b: Array, y: Array) -> bool:
    """Write a (M, K) @ b (K, N) into y (M, N); False, and nothing is done, where BLAS shall."""
    if a.ndim != 2 or b.ndim != 2 or not (a.dtype == b.dtype == y.dtype == np.float32):
        return False
    work = a.size * b.shape[1]
    if not work or work > MOST or np.may_share_memory(a, y) or np.may_share_memory(b, y):
        return False
    of_a, of_b, of_y = (strides_of(x) for x in (a, b, y))
    if not all(_is_plain(x, steps) for x, steps in ((a, of_a), (b, of_b), (y, of_y))):
        return False
    if (of_a[1] > FLOAT and len(b) > LONG) or _file.library is None:
        return False
    # Panels are made of the right factor. Where its terms are what lies side by side it is
    # reordered one by one, so it should be the smaller one; and rows of y be written in order.
    terms_apart = of_a[1] == FLOAT == of_b[0]
    if of_y[1] > FLOAT or (terms_apart and b.shape[1] > 2 * len(a)):
        a, b, y, of_a, of_b, of_y = b.T, a.T, y.T, of_b[::-1], of_a[::-1], of_y[::-1]
    sizes, count, scratch = _plan(a.shape, b.shape[1], of_a, of_b, of_y)
    _file.run("product", sizes, count, (a, b, y), scratch)
    return True


def _is_plain(x: Array, steps: tuple[int, ...]) -> bool:
    """Whether x has rows or columns of neighbours."""
    if x.flags.aligned and (FLOAT in steps or 0 in steps):
        return not any(step % FLOAT or step < 0 for step in steps)
    return False


@functools.lru_cache(1024)
def _plan(
    shape: tuple[int, int], columns: int, *strides: tuple[int, ...]
) -> tuple[_Product, int, int]:
    """Sizes, how many items there are, and floats of scratch."""
    rows, terms = shape
    steps = [step // FLOAT for pair in strides for step in pair]
    depth = min(terms, DEPTH if steps[5] <= 1 else DEEP)
    width, tile = _file.size("product_width"), _file.size("product_tile")
    panels, tiles = -(-columns // width), -(-rows // tile)
    by_rows = tiles >= min(panels, MANY)
    most = panels if by_rows else -(-panels // PARTS)  # that a thread packs at a time
    group = max(1, min(most, GROUP // (depth * width)))
    sizes = _Product(rows, columns, terms, depth, group, *steps, by_rows)
    return sizes, tiles if by_rows else panels, _file.size("product_scratch", sizes)

"""How threads of a GPU lie on rows that they keep in registers: for the kernels behind row.cuh."""

from __future__ import annotations

import math

from ...backend import Array

BUSY = 67584  # threads: 512 on each of 132 multiprocessors
BYTES = 16  # that a thread moves at once
EACH, KEPT = 16, 32  # elements of a row for a thread, and the most that it keeps
LONG, SPREAD = 1 << 16, 128  # a row has one block: longer ones, if there are not as many
MOST_BLOCKS = (1 << 31) - 1


def suits(rows: int, columns: int) -> bool:
    """Whether a block for each row keeps a GPU busy."""
    return bool(rows and columns) and (columns <= LONG or rows >= SPREAD)


def width_of(columns: int, *arrays: Array | None) -> int:
    """Neighbours that a thread moves at once: of rows of all arrays; new ones are aligned."""
    given = [array for array in arrays if array is not None]
    width = math.gcd(columns, BYTES // given[0].itemsize)
    while any(array.data.ptr % (width * array.itemsize) for array in given):
        width //= 2
    return width


def lanes_of(
    rows: int, packs: int, width: int, each: int, most: int, threads: tuple[int, int], limit: int
) -> tuple[int, int]:
    """Threads of a row of ``packs``, and the packs that each keeps, or 0: more than ``most``.

    ``each`` elements for a thread, or fewer while there are too few threads for a GPU. ``threads``
    are those of a block, and of one for long rows, ``limit`` those of a row at most.
    """
    lanes = 1
    while lanes < limit and -(-packs // lanes) * width > each:
        lanes *= 2
    while lanes < min(threads[0], limit, packs) and rows * lanes * 2 <= BUSY:
        lanes *= 2
    kept = -(-packs // lanes)
    return lanes, kept if kept * width <= most else 0


def macros(columns: int, width: int, lanes: int, kept: int, segment: int = 0) -> tuple[str, ...]:
    """What row.cuh is compiled with."""
    full = kept * lanes * width == columns
    sizes = (f"WIDTH={width}", f"LANES={lanes}", f"PACKS={kept}")
    return (*sizes, f"FULL={full:d}", f"SEGMENT={segment}")

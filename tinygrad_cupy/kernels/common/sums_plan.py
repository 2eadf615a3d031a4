"""How a GPU sums an array over axes: what of it lies where, and which threads add up what."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

from ...backend.cuda_source import THREADS

AXES = 16  # of either kind, once those are joined that lie as one
WIDEST = 16, 8, 4  # bytes of a pack
MOST = 8  # elements of a pack
WARP = 32
FEW = 4  # packs for which a thread pays
BLOCKS = 528  # four for each multiprocessor of an H200
LARGE = 1 << 31  # outputs or terms that take 64 bits

Axes = tuple[int, ...]
Joined = list[tuple[int, int]]  # sizes and strides, in elements, the innermost first


class Plan(NamedTuple):
    """A launch, as sums.cu has it: the numbers are those of its Layout."""

    grid: tuple[int, int]
    numbers: tuple[int, ...]
    macros: tuple[str, ...]
    outputs: int
    stored: tuple[int, ...]  # shape of the result, its axes as they lie in memory
    order: tuple[int, ...] | None  # that turns it into the one that is asked for
    shape: tuple[int, ...]  # and that one


def plan_of(
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    axes: Axes,
    keepdims: bool,
    itemsize: int,
    alignment: int,
) -> Plan | None:
    """Of an array that is not empty, with `strides_of` it; None where there are too many axes.

    ``alignment`` is that of its first element, in bytes.
    """
    if any(stride % itemsize for stride in strides):
        return None
    steps = [stride // itemsize for stride in strides]
    order = sorted(range(len(shape)), key=lambda i: abs(steps[i]) or math.inf, reverse=True)
    kept, summed = (
        _joined([(shape[i], steps[i]) for i in order if (i in axes) == wanted])
        for wanted in (False, True)
    )
    if max(len(kept), len(summed)) > AXES:
        return None
    rows = bool(summed) and (not kept or _least(summed) < _least(kept))
    packed, others = (summed, kept) if rows else (kept, summed)
    width = _width(packed, others, itemsize, alignment)
    packed[0:1] = [(size // width, stride * width) for size, stride in packed[0:1]]
    outputs, terms = (math.prod([size for size, _ in each]) for each in (kept, summed))
    across = _along(summed[0][0], terms, outputs) if rows else _across(outputs, terms)
    lanes, tile = (across, THREADS // across) if rows else (THREADS // across, across)
    tiles = -(-outputs // tile)
    deep = 8 if width < MOST else 4  # packs that a thread has on their way at a time
    parts = max(1, min(BLOCKS // tiles, terms // (lanes * deep)))
    summed = summed or [(1, 0)]
    macros = (f"WIDTH={width}", f"DEEP={deep}", f"SUMMED={len(summed)}", *["ROWS"][:rows])
    index = f"INDEX=u{64 if max(outputs * width, terms) >= LARGE else 32}"
    left = [i for i in order if i not in axes]
    stored = tuple([shape[i] for i in left])
    back = tuple([left.index(i) for i in sorted(left)])
    return Plan(
        (tiles, parts),
        (outputs, terms, across, len(kept), *_layout(kept, summed, lanes)),
        (*macros, index),
        math.prod(stored),
        stored,
        None if _in_order(back, stored) else back,
        tuple([1 if i in axes else n for i, n in enumerate(shape) if keepdims or i not in axes]),
    )


def _joined(axes: Joined) -> Joined:
    """Axes, from the outermost on, with those joined that one stride counts through."""
    found: Joined = []
    for size, stride in axes:
        if size == 1:
            continue
        if found and found[-1][1] == size * stride:
            found[-1] = (found[-1][0] * size, stride)
        else:
            found.append((size, stride))
    return found[::-1]


def _least(axes: Joined) -> float:
    return min([abs(stride) for _, stride in axes if stride], default=math.inf)


def _width(packed: Joined, others: Joined, itemsize: int, alignment: int) -> int:
    """Elements of a pack, of which every one lies at a multiple of its size."""
    if not packed or packed[0][1] != 1:
        return 1
    steps = [packed[0][0], *[stride for _, stride in packed[1:] + others]]
    for size in WIDEST:
        width = min(size // itemsize, MOST)
        if width > 1 and alignment % (width * itemsize) == 0 and not any(n % width for n in steps):
            return width
    return 1


def _across(outputs: int, terms: int) -> int:
    """Threads side by side along the outputs of a block, which leave few idle."""
    across = 1 << (outputs - 1).bit_length()
    if outputs > 8:
        across = min((32, 16, 8), key=lambda n: (-(-outputs // n) * n, -n))
    while across < THREADS and THREADS // across > max(1, terms // FEW):
        across *= 2
    return across


def _along(run: int, terms: int, outputs: int) -> int:
    """Threads for an output; beyond those of a run of neighbours only where others are idle."""
    lanes, all_threads = 1, BLOCKS * THREADS
    while lanes < min(WARP, terms // FEW) and (lanes < run or outputs * lanes < all_threads):
        lanes *= 2
    idle = outputs * WARP < all_threads
    return THREADS if lanes == WARP and idle and terms >= THREADS * FEW else lanes


def _layout(kept: Joined, summed: Joined, lanes: int) -> tuple[int, ...]:
    """jump and the lists of a Layout, where a thread's terms are that many apart."""
    digits, rest = [], lanes
    for size, _ in summed[:-1]:
        digits.append(rest % size)
        rest //= size
    digits.append(rest)
    jump = sum(digit * stride for digit, (_, stride) in zip(digits, summed, strict=True))
    carry = [b[1] - a[0] * a[1] for a, b in itertools.pairwise(summed)]
    columns = [[axis[i] for axis in axes] for axes in (kept, summed) for i in (0, 1)]
    lists = [each + [0] * (AXES - len(each)) for each in (*columns, digits, carry)]
    return (jump, *itertools.chain(*lists))


def _in_order(order: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether an array of this shape, so transposed, is in C order as it is."""
    moved = [i for i in order if shape[i] != 1]
    return moved == sorted(moved)

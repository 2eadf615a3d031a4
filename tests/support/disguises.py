"""The same values behind other strides, whichever NumPy and CuPy allow.

Axes lie in any order in memory, forwards or backwards, with gaps between their elements; an axis of
one element has any stride at all, and so have all axes of an array without elements; floats lie
beside multiples of their size (on the CPU: CuPy has no such arrays). In gaps is NaN, or a number
that is nowhere else, and behind the last element there is nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cupy.backend import array_module

POISON = 77
JUNK = (0, 1, 3, -5, 8, 1 << 20, -(1 << 40))  # strides that nothing may be derived from


def disguised(array: Any, rng: np.random.Generator) -> Any:
    """``array`` in memory of its own, behind random strides."""
    xp, n = array_module(array), array.ndim
    order = rng.permutation(n)
    steps = rng.choice([1, 1, 1, 2, 3, -1, -2], n)
    sides = [1 + max(m - 1, 0) * abs(step) for m, step in zip(array.shape, steps, strict=True)]
    base = _memory(xp, [sides[axis] for axis in order], array.dtype, rng)
    spread = base.transpose(np.argsort(order).tolist())
    view = spread[(*(slice(None, None, int(step)) for step in steps), ...)]
    view = view[(*(slice(0, size) for size in array.shape), ...)]
    view[...] = array
    return _with_junk(view, rng)


def stretched(array: Any, axis: int) -> Any:
    """The first element along an axis, seen as many times as there are elements: stride 0."""
    first = array[(*[slice(None)] * axis, slice(0, 1))]
    return array_module(array).broadcast_to(first, array.shape)


def _memory(xp: Any, shape: list[int], dtype: Any, rng: np.random.Generator) -> Any:
    poison = np.nan if dtype.kind not in "biu" else POISON % 2 if dtype.kind == "b" else POISON
    if xp is not np or rng.random() < 0.8:
        return xp.full(shape, poison, dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    base = np.empty(size + 1, np.uint8)[1:].view(dtype).reshape(shape)
    base[...] = poison
    return base


def _with_junk(view: Any, rng: np.random.Generator) -> Any:
    xp = array_module(view)
    item = 1 if xp is np else view.dtype.itemsize  # CuPy counts in elements
    strides = [
        int(rng.choice(JUNK)) * item if size == 1 or not view.size else stride
        for size, stride in zip(view.shape, view.strides, strict=True)
    ]
    if xp is not np:
        return xp.lib.stride_tricks.as_strided(view, view.shape, strides)
    return np.lib.stride_tricks.as_strided(view, view.shape, strides, subok=False)


def junk_behind_one_element(x: np.ndarray) -> np.ndarray:
    """x, with a stride that means nothing where an axis has one element."""
    strides = [4 << 40 if n == 1 else s for n, s in zip(x.shape, x.strides, strict=True)]
    return np.lib.stride_tricks.as_strided(x, x.shape, strides)

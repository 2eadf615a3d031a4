"""Transforms by cuFFT, whose plans are kept.

CuPy looks a plan up by what an array and a call are like, which takes longer than a launch. Here it
is asked once for each kind of array, by each thread, for a plan has memory that it works in: a
thread's transforms on several streams at a time have to wait for one another.
"""

from __future__ import annotations

import importlib
import threading
from typing import Any

import numpy as np

from .arrays import Array, import_cupy
from .capture import active, keep

PLANS = 64  # of a thread, at most: then the oldest is dropped
ALIGNED = 16  # bytes, what cuFFT's kernels load at once
FORWARD, INVERSE = -1, 1


class _Plans(threading.local):
    def __init__(self) -> None:
        self.kept: dict[Any, Any] = {}


_own = _Plans()


def transform(
    kind: str, x: Array, axes: tuple[int, ...], size: int, direction: int
) -> Array | None:
    """A transform of x, in C order, over its last axes ("C2C", "R2C" or "C2R"); unscaled.

    ``size`` is what a real side has along the last axis. "C2R" may write into x. None for what
    cuFFT has no plan for.
    """
    key = kind, x.dtype.char, x.shape, axes, size, x.data.device_id
    plans = _own.kept
    found = plans.get(key)
    if found is None:
        # Not while a graph is captured, which does not allow memory of cuFFT's to be freed.
        if len(plans) >= PLANS and active.run is None:
            del plans[next(iter(plans))]
        found = plans[key] = _planned(kind, x, axes, size)
    plan, shape, dtype = found
    if plan is None:
        return None
    if x.data.ptr % ALIGNED:
        x = x.copy()
    if active.run is not None:
        keep(plan)
    y = import_cupy().empty(shape, dtype)
    plan.fft(x, y, direction)
    return y


def _planned(kind: str, x: Array, axes: tuple[int, ...], size: int) -> tuple[Any, Any, Any]:
    """The plan, and of what shape and dtype its result is."""
    ndim, count = x.ndim, len(axes)
    if not x.size or count > 3 or axes != tuple(range(ndim - count, ndim)):
        return None, None, None
    if count > 1 and kind != "C2C" and x.flags.f_contiguous:  # as well: axes have one element
        return None, None, None
    plans = importlib.import_module("cupyx.scipy.fftpack")
    sizes = [x.shape[i] for i in axes]
    shape, dtype = list(x.shape), x.dtype
    if kind == "R2C":
        shape[-1], dtype = size // 2 + 1, np.dtype(x.dtype.char.upper())
    elif kind == "C2R":
        sizes[-1] = shape[-1] = size
        dtype = np.dtype(x.dtype.char.lower())
    plan = plans.get_fft_plan(x, tuple(sizes), axes, kind)
    return plan, tuple(shape), dtype

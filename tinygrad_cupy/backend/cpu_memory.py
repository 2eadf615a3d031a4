"""Memory on a CPU: where arrays begin, and what is kept that a program has freed.

A vector of 64 bytes that lies across two lines of the cache is read as slowly as two, and written
more slowly still; NumPy's arrays begin anywhere. So large ones that C writes begin with a line, see
`aligned_empty`: a product of matrices then takes six tenths of the time.

A train step frees hundreds of megabytes and the next one takes them again. By itself glibc's
`malloc` hands what lies at the end of its memory back to the system, which then gives it out anew,
page by page and cleared: a tenth to a quarter of a step.
"""

from __future__ import annotations

import ctypes
import functools
import math
import os
from typing import Any

import numpy as np

from .arrays import LINE, memory_size

# Of <malloc.h>.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
KEPT = (1 << 31) - 1  # bytes, the most that `mallopt` takes
SHARE = 16  # of the machine's memory, a sixteenth at most
SMALL = 1 << 12  # bytes of an array; below this, to align one takes longer than it saves
LARGEST = 32 << 20  # bytes of a block that is kept, the most as well


def aligned_empty(shape: Any, dtype: Any = np.float64) -> np.ndarray:
    """As `numpy.empty`, of numbers, a large array beginning with a line of the cache."""
    dtype = np.dtype(dtype)
    size = dtype.itemsize * (math.prod(shape) if isinstance(shape, tuple | list) else shape)
    if size < SMALL:
        return np.empty(shape, dtype)
    memory: Any = np.empty(size + LINE, np.uint8)
    begin = -ctypes.addressof(ctypes.c_char.from_buffer(memory)) % LINE
    return np.ndarray(shape, dtype, memory, begin)


@functools.cache
def keep_freed() -> bool:
    """Have this process keep what it has freed; whether it does.

    It keeps a sixteenth of the machine's memory, or of its container's, at most, and 2 GB.

    Nothing is changed on systems without glibc, and where the environment says how its `malloc`
    shall do: ``MALLOC_TRIM_THRESHOLD_``, ``MALLOC_MMAP_THRESHOLD_``, ``GLIBC_TUNABLES``.
    """
    said = {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"} & os.environ.keys()
    if said or "malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    if not _has_glibc():
        return False
    kept = min(KEPT, memory_size() // SHARE)
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(MMAP_THRESHOLD, LARGEST) and mallopt(TRIM_THRESHOLD, kept))


def _has_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError):  # of other systems
        return False

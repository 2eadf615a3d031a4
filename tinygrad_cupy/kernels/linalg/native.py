"""Stacks of matrices on the CPU by LAPACK through ``lapack.c``, where there is a C compiler.

NumPy and SciPy give no factors of a stack, and copy each matrix to turn it round. The routines are
those of SciPy's own BLAS and LAPACK, which it hands out for Cython. For float32 and float64.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import math
from typing import Any

import numpy as np

from ...backend import Array
from ...backend.c_source import CSource, address_of, plain
from ...backend.cpu_threads import is_working, parallel_map, parts_of, thread_count

FEW = 64  # rows of a matrix for which waking threads does not pay
LARGE = 256  # and of one that BLAS's own threads work on together
LEAST = 1 << 19  # multiplications for a thread: below this, handing work over costs more

_files = {
    np.dtype(dtype): CSource(__file__, "lapack.c", defines=(f"TYPE={name}", f"FEW={FEW}"))
    for dtype, name in ((np.float32, "float"), (np.float64, "double"))
}


class _Stack(ctypes.Structure):
    """As ``Stack`` in lapack.c."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("rows", "columns", "right", "step")),
        *((name, ctypes.c_int64) for name in ("lower", "transposed", "unit")),
        *((name, ctypes.c_void_p) for name in ("first", "second")),
    ]


@functools.cache
def _routine(name: str) -> int | None:
    """The address of a routine of LAPACK or BLAS; None where SciPy's counts in 64 bits."""
    where = "cython_blas" if name.endswith("trsm") else "cython_lapack"
    capsule = importlib.import_module(f"scipy.linalg.{where}").__pyx_capi__[name]
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = (
        ctypes.c_char_p,
        [ctypes.py_object],
    )
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    signature = api.PyCapsule_GetName(capsule)
    if b"int *" not in signature:
        return None
    return int(api.PyCapsule_GetPointer(capsule, signature))


def suits(x: Array) -> bool:
    """Whether matrices of this dtype are dealt with here."""
    source = _files.get(x.dtype)
    return source is not None and source.library is not None and _of(x, "getrf") is not None


def _of(x: Array, name: str) -> int | None:
    return _routine(("s" if x.dtype == np.float32 else "d") + name)


def _run(name: str, sizes: _Stack, count: int, work: int, *arrays: Array) -> None:
    """``name`` for ``count`` matrices, side by side where many small ones make it worth it."""
    function = getattr(_files[arrays[0].dtype].library, name)
    passed = [ctypes.c_void_p(address_of(x)) for x in arrays]

    def task(part: slice) -> None:
        function(
            ctypes.byref(sizes), ctypes.c_int64(part.start), ctypes.c_int64(part.stop), *passed
        )

    _deal(task, count, work, sizes.rows)


def _deal(task: Any, count: int, work: int, rows: int) -> None:
    """``task`` for ``count`` matrices, which cost ``work`` multiplications each.

    Several are dealt out to the threads, BLAS taking one each. BLAS's own threads work on one that
    is large; on small ones they would wait for each other longer than they work.
    """
    if is_working() or (rows > LARGE and count < thread_count()) or (rows <= FEW and count == 1):
        task(slice(0, count))
    else:
        parallel_map(task, parts_of(count, max(1, LEAST // max(work, 1))))


def lu_factor(x: Array) -> Array:
    """x (…, M, N), transposed, as factors and pivots: (…, M · N + min(M, N)); see `cpu`."""
    *lead, rows, columns = x.shape
    count, least = math.prod(lead), min(rows, columns)
    packed = np.empty((*lead, rows * columns + least), x.dtype)
    packed[..., : rows * columns].reshape(x.shape)[...] = x
    pivots = np.empty((count, least), np.int32)
    info = np.empty(count, np.int32)
    if packed.size:
        sizes = _Stack(columns, rows, 0, packed.shape[-1], first=_of(x, "getrf"))
        _run("lu_factor", sizes, count, rows * columns * least, packed, pivots, info)
    return packed


def lu_solve(packed: Array, x: Array, transposed: bool) -> None:
    """x (…, N, K), in C order, overwritten by the solution; ``packed`` is one or one for each."""
    n, right = x.shape[-2:]
    count = math.prod(x.shape[:-2])
    if not x.size:
        return
    packed = plain(packed)
    step = 0 if packed.ndim == 1 else packed.shape[-1]
    sizes = _Stack(n, n, right, step, 0, transposed, 0, _of(x, "getrs"), _of(x, "trsm"))
    _run("lu_solve", sizes, count, n * n * right, packed, x)


def solve_triangular(a: Array, x: Array, lower: bool, transposed: bool, unit: bool) -> None:
    """x (…, N, K), in C order, overwritten by the solution; a is one matrix or one for each."""
    n, right = x.shape[-2:]
    count = math.prod(x.shape[:-2])
    if not x.size:
        return
    a = plain(a)
    step = 0 if a.ndim == 2 else n * n
    sizes = _Stack(n, n, right, step, lower, transposed, unit, _of(x, "trsm"))
    _run("solve_triangular", sizes, count, n * n * right, a, x)


def cholesky(x: Array) -> Array:
    """x (…, N, N), in C order, overwritten by its lower factor; where it failed (…), else 0."""
    info = np.zeros(x.shape[:-2], np.int32)
    if x.size:
        n = x.shape[-1]
        sizes = _Stack(n, n, first=_of(x, "potrf"))
        _run("cholesky", sizes, info.size, n**3 // 3, x, info)
    return info


def eigh(x: Array, lower: bool) -> tuple[Array, Array]:
    """Eigenvectors of x (…, N, N) as rows, then eigenvalues, (…, N · N + N); what failed (…)."""
    n = x.shape[-1]
    packed = np.empty((*x.shape[:-2], n * n + n), x.dtype)
    packed[..., : n * n].reshape(x.shape)[...] = x
    info = np.zeros(x.shape[:-2], np.int32)
    if not packed.size:
        return packed, info
    library: Any = _files[x.dtype].library
    sizes = _Stack(n, n, 0, packed.shape[-1], lower, first=_of(x, "syevd"))
    # What syevd says it needs at least, and room for blocks of 64 rows.
    size, count = max(1 + 6 * n + 2 * n * n, (64 + 2) * n), 3 + 5 * n
    given = [ctypes.c_void_p(address_of(each)) for each in (packed, info)]

    def task(part: slice) -> None:
        work, numbers = np.empty(size, x.dtype), np.empty(count, np.int32)
        library.eigh(
            ctypes.byref(sizes),
            *(ctypes.c_int64(part.start), ctypes.c_int64(part.stop), given[0]),
            *(ctypes.c_void_p(work.ctypes.data), ctypes.c_int(size)),
            *(ctypes.c_void_p(numbers.ctypes.data), ctypes.c_int(count), given[1]),
        )

    _deal(task, info.size, 8 * n**3, n)
    return packed, info

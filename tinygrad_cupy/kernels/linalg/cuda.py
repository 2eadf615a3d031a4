"""Factors of matrices on a GPU: cuBLAS and cuSOLVER through CuPy.

Nothing here waits for the GPU, but for `expm`, which must know how often to square. What cuBLAS
takes many of at once goes there; else one matrix follows the other. A matrix that is singular shows
as inf and NaN.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np

from ...backend import Array, Elementwise, array_module

BATCHED = 256  # rows of the largest matrices that cuBLAS's batched routines are better for
JACOBI = 32  # and those for eigenvalues

_exchanges = Elementwise(
    "raw T pivots, int64 count, int64 steps",
    "raw int64 order",
    """
    long long *own = &order[i * count];
    for (long long k = 0; k < count; k++) own[k] = k;
    for (long long k = 0; k < steps; k++) {
        long long other = (long long)pivots[i * steps + k] - 1;
        long long kept = own[k];
        own[k] = own[other];
        own[other] = kept;
    }
    """,
    "linalg_permutation",
)


def _cublas() -> Any:
    return importlib.import_module("cupy.cuda").cublas


def _cusolver() -> Any:
    return importlib.import_module("cupy_backends.cuda.libs.cusolver")


def _handles() -> Any:
    return importlib.import_module("cupy.cuda").device


def _letter(x: Array) -> str:
    return {"f": "s", "d": "d", "F": "c", "D": "z"}[x.dtype.char]


def _addresses(x: Array, count: int, step: int) -> Array:
    """Of matrices that lie ``step`` elements apart; 0 for one for all."""
    xp = array_module(x)
    if not step:
        return xp.full(count, x.data.ptr, xp.uintp)
    step *= x.dtype.itemsize
    return xp.arange(x.data.ptr, x.data.ptr + step * count, step, dtype=xp.uintp)


# --- LU -----------------------------------------------------------------------------------------


def lu_factor(x: Array) -> Array:
    """Small square matrices by cuBLAS, all at once; others by cuSOLVER."""
    xp = array_module(x)
    *lead, rows, columns = x.shape
    count, least = math.prod(lead), min(rows, columns)
    size = rows * columns
    packed = xp.empty((*lead, size + least), x.dtype)
    if not packed.size:
        return packed
    flat = packed.reshape(count, -1)
    flat[:, :size] = x.reshape(count, size)
    pivots = xp.empty((count, least), np.int32)
    info = xp.empty(count, np.int32)
    letter = _letter(x)
    if rows == columns <= BATCHED and count > 1:
        getrf = getattr(_cublas(), letter + "getrfBatched")
        places = _addresses(flat, count, flat.shape[1])
        handle = _handles().get_cublas_handle()
        getrf(handle, rows, places.data.ptr, rows, pivots.data.ptr, info.data.ptr, count)
    else:
        solver, handle = _cusolver(), _handles().get_cusolver_handle()
        room = getattr(solver, letter + "getrf_bufferSize")
        getrf = getattr(solver, letter + "getrf")
        work = xp.empty(room(handle, columns, rows, flat.data.ptr, columns), x.dtype)
        for i in range(count):
            getrf(
                handle,
                *(columns, rows, flat[i].data.ptr, columns, work.data.ptr),
                *(pivots[i].data.ptr, info[i].data.ptr),
            )
    flat[:, size:] = pivots
    return packed


def lu_solve(packed: Array, b: Array, transposed: bool, name: str) -> Array:
    """Many small ones by cuBLAS, all at once; others by cuSOLVER."""
    xp = array_module(b)
    n, right = b.shape[-2:]
    lead = np.broadcast_shapes(packed.shape[:-1], b.shape[:-2])
    count = math.prod(lead)
    x = xp.empty((*lead, right, n), b.dtype)  # columns, as cuBLAS has them
    x[...] = b.swapaxes(-2, -1)
    if not x.size:
        return x.swapaxes(-2, -1)
    one = packed.size == packed.shape[-1]
    flat = packed.reshape(1, -1) if one else _spread(packed, lead).reshape(count, -1)
    flat = xp.ascontiguousarray(flat)
    pivots = flat[:, n * n :].real.astype(np.int32)
    letter, blas = _letter(b), _cublas()
    how = blas.CUBLAS_OP_N if transposed else blas.CUBLAS_OP_T
    if n <= BATCHED and count > 1 and not one:
        info = np.empty(1, np.int32)
        factors, rows = _addresses(flat, count, flat.shape[1]), _addresses(x, count, n * right)
        getrs = getattr(blas, letter + "getrsBatched")
        getrs(
            _handles().get_cublas_handle(),
            *(how, n, right, factors.data.ptr, n, pivots.data.ptr, rows.data.ptr, n),
            *(info.ctypes.data, count),
        )
        return x.swapaxes(-2, -1)
    handle, status = _handles().get_cusolver_handle(), xp.empty(1, np.int32)
    getrs = getattr(_cusolver(), letter + "getrs")
    columns = x.reshape(1, count * right, n) if one else x.reshape(count, right, n)
    for factors, order, own in zip(flat, pivots, columns, strict=True):
        getrs(
            handle,
            *(how, n, len(own), factors.data.ptr, n, order.data.ptr, own.data.ptr, n),
            status.data.ptr,
        )
    return x.swapaxes(-2, -1)


def _spread(x: Array, lead: tuple[int, ...], inner: int = 1) -> Array:
    return array_module(x).broadcast_to(x, (*lead, *x.shape[x.ndim - inner :]))


def permutation(pivots: Array, count: int) -> Array:
    """One thread for each matrix."""
    xp = array_module(pivots)
    order = xp.empty((*pivots.shape[:-1], count), np.int64)
    size = math.prod(pivots.shape[:-1])
    if order.size:
        numbers = xp.ascontiguousarray(pivots.real)
        _exchanges(numbers, count, pivots.shape[-1], order, size=size)
    return order


# --- triangles ----------------------------------------------------------------------------------


def solve_triangular(
    a: Array, b: Array, lower: bool, transposed: bool, unit: bool, name: str
) -> Array:
    """By trsm of cuBLAS, of many small ones all at once."""
    xp = array_module(b)
    n, right = b.shape[-2:]
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    count = math.prod(lead)
    x = xp.empty((*lead, n, right), b.dtype)
    x[...] = b
    if not x.size:
        return x
    one = math.prod(a.shape[:-2]) == 1
    flat = a.reshape(1, n, n) if one else _spread(a, lead, 2).reshape(count, n, n)
    flat = xp.ascontiguousarray(flat)
    blas, handle = _cublas(), _handles().get_cublas_handle()
    # In C order a is aᵀ and x is xᵀ to cuBLAS: xᵀ aᵀ = bᵀ.
    how = (
        blas.CUBLAS_SIDE_RIGHT,
        blas.CUBLAS_FILL_MODE_UPPER if lower else blas.CUBLAS_FILL_MODE_LOWER,
        blas.CUBLAS_OP_T if transposed else blas.CUBLAS_OP_N,
        blas.CUBLAS_DIAG_UNIT if unit else blas.CUBLAS_DIAG_NON_UNIT,
    )
    number = np.ones(1, b.dtype)
    letter = _letter(b)
    if n <= BATCHED and count > 1:
        trsm = getattr(blas, letter + "trsmBatched")
        matrices = _addresses(flat, count, 0 if one else n * n)
        rows = _addresses(x, count, n * right)
        trsm(
            handle,
            *(*how, right, n, number.ctypes.data, matrices.data.ptr, n, rows.data.ptr, right),
            count,
        )
        return x
    trsm = getattr(blas, letter + "trsm")
    own = x.reshape(count, n, right)
    for i in range(count):
        matrix = flat[0 if one else i]
        trsm(
            handle,
            *(*how, right, n, number.ctypes.data, matrix.data.ptr, n, own[i].data.ptr, right),
        )
    return x


def cholesky(x: Array) -> Array:
    """Small ones all at once; large ones of a stack one after the other."""
    xp = array_module(x)
    n, count = x.shape[-1], math.prod(x.shape[:-2])
    if x.ndim == 2 or n <= BATCHED or not x.size:
        return xp.linalg.cholesky(x)
    flat, y = x.reshape(count, n, n), xp.empty((count, n, n), x.dtype)
    for one, out in zip(flat, y, strict=True):
        out[...] = xp.linalg.cholesky(one)
    return y.reshape(x.shape)


def inv(x: Array, name: str) -> Array:
    """By CuPy."""
    xp = array_module(x)
    if x.ndim == 2 or x.shape[-1] <= BATCHED or not x.size:
        return xp.ascontiguousarray(xp.linalg.inv(x))
    n = x.shape[-1]
    y = xp.empty(x.shape, x.dtype)
    for one, out in zip(x.reshape(-1, n, n), y.reshape(-1, n, n), strict=True):
        out[...] = xp.linalg.inv(one)
    return y


# --- spectra ------------------------------------------------------------------------------------


def _packed(x: Array, *parts: Array) -> Array:
    """Arrays (…, ·, ·) and (…, ·) of a stack x side by side."""
    xp, lead = array_module(x), x.shape[:-2]
    return xp.concatenate(
        [part.reshape(*lead, math.prod(part.shape[len(lead) :])).astype(x.dtype) for part in parts],
        -1,
    )


def eigh(x: Array, lower: bool) -> Array:
    """Many small ones by Jacobi's method, all at once; others by syevd."""
    xp = array_module(x)
    side = "L" if lower else "U"
    n, lead = x.shape[-1], x.shape[:-2]
    if x.ndim == 2 or n <= JACOBI or not x.size:
        values, vectors = xp.linalg.eigh(x, side)
        return _packed(x, vectors.swapaxes(-2, -1), values)
    packed = xp.empty((math.prod(lead), n * n + n), x.dtype)
    for one, out in zip(x.reshape(-1, n, n), packed, strict=True):
        values, vectors = xp.linalg.eigh(one, side)
        out[: n * n], out[n * n :] = vectors.T.ravel(), values
    return packed.reshape(*lead, -1)


def eigvalsh(x: Array, lower: bool) -> Array:
    """As `eigh`."""
    xp = array_module(x)
    side, n = "L" if lower else "U", x.shape[-1]
    if x.ndim == 2 or n <= JACOBI or not x.size:
        return xp.linalg.eigvalsh(x, side)
    values = [xp.linalg.eigvalsh(one, side) for one in x.reshape(-1, n, n)]
    return xp.stack(values).reshape(x.shape[:-1])


def eig(x: Array) -> Array:
    """By CuPy, one matrix after the other."""
    values, vectors = array_module(x).linalg.eig(x)
    return _packed(vectors, vectors, values)


def svd(x: Array) -> Array:
    """By CuPy: many small ones by Jacobi's method."""
    u, s, vh = array_module(x).linalg.svd(x, full_matrices=False)
    return _packed(x, u, vh, s)


def svdvals(x: Array) -> Array:
    """By CuPy."""
    return array_module(x).linalg.svd(x, full_matrices=False, compute_uv=False)


def bases(x: Array) -> tuple[Array, Array]:
    """By CuPy."""
    u, _, vh = array_module(x).linalg.svd(x, full_matrices=True)
    return u, vh


def qr(x: Array) -> Array:
    """By CuPy."""
    return _packed(x, *array_module(x).linalg.qr(x))


def complete_qr(x: Array) -> tuple[Array, Array]:
    """By CuPy."""
    q, r = array_module(x).linalg.qr(x, "complete")
    return q, r


# Coefficients of the diagonal Padé approximant of order 13 (Higham 2005).
PADE = [
    math.factorial(26 - k) * math.factorial(13)
    / (math.factorial(26) * math.factorial(k) * math.factorial(13 - k))
    for k in range(14)
]  # fmt: skip
NORM = 5.37  # up to which it is exact in float64


def expm(x: Array) -> Array:
    """Scaling and squaring with a Padé approximant; the norms are waited for."""
    xp, n = array_module(x), x.shape[-1]
    if not x.size:
        return xp.empty(x.shape, x.dtype)
    largest = float(abs(x).sum(-2).max())
    finite = math.isfinite(largest) and largest > 0
    squarings = max(0, math.ceil(math.log2(largest / NORM))) if finite else 0
    x = x * x.dtype.type(0.5**squarings)
    one = xp.eye(n, dtype=x.dtype)
    p = [x.dtype.type(c) for c in PADE]
    x2 = x @ x
    x4, x6 = x2 @ x2, (x2 @ x2) @ x2
    odd = x6 @ (p[13] * x6 + p[11] * x4 + p[9] * x2) + p[7] * x6 + p[5] * x4 + p[3] * x2
    odd = x @ (odd + p[1] * one)
    even = x6 @ (p[12] * x6 + p[10] * x4 + p[8] * x2) + p[6] * x6 + p[4] * x4 + p[2] * x2
    even = even + p[0] * one
    y = lu_solve(lu_factor(even - odd), even + odd, False, "")
    for _ in range(squarings):
        y = y @ y
    return xp.ascontiguousarray(y)

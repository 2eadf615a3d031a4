"""Factors of matrices on a GPU, by cuBLAS and cuSOLVER; spectra by CuPy.

Nothing here waits for the GPU, but for `expm`, which must know how often to square. What cuBLAS
takes many of at once goes there; else one matrix follows the other. A matrix that is singular shows
as inf and NaN.
"""

from __future__ import annotations

import math

import numpy as np

from ...backend import Array, Elementwise, array_module
from ...backend.cuda_lapack import blas, letter_of, solver

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


# What cuBLAS and cuSOLVER call them.
AS_IT_IS, TRANSPOSED = 0, 1
LOWER, UPPER = 0, 1
RIGHT = 1


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
    letter = letter_of(x)
    if rows == columns <= BATCHED and count > 1:
        places = _addresses(flat, count, flat.shape[1])
        pointers = places.data.ptr, rows, pivots.data.ptr, info.data.ptr
        blas(letter + "getrf_batched", rows, *pointers, count)
    else:
        room = solver(letter + "getrf_buffer_size", columns, rows, flat.data.ptr, columns)
        work = xp.empty(room, x.dtype)
        for one, order, status in zip(flat, pivots, info, strict=True):
            pointers = one.data.ptr, columns, work.data.ptr, order.data.ptr
            solver(letter + "getrf", columns, rows, *pointers, status.data.ptr)
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
    letter, how = letter_of(b), AS_IT_IS if transposed else TRANSPOSED
    if n <= BATCHED and count > 1 and not one:
        info = np.empty(1, np.int32)
        factors, rows = _addresses(flat, count, flat.shape[1]), _addresses(x, count, n * right)
        pointers = factors.data.ptr, n, pivots.data.ptr, rows.data.ptr, n
        blas(letter + "getrs_batched", how, n, right, *pointers, info.ctypes.data, count)
        return x.swapaxes(-2, -1)
    status = xp.empty(1, np.int32)
    columns = x.reshape(1, count * right, n) if one else x.reshape(count, right, n)
    for factors, order, own in zip(flat, pivots, columns, strict=True):
        pointers = factors.data.ptr, n, order.data.ptr, own.data.ptr, n
        solver(letter + "getrs", how, n, len(own), *pointers, status.data.ptr)
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
    # In C order a is aᵀ and x is xᵀ to cuBLAS: xᵀ aᵀ = bᵀ.
    triangle, turned = UPPER if lower else LOWER, TRANSPOSED if transposed else AS_IT_IS
    number = np.ones(1, b.dtype)
    how = RIGHT, triangle, turned, int(unit), right, n, number.ctypes.data
    letter = letter_of(b)
    if n <= BATCHED and count > 1:
        matrices = _addresses(flat, count, 0 if one else n * n)
        rows = _addresses(x, count, n * right)
        blas(letter + "trsm_batched", *how, matrices.data.ptr, n, rows.data.ptr, right, count)
        return x
    own = x.reshape(count, n, right)
    for i in range(count):
        matrix = flat[0 if one else i]
        blas(letter + "trsm", *how, matrix.data.ptr, n, own[i].data.ptr, right)
    return x


def cholesky(x: Array) -> Array:
    """By potrf, of small ones all at once; NaN where x is not positive definite."""
    xp = array_module(x)
    n, count = x.shape[-1], math.prod(x.shape[:-2])
    y = xp.empty((count, n, n), x.dtype)
    if not y.size:
        return y.reshape(x.shape)
    y[...] = x.reshape(count, n, n)
    letter, info = letter_of(x), xp.empty(count, np.int32)
    if n <= BATCHED and count > 1:
        matrices = _addresses(y, count, n * n)
        pointers = matrices.data.ptr, n, info.data.ptr
        solver(letter + "potrf_batched", UPPER, n, *pointers, count)
    else:
        room = solver(letter + "potrf_buffer_size", UPPER, n, y.data.ptr, n)
        work = xp.empty(room, x.dtype)
        for one, status in zip(y, info, strict=True):
            pointers = one.data.ptr, n, work.data.ptr
            solver(letter + "potrf", UPPER, n, *pointers, room, status.data.ptr)
    y[...] = xp.where((info == 0).reshape(count, 1, 1), xp.tril(y), x.dtype.type(math.nan))
    return y.reshape(x.shape)


def inv(x: Array, name: str) -> Array:
    """The identity, solved for."""
    xp, n = array_module(x), x.shape[-1]
    one = xp.empty(x.shape, x.dtype)
    one[...] = xp.eye(n, dtype=x.dtype)
    return xp.ascontiguousarray(lu_solve(lu_factor(x), one, False, name))


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
    """By geqrf and orgqr, one matrix after the other."""
    return _packed(x, *_factors(x, False))


def complete_qr(x: Array) -> tuple[Array, Array]:
    """As `qr`."""
    return _factors(x, True)


def _factors(x: Array, complete: bool) -> tuple[Array, Array]:
    """Q (…, M, C) and R (…, C, N) of x (…, M, N); C is M where ``complete``, else min(M, N)."""
    xp = array_module(x)
    *lead, m, n = x.shape
    count, least = math.prod(lead), min(m, n)
    between = m if complete else least
    if not count * least:
        q, r = (xp.zeros((*lead, *sides), x.dtype) for sides in ((m, between), (between, n)))
        q[...] = xp.eye(m, between, dtype=x.dtype)
        return q, r
    # Column by column, as LAPACK has them: first x, which geqrf turns into R and reflections; from
    # these orgqr makes Q where they stand.
    wide = max(n, between)
    packed, tau = xp.zeros((count, wide, m), x.dtype), xp.empty((count, least), x.dtype)
    packed[:, :n] = x.reshape(count, m, n).swapaxes(-2, -1)
    info, letter = xp.empty(1, np.int32), letter_of(x)
    name = letter + ("ungqr" if x.dtype.kind == "c" else "orgqr")
    first = packed.data.ptr, m
    room = solver(letter + "geqrf_buffer_size", m, n, *first)
    more = solver(name + "_buffer_size", m, between, least, *first, tau.data.ptr)
    work = xp.empty(max(room, more), x.dtype)
    given = work.data.ptr, work.size, info.data.ptr
    for one, own in zip(packed, tau, strict=True):
        solver(letter + "geqrf", m, n, one.data.ptr, m, own.data.ptr, *given)
    r = xp.triu(packed[:, :n, :between].swapaxes(-2, -1))
    for one, own in zip(packed, tau, strict=True):
        solver(name, m, between, least, one.data.ptr, m, own.data.ptr, *given)
    q = packed[:, :between].swapaxes(-2, -1)
    return q.reshape(*lead, m, between), r.reshape(*lead, between, n)


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

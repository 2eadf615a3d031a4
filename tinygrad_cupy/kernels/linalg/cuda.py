"""Factors of matrices on a GPU: by `small`, or cuBLAS and cuSOLVER; spectra by CuPy.

Nothing here waits for the GPU, but for `expm`, which must know how often to square. What cuBLAS
takes many of at once goes there; else one matrix follows the other. A matrix that is singular shows
as inf and NaN.
"""

from __future__ import annotations

import math

import numpy as np

from ...backend import (
    Array,
    CudaSource,
    Elementwise,
    array_module,
    blas,
    float64s,
    int32s,
    int64s,
    strides_of,
)
from ...backend.arrays import one_stride
from ...backend.cuda_lapack import blas as cublas
from ...backend.cuda_lapack import letter_of, solver, spectra
from ...backend.cuda_source import dtype_macros
from . import reference, small

BATCHED = 256  # rows of the largest matrices that batched routines are better for
STACK = 8  # matrices: of more, batched routines are better up to
WIDEST = 1024  # rows
PIVOTED = 640  # rows, of an LU: beyond, a batched one takes twice the time on an H200
JACOBI = 32  # rows of the largest matrices whose spectra a batched routine has

TILE = 32  # rows and columns, as in matrices.cu

_kernels = CudaSource(__file__, "spread.cuh", "matrices.cu", defines=(f"TILE={TILE}",))


def _launch(name: str, x: Array, given: tuple[object, ...]) -> None:
    """A thread for each element of x."""
    _kernels.launch(name, _kernels.blocks(x.size), given, defines=dtype_macros(x.dtype))


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
LEFT, RIGHT = 0, 1
VECTORS = 1  # are wanted as well


def _addresses(x: Array, count: int, step: int) -> Array:
    """Of matrices that lie ``step`` elements apart; 0 for one for all."""
    xp = array_module(x)
    if not step:
        return xp.full(count, x.data.ptr, xp.uintp)
    step *= x.dtype.itemsize
    return xp.arange(x.data.ptr, x.data.ptr + step * count, step, dtype=xp.uintp)


def _together(n: int, count: int) -> bool:
    """Whether many matrices of n rows take less time in a batched routine than one by one."""
    return count > 1 and n <= (WIDEST if count > STACK else BATCHED)


# --- LU -----------------------------------------------------------------------------------------


def lu_factor(x: Array) -> Array:
    """By `small`, or of middling size by cuBLAS, all at once; others by cuSOLVER."""
    xp = array_module(x)
    *lead, rows, columns = x.shape
    count, least = math.prod(lead), min(rows, columns)
    size = rows * columns
    packed = xp.empty((*lead, size + least), x.dtype)
    if not packed.size:
        return packed
    flat = packed.reshape(count, -1)
    if rows == columns and small.suits(x, rows):
        small.lu_factor(xp.ascontiguousarray(x), flat)
        return packed
    flat[:, :size] = x.reshape(count, size)
    pivots = xp.empty((count, least), np.int32)
    info = xp.empty(count, np.int32)
    letter = letter_of(x)
    if rows == columns and rows <= PIVOTED and _together(rows, count):
        places = _addresses(flat, count, flat.shape[1])
        pointers = places.data.ptr, rows, pivots.data.ptr, info.data.ptr
        cublas(letter + "getrf_batched", rows, *pointers, count)
    else:
        room = solver(letter + "getrf_buffer_size", columns, rows, flat.data.ptr, columns)
        work = xp.empty(room, x.dtype)
        for one, order, status in zip(flat, pivots, info, strict=True):
            pointers = one.data.ptr, columns, work.data.ptr, order.data.ptr
            solver(letter + "getrf", columns, rows, *pointers, status.data.ptr)
    flat[:, size:] = pivots
    return packed


def lu_solve(packed: Array, b: Array, transposed: bool, name: str) -> Array:
    """As the factors were made."""
    xp = array_module(b)
    n, right = b.shape[-2:]
    lead = np.broadcast_shapes(packed.shape[:-1], b.shape[:-2])
    count = math.prod(lead)
    if 0 in (*lead, n, right):
        return xp.empty((*lead, n, right), b.dtype)
    one = packed.size == packed.shape[-1]
    flat = xp.ascontiguousarray(packed) if one else _spread(packed, lead)
    flat = flat.reshape(-1, packed.shape[-1])
    if right <= n and small.suits(b, n, 1, right):
        y = xp.empty((*lead, n, right), b.dtype)
        small.lu_solve(flat, _spread(b, lead, 2), y.reshape(count, n, right), transposed)
        return y
    x = xp.empty((*lead, right, n), b.dtype)  # columns, as cuBLAS has them
    x[...] = b.swapaxes(-2, -1)
    pivots = flat[:, n * n :].real.astype(np.int32)
    letter, how = letter_of(b), AS_IT_IS if transposed else TRANSPOSED
    if not one and _together(n, count):
        info = np.empty(1, np.int32)
        factors, rows = _addresses(flat, count, flat.shape[1]), _addresses(x, count, n * right)
        pointers = factors.data.ptr, n, pivots.data.ptr, rows.data.ptr, n
        cublas(letter + "getrs_batched", how, n, right, *pointers, info.ctypes.data, count)
        return x.swapaxes(-2, -1)
    status = xp.empty(1, np.int32)
    columns = x.reshape(1, count * right, n) if one else x.reshape(count, right, n)
    for factors, order, own in zip(flat, pivots, columns, strict=True):
        pointers = factors.data.ptr, n, order.data.ptr, own.data.ptr, n
        solver(letter + "getrs", how, n, len(own), *pointers, status.data.ptr)
    return x.swapaxes(-2, -1)


def solve_backward(
    packed: Array, grad: Array, y: Array | None, transposed: bool, by_a: bool, name: str
) -> tuple[Array | None, Array]:
    """Of small matrices by one kernel; else an equation and a product.

    y is None where it is not ``by_a``.
    """
    n, right = grad.shape[-2:]
    own = packed.shape[:-1] == grad.shape[:-2]
    if own and right <= n and small.suits(grad, n, 1, right):
        return small.solve_backward(packed, grad, y if by_a else None, transposed)
    of_b = lu_solve(packed, grad, not transposed, name)
    if not by_a or y is None:
        return None, of_b
    left, other = (y, of_b) if transposed else (of_b, y)
    return -blas.matmul(left, other.swapaxes(-2, -1)), of_b


def _spread(x: Array, lead: tuple[int, ...], inner: int = 1) -> Array:
    """x (…, the ``inner`` axes) for all of ``lead``, in C order."""
    xp, shape = array_module(x), (*lead, *x.shape[x.ndim - inner :])
    return xp.ascontiguousarray(x if x.shape == shape else xp.broadcast_to(x, shape))


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
    flat = (xp.ascontiguousarray(a) if one else _spread(a, lead, 2)).reshape(-1, n, n)
    # In C order a is aᵀ and x is xᵀ to cuBLAS: xᵀ aᵀ = bᵀ.
    triangle, turned = UPPER if lower else LOWER, TRANSPOSED if transposed else AS_IT_IS
    own = x.reshape(count, n, right)
    _trsm(RIGHT, triangle, turned, int(unit), right, n, flat, own)
    return x


def _trsm(
    side: int, triangle: int, turned: int, unit: int, rows: int, columns: int, a: Array, x: Array
) -> None:
    """The triangular equations of x (count, columns, rows), as cuBLAS sees it, in place.

    By a (1 or count, N, N), in C order as x is.
    """
    count, n, letter = len(x), a.shape[-1], letter_of(x)
    number = np.ones(1, x.dtype)
    how = side, triangle, turned, unit, rows, columns, number.ctypes.data
    if _together(n, count):
        matrices = _addresses(a, count, n * n if len(a) > 1 else 0)
        places = _addresses(x, count, rows * columns)
        cublas(letter + "trsm_batched", *how, matrices.data.ptr, n, places.data.ptr, rows, count)
        return
    size = x.dtype.itemsize
    step, first = (n * n * size if len(a) > 1 else 0), a.data.ptr
    for i in range(count):
        place = x.data.ptr + i * rows * columns * size
        cublas(letter + "trsm", *how, first + i * step, n, place, rows)


def cholesky(x: Array) -> Array:
    """By `small`, or potrf, of middling ones all at once; NaN where x is not positive definite.

    Column by column: cuSOLVER is slower at the upper triangle, which rows would be. What is given
    back is a view of that.
    """
    xp = array_module(x)
    n, count = x.shape[-1], math.prod(x.shape[:-2])
    if small.suits(x, n):
        return small.cholesky(x)
    y = xp.empty((count, n, n), x.dtype)
    if not y.size:
        return y.reshape(x.shape)
    y.reshape(x.shape)[...] = x.swapaxes(-2, -1)
    letter, info = letter_of(x), xp.empty(count, np.int32)
    if _together(n, count):
        matrices = _addresses(y, count, n * n)
        pointers = matrices.data.ptr, n, info.data.ptr
        solver(letter + "potrf_batched", LOWER, n, *pointers, count)
    else:
        room = solver(letter + "potrf_buffer_size", LOWER, n, y.data.ptr, n)
        work = xp.empty(room, x.dtype)
        for one, status in zip(y, info, strict=True):
            pointers = one.data.ptr, n, work.data.ptr
            solver(letter + "potrf", LOWER, n, *pointers, room, status.data.ptr)
    if x.dtype.kind == "c":
        good = (info == 0).reshape(count, 1, 1)
        y[...] = xp.where(good, xp.triu(y), x.dtype.type(math.nan))
    else:
        given = y, info, *int32s(n), *int64s(y.size)
        _launch("linalg_cholesky_finish", y, given)
    return y.reshape(x.shape).swapaxes(-2, -1)


def cholesky_backward(grad: Array, y: Array) -> Array:
    """A product, and two triangular equations: S = L⁻ᵀ P L⁻¹, of Sᵀ in the order cuBLAS has."""
    xp, n = array_module(y), y.shape[-1]
    if y.dtype.kind == "c" or not y.size:
        return reference.cholesky_backward(grad, y, _solve_transposed)
    if small.suits(y, n, 3):
        return small.cholesky_backward(grad, y)
    count = math.prod(y.shape[:-2])
    turned = y.swapaxes(-2, -1)
    inner = xp.ascontiguousarray(blas.matmul(turned, grad))
    _launch("linalg_lower_half", inner, (inner, *int32s(n), *int64s(inner.size)))
    by_columns = turned.flags.c_contiguous
    factor = turned if by_columns else xp.ascontiguousarray(y)
    triangle, first, second = (
        (LOWER, TRANSPOSED, AS_IT_IS) if by_columns else (UPPER, AS_IT_IS, TRANSPOSED)
    )
    flat, own = factor.reshape(count, n, n), inner.reshape(count, n, n)
    _trsm(LEFT, triangle, first, 0, n, n, flat, own)
    _trsm(RIGHT, triangle, second, 0, n, n, flat, own)
    tiles = -(-n // TILE)
    _kernels.launch(
        *("linalg_symmetrize", tiles * tiles * count, (own, *int32s(n, tiles))),
        defines=dtype_macros(y.dtype),
    )
    return inner


def _solve_transposed(a: Array, b: Array) -> Array:
    return solve_triangular(a, b, True, True, False, "")


def inv(x: Array, name: str) -> Array:
    """The identity, solved for."""
    xp, n = array_module(x), x.shape[-1]
    if small.suits(x, n, 1, n):
        count, y = math.prod(x.shape[:-2]), xp.empty(x.shape, x.dtype)
        packed = lu_factor(x).reshape(count, -1)
        small.lu_solve(packed, None, y.reshape(count, n, n), False)
        return y
    one = xp.empty(x.shape, x.dtype)
    one[...] = xp.eye(n, dtype=x.dtype)
    return xp.ascontiguousarray(lu_solve(lu_factor(x), one, False, name))


# --- spectra ------------------------------------------------------------------------------------


def _packed(x: Array, *parts: Array) -> Array:
    """Arrays (…, ·, ·) and (…, ·) of a stack x side by side."""
    xp, lead = array_module(x), x.shape[:-2]
    return xp.concatenate(
        [
            part.reshape(*lead, math.prod(part.shape[len(lead) :])).astype(x.dtype, copy=False)
            for part in parts
        ],
        -1,
    )


def eigh(x: Array, lower: bool) -> Array:
    """Many small ones by Jacobi's method, all at once; others by syevd, where they are stored."""
    xp = array_module(x)
    n, lead = x.shape[-1], x.shape[:-2]
    count = math.prod(lead)
    if not x.size or (count > 1 and n <= JACOBI):
        values, vectors = xp.linalg.eigh(x, "L" if lower else "U")
        return _packed(x, vectors.swapaxes(-2, -1), values)
    packed = xp.empty((*lead, n * n + n), x.dtype)
    flat = packed.reshape(count, -1)
    # Column by column, as LAPACK stores them: the eigenvectors come as rows.
    flat[:, : n * n].reshape(count, n, n)[...] = x.reshape(count, n, n).swapaxes(1, 2)
    real = x.dtype.kind == "f"
    values = flat[:, n * n :] if real else xp.empty((count, n), x.real.dtype)
    how = VECTORS, LOWER if lower else UPPER, n
    name, info = letter_of(x) + ("syevd" if real else "heevd"), xp.empty(count, np.int32)
    first = flat.data.ptr, n, values.data.ptr
    room = spectra(name + "_buffer_size", *how, *first)
    work = xp.empty(room, x.dtype)
    for one, own, status in zip(flat, values, info, strict=True):
        pointers = one.data.ptr, n, own.data.ptr, work.data.ptr
        spectra(name, *how, *pointers, room, status.data.ptr)
    if not real:
        flat[:, n * n :] = values
    xp.copyto(flat, x.dtype.type(math.nan), where=(info != 0)[:, None])  # it did not converge
    return packed


def eigh_backward(
    grad: Array, y: Array, distinct: bool, alone: bool, turns: str, equal: str
) -> Array:
    """By `small`, or three products and a kernel, both of which leave NaN for what is unknown."""
    n = reference.side_of(y)
    if not small.suits(y, n, 3):
        return reference.eigh_backward(grad, y, distinct, alone, turns, equal, spread)
    closeness, eps = reference.closeness(y.dtype), float(np.finfo(y.dtype).eps)
    return small.eigh_backward(grad, y, closeness, reference.NOISE * eps, alone)


def spread(
    turned: Array, by_values: Array, values: Array, distinct: bool, alone: bool
) -> tuple[Array, Array | None]:
    """One kernel, which leaves NaN where there is no gradient."""
    n, lead = turned.shape[-1], turned.shape[:-2]
    if turned.dtype.kind == "c" or not turned.size:
        return reference.spread(turned, by_values, values, distinct, alone)
    xp, count = array_module(turned), math.prod(lead)
    turned, out = xp.ascontiguousarray(turned), xp.empty(turned.shape, turned.dtype)
    (values, step), (by_values, by_step) = _steps(values), _steps(by_values)
    eps = reference.NOISE * float(np.finfo(turned.dtype).eps)
    given = (
        *(turned, values, *int64s(step), by_values, *int64s(by_step), out, *int32s(n)),
        *(*float64s(reference.closeness(turned.dtype), eps), *int32s(alone)),
    )
    each = _kernels.blocks(n * n)
    given = *given, *int32s(each)
    _kernels.launch("linalg_spread", each * count, given, defines=dtype_macros(turned.dtype))
    return out, None


def _steps(x: Array) -> tuple[Array, int]:
    """x (…, N), of which each row is whole, and how many elements lie from row to row."""
    *lead, n = x.shape
    size = x.dtype.itemsize
    step = one_stride(tuple(lead), strides_of(x)[:-1])
    if step is None or step % size or (n > 1 and strides_of(x)[-1] != size):
        return array_module(x).ascontiguousarray(x), n
    return x, step // size


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

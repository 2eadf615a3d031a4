"""Factors of matrices on the CPU: LAPACK through C, NumPy or SciPy.

Without a C compiler, and for what is no float32 or float64, SciPy takes one matrix of a stack after
the other.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...backend import Array, blas
from . import native, reference


def _scipy() -> Any:
    return importlib.import_module("scipy.linalg")


def _lapack(name: str, x: Array) -> Any:
    return importlib.import_module("scipy.linalg.lapack").get_lapack_funcs((name,), (x,))[0]


def _copy(x: Array) -> Array:
    """x in C order, in memory of its own."""
    return np.array(x, order="C")


def _expect_none(name: str, what: str, wrong: Array) -> None:
    """Raise ``LinAlgError`` that names the first matrix of a stack of which ``wrong`` is true."""
    if not wrong.any():
        return
    place = tuple(int(i) for i in np.argwhere(wrong)[0])
    which = f"matrix {place[0] if len(place) == 1 else place}" if place else "the matrix"
    raise np.linalg.LinAlgError(f"[{name}] {which} is {what}")


# --- LU -----------------------------------------------------------------------------------------


def lu_factor(x: Array) -> Array:
    """In C, or by getrf of SciPy."""
    return native.lu_factor(x) if native.suits(x) else _lu_one_by_one(x)


def _lu_one_by_one(x: Array) -> Array:
    *lead, rows, columns = x.shape
    least = min(rows, columns)
    packed = np.empty((*lead, rows * columns + least), x.dtype)
    if packed.size:
        getrf = _lapack("getrf", x)
        for place in np.ndindex(*lead):
            factors, pivots, _ = getrf(x[place].T)
            packed[place][:-least] = factors.T.ravel()
            packed[place][-least:] = pivots + 1
    return packed


def lu_solve(packed: Array, b: Array, transposed: bool, name: str) -> Array:
    """In C, or by getrs of SciPy."""
    n = b.shape[-2]
    if name:
        _expect_none(name, "singular", (packed[..., : n * n : n + 1] == 0).any(-1))
    lead = np.broadcast_shapes(packed.shape[:-1], b.shape[:-2])
    x = _copy(np.broadcast_to(b, (*lead, *b.shape[-2:])))
    if packed.ndim > 1 and packed.size == packed.shape[-1]:
        packed = packed.reshape(-1)
    if packed.ndim > 1:
        packed = np.broadcast_to(packed, (*lead, packed.shape[-1]))
    if native.suits(x):
        native.lu_solve(packed, x, transposed)
    elif x.size:
        getrs = _lapack("getrs", x)
        for place in np.ndindex(*lead):
            own = packed[place] if packed.ndim > 1 else packed
            factors, pivots = own[: n * n].reshape(n, n).T, own[n * n :].real.astype(np.int32) - 1
            x[place] = getrs(factors, pivots, x[place], trans=0 if transposed else 1)[0]
    return x


def solve_backward(
    packed: Array, grad: Array, y: Array | None, transposed: bool, by_a: bool, name: str
) -> tuple[Array | None, Array]:
    """An equation, and a product."""
    of_b = lu_solve(packed, grad, not transposed, name)
    if not by_a or y is None:
        return None, of_b
    left, right = (y, of_b) if transposed else (of_b, y)
    return -blas.matmul(left, right.swapaxes(-2, -1)), of_b


def permutation(pivots: Array, count: int) -> Array:
    """Exchange after exchange, for all matrices at once."""
    order = np.broadcast_to(np.arange(count), (*pivots.shape[:-1], count)).copy()
    size = math.prod(pivots.shape[:-1])
    rows = order.reshape(size, count)
    others = pivots.real.astype(int).reshape(size, pivots.shape[-1])
    every = np.arange(size)
    for k in range(others.shape[1]):
        other = others[:, k] - 1
        rows[every, other], rows[:, k] = rows[:, k].copy(), rows[every, other].copy()
    return order


# --- triangles ----------------------------------------------------------------------------------


def solve_triangular(
    a: Array, b: Array, lower: bool, transposed: bool, unit: bool, name: str
) -> Array:
    """In C, or by SciPy."""
    if name and not unit:
        _expect_none(name, "singular", (np.diagonal(a, 0, -2, -1) == 0).any(-1))
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    x = _copy(np.broadcast_to(b, (*lead, *b.shape[-2:])))
    if a.ndim > 2 and math.prod(a.shape[:-2]) == 1:
        a = a.reshape(a.shape[-2:])
    if a.ndim > 2:
        a = np.broadcast_to(a, (*lead, *a.shape[-2:]))
    if native.suits(x):
        native.solve_triangular(a, x, lower, transposed, unit)
    elif x.size:
        trtrs = _lapack("trtrs", x)
        for place in np.ndindex(*lead):
            own = a[place] if a.ndim > 2 else a
            x[place] = trtrs(own, x[place], lower, transposed, unit)[0]
    return x


def cholesky(x: Array) -> Array:
    """In C, or by NumPy."""
    if native.suits(x):
        x = _copy(x)
        _expect_none("cholesky", "not positive definite", native.cholesky(x) != 0)
        return x
    return _raising("cholesky", "not positive definite", np.linalg.cholesky, x)


def cholesky_backward(grad: Array, y: Array) -> Array:
    """A product, and two triangular equations."""
    return reference.cholesky_backward(grad, y, _solve_transposed)


def _solve_transposed(a: Array, b: Array) -> Array:
    return solve_triangular(a, b, True, True, False, "")


def _raising(name: str, what: str, function: Callable[..., Any], *given: Any) -> Any:
    """``function(*given)`` of NumPy's, whose error then begins with the name."""
    try:
        return function(*given)
    except np.linalg.LinAlgError as error:
        which = "the matrix" if given[0].ndim == 2 else "one of the matrices"
        raise np.linalg.LinAlgError(f"[{name}] {which} is {what}") from error


def inv(x: Array, name: str) -> Array:
    """By NumPy."""
    found: Array = _raising(name, "singular", np.linalg.inv, x)
    return found


# --- spectra ------------------------------------------------------------------------------------

FAILED = "one whose iteration does not converge; it may hold inf or NaN"


def _packed(x: Array, *parts: Array) -> Array:
    """Arrays (…, ·, ·) and (…, ·) of a stack x side by side."""
    lead = x.shape[:-2]
    sizes = [math.prod(part.shape[len(lead) :]) for part in parts]
    packed = np.empty((*lead, sum(sizes)), x.dtype)
    start = 0
    for part, size in zip(parts, sizes, strict=True):
        packed[..., start : start + size] = part.reshape(*lead, size)
        start += size
    return packed


def eigh(x: Array, lower: bool) -> Array:
    """In C, or by NumPy."""
    if native.suits(x):
        packed, info = native.eigh(x, lower)
        _expect_none("eigh", FAILED, info != 0)
        return packed
    values, vectors = _raising("eigh", FAILED, np.linalg.eigh, x, "L" if lower else "U")
    return _packed(x, vectors.swapaxes(-2, -1), values)


def eigh_backward(
    grad: Array, y: Array, distinct: bool, alone: bool, turns: str, equal: str
) -> Array:
    """Three products."""
    return reference.eigh_backward(grad, y, distinct, alone, turns, equal, reference.spread)


def eigvalsh(x: Array, lower: bool) -> Array:
    """By NumPy."""
    found: Array = _raising("eigvalsh", FAILED, np.linalg.eigvalsh, x, "L" if lower else "U")
    return found


def eig(x: Array) -> Array:
    """By NumPy."""
    values, vectors = _raising("eig", FAILED, np.linalg.eig, x)
    return _packed(x.astype(_complex(x)), vectors, values)


def _complex(x: Array) -> Any:
    return np.result_type(x.dtype, np.complex64)


def svd(x: Array) -> Array:
    """By NumPy."""
    u, s, vh = _raising("svd", FAILED, np.linalg.svd, x, False)
    return _packed(x, u, vh, s)


def svdvals(x: Array) -> Array:
    """By NumPy."""
    found: Array = _raising("svdvals", FAILED, np.linalg.svd, x, False, False)
    return found


def bases(x: Array) -> tuple[Array, Array]:
    """By NumPy."""
    u, _, vh = _raising("svd", FAILED, np.linalg.svd, x, True)
    return u, vh


def qr(x: Array) -> Array:
    """By NumPy."""
    q, r = np.linalg.qr(x)
    return _packed(x, q, r)


def complete_qr(x: Array) -> tuple[Array, Array]:
    """By NumPy."""
    q, r = np.linalg.qr(x, "complete")
    return q, r


def expm(x: Array) -> Array:
    """By SciPy."""
    if not x.size:
        return np.empty(x.shape, x.dtype)
    return np.asarray(_scipy().expm(x)).astype(x.dtype, copy=False)

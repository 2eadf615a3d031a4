"""What is read off factors, on either kind of array."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...backend import Array, array_module, blas

# In units of eps beside the largest value: by how much equal ones may differ that were computed.
# Up to 9 were found, of 4 to 600 rows alike: LAPACK's error hardly grows with them.
CLOSE = 32
NOISE = 1 << 14  # in units of eps: what counts as 0 beside the largest element of a gradient
ROUNDING = 64  # in the same units: beyond, values are distinct for sure


def side_of(packed: Array) -> int:
    """N of square matrices whose N · N + N elements are packed."""
    return int((packed.shape[-1] + 0.25) ** 0.5)


def pivots_of(packed: Array) -> tuple[Array, Array]:
    """The diagonal of U, and which rows were exchanged, from 1."""
    n = side_of(packed)
    return packed[..., : n * n : n + 1], packed[..., n * n :].real


def parity(exchanges: Array, dtype: Any) -> Array:
    """1 or -1, for an even or odd number of exchanges."""
    xp = array_module(exchanges)
    places = xp.arange(1, exchanges.shape[-1] + 1, dtype=exchanges.dtype)
    odd = (exchanges != places).sum(-1) % 2
    return (1 - 2 * odd).astype(dtype)


def det(packed: Array) -> Array:
    """The product of the pivots."""
    diagonal, exchanges = pivots_of(packed)
    return diagonal.prod(-1) * parity(exchanges, packed.dtype)


def sign_of_det(packed: Array) -> Array:
    """The product of the pivots' signs."""
    diagonal, exchanges = pivots_of(packed)
    xp = array_module(packed)
    return xp.sign(diagonal).prod(-1) * parity(exchanges, packed.dtype)


def log_abs_det(packed: Array) -> Array:
    """The sum of the pivots' logarithms."""
    xp = array_module(packed)
    with np.errstate(divide="ignore"):
        return xp.log(abs(pivots_of(packed)[0])).sum(-1)


def is_regular(packed: Array) -> bool:
    """Whether no matrix of a stack is near to a singular one. (To be asked on the CPU.)"""
    sizes = abs(pivots_of(packed)[0])
    if not sizes.size:
        return True
    limit = np.sqrt(np.finfo(sizes.dtype).eps)
    return bool((sizes.min(-1) > limit * sizes.max(-1)).all())


def are_distinct(values: Array, positive: bool = False) -> bool:
    """Whether in no (…, N) of ordered values two are alike, or 0 if ``positive``. (On the CPU.)"""
    if not values.size:
        return True
    limit = abs(values).max(-1) * (ROUNDING * np.finfo(values.dtype).eps)
    apart = (abs(np.diff(values, axis=-1)) > limit[..., None]).all()
    return bool(apart and (not positive or (values[..., -1] > limit).all()))


def cholesky_backward(grad: Array, y: Array, solve: Any) -> Array:
    """The gradient by a Hermitian matrix, given that by its factor y (…, N, N)."""
    xp = array_module(y)
    inner = xp.tril(blas.matmul(y.swapaxes(-2, -1), grad).conj())
    n = y.shape[-1]
    inner.reshape(*inner.shape[:-2], n * n)[..., :: n + 1] *= y.dtype.type(0.5)
    lower = y.conj()
    half = solve(lower, inner).swapaxes(-2, -1).conj()
    found = solve(lower, half)
    return (found.conj() + found.swapaxes(-2, -1)) * y.dtype.type(0.5)


def spread(
    turned: Array, by_values: Array, values: Array, distinct: bool, alone: bool
) -> tuple[Array, Array | None]:
    """As declared; the formulas are those of `ops.spectrum.spread`, where they are told."""
    xp, n = array_module(turned), turned.shape[-1]
    row, column = values[..., None, :], values[..., :, None]
    gaps = xp.ascontiguousarray(row - column)
    back = turned.swapaxes(-2, -1).conj()
    found = xp.ascontiguousarray(turned - back)  # in C order: see `diagonals`
    found *= found.real.dtype.type(0.5)
    if distinct:
        diagonals(gaps)[...] = 1
        found /= gaps
        diagonals(found)[...] = by_values
        return found, None
    eps = float(np.finfo(values.dtype).eps)
    one = xp.eye(n, dtype=bool)
    largest = _largest(values, -1)[..., None, None]
    equal = abs(gaps) <= largest * closeness(values.dtype)
    found /= xp.where(equal, gaps.dtype.type(1), gaps)
    kept = diagonals(turned).real
    rows, columns = kept[..., :, None], kept[..., None, :]
    by_row, by_column = by_values[..., :, None], by_values[..., None, :]
    size = rows * rows + columns * columns
    there = size > 0
    ratio = (by_row * rows + by_column * columns) / xp.where(there, size, size.dtype.type(1))
    within = xp.where(there, ratio, ratio.dtype.type(0)) * (turned + back) * ratio.dtype.type(0.5)
    noise = _largest(turned, (-2, -1))[..., None, None] * (NOISE * eps)
    steep = _largest(by_values, -1)[..., None, None]
    level = steep * (NOISE * eps)
    flat = (abs(by_row) <= level) & (abs(by_column) <= level)
    some = (abs(rows) > noise) | (abs(columns) > noise)
    alike = some & (abs(by_row * columns - by_column * rows) <= noise * steep)
    symmetric = abs(turned) <= noise
    if not alone:
        symmetric &= abs(by_row - by_column) <= level
    wrong = ((abs(turned - back) > noise) | ~(flat | alike | symmetric)) & equal & ~one
    found = xp.where(equal, within, found)
    diagonals(found)[...] = by_values
    return found, wrong


def eigh_backward(
    grad: Array, y: Array, distinct: bool, alone: bool, turns: str, equal: str, spread: Any
) -> Array:
    """As declared, with the device's ``spread``."""
    n, lead = side_of(y), y.shape[:-1]
    rows, values = y[..., : n * n].reshape(*lead, n, n), y[..., n * n :].real
    grad = grad.conj() if grad.dtype.kind == "c" else grad  # the steepest ascent
    by_rows, by_values = grad[..., : n * n].reshape(*lead, n, n), grad[..., n * n :].real
    columns, adjoint = rows.swapaxes(-2, -1), rows.conj() if y.dtype.kind == "c" else rows
    if type(y) is np.ndarray and (alone or distinct) and not by_rows.any():
        found = blas.matmul(columns * by_values[..., None, :], adjoint)
    else:
        turned = blas.matmul(adjoint, by_rows.swapaxes(-2, -1))
        if y.dtype.kind == "c":
            turned = _stated(turned, _phases(turned), turns)
        inner, wrong = spread(turned, by_values, values, distinct, alone)
        inner = _stated(inner, wrong, equal)
        found = blas.matmul(columns, blas.matmul(inner, adjoint))
    return found.conj() if y.dtype.kind == "c" else found


def _stated(found: Array, wrong: Array | None, text: str) -> Array:
    """``found``; where ``wrong`` says that nothing is known, an error on the CPU, else NaN."""
    if wrong is None:
        return found
    if type(found) is np.ndarray:
        if wrong.any():
            raise np.linalg.LinAlgError(text)
        return found
    return array_module(found).where(wrong, found.dtype.type(math.nan), found)


def _phases(turned: Array) -> Array:
    """Where of Vᴴ G of complex vectors a result changes with their phases, beyond rounding."""
    xp = array_module(turned)
    noise = float(np.finfo(turned.dtype).eps) ** 0.5
    if not turned.size:
        return xp.zeros((), bool)
    largest = abs(turned).max((-2, -1))[..., None, None]
    wrong = xp.eye(turned.shape[-1], dtype=bool) & (abs(turned.imag) > largest * noise)
    return wrong.any((-2, -1), keepdims=True)


def _largest(x: Array, axes: Any) -> Array:
    """The largest of sizes along axes, 0 of none. (CuPy's ``max`` takes no ``initial``.)"""
    sizes = abs(x)
    return sizes.max(axes) if x.size else sizes.sum(axes)


def diagonals(x: Array) -> Array:
    """The main diagonals of matrices (…, N, N) in C order, a view."""
    n = x.shape[-1]
    return x.reshape(*x.shape[:-2], n * n)[..., :: n + 1]


def closeness(dtype: Any) -> float:
    """By how much equal eigenvalues may differ that were computed, beside the largest."""
    return float(CLOSE * np.finfo(dtype).eps)


def pinv(packed: Array, rows: int, columns: int, cutoff: Any) -> Array:
    """The Moore-Penrose inverse by the packed singular values."""
    xp, lead, k = array_module(packed), packed.shape[:-1], min(rows, columns)
    u = packed[..., : rows * k].reshape(*lead, rows, k)
    vh = packed[..., rows * k : (rows + columns) * k].reshape(*lead, k, columns)
    s = packed[..., (rows + columns) * k :].real
    if not k:
        return xp.zeros((*lead, columns, rows), packed.dtype)
    there = s > xp.asarray(cutoff, s.dtype)[..., None] * s.max(-1, keepdims=True)
    inverse = xp.where(there, 1 / xp.where(there, s, s.dtype.type(1)), s.dtype.type(0))
    return (vh.swapaxes(-2, -1).conj() * inverse[..., None, :]) @ u.swapaxes(-2, -1).conj()

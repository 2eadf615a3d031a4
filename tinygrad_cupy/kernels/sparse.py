"""Products and equations of sparse matrices: SciPy's on the CPU, kernels of ours on a GPU.

Letters: a matrix (M, N) of J elements, and K vectors beside it.
"""

from __future__ import annotations

import functools
import importlib
import warnings
from typing import Any

import numpy as np

from ..backend import (
    Array,
    CudaSource,
    array_module,
    import_cupy,
    int64s,
    is_cuda,
    kernel,
    null,
    on_device_of,
)
from ..backend.capture import keep
from ..backend.cuda_source import number_macros
from ..backend.dtypes import through_single
from .common.layout import contiguous

CHUNK = 1 << 20  # numbers that a sampled product gathers at once
MOST_INT32 = 2**31 - 1

_kernels = CudaSource(__file__, "sparse.cu")


class Pattern:
    """Where the elements of a matrix stand: by rows, in each row from left to right, none twice.

    ``indptr`` (M + 1,) says where each row begins, ``indices`` (J,) are columns; both of one
    integer type. Nothing of it changes, so that what follows from it is computed once.
    """

    def __init__(self, indptr: Array, indices: Array, shape: tuple[int, int]) -> None:
        xp, self.shape = array_module(indptr), shape
        self.indptr, self.indices = map(xp.ascontiguousarray, (indptr, indices))
        self._repeated: dict[int, Pattern] = {}

    @property
    def count(self) -> int:
        """How many elements there are."""
        return int(self.indices.size)

    @functools.cached_property
    def rows(self) -> Array:
        """The row of each element (J,)."""
        xp = array_module(self.indptr)
        numbers = xp.arange(self.count, dtype=self.indptr.dtype)
        found: Array = xp.searchsorted(self.indptr, numbers, side="right") - 1
        return found.astype(self.indptr.dtype)

    @functools.cached_property
    def transposed(self) -> Pattern:
        """That of the transposed matrix, whose element j is number ``order[j]`` of this one."""
        xp = array_module(self.indptr)
        _, columns = self.shape
        ends = xp.searchsorted(self.indices[self.order], xp.arange(columns + 1), side="left")
        starts = ends.astype(self.indptr.dtype)
        return Pattern(starts, self.rows[self.order], (columns, self.shape[0]))

    @functools.cached_property
    def order(self) -> Array:
        """The numbers of the elements, from column to column."""
        xp = array_module(self.indices)
        found: Array = xp.argsort(self.indices, kind="stable").astype(self.indptr.dtype)
        return found

    def repeated(self, times: int) -> Pattern:
        """That of a matrix with this one ``times`` times along its diagonal."""
        found = self._repeated.get(times)
        if found is None:
            with on_device_of(self.indptr):
                found = self._repeated[times] = self._repeat(times)
        return found

    def _repeat(self, times: int) -> Pattern:
        xp, (rows, columns) = array_module(self.indptr), self.shape
        dtype = index_type(rows * times, columns * times, self.count * times)
        numbers = xp.arange(times, dtype=dtype)[:, None]
        starts = (self.indptr[:-1].astype(dtype) + numbers * self.count).reshape(-1)
        indptr = xp.concatenate([starts, xp.full(1, self.count * times, dtype)])
        indices = (self.indices.astype(dtype) + numbers * columns).reshape(-1)
        return Pattern(indptr, indices, (rows * times, columns * times))


def index_type(*sizes: int) -> Any:
    """The integer type that counts so far."""
    return np.int32 if max(sizes) <= MOST_INT32 else np.int64


# --- products -------------------------------------------------------------------------------------


def _scipy(values: Array, pattern: Pattern, transposed: bool) -> Any:
    """The matrix as SciPy's: the arrays of a matrix by rows are its transpose's by columns."""
    sparse, (rows, columns) = importlib.import_module("scipy.sparse"), pattern.shape
    arrays = (np.ascontiguousarray(values), pattern.indices, pattern.indptr)
    if transposed:
        return sparse.csc_array(arrays, shape=(columns, rows), copy=False)
    return sparse.csr_array(arrays, shape=(rows, columns), copy=False)


def _product_cpu(values: Array, x: Array, pattern: Pattern, transposed: bool) -> Array:
    found: Array = _scipy(values, pattern, transposed) @ x
    return found


def _lanes(length: float) -> int:
    """Threads that share a sum of about so many terms."""
    lanes = 1
    while lanes < 32 and 2 * lanes <= length:
        lanes *= 2
    return lanes


def _macros(values: Array, pattern: Pattern, lanes: int) -> tuple[str, ...]:
    index = "int" if pattern.indices.dtype.itemsize == 4 else "long long"
    return (*number_macros(values.dtype), f"INDEX={index}", f"LANES={lanes}")


def _by_parts(body: Any, a: Array, b: Array) -> Array:
    """What ``body``, linear in two complex arrays, gives of them, by its products of real ones."""
    parts = [(contiguous(z.real, 1), contiguous(z.imag, 1)) for z in (a, b)]
    (real, imag), (other_real, other_imag) = parts
    first = body(real, other_real)
    found: Array = import_cupy().empty(first.shape, a.dtype)
    found.real = first - body(imag, other_imag)
    found.imag = body(real, other_imag) + body(imag, other_real)
    return found


def _product_cuda(values: Array, x: Array, pattern: Pattern, transposed: bool) -> Array:
    if values.dtype.kind == "c":
        return _by_parts(lambda v, z: _product_cuda(v, z, pattern, transposed), values, x)
    order = pattern.order if transposed else None
    pattern = pattern.transposed if transposed else pattern
    rows, columns = pattern.shape[0], x.shape[1]
    y: Array = import_cupy().empty((rows, columns), x.dtype)
    if not y.size:
        return y
    # Neighbouring threads read neighbouring vectors, or else neighbouring elements.
    lanes = 1 if columns >= 8 else _lanes(pattern.count / rows)
    held = [a for a in (pattern.indptr, pattern.indices, order) if a is not None]
    keep(*held)
    values, x = contiguous(values, values.itemsize), contiguous(x, x.itemsize)
    given = (values, null() if order is None else order, pattern.indptr, pattern.indices, x, y)
    _kernels.launch(
        "sparse_product",
        _kernels.blocks(y.size * lanes),
        (*given, *int64s(rows, columns)),
        defines=_macros(values, pattern, lanes),
    )
    return y


@kernel(cpu=through_single(_product_cpu), cuda=_product_cuda)
def product(values: Array, x: Array, pattern: Pattern, transposed: bool) -> Array:
    """A x (M, K) of A's values (J,) and x (N, K); ``transposed``: Aᵀ x (N, K) of x (M, K)."""


def _sampled_cpu(u: Array, v: Array, pattern: Pattern) -> Array:
    rows, places, columns = pattern.rows, pattern.indices, u.shape[1]
    out = np.empty(pattern.count, u.dtype)
    step = max(1, CHUNK // max(1, columns))
    for begin in range(0, pattern.count, step):
        part = slice(begin, begin + step)
        out[part] = np.einsum("jk,jk->j", u[rows[part]], v[places[part]])
    return out


def _sampled_cuda(u: Array, v: Array, pattern: Pattern) -> Array:
    if u.dtype.kind == "c":
        return _by_parts(lambda a, b: _sampled_cuda(a, b, pattern), u, v)
    out: Array = import_cupy().empty(pattern.count, u.dtype)
    if not out.size:
        return out
    columns = u.shape[1]
    lanes = _lanes(columns)
    keep(pattern.rows, pattern.indices)
    u, v = contiguous(u, u.itemsize), contiguous(v, v.itemsize)
    _kernels.launch(
        "sparse_sampled",
        _kernels.blocks(out.size * lanes),
        (u, v, pattern.rows, pattern.indices, out, *int64s(out.size, columns)),
        defines=_macros(u, pattern, lanes),
    )
    return out


@kernel(cpu=through_single(_sampled_cpu), cuda=_sampled_cuda)
def sampled(u: Array, v: Array, pattern: Pattern) -> Array:
    """u vᵀ of u (M, K) and v (N, K), where the pattern has elements: (J,)."""


# --- equations ------------------------------------------------------------------------------------


class Factors:
    """L and U of a matrix on the CPU, kept once computed, for its equations and the transposed."""

    def __init__(self) -> None:
        self.found: Any = None

    def of(self, values: Array, pattern: Pattern) -> Any:
        """SuperLU's factors of the transposed matrix, which lies by columns."""
        if self.found is None:
            linalg = importlib.import_module("scipy.sparse.linalg")
            try:
                self.found = linalg.splu(_scipy(values, pattern, transposed=True))
            except RuntimeError:
                raise np.linalg.LinAlgError("[spsolve] the matrix is singular") from None
        return self.found


def solve(values: Array, b: Array, pattern: Pattern, transposed: bool, factors: Factors) -> Array:
    """x (N, K) with A x = b, or Aᵀ x = b, of square A: by SuperLU, or cuSOLVER's QR factors.

    A singular matrix is a ``LinAlgError``.
    """
    if is_cuda(values):
        return _solve_cuda(values, b, pattern, transposed)
    if not b.size:
        return b.copy()
    found: Array = factors.of(values, pattern).solve(b, "N" if transposed else "T")
    return found


def _solve_cuda(values: Array, b: Array, pattern: Pattern, transposed: bool) -> Array:
    if not b.size:
        return b.copy()
    if transposed:
        values, pattern = values[pattern.order], pattern.transposed
    sparse = importlib.import_module("cupyx.scipy.sparse")
    linalg = importlib.import_module("cupyx.scipy.sparse.linalg")
    # Copies, for CuPy may sort them in place; cuSOLVER takes integers of 32 bits alone.
    arrays = (values.copy(), *(a.astype(np.int32) for a in (pattern.indices, pattern.indptr)))
    matrix = sparse.csr_matrix(arrays, shape=pattern.shape)
    x: Array = import_cupy().empty(b.shape, b.dtype)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*near singular")
        try:
            for k in range(b.shape[1]):  # as CuPy does, which hands on columns with gaps
                x[:, k] = linalg.spsolve(matrix, b[:, k].copy())
        except UserWarning:
            raise np.linalg.LinAlgError("[spsolve] the matrix is singular") from None
    return x

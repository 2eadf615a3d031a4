"""Sparse matrices by rows, with gradients in their values: SciPy's names.

>>> import scipy.sparse
>>> import tinygrad_cupy as tg
>>> A = tg.sparse.csr_array(scipy.sparse.eye_array(3, format="csr"), requires_grad=True)
>>> x = tg.Tensor([1.0, 2.0, 3.0], dtype="float64")
>>> (A @ x).sum().backward()
>>> A.data.grad
Tensor([1., 2., 3.], dtype=float64)
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from .autograd import TensorBase
from .backend import Array, array_module, device_of, on_device_of, plain_array
from .backend.devices import to_device, to_device_of
from .kernels.sparse import Pattern, index_type
from .numpy.arrays import tensor
from .ops.promotion import as_float, in_one_dtype, is_sparse, single
from .ops.shape import concat
from .ops.sparse import SparseMatMul, SparseSolve
from .ops.take import PutAdded, Take
from .tensor import Tensor

__all__ = ["csr_array", "csr_matrix", "issparse", "spsolve"]


class csr_array:
    """A sparse matrix (M, N) by rows: its structure, and its values as a tensor.

    Parameters
    ----------
    arg:
        a sparse matrix of SciPy or of CuPy, in any format, or one of ours; or ``(data, indices,
        indptr)``, or ``(data, (row, column))``, with tensors or arrays as data.
    shape:
        (M, N), where arrays are given; else as large as the indices ask for.
    dtype, device, requires_grad:
        of the values, as `Tensor` takes them.

    ``data`` (J,), a tensor, holds the values row by row, each row from left to right; ``indices``
    and ``indptr`` are arrays beside it. Elements that are given twice are added up, with a gradient
    to each. The structure does not change and has no gradient: what is 0 and is not among the
    elements stays so. `with_data` puts other values there.

    ``A @ x``, ``x @ A``, ``A.T``, ``+`` and ``-`` of matrices, ``*`` and ``/`` by numbers and by
    tensors of one element, `multiply`, `diagonal`, `sum` and `toarray` are differentiable to any
    order, in forward mode and in `vmap`.
    """

    __array_ufunc__ = None  # NumPy's and CuPy's arrays leave their operators to this class
    __array_priority__ = 2000
    __slots__ = ("_pattern", "data")

    data: Any
    _pattern: Pattern
    ndim = 2
    format = "csr"

    def __init__(
        self,
        arg: Any,
        shape: tuple[int, int] | None = None,
        dtype: Any = None,
        device: str | None = None,
        requires_grad: bool = False,
    ) -> None:
        if isinstance(arg, csr_array):
            values, pattern = arg.data, arg._pattern
        elif is_sparse(arg):
            values, pattern = _of_others(arg)
        elif isinstance(arg, tuple) and len(arg) in (2, 3):
            values, pattern = _of_arrays(arg, shape)
        else:
            raise TypeError(
                "[csr_array] expected a sparse matrix of SciPy or CuPy, (data, indices, indptr) or "
                f"(data, (row, column)), got {type(arg).__name__}"
            )
        if shape is not None and tuple(shape) != pattern.shape:
            raise ValueError(f"[csr_array] expected shape {pattern.shape}, got {tuple(shape)}")
        if dtype is not None:
            values = values.astype(dtype)
        if device is not None and values.device != Tensor([], device=device).device:
            values = values.to(device)
            pattern = _moved(pattern, values.device)
        if requires_grad and not values.requires_grad:
            values = Tensor(values.detach().clone(), requires_grad=True)
        self.data, self._pattern = values, pattern

    @classmethod
    def _made(cls, data: Any, pattern: Pattern) -> Self:
        made = object.__new__(cls)
        made.data, made._pattern = data, pattern
        return made

    # --- what it is -----------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int]:
        """(M, N)."""
        return self._pattern.shape

    @property
    def nnz(self) -> int:
        """How many elements there are, J."""
        return self._pattern.count

    @property
    def dtype(self) -> Any:
        """Of the values."""
        return self.data.dtype

    @property
    def device(self) -> str:
        """Where values and structure are."""
        return self.data.device  # type: ignore[no-any-return]

    @property
    def indices(self) -> Array:
        """The column of each element, an array (J,). Not to be written."""
        return self._pattern.indices

    @property
    def indptr(self) -> Array:
        """Where in ``indices`` and ``data`` each row begins, and the last ends: (M + 1,)."""
        return self._pattern.indptr

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} of shape {self.shape}, {self.nnz} elements of dtype "
            f"{self.dtype} on {self.device}>"
        )

    def with_data(self, data: Any) -> Self:
        """The matrix of the same structure with other values (J,), a tensor or an array."""
        values = tensor(data, self.data)
        if values.shape != (self.nnz,):
            raise ValueError(
                f"[csr_array] expected {self.nnz} values, as there are elements, got shape "
                f"{values.shape}"
            )
        pattern = self._pattern
        if values.device != device_of(pattern.indptr):
            pattern = _moved(pattern, values.device)
        return self._made(values, pattern)

    def astype(self, dtype: Any) -> Self:
        """The values in another dtype."""
        return self._made(self.data.astype(dtype), self._pattern)

    def to(self, device: str) -> Self:
        """The matrix on another device."""
        return self.with_data(self.data.to(device))

    def detach(self) -> Self:
        """The same values outside of the graph."""
        return self._made(self.data.detach(), self._pattern)

    def conj(self) -> Self:
        """The complex conjugate."""
        return self._made(self.data.conj(), self._pattern)

    def tocsr(self) -> Self:
        """The matrix itself."""
        return self

    # --- parts ----------------------------------------------------------------------------------

    @property
    def T(self) -> Self:
        """The transposed matrix (N, M), by rows as well."""
        pattern = self._pattern
        with on_device_of(pattern.indptr):
            order = self.data._wrap(pattern.order)
            return self._made(Take(0)(self.data, order), pattern.transposed)

    def transpose(self) -> Self:
        """`T`."""
        return self.T

    def toarray(self) -> Any:
        """All of it, a tensor (M, N)."""
        rows, columns = self.shape
        places = self._places(lambda i, j: i * columns + j)
        found = PutAdded(0, rows * columns)(self.data, places)
        return found.reshape(rows, columns)

    def todense(self) -> Any:
        """`toarray`."""
        return self.toarray()

    def diagonal(self, k: int = 0) -> Any:
        """The elements in column ``row + k``, a vector, with 0 where there is none."""
        rows, columns = self.shape
        k = operator.index(k)
        length = max(0, min(rows + min(k, 0), columns - max(k, 0)))
        xp, above = array_module(self.indptr), min(k, 0)
        # What is not on the diagonal goes behind its end.
        places = self._places(lambda i, j: xp.where(j - i == k, i + above, length))
        return PutAdded(0, length + 1)(self.data, places)[:length]

    def sum(self, axis: int | None = None) -> Any:
        """The sum of all elements, or of each column (axis 0) or row (axis 1)."""
        if axis is None:
            return self.data.sum()
        if axis not in (-2, -1, 0, 1):
            raise ValueError(f"[csr_array.sum] expected axis 0, 1 or None, got {axis!r}")
        down = axis in (0, -2)
        places = self._places(lambda i, j: j if down else i)
        return PutAdded(0, self.shape[1 if down else 0])(self.data, places)

    def _places(self, compute: Callable[[Array, Array], Array]) -> Any:
        """An index for each element, of its row and its column in 64 bits."""
        pattern = self._pattern
        with on_device_of(pattern.indptr):
            rows, columns = pattern.rows.astype(np.int64), pattern.indices.astype(np.int64)
            return self.data._wrap(compute(rows, columns).astype(np.int64))

    # --- arithmetic -----------------------------------------------------------------------------

    def __matmul__(self, other: Any) -> Any:
        return product(self, other, left=False)

    def __rmatmul__(self, other: Any) -> Any:
        return product(self, other, left=True)

    def dot(self, other: Any) -> Any:
        """``A @ other``."""
        return self @ other

    def __neg__(self) -> Self:
        return self._made(-self.data, self._pattern)

    def __mul__(self, other: Any) -> Self:
        return self._made(self.data * self._factor(other, "*"), self._pattern)

    def __rmul__(self, other: Any) -> Self:
        return self.__mul__(other)

    def __truediv__(self, other: Any) -> Self:
        return self._made(self.data / self._factor(other, "/"), self._pattern)

    def _factor(self, other: Any, sign: str) -> Any:
        """A number; SciPy's matrices and arrays mean different things by ``*`` of others."""
        if isinstance(other, int | float | complex | np.generic):
            return other
        if isinstance(other, TensorBase) and not other.shape:
            return other
        raise TypeError(
            f"[csr_array] expected a number beside {sign}, got {type(other).__name__}: @ is the "
            "product of matrices, multiply that of elements"
        )

    def multiply(self, other: Any) -> Self:
        """Each element by that of ``other`` at its place: a tensor or an array that broadcasts."""
        factor = tensor(other, self.data)
        try:
            wide = factor.broadcast_to(*self.shape)
        except ValueError as error:
            raise ValueError(
                f"[csr_array.multiply] shape {factor.shape} does not broadcast to {self.shape}"
            ) from error
        rows, columns = self._places(lambda i, _: i), self._places(lambda _, j: j)
        return self._made(self.data * wide[rows, columns], self._pattern)

    def __add__(self, other: Any) -> Self:
        return self._sum(other, 1)

    def __radd__(self, other: Any) -> Self:
        return self._sum(other, 1)

    def __sub__(self, other: Any) -> Self:
        return self._sum(other, -1)

    def __rsub__(self, other: Any) -> Self:
        return (-self)._sum(other, 1)

    def _sum(self, other: Any, sign: int) -> Self:
        if not is_sparse(other):
            raise TypeError(
                f"[csr_array] expected a sparse matrix beside + and -, got {type(other).__name__}; "
                "toarray() makes a tensor of this one"
            )
        other = _beside(other, self.data)
        if other.shape != self.shape:
            raise ValueError(f"[csr_array] expected shape {self.shape}, got {other.shape}")
        mine, theirs = in_one_dtype(self.data, other.data)
        theirs = theirs if sign > 0 else -theirs
        if other._pattern is self._pattern:
            return self._made(mine + theirs, self._pattern)
        with on_device_of(self.indptr):
            xp, both = array_module(self.indptr), (self._pattern, other._pattern)
            rows = xp.concatenate([p.rows.astype(np.int64) for p in both])
            columns = xp.concatenate([p.indices.astype(np.int64) for p in both])
        return self._made(*_in_order(concat([mine, theirs]), rows, columns, self.shape))


class csr_matrix(csr_array):
    """`csr_array`, by the name of SciPy's older class; ``*`` takes numbers alone in both."""

    __slots__ = ()


# --- from others ----------------------------------------------------------------------------------


def issparse(x: Any) -> bool:
    """Whether x is a sparse matrix, of SciPy, of CuPy or of ours."""
    return is_sparse(x)


def _beside(matrix: Any, values: Any) -> csr_array:
    """A sparse matrix as one of ours, where a tensor is."""
    if isinstance(matrix, csr_array):
        return matrix
    made = csr_array(matrix)
    made.data = values._plain._wrap(made.data.data)  # of its class
    return made if made.device == values.device else made.to(values.device)


def _of_others(matrix: Any) -> tuple[Any, Pattern]:
    """The values and the structure of a matrix of SciPy's or CuPy's, which is left as it is."""
    if matrix.ndim != 2:
        raise ValueError(f"[csr_array] expected a matrix, got shape {matrix.shape}")
    by_rows: Any = matrix.tocsr()
    if not by_rows.has_canonical_format:
        by_rows = by_rows.copy() if by_rows is matrix else by_rows
        by_rows.sum_duplicates()
    rows, columns = map(int, by_rows.shape)
    dtype = index_type(rows, columns, int(by_rows.nnz))
    starts, places = (a.astype(dtype) for a in (by_rows.indptr, by_rows.indices))
    values: Any = by_rows.data
    same: bool = values is getattr(matrix, "data", None)
    if same:
        values = values.copy()
    return _numbers(Tensor(values)), Pattern(starts, places, (rows, columns))


def _numbers(values: Any) -> Any:
    """Booleans as integers, which are added up."""
    return values.astype(np.int64) if values.dtype.kind == "b" else values


def _of_arrays(arg: tuple[Any, ...], shape: tuple[int, int] | None) -> tuple[Any, Pattern]:
    values = arg[0] if isinstance(arg[0], TensorBase) else Tensor(arg[0])
    values = _numbers(values)
    by_rows = len(arg) == 3
    second, third = arg[1:] if by_rows else arg[1]
    indices, others = (_integers(a, values) for a in (second, third))
    if values.ndim != 1 or indices.ndim != 1 or others.ndim != 1:
        raise ValueError("[csr_array] expected data and indices of one axis each")
    count = values.shape[0]
    with on_device_of(values.data):
        xp = array_module(values.data)
        if not by_rows:
            rows, columns = indices, others
            if rows.size != count or columns.size != count:
                raise ValueError(
                    f"[csr_array] expected a row and a column for each of {count} values, got "
                    f"{rows.size} and {columns.size}"
                )
        else:
            columns, starts = indices, others
            wrong = columns.size != count or starts.size < 1
            wrong = wrong or int(starts[0]) != 0 or int(starts[-1]) != count
            if wrong or bool((starts[1:] < starts[:-1]).any()):
                raise ValueError(
                    f"[csr_array] expected a column for each of {count} values, and an indptr that "
                    f"rises from 0 to {count}"
                )
            rows = xp.searchsorted(starts, xp.arange(count), side="right") - 1
        if shape is None:
            height = len(others) - 1 if by_rows else int(rows.max()) + 1 if count else 0
            shape = height, int(columns.max()) + 1 if count else 0
        shape = operator.index(shape[0]), operator.index(shape[1])
        if by_rows and len(others) != shape[0] + 1:
            raise ValueError(
                f"[csr_array] expected an indptr of {shape[0] + 1} numbers for shape {shape}, got "
                f"{len(others)}"
            )
        for name, places, size in (("row", rows, shape[0]), ("column", columns, shape[1])):
            if count and not 0 <= int(places.min()) <= int(places.max()) < size:
                raise IndexError(f"[csr_array] a {name} is out of bounds for shape {shape}")
        return _in_order(values, rows, columns, shape)


def _integers(x: Any, values: Any) -> Array:
    """Indices as an array where the values are."""
    array = x.data if isinstance(x, TensorBase) else x
    array = plain_array(array if hasattr(array, "dtype") else np.asarray(array))
    if not array.size:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"[csr_array] expected integers as indices, got dtype {array.dtype}")
    found: Array = to_device_of(array, values.data).astype(np.int64)
    return found


def _in_order(
    values: Any, rows: Array, columns: Array, shape: tuple[int, int]
) -> tuple[Any, Pattern]:
    """Values sorted by their places, those of one place added up, and the pattern."""
    xp, count = array_module(rows), int(rows.size)
    keys = rows * shape[1] + columns
    if count and not bool((keys[1:] > keys[:-1]).all()):
        keys, number = xp.unique(keys, return_inverse=True)
        count = int(keys.size)
        values = PutAdded(0, count)(values, values._wrap(number.reshape(-1).astype(np.int64)))
        rows, columns = keys // shape[1], keys % shape[1]
    dtype = index_type(*shape, count)
    starts = xp.searchsorted(rows, xp.arange(shape[0] + 1), side="left")
    return values, Pattern(starts.astype(dtype), columns.astype(dtype), shape)


def _moved(pattern: Pattern, device: str) -> Pattern:
    starts, places = (to_device(a, device) for a in (pattern.indptr, pattern.indices))
    return Pattern(starts, places, pattern.shape)


# --- products and equations -----------------------------------------------------------------------


def product(matrix: Any, x: Any, left: bool) -> Any:
    """``matrix @ x``, or ``x @ matrix`` where x stands to its ``left``."""
    if is_sparse(x):
        raise TypeError(
            "[csr_array] expected a tensor or an array beside @, got another sparse matrix: "
            "A @ (B @ x) needs no product of the two, B.toarray() is a tensor"
        )
    like = x if isinstance(x, TensorBase) else matrix.data
    a = _beside(matrix, like if isinstance(like, TensorBase) else tensor(x))
    given = tensor(x, a.data)
    if not given.shape:
        raise ValueError("[csr_array] expected at least 1 axis beside @; * is for numbers")
    rows, columns = a.shape
    inner = rows if left else columns
    along = -1 if left or given.ndim == 1 else -2
    if given.shape[along] != inner:
        raise ValueError(
            f"[csr_array] expected axis {along} of {given.shape} to be of {inner} elements, for a "
            f"matrix of shape {a.shape}"
        )
    values, y = in_one_dtype(a.data, _numbers(given))
    op = SparseMatMul(a._pattern, left)
    if y.ndim == 1:
        return op(values, y.unsqueeze(1)).squeeze(1)
    if left:  # x A = (Aᵀ xᵀ)ᵀ
        lead = y.shape[:-1]
        return op(values, y.reshape(-1, inner).permute(1, 0)).permute(1, 0).reshape(*lead, columns)
    lead, last = y.shape[:-2], y.shape[-1]
    if not lead:
        return op(values, y)
    front = y.permute(y.ndim - 2, *range(y.ndim - 2), y.ndim - 1)
    found = op(values, front.reshape(inner, -1)).reshape(rows, *lead, last)
    return found.permute(*range(1, y.ndim - 1), 0, y.ndim - 1)


def spsolve(A: Any, b: Any) -> Any:
    """x with A x = b, of a sparse square A and a tensor b (N,) or (N, K); x is of b's shape.

    By SuperLU's factors on the CPU, which the backward uses again, and by QR factors of cuSOLVER's
    on a GPU, where each column is solved by itself. dx = A⁻¹ (db - dA x); the gradient by A is that
    by its elements alone. 16-bit floats are computed in float32.

    Raises ``numpy.linalg.LinAlgError`` for a singular matrix on the CPU (on a GPU CuPy warns), and
    ``ValueError`` where shapes do not fit. `tg.jit` does not capture it: pivots are looked for.
    """
    if not is_sparse(A):
        raise TypeError(f"[spsolve] expected a sparse matrix, got {type(A).__name__}")
    if is_sparse(b):
        raise TypeError("[spsolve] expected a tensor or an array as b, got a sparse matrix")
    a = _beside(A, b) if isinstance(b, TensorBase) else csr_array(A)
    given = tensor(b, a.data)
    size = a.shape[0]
    if a.shape[0] != a.shape[1]:
        raise ValueError(f"[spsolve] expected a square matrix, got shape {a.shape}")
    if given.ndim not in (1, 2) or given.shape[0] != size:
        raise ValueError(
            f"[spsolve] expected b of shape ({size},) or ({size}, K), got {given.shape}"
        )
    values, y = in_one_dtype(as_float(a.data), as_float(given))
    columns = y.unsqueeze(1) if y.ndim == 1 else y
    x = SparseSolve(a._pattern)(single(values), single(columns)).astype(values.dtype)
    return x.squeeze(1) if y.ndim == 1 else x

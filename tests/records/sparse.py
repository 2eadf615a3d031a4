"""Records of ops/sparse.py: `tg.sparse`. The structure is an option, the values are a tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_cupy as tg
from support.sampling import Case, Draw, Error, Sample, normal, uncaptured
from tinygrad_cupy import Tensor
from tinygrad_cupy.kernels.sparse import Pattern
from tinygrad_cupy.ops import sparse as ops
from tinygrad_cupy.ops.take import PutAdded, Take

SIDE = st.integers(1, 4)


def _structure(draw: Draw, rows: int, columns: int, full: bool = False) -> dict[str, np.ndarray]:
    """Places of elements; with ``full`` the diagonal is among them."""
    mask = np.array(draw(st.lists(st.booleans(), min_size=rows * columns, max_size=rows * columns)))
    mask = mask.reshape(rows, columns)
    if full:
        mask |= np.eye(rows, dtype=bool)
    at, places = np.nonzero(mask)
    indptr = np.searchsorted(at, np.arange(rows + 1))
    return {"indices": places.astype(np.int64), "indptr": indptr.astype(np.int64)}


_KEPT: dict[tuple[int, int, int], tuple[Pattern, Any]] = {}


def _pattern(indices: Any, indptr: Any, columns: int) -> Pattern:
    """One for all calls with the same arrays: what follows from it is computed in the first."""
    key = (id(indices), id(indptr), columns)
    if key not in _KEPT:
        if len(_KEPT) > 50:
            _KEPT.clear()
        _KEPT[key] = Pattern(indptr, indices, (len(indptr) - 1, columns)), (indices, indptr)
    return _KEPT[key][0]  # the arrays are kept, so that no others have their ids


def _matrix(values: Tensor, indices: Any, indptr: Any, columns: int) -> Any:
    pattern = _pattern(indices, indptr, columns)
    return tg.sparse.csr_array._made(values, pattern)  # which `tg.jit` captures


def _product(left: bool) -> Callable[..., Any]:
    def call(values: Tensor, x: Tensor, indices: Any, indptr: Any, columns: int) -> Any:
        a = _matrix(values, indices, indptr, columns)
        return x @ a if left else a @ x

    return call


def _dense(torch: Any, values: Any, indices: Any, indptr: Any, columns: int) -> Any:
    rows = len(indptr) - 1
    at = torch.repeat_interleave(torch.arange(rows), torch.diff(torch.as_tensor(indptr)))
    places = at * columns + torch.as_tensor(indices)
    whole = torch.zeros(rows * columns, dtype=values.dtype).index_add(0, places, values)
    return whole.reshape(rows, columns)


def _product_torch(left: bool) -> Callable[..., Any]:
    def call(torch: Any, values: Any, x: Any, **options: Any) -> Any:
        a = _dense(torch, values, **options)
        return x @ a if left else a @ x

    return call


def _product_case(left: bool) -> Callable[[Draw], Case]:
    def cases(draw: Draw) -> Case:
        rows, columns, many = draw(st.tuples(SIDE, SIDE, SIDE))
        found = _structure(draw, rows, columns)
        inner = rows if left else columns
        shapes = [(inner,), (many, inner) if left else (inner, many), (2, inner, inner)]
        x = normal(draw, draw(st.sampled_from(shapes)))
        values = normal(draw, found["indices"].shape)
        return Case((values, x), {**found, "columns": columns})

    return cases


def _sampled(u: Tensor, v: Tensor, indices: Any, indptr: Any) -> Tensor:
    pattern = _pattern(indices, indptr, v.shape[0])
    return ops.SparseSampled(pattern)(u, v)


def _sampled_torch(torch: Any, u: Any, v: Any, indices: Any, indptr: Any) -> Any:
    at = torch.repeat_interleave(torch.arange(len(u)), torch.diff(torch.as_tensor(indptr)))
    return (u[at] * v[torch.as_tensor(indices)]).sum(1)


def _sampled_case(draw: Draw) -> Case:
    rows, columns, many = draw(st.tuples(SIDE, SIDE, SIDE))
    return Case(
        (normal(draw, (rows, many)), normal(draw, (columns, many))), _structure(draw, rows, columns)
    )


def _solve_case(draw: Draw) -> Case:
    size, many = draw(st.tuples(SIDE, SIDE))
    found = _structure(draw, size, size, full=True)
    at = np.repeat(np.arange(size), np.diff(found["indptr"]))
    values = normal(draw, found["indices"].shape)
    b = normal(draw, draw(st.sampled_from([(size,), (size, many)])))
    large = 4.0 * (at == found["indices"])  # added to the diagonal
    return Case((values, b), {**found, "columns": size, "large": large})


def _solve(values: Tensor, b: Tensor, large: Any, **structure: Any) -> Any:
    values = values * 0.25 + Tensor(large).astype(values.dtype)
    return tg.sparse.spsolve(_matrix(values, **structure), b)


def _solve_torch(torch: Any, values: Any, b: Any, large: Any, **structure: Any) -> Any:
    values = values * 0.25 + torch.as_tensor(large).to(values.dtype)
    return torch.linalg.solve(_dense(torch, values, **structure), b)


def _parts_case(draw: Draw) -> Case:
    rows, columns = draw(st.tuples(SIDE, SIDE))
    found = _structure(draw, rows, columns)
    return Case((normal(draw, found["indices"].shape),), {**found, "columns": columns})


def _parts(values: Tensor, **structure: Any) -> Any:
    a = _matrix(values, **structure)
    return [a.toarray(), a.T.toarray(), a.diagonal(), a.diagonal(-1), a.sum(0), a.sum(1)]


def _parts_torch(torch: Any, values: Any, **structure: Any) -> Any:
    a = _dense(torch, values, **structure)
    below = a.diagonal(-1) if len(a) else a.new_zeros(0)
    return [a, a.T, a.diagonal(), below, a.sum(0), a.sum(1)]


def _square() -> Any:
    return tg.sparse.csr_array(([1.0, 2.0], [0, 1], [0, 1, 2]))


PIVOTS = "`spsolve` looks for pivots on the host"

SAMPLES = uncaptured(
    [
        Sample(
            "sparse @",
            _product(left=False),
            _product_case(left=False),
            _product_torch(left=False),
            (ops.SparseMatMul,),
            (),
            errors=(
                Error(
                    lambda: _square() @ Tensor.ones(3),
                    ValueError,
                    "[csr_array] expected axis -1 of (3,) to be of 2 elements, for a matrix of "
                    "shape (2, 2)",
                ),
                Error(
                    lambda: _square() * Tensor.ones(2),
                    TypeError,
                    "[csr_array] expected a number beside *, got Tensor: @ is the product of "
                    "matrices, multiply that of elements",
                ),
                Error(
                    lambda: tg.sparse.csr_array(Tensor.ones(2, 2)),
                    TypeError,
                    "[csr_array] expected a sparse matrix of SciPy or CuPy, (data, indices, "
                    "indptr) or (data, (row, column)), got Tensor",
                ),
            ),
        ),
        Sample(
            "@ sparse",
            _product(left=True),
            _product_case(left=True),
            _product_torch(left=True),
            (ops.SparseMatMul,),
            (),
        ),
        Sample(
            "sampled product",
            _sampled,
            _sampled_case,
            _sampled_torch,
            (ops.SparseSampled,),
            (),
        ),
        Sample(
            "spsolve",
            _solve,
            _solve_case,
            _solve_torch,
            (ops.SparseSolve,),
            (),
            errors=(
                Error(
                    lambda: tg.sparse.spsolve(_square(), Tensor.ones(3)),
                    ValueError,
                    "[spsolve] expected b of shape (2,) or (2, K), got (3,)",
                ),
                Error(
                    lambda: tg.sparse.spsolve(_square() * 0.0, Tensor.ones(2)),
                    np.linalg.LinAlgError,
                    "[spsolve] the matrix is singular",
                ),
            ),
        ),
        Sample(
            "parts of a sparse matrix",
            _parts,
            _parts_case,
            _parts_torch,
            (PutAdded, Take),
            (),
        ),
    ],
    PIVOTS,
    ops.SparseSolve,
)

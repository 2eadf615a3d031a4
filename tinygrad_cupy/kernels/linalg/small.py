"""Small matrices on a GPU, all at once: one block of a kernel of ours for each.

cuBLAS's and cuSOLVER's routines for many matrices are told where each lies, which takes kernels of
its own, as do the copies around them: on small ones that is most of the time. Of float32 and
float64.
"""

from __future__ import annotations

import math

from ...backend import Array, CudaSource, array_module, float64s, int32s, int64s, null
from ...backend.cuda_source import dtype_macros
from ...backend.gpu import properties_of
from .reference import side_of

LARGEST = 128  # rows: beyond, one block takes longer than the libraries do
MANY = 512  # matrices, of which each is then a warp's, where it is small

_kernels = CudaSource(__file__, "spread.cuh", "small.cu", threads=512)


def _shared(n: int, matrices: int, right: int, x: Array) -> int:
    """Bytes of memory for so many matrices (n, n), rows of which lie apart, and one (n, right)."""
    return int((matrices * n * (n | 1) + n * right) * x.dtype.itemsize)


def suits(x: Array, n: int, matrices: int = 1, right: int = 0) -> bool:
    """Whether a block has room for ``matrices`` (N, N) of the dtype of x, and one (N, right)."""
    if not n <= LARGEST or x.dtype.char not in "fd" or not x.size:
        return False
    return _shared(n, matrices, right, x) + 1024 <= properties_of(x).shared


def _launch(
    name: str, count: int, n: int, work: int, shared: int, x: Array, *given: object
) -> None:
    threads = 32 if count >= MANY and n <= 32 else min(512, max(32, -(-work // 128) * 32))
    _kernels.launch(name, count, given, threads, shared, dtype_macros(x.dtype))


def lu_factor(x: Array, packed: Array) -> None:
    """Into ``packed`` (count, N · N + N); x (count, N, N) in C order."""
    n = x.shape[-1]
    given = x, packed, *int32s(n)
    _launch("linalg_lu_factor", len(packed), n, n * n, _shared(n, 1, 0, x), x, *given)


def lu_solve(packed: Array, b: Array | None, x: Array, transposed: bool) -> None:
    """Into x (count, N, K), b too in C order, or None for the identity; packed (1 or count, ·)."""
    count, n, right = x.shape
    step = 0 if len(packed) == 1 else packed.shape[-1]
    given = packed, *int64s(step), null() if b is None else b, x, *int32s(n, right, transposed)
    _launch("linalg_lu_solve", count, n, n * right, _shared(n, 1, right, x), x, *given)


def solve_backward(
    packed: Array, grad: Array, y: Array | None, transposed: bool
) -> tuple[Array | None, Array]:
    """The gradients by b of y = a⁻¹ b, or (aᵀ)⁻¹ b, and by a where y is given.

    At most N right sides.
    """
    xp, (n, right) = array_module(grad), grad.shape[-2:]
    packed, grad = xp.ascontiguousarray(packed), xp.ascontiguousarray(grad)
    of_b, of_a, work = xp.empty(grad.shape, grad.dtype), None, n * right
    parts = null(), null()
    if y is not None:
        of_a, work = xp.empty((*grad.shape[:-1], n), grad.dtype), n * n
        parts = xp.ascontiguousarray(y), of_a
    given = packed, grad, *parts, of_b, *int32s(n, right, transposed)
    count, shared = grad.size // (n * right), _shared(n, 1, right, grad)
    _launch("linalg_solve_backward", count, n, work, shared, grad, *given)
    return of_a, of_b


def cholesky(x: Array) -> Array:
    """The lower factors; NaN where x is not positive definite."""
    xp, n = array_module(x), x.shape[-1]
    x = xp.ascontiguousarray(x)
    y = xp.empty(x.shape, x.dtype)
    count = math.prod(x.shape[:-2])
    _launch("linalg_cholesky", count, n, n * n, _shared(n, 1, 0, x), x, x, y, *int32s(n))
    return y


def cholesky_backward(grad: Array, y: Array) -> Array:
    """The gradient by x of that by its factor y."""
    xp, n = array_module(y), y.shape[-1]
    grad, y = xp.ascontiguousarray(grad), xp.ascontiguousarray(y)
    x = xp.empty(y.shape, y.dtype)
    count, shared = math.prod(y.shape[:-2]), _shared(n, 3, 0, y)
    _launch("linalg_cholesky_backward", count, n, n * n, shared, y, grad, y, x, *int32s(n))
    return x


def eigh_backward(grad: Array, y: Array, closeness: float, noise: float, alone: bool) -> Array:
    """The gradient by symmetric matrices, of that by their eigenvectors and values, packed in y."""
    xp = array_module(y)
    lead, n = y.shape[:-1], side_of(y)
    grad, y = xp.ascontiguousarray(grad), xp.ascontiguousarray(y)
    x = xp.empty((*lead, n, n), y.dtype)
    given = y, grad, x, *int32s(n), *float64s(closeness, noise), *int32s(alone)
    count, shared = math.prod(lead), _shared(n, 3, 0, y)
    _launch("linalg_eigh_backward", count, n, n * n, shared, y, *given)
    return x

"""Equations and inverses, of `numpy.linalg`: by LU, and where matrices are not square by SVD."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..autograd.levels import Tracer
from ..backend.dtypes import is_narrow
from ..ops import determinant, matrices, singular_values
from ..ops import solve as ops
from ..ops.promotion import as_float, in_one_dtype
from ..ops.protocols import implements
from . import products
from .products import factors

__all__ = ["det", "inv", "lstsq", "pinv", "slogdet", "solve", "tensorinv", "tensorsolve"]


class SlogdetResult(NamedTuple):
    """What `slogdet` gives."""

    sign: Any
    logabsdet: Any


def floats(*values: Any) -> tuple[Any, ...]:
    """All as tensors of one floating-point dtype."""
    return in_one_dtype(*[as_float(x) for x in factors(*values)])


def widely(compute: Callable[..., Any], *given: Any) -> Any:
    """``compute(*tensors)``, in float32 where they have 16 bits; what it gives is cast back."""
    tensors = floats(*given)
    dtype = tensors[0].dtype
    if not is_narrow(dtype):
        return compute(*tensors)
    found = compute(*[x.astype(np.float32) for x in tensors])
    if isinstance(found, tuple):
        return (
            type(found)(*[_back(x, dtype) for x in found])
            if hasattr(found, "_fields")
            else (tuple([_back(x, dtype) for x in found]))
        )
    return _back(found, dtype)


def _back(x: Any, dtype: Any) -> Any:
    return x.astype(dtype) if getattr(x, "dtype", None) == np.float32 else x


def beside(name: str, a: Any, b: Any, compute: Callable[[Any, Any], Any]) -> Any:
    """``compute`` of b (…, M, K) beside a (…, M, N); of a vector (M,) as a matrix of one column.

    Raises ``ValueError`` where their rows do not fit.
    """
    if not b.shape:
        raise ValueError(f"[{name}] expected b of one axis or more, got a number")
    vector = len(b.shape) == 1
    b = matrices.column(b) if vector else b
    if b.shape[-2] != a.shape[-2]:
        raise ValueError(
            f"[{name}] expected b (…, {a.shape[-2]}, K) or ({a.shape[-2]},) beside a "
            f"{tuple(a.shape)}, got shape {tuple(b.shape[:-1] if vector else b.shape)}"
        )
    found = compute(a, b)
    return found.squeeze(-1) if vector else found


@implements(np.linalg.solve)
def solve(a: Any, b: Any) -> Any:
    """x with a x = b, of square matrices a (…, N, N) and b (N,) or (…, N, K).

    Leading axes broadcast. The gradient uses the factors again: it costs products and no new LU. A
    singular matrix is a ``numpy.linalg.LinAlgError``; on a GPU, which is not waited for, x is inf
    and NaN. 16-bit floats are computed in float32, here as in all of linalg.
    """

    def compute(a: Any, b: Any) -> Any:
        matrices.expect_square("solve", a)
        return beside("solve", a, b, ops.solve)

    return widely(compute, a, b)


@implements(np.linalg.inv)
def inv(a: Any) -> Any:
    """The inverse of square matrices (…, N, N); `solve` is faster and more exact where it serves.

    A singular one is a ``numpy.linalg.LinAlgError``; on a GPU the inverse is inf and NaN.
    """

    def compute(a: Any) -> Any:
        matrices.expect_square("inv", a)
        return ops.Inverse("inv")(a)

    return widely(compute, a)


@implements(np.linalg.det)
def det(a: Any) -> Any:
    """Determinants (…) of square matrices (…, N, N).

    The gradient, the matrix of cofactors, is right at singular matrices, too. It over- and
    underflows where `slogdet` does not.
    """
    return widely(determinant.det, a)


@implements(np.linalg.slogdet)
def slogdet(a: Any) -> SlogdetResult:
    """The sign and log |det| of square matrices (…, N, N): 0 and -inf of a singular one.

    The logarithm has a gradient, a⁻ᵀ, and the sign of complex matrices, which is a phase; at a
    singular matrix there is none, which is a ``numpy.linalg.LinAlgError`` when it is asked for,
    and inf or NaN on a GPU.
    """
    found: SlogdetResult = widely(lambda a: SlogdetResult(*ops.slogdet(a)), a)
    return found


@implements(np.linalg.pinv)
def pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    """The Moore-Penrose inverse (…, N, M) of matrices (…, M, N), by their singular values.

    Those up to ``rcond`` times the largest count as 0 (a number, or an array for a stack); the
    usual is 1e-15 with ``rcond``, as NumPy has it, or max(M, N) · eps of the dtype with
    ``rtol=None``, which the standard says: whichever is larger. The gradient is that at constant
    rank. Of a ``hermitian`` a the lower triangle is read.
    """
    if rcond is not None and rtol is not None:
        raise ValueError("[pinv] expected rcond or rtol, got both")
    given = rtol if rcond is None else rcond

    def compute(a: Any) -> Any:
        matrices.expect_matrices("pinv", a)
        a = matrices.from_lower(a) if hermitian else a
        usual = max(a.shape[-2:]) * float(np.finfo(a.dtype).eps)
        return singular_values.pinv(a, _cutoff(usual if given is None else given))[0]

    return widely(compute, a)


def _cutoff(given: Any) -> Any:
    return given.detach().data if hasattr(given, "detach") else given


@implements(np.linalg.lstsq)
def lstsq(a: Any, b: Any, rcond: Any = None) -> tuple[Any, Any, Any, Any]:
    """The shortest x that comes nearest to a x = b: x, squared errors, the rank, singular values.

    a is (M, N), b (M,) or (M, K). Singular values up to ``rcond`` times the largest count as 0 (the
    usual: max(M, N) · eps). The sums of squared errors are there, as NumPy has it, where a has rank
    N and M > N, else an array of none; so the rank is waited for, and `tg.jit` cannot capture it.
    Inside of `vmap` and `jvp` full rank is taken for granted. x, the errors and the singular values
    are differentiable, x as `pinv` is, at constant rank.
    """

    def compute(a: Any, b: Any) -> Any:
        if len(a.shape) != 2 or len(b.shape) not in (1, 2):
            raise ValueError(
                f"[lstsq] expected a (M, N) and b (M,) or (M, K), got shapes {a.shape} and "
                f"{b.shape}"
            )
        rows, columns = a.shape
        eps = float(np.finfo(a.dtype).eps)
        limit = max(rows, columns) * eps if rcond is None else eps if rcond == -1 else float(rcond)
        inverse, s = singular_values.pinv(a, limit)
        x = beside("lstsq", a, b, lambda _, b: matrices.product(inverse, b))
        known = s.detach()
        rank = (known > known.max() * limit).sum() if s.size else known.sum().astype(np.int64)
        full = isinstance(s, Tracer) or int(rank) == columns
        error = b - products.matmul(a, x)
        errors = (error * error.conj()).real.sum(0)
        if rows > columns and full:
            errors = errors.reshape(-1)
        else:
            errors = errors.reshape(-1)[:0]
        return x, errors, rank, s

    found: tuple[Any, Any, Any, Any] = widely(compute, a, b)
    return found


@implements(np.linalg.tensorinv)
def tensorinv(a: Any, ind: int = 2) -> Any:
    """The inverse of `tensordot(a, ·, ind)`: the first ``ind`` axes hold as much as the rest."""
    (a,) = floats(a)
    ind = operator.index(ind)
    if ind <= 0:
        raise ValueError(f"[tensorinv] expected ind of 1 or more, got {ind}")
    first, rest = a.shape[:ind], a.shape[ind:]
    size = math.prod(rest)
    if math.prod(first) != size:
        raise ValueError(f"[tensorinv] expected as many elements in {first} as in {rest}")
    return inv(a.reshape(size, size)).reshape(*rest, *first)


@implements(np.linalg.tensorsolve)
def tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    """x with `tensordot(a, x, x.ndim)` = b; ``axes`` of a go to its end first."""
    a, b = floats(a, b)
    if axes is not None:
        moved = [axis % a.ndim for axis in axes]
        a = a.permute(*[i for i in range(a.ndim) if i not in moved], *moved)
    shape = a.shape[b.ndim :]
    size = math.prod(shape)
    if b.size != size or a.size != size * size:
        raise ValueError(
            f"[tensorsolve] expected a of the shape of b and as many elements again, got "
            f"{a.shape} and {b.shape}"
        )
    return solve(a.reshape(size, size), b.reshape(size)).reshape(*shape)

"""Linear equations without a matrix: `cg` and `gmres`, whose gradients no iteration is in.

The derivative of x is that of A x = b, dx = A⁻¹ (db - dA x): the backward solves one equation with
the transposed matrix, to the same relative tolerance, whatever the iterations were.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple, Self

import numpy as np

from .autograd import TensorBase
from .autograd.batching import BatchLevel
from .autograd.levels import Tracer
from .autograd.mode import no_grad
from .backend import constant, device_of
from .backend.capture import refuse_read
from .backend.devices import to_numpy
from .backend.dtypes import is_narrow
from .numpy.arrays import tensor
from .ops.promotion import as_float, is_sparse
from .transforms.implicit import Function, Transposed, linear_solve

__all__ = ["cg", "gmres"]


def cg(
    A: Any,
    b: Any,
    x0: Any = None,
    *,
    rtol: float = 1e-5,
    atol: float = 0.0,
    maxiter: int | None = None,
    M: Any = None,
    args: tuple[Any, ...] = (),
) -> tuple[Any, int]:
    """x with A x = b by conjugate gradients, and 0, or after how many iterations they gave up.

    A:
        symmetric (Hermitian) and positive definite: a tensor (N, N), a sparse matrix of ours, SciPy
        or CuPy, or a function of a tensor of b's shape, and of ``args``, that returns A times it.
    b:
        (N,) or (N, 1); for a function a tensor of any shape, which is taken as one vector.
    x0:
        where to begin; 0 without.
    rtol, atol:
        done when ‖b - A x‖ ≤ max(rtol ‖b‖, atol).
    maxiter:
        10 N without.
    M:
        close to the inverse of A, as A is: the preconditioner.

    Differentiable to any order, in forward mode and in `vmap`, by b, by what A is made of and by
    the tensors that the function uses; not by x0 and M. A is taken to stay symmetric: make it so of
    what you differentiate by. (Hestenes and Stiefel 1952.)

    Warns where the solve of the backward does not reach the tolerance. `tg.jit` does not capture
    it: the host looks when it is done.
    """
    system = _System("cg", A, b, x0, M, args)
    solver = Conjugate(Tolerances.checked("cg", rtol, atol, maxiter), system.preconditioner)
    return system.solved(solver)


def gmres(
    A: Any,
    b: Any,
    x0: Any = None,
    *,
    rtol: float = 1e-5,
    atol: float = 0.0,
    restart: int | None = None,
    maxiter: int | None = None,
    M: Any = None,
    args: tuple[Any, ...] = (),
) -> tuple[Any, int]:
    """x with A x = b by the generalized minimal residual, and 0, or after how many iterations not.

    A is any matrix that can be inverted; it and the other parameters are as in `cg`, but for

    restart:
        how many vectors are kept, min(20, N) without; more of them take fewer iterations.
    maxiter:
        how many times to begin again with these, 10 N without.
    M:
        stands to the right of A, so that the tolerance is that of b - A x. (SciPy's stands to its
        left.)

    Derivatives as in `cg`, by a solve with the transposed matrix; that of a function is its product
    with a transposed Jacobian. (Saad and Schultz 1986.)
    """
    system = _System("gmres", A, b, x0, M, args)
    tolerances = Tolerances.checked("gmres", rtol, atol, maxiter)
    return system.solved(Minimal(tolerances, system.preconditioner, restart=restart))


# --- what is given --------------------------------------------------------------------------------


class Map:
    """A linear function of tensors like one; of a matrix also the transposed one."""

    def __init__(self, fn: Function, like: Any, transposed: Function | None = None) -> None:
        self.fn, self.like, self.flipped = fn, like, transposed

    def __call__(self, v: Any) -> Any:
        return self.fn(v)

    def transposed_map(self) -> Map:
        """That of the transposed matrix."""
        return Map(self.flipped or Transposed(self.fn, self.like), self.like, self.fn)

    def of_batch(self) -> Map:
        """For a batch of vectors, along the first axis."""

        def each(v: Any) -> Any:
            level = BatchLevel(v.shape[0], "same", quiet=True)
            with level.entered():
                return level.whole(self.fn(level.batched(v)))

        return Map(each, self.like)


class _System:
    """The equation, as functions of tensors."""

    def __init__(self, name: str, A: Any, b: Any, x0: Any, M: Any, args: Any) -> None:
        self.name = name
        like = b if isinstance(b, TensorBase) else A if isinstance(A, TensorBase) else None
        given = as_float(tensor(b, like))
        if is_narrow(given.dtype):
            raise TypeError(f"[{name}] expected b of float32 or wider, got dtype {given.dtype}")
        self.matrix = _as_map(name, "A", A, given, args)
        self.preconditioner = None if M is None else _as_map(name, "M", M, given, ())
        start = None if x0 is None else tensor(x0, given).to(given.device).astype(given.dtype)
        if start is not None and start.shape != given.shape:
            raise ValueError(f"[{name}] expected x0 of b's shape {given.shape}, got {start.shape}")
        with no_grad():
            made = self.matrix(given)
        if not isinstance(made, TensorBase) or made.shape != given.shape:
            got = getattr(made, "shape", type(made).__name__)
            raise ValueError(f"[{name}] expected A(x) of x's shape {given.shape}, got {got}")
        self.b = given.astype(made.dtype) if made.dtype != given.dtype else given
        self.x0: Any = start

    def solved(self, solver: Solver) -> tuple[Any, int]:
        """The solution, and how the solver ended."""
        start = self.x0
        if start is not None and not isinstance(
            start, Tracer
        ):  # it says nothing but where to begin
            solver.start = start.detach()
        return linear_solve(self.matrix, self.b, solver), solver.info


def _as_map(name: str, what: str, A: Any, b: Any, args: Any) -> Map:
    """A matrix or a function as a function of a tensor like b."""
    if isinstance(A, np.ndarray) or (hasattr(A, "__cuda_array_interface__") and not is_sparse(A)):
        A = tensor(A, b)
    if isinstance(A, TensorBase) or is_sparse(A):
        shape = tuple(A.shape)
        size = b.shape[0] if b.ndim else 0
        if shape != (size, size) or b.ndim not in (1, 2) or (b.ndim == 2 and b.shape[1] != 1):
            raise ValueError(
                f"[{name}] expected {what} of shape (N, N) and b of shape (N,) or (N, 1), got "
                f"{shape} and {b.shape}"
            )
        flip = A.transpose() if is_sparse(A) else A.permute(1, 0)
        return Map(lambda v: A @ v, b, lambda v: flip @ v)
    if not callable(A):
        raise TypeError(
            f"[{name}] expected {what} to be a tensor, a sparse matrix or a function, got "
            f"{type(A).__name__}"
        )
    return Map(lambda v: A(v, *args), b)


class Tolerances(NamedTuple):
    """When a solver is done."""

    name: str
    rtol: float
    atol: float
    maxiter: int | None

    @classmethod
    def checked(cls, name: str, rtol: float, atol: float, maxiter: int | None) -> Self:
        if not rtol >= 0 or not atol >= 0 or not rtol + atol > 0:
            raise ValueError(
                f"[{name}] expected rtol and atol of at least 0, not both 0, got {rtol} and {atol}"
            )
        if maxiter is not None and maxiter < 1:
            raise ValueError(f"[{name}] expected maxiter of at least 1, got {maxiter}")
        return cls(name, rtol, atol, maxiter)


class Solver:
    """A method of iterations; see `transforms.implicit.LinearSolver`.

    ``info`` is 0, or how many iterations were too few. ``start`` is where to begin.
    """

    symmetric = False

    def __init__(
        self, tolerances: Tolerances, preconditioner: Map | None = None, of_derivative: bool = False
    ) -> None:
        self.tolerances, self.preconditioner = tolerances, preconditioner
        self.of_derivative = of_derivative
        self.start: Any = None
        self.info = 0
        self.relative: float = tolerances.rtol  # what a derivative is solved to

    def again(self) -> Self:
        """For derivatives, which are of any size: atol says nothing of them."""
        tolerances = self.tolerances._replace(rtol=self.relative, atol=0.0)
        return self._like(tolerances, self.preconditioner)

    def transposed(self) -> Self:
        made = self.again()
        if made.preconditioner is not None:
            made.preconditioner = made.preconditioner.transposed_map()
        return made

    def _like(self, tolerances: Tolerances, preconditioner: Map | None) -> Self:
        return type(self)(tolerances, preconditioner, True)

    def solve(self, fn: Function, b: Any, lead: int) -> Any:
        refuse_read()  # the host looks when it is done
        vectors = Vectors(b, lead)
        norms = vectors.norms(b)
        limits = np.maximum(self.tolerances.rtol * norms, self.tolerances.atol)
        if not self.tolerances.rtol:
            largest = float(norms.max(initial=0.0)) or 1.0
            self.relative = min(1e-5, self.tolerances.atol / largest)
        x, self.info = self.iterate(fn, b, vectors, limits)
        if self.info and self.of_derivative:
            warnings.warn(
                f"[{self.tolerances.name}] the solve of a derivative did not reach rtol "
                f"{self.tolerances.rtol:.3g}: the gradient is not exact; give a preconditioner M "
                "or a larger maxiter",
                RuntimeWarning,
                stacklevel=2,
            )
        return x

    def begin(self, fn: Function, b: Any) -> tuple[Any, Any]:
        """x and b - A x to begin with."""
        if self.start is None:
            return b._zeros(), b
        x = self.start.broadcast_to(*b.shape).clone()
        return x, b - fn(x)

    def conditioned(self, r: Any, vectors: Vectors) -> Any:
        """M r."""
        return r if self.preconditioner is None else vectors.each(self.preconditioner, r)

    def iterate(self, fn: Function, b: Any, vectors: Vectors, limits: Any) -> tuple[Any, int]:
        """x, and 0 or how many iterations were too few."""
        raise NotImplementedError


class Vectors:
    """What is computed of vectors, each of which is all of a tensor behind ``lead`` axes."""

    def __init__(self, like: Any, lead: int) -> None:
        self.lead, self.axes = lead, tuple(range(lead, like.ndim))
        self.size = math.prod(like.shape[lead:])
        self.count = math.prod(like.shape[:lead])

    def dot(self, u: Any, v: Any) -> Any:
        """Σ ū v of each vector, with axes of one element."""
        product = u.conj() * v
        return product.sum(axis=self.axes, keepdims=True) if self.axes else product

    def norms(self, x: Any) -> np.ndarray:
        """‖x‖ of each vector, on the host: (count,)."""
        squares = np.abs(to_numpy(self.dot(x, x).data).reshape(-1))
        found: np.ndarray = np.sqrt(squares.astype(np.float64))
        return found

    def each(self, fn: Map, x: Any) -> Any:
        """A function of one vector, of each."""
        for _ in range(self.lead):
            fn = fn.of_batch()
        return fn(x)

    def flags(self, which: np.ndarray, like: Any) -> Any:
        """A number for each vector as a tensor that broadcasts."""
        shape = (*like.shape[: self.lead], *[1] * len(self.axes))
        return like._wrap(constant(which.reshape(shape), device_of(like.data)))


# --- the methods ----------------------------------------------------------------------------------


class Conjugate(Solver):
    """Conjugate gradients."""

    symmetric = True

    def iterate(self, fn: Function, b: Any, vectors: Vectors, limits: Any) -> tuple[Any, int]:
        x, r = self.begin(fn, b)
        most = self.tolerances.maxiter or 10 * vectors.size
        p: Any = None
        rho: Any = None
        for _ in range(most):
            left = vectors.norms(r) > limits
            if not left.any():
                return x, 0
            z = self.conditioned(r, vectors)
            before, rho = rho, vectors.dot(r, z)
            p = z if p is None else z + p * _ratio(rho, before)
            q = fn(p)
            alpha = _ratio(rho, vectors.dot(p, q))
            if not left.all():  # those that are done stay as they are
                alpha = alpha * vectors.flags(left.astype(alpha.dtype), b)
            x = x + p * alpha
            r = r - q * alpha
        return x, 0 if (vectors.norms(r) <= limits).all() else most


def _ratio(a: Any, b: Any) -> Any:
    """a / b, and 0 where b is: of vectors that are done."""
    zero = b == 0
    return (a / b.where(~zero, 1)).where(~zero, 0)


class Minimal(Solver):
    """The generalized minimal residual, with the preconditioner to the right."""

    def __init__(
        self,
        tolerances: Tolerances,
        preconditioner: Map | None = None,
        of_derivative: bool = False,
        restart: int | None = None,
    ) -> None:
        super().__init__(tolerances, preconditioner, of_derivative)
        if restart is not None and restart < 1:
            raise ValueError(f"[gmres] expected restart of at least 1, got {restart}")
        self.restart = restart

    def _like(self, tolerances: Tolerances, preconditioner: Map | None) -> Self:
        return type(self)(tolerances, preconditioner, True, self.restart)

    def iterate(self, fn: Function, b: Any, vectors: Vectors, limits: Any) -> tuple[Any, int]:
        x, r = self.begin(fn, b)
        most = self.tolerances.maxiter or 10 * vectors.size
        kept = max(1, min(self.restart or 20, vectors.size))
        for _ in range(most):
            norms = vectors.norms(r)
            if (norms <= limits).all():
                return x, 0
            step = self._cycle(fn, r, norms, kept, vectors, limits)
            x = x + self.conditioned(step, vectors)
            r = b - fn(x)
        return x, 0 if (vectors.norms(r) <= limits).all() else most

    def _cycle(
        self, fn: Function, r: Any, norms: Any, kept: int, vectors: Vectors, limits: Any
    ) -> Any:
        """The step M⁻¹ (x - x₀) of least residual, in the space of ``kept`` products with A M.

        Arnoldi's, orthogonalized twice; A M V = V H, and the host solves for H, which is small.
        """
        scale = vectors.flags(1 / np.where(norms > 0, norms, 1.0), r).astype(r.dtype)
        basis = [r * scale]
        wide = np.complex128 if r.dtype.kind == "c" else np.float64
        h = np.zeros((vectors.count, kept + 1, kept), wide)
        y: Any = np.zeros((vectors.count, kept), wide)
        for j in range(kept):
            w = fn(self.conditioned(basis[j], vectors))
            before: Any = vectors.norms(w)
            for _ in range(2):
                for i, v in enumerate(basis):
                    part = vectors.dot(v, w)
                    w = w - v * part
                    h[:, i, j] += to_numpy(part.data).reshape(-1)
            length = vectors.norms(w)
            tiny = length <= 10 * np.finfo(r.dtype).eps * before  # all of the space is there
            length[tiny] = 0.0
            h[:, j + 1, j] = length
            y[:, : j + 1], residuals = _least_squares(h[:, : j + 2, : j + 1], norms)
            scale = vectors.flags(np.where(tiny, 0.0, 1 / np.where(tiny, 1.0, length)), r)
            basis.append(w * scale.astype(r.dtype))
            if (tiny | (residuals <= limits)).all():
                break
        step = r._zeros()
        for k in range(len(basis) - 1):
            step = step + basis[k] * vectors.flags(y[:, k], r).astype(r.dtype)
        return step


def _least_squares(h: np.ndarray, norms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """y with the least ‖norm e₁ - H y‖ for each vector, and that."""
    found, residuals = [], []
    for one, norm in zip(h, norms, strict=True):
        side = np.zeros(one.shape[0], one.dtype)
        side[0] = norm
        y = np.linalg.lstsq(one, side, rcond=None)[0]
        found.append(y)
        residuals.append(np.linalg.norm(side - one @ y))
    return np.array(found).reshape(h.shape[0], h.shape[2]), np.array(residuals)

"""Equations F(x) = 0 and x = f(x), whose gradients no iteration is in.

>>> import tinygrad_cupy as tg
>>> a = tg.Tensor([2.0], dtype="float64", requires_grad=True)
>>> x = tg.optimize.root(lambda x: x * x - a, tg.Tensor([1.0], dtype="float64")).x
>>> x.sum().backward()
>>> a.grad.round(3)  # of √a: 1 / (2 √a)
Tensor([0.354], dtype=float64)
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from .autograd import TensorBase
from .autograd.mode import no_grad
from .backend.capture import refuse_read
from .backend.devices import to_numpy
from .backend.dtypes import is_narrow
from .iterative import Minimal, Tolerances, Vectors
from .numpy.arrays import tensor
from .ops.promotion import as_float
from .transforms.implicit import Dense, Function, LinearSolver, Pushed, root_of
from .transforms.tree import expect_function

__all__ = ["RootResult", "fixed_point", "root"]

FEW = 256  # unknowns up to which equations of the derivative are solved by its whole matrix
KEPT = 50  # vectors of `gmres`, for more
MEMORY = 5  # steps that Anderson's method looks back at
HALVINGS = 12  # of a step of Newton's that goes too far


class RootResult(NamedTuple):
    """What `root` found.

    x:
        the solution, or what it came to.
    success, message:
        whether it is one, and how it ended.
    nit:
        steps.
    fun:
        the function's value at x, without a gradient.
    """

    x: Any
    success: bool
    message: str
    nit: int
    fun: Any


def root(
    fun: Callable[..., Any],
    x0: Any,
    args: tuple[Any, ...] = (),
    method: str = "newton",
    tol: float | None = None,
    options: Mapping[str, Any] | None = None,
) -> RootResult:
    """x with fun(x, *args) = 0, by Newton's method.

    fun:
        of a tensor of any shape, gives one of the same shape.
    x0:
        where to begin. It has no gradient.
    method:
        "newton": steps are solved for by the whole Jacobian, of up to 256 unknowns, else by `gmres`
        with its products alone; "krylov" always by these. A step that does not make ‖fun‖ smaller
        is halved.
    tol:
        done when ‖fun(x)‖ ≤ tol (1 + ‖fun(x0)‖); eps^(3/4) of the dtype without, 1.8e-12 of
        float64.
    options:
        ``{"maxiter": 100}``.

    Returns a `RootResult`. Its x is differentiable by args and by all that fun uses from outside,
    to any order, in forward mode and in `vmap`: dx = -(∂fun/∂x)⁻¹ dfun (Blondel et al. 2022). That
    holds at a solution, as ``success`` says, whose Jacobian is not singular. A batch is done when
    all of its elements are. `tg.jit` does not capture it: the host looks when it is done.
    """
    expect_function("root", fun)
    if method not in ("newton", "krylov"):
        raise ValueError(f'[root] expected method "newton" or "krylov", got {method!r}')
    given = dict(options or {})
    most = operator.index(given.pop("maxiter", 100))
    if given:
        raise ValueError(f"[root] expected options maxiter alone, got {sorted(given)}")
    start, args = _start("root", x0), _as_arguments(args)
    _expect_shape("root", fun, start, args)
    tol = _eps(start) ** 0.75 if tol is None else tol
    ended: dict[str, Any] = {}

    def of_derivative(x: Any, lead: int) -> LinearSolver:
        return _solver(x, lead, krylov=method == "krylov")

    def find(fn: Function, x: Any, lead: int) -> Any:
        return _newton(fn, x, lead, tol, most, of_derivative, ended)

    def equation(x: Any) -> Any:
        return fun(x, *args)

    x = root_of(equation, start, find, of_derivative)
    with no_grad():
        value = equation(x.detach())
    success = bool(ended["success"])
    message = "converged" if success else str(ended["message"])
    return RootResult(x, success, message, int(ended["nit"]), value)


def fixed_point(
    func: Callable[..., Any],
    x0: Any,
    args: tuple[Any, ...] = (),
    xtol: float = 1e-8,
    maxiter: int = 500,
    method: str = "anderson",
) -> Any:
    """x with func(x, *args) = x.

    func:
        of a tensor of any shape, gives one of the same shape.
    x0:
        where to begin. It has no gradient.
    xtol:
        done when ‖func(x) - x‖ ≤ xtol ‖x‖, or 4 eps ‖x‖ where that is more.
    method:
        "anderson" puts the last five steps together so that they would cancel (Anderson 1965,
        Walker and Ni 2011); "iteration" only calls func again; "del2", SciPy's, extrapolates each
        element by itself (Steffensen's method).

    Differentiable as `root` is, for the equation func(x) - x = 0: by args and what func uses.
    Raises ``RuntimeError`` where it does not converge in ``maxiter`` steps.
    """
    expect_function("fixed_point", func)
    if method not in _METHODS:
        raise ValueError(f"[fixed_point] expected one of {tuple(_METHODS)}, got {method!r}")
    start, args = _start("fixed_point", x0), _as_arguments(args)
    _expect_shape("fixed_point", func, start, args)
    small = max(xtol, 4 * _eps(start))

    def find(fn: Function, x: Any, lead: int) -> Any:
        refuse_read()
        vectors = Vectors(x, lead)
        step = _METHODS[method](vectors)
        for _ in range(maxiter):
            gap = fn(x)  # func(x) - x
            if (vectors.norms(gap) <= small * vectors.norms(x + gap)).all():
                return x + gap
            x = step(fn, x, gap)
        raise RuntimeError(
            f"[fixed_point] no convergence in {maxiter} steps of method {method!r}: the last was "
            f"{float(vectors.norms(fn(x)).max()):.3g}"
        )

    return root_of(lambda x: func(x, *args) - x, start, find, _solver)


# --- what is given --------------------------------------------------------------------------------


def _start(name: str, x0: Any) -> Any:
    start = as_float(tensor(x0)).detach()
    if is_narrow(start.dtype):
        raise TypeError(f"[{name}] expected x0 of float32 or wider, got dtype {start.dtype}")
    return start


def _as_arguments(args: Any) -> tuple[Any, ...]:
    return tuple(args) if isinstance(args, tuple | list) else (args,)


def _expect_shape(name: str, fun: Any, x: Any, args: Any) -> None:
    with no_grad():
        made = fun(x, *args)
    if not isinstance(made, TensorBase) or (made.shape, made.dtype) != (x.shape, x.dtype):
        got = (made.shape, made.dtype) if isinstance(made, TensorBase) else type(made).__name__
        raise ValueError(
            f"[{name}] expected the function to give a tensor of x's shape and dtype "
            f"{(x.shape, x.dtype)}, got {got}"
        )


def _eps(x: Any) -> float:
    return float(np.finfo(x.dtype).eps)


def _solver(x: Any, lead: int, krylov: bool = False) -> LinearSolver:
    """For equations with the derivative at x."""
    size = math.prod(x.shape[lead:])
    if size <= FEW and not krylov:
        return Dense()
    tolerances = Tolerances("root", 100 * _eps(x), 0.0, None)
    return Minimal(tolerances, restart=min(size, KEPT))


# --- methods --------------------------------------------------------------------------------------


def _newton(
    fn: Function, x: Any, lead: int, tol: float, most: int, solver: Any, ended: dict[str, Any]
) -> Any:
    refuse_read()
    vectors = Vectors(x, lead)
    value = fn(x)
    norms = vectors.norms(value)
    limits = tol * (1 + norms)
    ended.update(success=True, message="", nit=0)
    while not (norms <= limits).all():
        if ended["nit"] >= most:
            ended.update(success=False, message=f"no convergence in {most} steps")
            break
        ended["nit"] += 1
        try:
            step = solver(x, lead).solve(Pushed(fn, x), value, lead)
        except np.linalg.LinAlgError:
            ended.update(success=False, message="the Jacobian is singular")
            break
        parts = np.where(norms <= limits, 0.0, 1.0)  # of the step, for each vector
        for _ in range(HALVINGS):
            there = x - step * vectors.flags(parts, x).astype(x.dtype)
            value_there = fn(there)
            norms_there = vectors.norms(value_there)
            worse = ~(norms_there <= (1 - 1e-4 * parts) * norms)
            if not worse.any():
                break
            parts = np.where(worse, parts / 2, parts)
        else:
            ended.update(success=False, message="no step makes the function smaller")
            break
        x, value, norms = there, value_there, norms_there
    return x


def _iteration(vectors: Vectors) -> Any:
    return lambda fn, x, gap: x + gap


def _del2(vectors: Vectors) -> Any:
    def step(fn: Function, x: Any, gap: Any) -> Any:
        second = fn(x + gap)
        bend = second - gap
        flat = bend == 0
        far = x - gap * gap / bend.where(~flat, 1)
        return far.where(~flat, x + gap + second)

    return step


def _anderson(vectors: Vectors) -> Any:
    points: list[Any] = []
    gaps: list[Any] = []

    def step(fn: Function, x: Any, gap: Any) -> Any:
        points.append(x)
        gaps.append(gap)
        if len(gaps) > MEMORY + 1:
            del points[0], gaps[0]
        if len(gaps) == 1:
            return x + gap
        turns = [b - a for a, b in pairwise(gaps)]
        moves = [b - a for a, b in pairwise(points)]
        shares = _shares(vectors, turns, gap)
        for k, (turn, move) in enumerate(zip(turns, moves, strict=True)):
            x = x - (turn + move) * vectors.flags(shares[:, k], x).astype(x.dtype)
        return x + gap

    return step


def _shares(vectors: Vectors, turns: list[Any], gap: Any) -> np.ndarray:
    """Of which multiples of the turns the gap is made, for each vector, by least squares."""
    many = len(turns)
    wide = np.complex128 if gap.dtype.kind == "c" else np.float64
    products = np.empty((vectors.count, many, many), wide)
    sides = np.empty((vectors.count, many), wide)
    for i, u in enumerate(turns):
        sides[:, i] = to_numpy(vectors.dot(u, gap).data).reshape(-1)
        for j in range(i, many):
            products[:, i, j] = to_numpy(vectors.dot(u, turns[j]).data).reshape(-1)
            products[:, j, i] = products[:, i, j].conj()
    found = [np.linalg.lstsq(a, b, rcond=1e-13)[0] for a, b in zip(products, sides, strict=True)]
    return np.array(found).reshape(vectors.count, many)


_METHODS = {"anderson": _anderson, "iteration": _iteration, "del2": _del2}

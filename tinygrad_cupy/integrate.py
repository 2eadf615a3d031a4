"""Ordinary differential equations: `odeint`, differentiable through its steps.

>>> import tinygrad_cupy as tg
>>> rate = tg.Tensor(0.5, requires_grad=True)
>>> y = tg.integrate.odeint(lambda y, t: -rate * y, tg.Tensor(1.0), tg.Tensor([0.0, 2.0]))
>>> y[-1].backward()
>>> rate.grad.round(3)  # of exp(-2 rate): -2 exp(-1)
Tensor(-0.736)
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .autograd import TensorBase
from .autograd.levels import Tracer
from .autograd.mode import no_grad
from .backend import Array, array_module, on_device_of
from .backend.capture import refuse_read
from .backend.devices import to_numpy
from .backend.dtypes import is_float, is_narrow
from .numpy.arrays import tensor
from .ops.arithmetic import WeightedSum
from .ops.promotion import as_float, constant_like
from .ops.shape import concat
from .transforms import checkpoint
from .transforms.tree import Tree, expect_function

__all__ = ["odeint"]

# Dormand and Prince 1980, "A family of embedded Runge-Kutta formulae": when, of which slopes, the
# step of order 5, and what it differs by from that of order 4.
_WHEN = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0)
_STAGES: tuple[tuple[float, ...], ...] = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
)
_STEP = (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84)
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
# Hairer, Nørsett and Wanner 1993, "Solving Ordinary Differential Equations I", II.6: values inside
# of a step, to order 4.
_INSIDE = (
    -12715105075 / 11282082432,
    0.0,
    87487479700 / 32700410799,
    -10690763975 / 1880347072,
    701980252875 / 199316789632,
    -1453857185 / 822651844,
    69997945 / 29380423,
)
SAFETY, LEAST, MOST = 0.9, 0.2, 10.0  # of the factors between step sizes
ORDER = 5


def odeint(
    func: Callable[..., Any],
    y0: Any,
    t: Any,
    *args: Any,
    rtol: float = 1.4e-8,
    atol: float = 1.4e-8,
    mxstep: int = 10_000,
) -> Any:
    """y at the times t, where dy/dt = func(y, t, *args) and y is y0 at t[0].

    func:
        returns the slope, of y's structure, shapes and dtypes; t is a tensor without axes.
    y0:
        a tensor, or tensors in lists, tuples and dicts.
    t:
        (T,), rising or falling all along.
    args:
        what func gets besides: tensors in lists, tuples and dicts, and other constants.
    rtol, atol:
        the error of a step may be rtol |y| + atol, as a root mean square over all elements.
    mxstep:
        how many steps may lie between two of the times.

    Returns y's structure of tensors (T, …). Steps are those of Dormand and Prince, of order 5 with
    an error estimate of order 4, their sizes chosen by that; values at t are interpolated, to order
    4. For float32 take tolerances of 1e-5 or so.

    Differentiable to any order by y0, t, args and the tensors that func uses, in forward mode and
    in `vmap`. The gradient is that of the steps taken, whose sizes count as constants: each is a
    `checkpoint`, of which y and its slope are kept, and is computed again on the way back. A batch
    takes common steps. The same call gives the same bits.

    Raises ``RuntimeError`` that names t where mxstep is exceeded, or where the steps become too
    small to change t: y or its slope is singular there, or the equation is stiff. `tg.jit` does not
    capture it: the host looks at the error of each step.
    """
    expect_function("odeint", func)
    if not rtol >= 0 or not atol >= 0 or not rtol + atol > 0:
        raise ValueError(
            f"[odeint] expected rtol and atol of at least 0, not both 0, got {rtol} and {atol}"
        )
    if operator.index(mxstep) < 1:
        raise ValueError(f"[odeint] expected mxstep of at least 1, got {mxstep}")
    tree = Tree(y0 if not isinstance(y0, int | float) else tensor(y0), "[odeint] y0")
    if not tree.leaves:
        raise ValueError("[odeint] expected y0 to hold a tensor")
    tree.leaves = [as_float(x) for x in tree.leaves]
    if any(is_narrow(x.dtype) for x in tree.leaves):
        raise TypeError("[odeint] expected y0 of float32 or wider, got 16-bit floats")
    refuse_read()
    times = _times(t, tree.leaves[0])
    return tree.with_leaves(_Integration(func, tree, args, rtol, atol, mxstep).at(times))


def _times(t: Any, like: Any) -> Any:
    given = tensor(t, like)
    dtype = like.dtype if is_float(like.dtype) else like.real.dtype
    times = given if is_float(given.dtype) and not is_narrow(given.dtype) else given.astype(dtype)
    if times.ndim != 1 or times.shape[0] < 1:
        raise ValueError(f"[odeint] expected t of shape (T,), got {times.shape}")
    gaps = np.diff(_host(times))
    if not ((gaps > 0).all() or (gaps < 0).all()):
        raise ValueError("[odeint] expected t to rise or to fall all along, without equal times")
    return times


class _Integration:
    """One call: what stays the same from step to step."""

    def __init__(
        self, func: Any, tree: Tree, args: tuple[Any, ...], rtol: float, atol: float, mxstep: int
    ) -> None:
        self.func, self.tree, self.args = func, tree, args
        self.rtol, self.atol, self.mxstep = rtol, atol, mxstep

    def slope(self, ys: Sequence[Any], t: Any, args: tuple[Any, ...]) -> list[Any]:
        found = Tree(self.func(self.tree.with_leaves(ys), t, *args), "[odeint] the slope")
        shapes = [(x.shape, x.dtype) for x in found.leaves]
        expected = [(x.shape, x.dtype) for x in ys]
        if found.shape != self.tree.shape or shapes != expected:
            raise ValueError(
                f"[odeint] expected a slope of y's structure, shapes and dtypes {expected}, got "
                f"{shapes}"
            )
        return found.leaves

    def at(self, times: Any) -> list[Any]:
        """The values at the times, for each leaf."""
        ys = self.tree.leaves
        found = [[y.unsqueeze(0)] for y in ys]
        hosts = _host(times)
        count = len(hosts)
        if count == 1:
            return [parts[0] for parts in found]
        start, end = float(hosts[0]), float(hosts[-1])
        sign = 1.0 if end > start else -1.0
        first: Any = times[0]
        slopes = checkpoint(self.slope, list(ys), first, self.args)
        size = sign * min(self._first_size(ys, slopes, first, sign), abs(end - start))
        now, done, taken, rejected = start, 1, 0, False
        while done < count:
            if abs(size) <= 16 * np.finfo(np.float64).eps * max(abs(now), abs(size), 1e-300):
                raise RuntimeError(
                    f"[odeint] the step became too small at t = {now:.6g}: y or its slope is "
                    "singular there, or the equation is stiff"
                )
            if taken >= self.mxstep:
                raise RuntimeError(
                    f"[odeint] more than mxstep={self.mxstep} steps between t = "
                    f"{float(hosts[done - 1]):.6g} and {float(hosts[done]):.6g}, at t = {now:.6g}"
                )
            last = sign * (end - now) <= sign * size * (1 + 1e-10)
            size = end - now if last else size
            then = end if last else now + size
            reached = done + int(np.count_nonzero(sign * hosts[done:] <= sign * then))
            t = first if now == start else constant_like(first, now)
            # Where the first step ends does not move with t[0].
            h = constant_like(first, then) - first if now == start else constant_like(first, size)
            spots = times[done:reached]
            made = checkpoint(self.step, list(ys), list(slopes), t, h, spots, self.args)
            error = self._error(ys, *made[:2])
            taken += 1
            if not error <= 1:  # NaN, too
                size *= max(LEAST, SAFETY * error ** (-1 / ORDER)) if np.isfinite(error) else LEAST
                rejected = True
                continue
            _, ys_then, slopes, inside = made
            if reached > done:
                for parts, values in zip(found, inside, strict=True):
                    parts.append(values)
                done, taken = reached, 0
            ys, now = ys_then, then
            factor = MOST if error == 0 else min(MOST, max(LEAST, SAFETY * error ** (-1 / ORDER)))
            size *= min(1.0, factor) if rejected else factor
            rejected = False
        return [concat(parts) for parts in found]

    def step(
        self, ys: list[Any], slopes: list[Any], t: Any, h: Any, spots: Any, args: tuple[Any, ...]
    ) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
        """The error, y behind the step, the slope there, and y at the spots inside (S, …)."""
        wide = [h.astype(y.real.dtype) for y in ys]
        ks = [slopes]
        for weights, when in zip(_STAGES, _WHEN[1:], strict=True):
            stage = [y + _weighted(weights, ks, i) * wide[i] for i, y in enumerate(ys)]
            ks.append(self.slope(stage, t + h * when, args))
        behind = [y + _weighted(_STEP, ks, i) * wide[i] for i, y in enumerate(ys)]
        ks.append(self.slope(behind, t + h, args))
        errors = [_weighted(_ERROR, ks, i) * wide[i] for i in range(len(ys))]
        inside = []
        for i, (y, end) in enumerate(zip(ys, behind, strict=True)):
            if not spots.shape[0]:
                inside.append(y.unsqueeze(0)[:0])
                continue
            part = ((spots - t) / h).astype(y.real.dtype)
            part = part.reshape(-1, *[1] * y.ndim)
            rest = 1 - part
            change = end - y
            bend = ks[0][i] * wide[i] - change
            other = change - ks[-1][i] * wide[i] - bend
            fine = _weighted(_INSIDE, ks, i) * wide[i]
            inside.append(y + part * (change + rest * (bend + part * (other + rest * fine))))
        return errors, behind, ks[-1], inside

    # --- sizes, on the host -----------------------------------------------------------------------

    def _error(self, ys: Sequence[Any], errors: Sequence[Any], behind: Sequence[Any]) -> float:
        """The error over what it may be."""
        scales = []
        for y, z in zip(ys, behind, strict=True):
            a, b = _bottom(y), _bottom(z)
            with on_device_of(b):
                xp = array_module(b)
                scales.append(self.atol + self.rtol * xp.maximum(abs(a), abs(b)))
        return _mean_square([_bottom(e) for e in errors], scales)

    def _first_size(self, ys: Any, slopes: Any, t: Any, sign: float) -> float:
        """Hairer, Nørsett and Wanner, II.4: y and its slope are to change by little."""
        with no_grad(), np.errstate(all="ignore"):
            scales = [self.atol + self.rtol * abs(_bottom(y)) for y in ys]
            far = _mean_square([_bottom(y) for y in ys], scales)
            fast = _mean_square([_bottom(k) for k in slopes], scales)
            guess = 1e-6 if far < 1e-5 or fast < 1e-5 else 0.01 * far / fast
            guess = guess if np.isfinite(guess) else 1e-6
            ahead = [
                y.detach() + k.detach() * (sign * guess) for y, k in zip(ys, slopes, strict=True)
            ]
            later = self.slope(ahead, t.detach() + sign * guess, self.args)
            turns = [_bottom(b) - _bottom(a) for a, b in zip(slopes, later, strict=True)]
            turn = _mean_square(turns, scales) / guess
            most = max(fast, turn)
            if not np.isfinite(most):
                return guess
            size = max(1e-6, guess * 1e-3) if most <= 1e-15 else (0.01 / most) ** (1 / ORDER)
            return float(min(100 * guess, size))


def _weighted(weights: Sequence[float], ks: Sequence[Any], i: int) -> Any:
    """Σ weight k of leaf i."""
    given = [(weight, k[i]) for weight, k in zip(weights, ks, strict=True) if weight]
    return WeightedSum([weight for weight, _ in given])(*[k for _, k in given])


def _bottom(x: Any) -> Array:
    """The values below all transforms."""
    while isinstance(x, Tracer):
        x = x._held()
    return x.data


def _host(times: TensorBase) -> np.ndarray:
    """The times in float64; in a `vmap` all elements' are the same."""
    found: np.ndarray = to_numpy(_bottom(times)).astype(np.float64)
    rows = found.reshape(-1, found.shape[-1])
    if (rows != rows[:1]).any():
        raise ValueError("[odeint] expected t to be the same for all elements of a vmap")
    first: np.ndarray = rows[0]
    return first


def _mean_square(values: Sequence[Array], scales: Sequence[Array]) -> float:
    """The root of the mean square of values over scales."""
    total, count = 0.0, 0
    with np.errstate(all="ignore"):
        for value, scale in zip(values, scales, strict=True):
            with on_device_of(value):
                ratio = abs(value / scale)
                total += float((ratio * ratio).sum())
            count += ratio.size
    return float(np.sqrt(total / max(count, 1)))

"""Convolution, correlation and interpolation of sequences; windows."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops.comparison import where
from ..ops.convolve import Bracket, Convolve
from ..ops.promotion import as_float, single
from ..ops.protocols import implements, ours_for
from .arrays import tensor, terms
from .bits import i0
from .creation import made_by_numpy

__all__ = [
    *("bartlett", "blackman", "convolve", "correlate", "hamming", "hanning", "interp", "kaiser"),
]

MODES = ("full", "same", "valid")


@implements(np.convolve)
def convolve(a: Any, v: Any, mode: str = "full") -> Any:
    """Σ a[k] v[n - k] of two sequences, all of it ("full"), or the "same" or "valid" middle."""
    a, v = _sequences("convolve", a, v)
    return _part(Convolve()(a, v), len(a), len(v), mode, False)


@implements(np.correlate)
def correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    """Σ a[n + k] v̄[n] of two sequences: `convolve` with v turned round and conjugated."""
    a, v = _sequences("correlate", a, v)
    return _part(Convolve()(a, v[::-1].conj()), len(a), len(v), mode, len(v) > len(a))


def _sequences(name: str, a: Any, v: Any) -> list[Any]:
    found = [x.reshape(1) if x.ndim == 0 else x for x in terms(a, v)]
    for x in found:
        if x.ndim != 1 or not x.size:
            raise ValueError(f"[{name}] expected sequences with elements, got shape {x.shape}")
    return found


def _part(full: Any, n: int, m: int, mode: str, swapped: bool) -> Any:
    if mode not in MODES:
        raise ValueError(f"[convolve] expected mode to be one of {MODES}, got {mode!r}")
    if mode == "full":
        return full
    long, short = max(n, m), min(n, m)
    if mode == "valid":
        return full[short - 1 : long]
    start = short // 2 if swapped else (short - 1) // 2
    return full[start : start + long]


@implements(np.interp)
def interp(
    x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None
) -> Any:
    """The line through the points (xp, fp), xp ascending, at x; beyond its ends left and right.

    Differentiable in x, xp and fp, and in left and right. With a ``period`` the points may come in
    any order, and go round.
    """
    x, xp, fp = map(as_float, terms(x, xp, fp))
    if xp.ndim != 1 or xp.shape != fp.shape or not xp.size:
        raise ValueError(
            f"[interp] expected xp and fp of one shape (n,), got {xp.shape} and {fp.shape}"
        )
    if period is not None:
        x, xp, fp = _round(x, xp, fp, abs(period))
        left = right = None
    dtype = (x * fp[0]).dtype
    x, xp, fp = single(x), single(xp), single(fp)
    left, right = (fp[0] if left is None else left), (fp[-1] if right is None else right)
    if xp.size == 1:
        middle = where((x == x) + (x != x), fp[0], x)  # anywhere, with a slope of 0 by x
    else:
        i = Bracket()(xp, x) - 1
        i = i.clip(0, xp.size - 2)
        start, inside = xp[i], (x >= xp[0]) * (x < xp[-1])
        width = (xp[i + 1] - start).where(inside, 1)
        middle = fp[i] + (x - start) * (fp[i + 1] - fp[i]) / width
    found = where(x == xp[-1], fp[-1], where(x > xp[-1], right, middle))
    return where(x < xp[0], left, found).astype(dtype)


def _round(x: Any, xp: Any, fp: Any, period: Any) -> tuple[Any, Any, Any]:
    """Everything within one period, the points in order, and one more on either side."""
    if period == 0:
        raise ValueError("[interp] expected a period other than 0")
    within = ours_for(np.remainder)
    x, xp = within(x, period), within(xp, period)
    order = ours_for(np.argsort)(xp)
    xp, fp = xp[order], fp[order]
    join = ours_for(np.concatenate)
    xp = join([xp[-1:] - period, xp, xp[:1] + period])
    return x, xp, join([fp[-1:], fp, fp[:1]])


# --- windows, of M points -------------------------------------------------------------------------


def bartlett(M: Any) -> Any:
    """A triangle from 0 over 1 to 0."""
    return made_by_numpy(np.bartlett(M))


def blackman(M: Any) -> Any:
    """0.42 - 0.5 cos(2πn / (M - 1)) + 0.08 cos(4πn / (M - 1))."""
    return made_by_numpy(np.blackman(M))


def hamming(M: Any) -> Any:
    """0.54 - 0.46 cos(2πn / (M - 1))."""
    return made_by_numpy(np.hamming(M))


def hanning(M: Any) -> Any:
    """0.5 - 0.5 cos(2πn / (M - 1))."""
    return made_by_numpy(np.hanning(M))


def kaiser(M: Any, beta: Any) -> Any:
    """I₀(β √(1 - (2n / (M - 1) - 1)²)) / I₀(β), differentiable in β, a number."""
    beta = as_float(tensor(beta))
    if beta.ndim:
        raise ValueError(f"[kaiser] expected one beta, got shape {beta.shape}")
    if M == 1:
        return (beta * 0 + 1).reshape(1)
    far = np.linspace(-1.0, 1.0, max(int(M), 0))
    return i0(beta * made_by_numpy(np.sqrt(1 - far * far), beta.device)) / i0(beta)

"""Records of ops/convolve.py: sequences, lines between points, and polynomials."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_cupy.numpy as tnp
from support.sampling import FLOATS, NUMBERS, Case, Draw, Sample, distinct, normal, rng_of
from tinygrad_cupy.ops import convolve
from tinygrad_cupy.ops.arithmetic import Add, Div, Mul, Sub


def _lengths(draw: Draw) -> tuple[int, int]:
    return draw(st.integers(1, 5)), draw(st.integers(1, 5))


def _sequences(draw: Draw) -> Case:
    n, m = _lengths(draw)
    mode = draw(st.sampled_from(["full", "same", "valid"]))
    return Case((normal(draw, (n,)), normal(draw, (m,))), {"mode": mode})


def _two(draw: Draw) -> Case:
    n, m = _lengths(draw)
    return Case((normal(draw, (n,)), normal(draw, (m,))))


def _one(draw: Draw) -> Case:
    return Case((normal(draw, (draw(st.integers(1, 5)),)),), {"m": draw(st.integers(0, 2))})


def _points(draw: Draw) -> Case:
    n = draw(st.integers(1, 5))
    at = rng_of(draw).uniform(-1.2, 1.2, (draw(st.integers(0, 4)),))
    options = {"left": -1.5, "right": 2.5} if draw(st.booleans()) else {}
    return Case((at, np.sort(distinct(draw, (n,))) * 4, normal(draw, (n,))), options)


def _convolved(torch: Any, a: Any, v: Any, mode: str = "full") -> Any:
    """By a product with the matrix of a's shifts."""
    n, m = len(a), len(v)
    rows = [torch.nn.functional.pad(a, (k, m - 1 - k)) for k in range(m)]
    full = (torch.stack(rows) * v.reshape(-1, 1)).sum(0)
    long, short = max(n, m), min(n, m)
    start = {"full": 0, "same": (short - 1) // 2, "valid": short - 1}[mode]
    length = {"full": n + m - 1, "same": long, "valid": long - short + 1}[mode]
    return full[start : start + length]


def _correlated(torch: Any, a: Any, v: Any, mode: str) -> Any:
    if len(v) > len(a):
        return _convolved(torch, v.conj(), a.flip(0), mode).flip(0)
    return _convolved(torch, a, v.conj().flip(0), mode)


def _interpolated(
    torch: Any, x: Any, xp: Any, fp: Any, left: float | None = None, right: float | None = None
) -> Any:
    i = (torch.searchsorted(xp.contiguous(), x.contiguous(), right=True) - 1).clamp(
        0, max(len(xp) - 2, 0)
    )
    after = (i + 1).clamp(0, len(xp) - 1)
    width = torch.where(after == i, torch.ones_like(x), xp[after] - xp[i])
    y = fp[i] + (x - xp[i]) * (fp[after] - fp[i]) / width
    y = torch.where(x >= xp[-1], fp[-1] if right is None else torch.full_like(y, right), y)
    return torch.where(x < xp[0], fp[0] if left is None else torch.full_like(y, left), y)


def _as_long(torch: Any, a: Any, b: Any) -> list[Any]:
    most = max(len(a), len(b))
    return [torch.nn.functional.pad(x, (most - len(x), 0)) for x in (a, b)]


def _derived(torch: Any, p: Any, m: int) -> Any:
    for _ in range(m):
        p = p[:-1] * torch.tensor([*range(len(p) - 1, 0, -1)], dtype=p.dtype)
    return p


def _integrated(torch: Any, p: Any, m: int) -> Any:
    for _ in range(m):
        p = torch.cat([p / torch.tensor([*range(len(p), 0, -1)], dtype=p.dtype), p.new_zeros(1)])
    return p


def _valued(torch: Any, p: Any, x: Any) -> Any:
    powers = range(len(p) - 1, -1, -1)
    return sum(c * x**power for c, power in zip(p, powers, strict=True))


def _of_zeros(torch: Any, zeros: Any) -> Any:
    found = zeros.new_ones(1)
    for zero in zeros:
        found = torch.nn.functional.pad(found, (0, 1)) - torch.nn.functional.pad(
            found * zero, (1, 0)
        )
    return found


LOOKED_FOR = "zeros that lead are dropped: they are looked for on the host"


def _polynomial(name: str, cases: Any, torch: Any, *ops: Any, **options: Any) -> Sample:
    def call(*xs: Any, **given: Any) -> Any:
        found = getattr(tnp, name)(*xs, **given)
        return list(found) if isinstance(found, tuple) else found

    return Sample(f"np.{name}", call, cases, torch, ops, (f"np.{name}",), **options)


SAMPLES = [
    Sample(
        "np.convolve",
        lambda a, v, mode: tnp.convolve(a, v, mode),
        _sequences,
        _convolved,
        (convolve.Convolve,),
        ("np.convolve",),
        dtypes=NUMBERS,
    ),
    Sample(
        "np.correlate",
        lambda a, v, mode: tnp.correlate(a, v, mode),
        _sequences,
        _correlated,
        (convolve.Convolve,),
        ("np.correlate",),
        dtypes=FLOATS,
    ),
    Sample(
        "np.interp",
        lambda x, xp, fp, **options: tnp.interp(x, xp, fp, **options),
        _points,
        _interpolated,
        (convolve.Bracket,),
        ("np.interp",),
        kinks=True,
    ),
    _polynomial("polyadd", _two, lambda t, a, b: sum(_as_long(t, a, b)), Add),
    _polynomial("polysub", _two, lambda t, a, b: _as_long(t, a, b)[0] - _as_long(t, a, b)[1], Sub),
    _polynomial(
        "polymul", _two, _convolved, convolve.Convolve, captured=False, obstacle=LOOKED_FOR
    ),
    _polynomial("polyder", _one, _derived, Mul),
    _polynomial("polyint", _one, _integrated, Div),
    _polynomial("polyval", _two, _valued, Mul),
    _polynomial(
        "poly",
        lambda draw: Case((normal(draw, (draw(st.integers(1, 4)),)),)),
        _of_zeros,
        Mul,
    ),
]

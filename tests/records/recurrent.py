"""Records of ops/recurrent.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from support.sampling import Case, Draw, Sample, normal, rng_of
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import recurrent

FEW = st.integers(1, 3)


def _case(draw: Draw, gates: int, states: int = 1) -> Case:
    """Gates, states and the weight of a network, for some steps of some rows."""
    steps, rows, size = draw(FEW), draw(FEW), draw(FEW)
    values = [normal(draw, (steps, rows, gates * size))]
    values += [normal(draw, (rows, size)) for _ in range(states)]
    values.append(normal(draw, (gates * size, size)))
    options: dict[str, Any] = {"reverse": draw(st.booleans()), "seen": None}
    if draw(st.booleans()):
        options["seen"] = rng_of(draw).random((steps, rows, 1)) < 0.7
    return Case(tuple(values), options)


def _gru_case(draw: Draw) -> Case:
    case = _case(draw, 3)
    bias = normal(draw, case.values[2].shape[:1])
    return Case((*case.values, bias) if draw(st.booleans()) else case.values, case.options)


def _projected_case(draw: Draw) -> Case:
    case = _case(draw, 4, 2)
    gates, _, c, weight = case.values
    size = draw(FEW)
    h, project = normal(draw, (c.shape[0], size)), normal(draw, (size, c.shape[1]))
    return Case((gates, h, c, normal(draw, (weight.shape[0], size)), project), case.options)


def _seen(seen: Any, like: Tensor) -> Tensor | None:
    return None if seen is None else Tensor(seen, device=like.device)


def _rnn(gates: Tensor, h: Tensor, weight: Tensor, seen: Any, **how: Any) -> Tensor:
    return recurrent.rnn(gates, h, weight, _seen(seen, gates), **how)


def _lstm(
    gates: Tensor, h: Tensor, c: Tensor, weight: Tensor, project: Any = None, *, seen: Any, **o: Any
) -> list[Tensor]:
    given = (gates, h, c, weight, _seen(seen, gates))
    return list(recurrent.lstm(*given, project=project, **o))


def _gru(
    gates: Tensor, h: Tensor, weight: Tensor, bias: Any = None, *, seen: Any, **o: Any
) -> Tensor:
    return recurrent.gru(gates, h, weight, bias, _seen(seen, gates), **o)


def _steps(torch: Any, step: Any, gates: Any, states: Any, seen: Any, reverse: bool) -> list[Any]:
    """The states after each step, written with PyTorch's operators."""
    found = []
    times = range(gates.shape[0])
    for t in reversed(times) if reverse else times:
        new = step(gates[t], *states)
        if seen is not None:
            new = [torch.where(seen[t], n, old) for n, old in zip(new, states, strict=True)]
        states = new
        found.append(states)
    found = found[::-1] if reverse else found
    return [torch.stack(each) for each in zip(*found, strict=True)]


def _their_rnn(
    torch: Any, gates: Any, h: Any, weight: Any, seen: Any, reverse: bool, relu: bool = False
) -> Any:
    act = torch.relu if relu else torch.tanh
    return _steps(torch, lambda z, h: [act(z + h @ weight.T)], gates, [h], seen, reverse)[0]


def _their_lstm(
    torch: Any,
    gates: Any,
    h: Any,
    c: Any,
    weight: Any,
    project: Any = None,
    *,
    seen: Any,
    reverse: bool,
) -> Any:
    def step(z: Any, h: Any, c: Any) -> list[Any]:
        i, f, g, o = (z + h @ weight.T).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        return [h if project is None else h @ project.T, c]

    return _steps(torch, step, gates, [h, c], seen, reverse)


def _their_gru(
    torch: Any, gates: Any, h: Any, weight: Any, bias: Any = None, *, seen: Any, reverse: bool
) -> Any:
    def step(x: Any, h: Any) -> list[Any]:
        own = h @ weight.T + (0 if bias is None else bias)
        (xr, xz, xn), (hr, hz, hn) = x.chunk(3, 1), own.chunk(3, 1)
        z = (xz + hz).sigmoid()
        n = (xn + (xr + hr).sigmoid() * hn).tanh()
        return [(1 - z) * n + z * h]

    return _steps(torch, step, gates, [h], seen, reverse)[0]


def _relu_case(draw: Draw) -> Case:
    """Values whose sums stay away from 0, where the slope jumps."""
    case = _case(draw, 1)
    gates, h, weight = case.values
    values = (np.sign(gates) * (np.abs(gates) + 1), np.abs(h) * 0.1, np.abs(weight) * 0.01)
    return Case(values, {**case.options, "relu": True})


SAMPLES = [
    Sample("rnn", _rnn, lambda draw: _case(draw, 1), _their_rnn, (recurrent.Rnn,), ()),
    Sample("rnn of relu", _rnn, _relu_case, _their_rnn, (recurrent.Rnn,), (), kinks=True),
    Sample("lstm", _lstm, lambda draw: _case(draw, 4, 2), _their_lstm, (recurrent.Lstm,), ()),
    Sample("lstm, projected", _lstm, _projected_case, _their_lstm, (), ()),
    Sample("gru", _gru, _gru_case, _their_gru, (recurrent.Gru,), ()),
]

"""Records of what makes arrays of tensors, in numpy/creation.py."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

import tinygrad_cupy.numpy as tnp
from support.elementwise import two
from support.sampling import Case, Draw, Options, Sample, normal, positive
from tinygrad_cupy.ops import arithmetic


def _between(values: Any) -> Any:
    """Two ends, and how many numbers from one to the other."""

    def cases(draw: Draw) -> Case:
        ends = two(values, values)(draw).values
        options: Options = {"num": draw(st.integers(0, 4)), "endpoint": draw(st.booleans())}
        return Case(ends, options)

    return cases


def _steps(torch: Any, start: Any, stop: Any, num: int, endpoint: bool) -> Any:
    count = max(num - 1 if endpoint else num, 1)
    start, stop = torch.broadcast_tensors(start, stop)
    steps = torch.arange(num, dtype=start.dtype).reshape(-1, *[1] * start.ndim) / count
    return start + (stop - start) * steps


def _geometric(torch: Any, start: Any, stop: Any, **options: Any) -> Any:
    return _steps(torch, start.log(), stop.log(), **options).exp()


def _columns(draw: Draw) -> Case:
    n = draw(st.integers(0, 4))
    options = {"N": draw(st.integers(0, 4)), "increasing": draw(st.booleans())}
    return Case((positive(draw, (n,)),), options)


def _powers(torch: Any, x: Any, N: int, increasing: bool) -> Any:  # its vander writes in place
    powers = range(N) if increasing else range(N - 1, -1, -1)
    return torch.stack([x**power for power in powers], 1) if N else x[:0].reshape(len(x), 0)


SAMPLES = [
    Sample(
        "np.linspace",
        lambda a, b, **options: tnp.linspace(a, b, **options),
        _between(normal),
        _steps,
        (arithmetic.Add, arithmetic.Mul),
        ("np.linspace",),
    ),
    Sample(
        "np.logspace",
        lambda a, b, **options: tnp.logspace(a, b, **options),
        _between(normal),
        lambda torch, a, b, **options: 10 ** _steps(torch, a, b, **options),
        (arithmetic.Pow,),
        ("np.logspace",),
    ),
    Sample(
        "np.geomspace",
        lambda a, b, **options: tnp.geomspace(a, b, **options),
        _between(positive),
        _geometric,
        (arithmetic.Div,),
        ("np.geomspace",),
    ),
    Sample(
        "np.vander",
        lambda x, **options: tnp.vander(x, **options),
        _columns,
        _powers,
        (arithmetic.Pow,),
        ("np.vander",),
    ),
]

"""Records of ops/division.py."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_cupy.numpy as tnp
from support.elementwise import integers, of_integers, two, ufunc
from support.sampling import NUMBERS, Case, Draw, Error, Sample, broadcastable, rng_of, shapes
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import division

NUMERATORS = [3, 2.5, -7, np.float64(4.5), True]
DIVISORS = [2, 0.75, -3, np.float32(1.25)]


def _quotients(draw: Draw) -> Case:
    """a and b whose quotient lies 0.1 from integers at least; b is no integer that rounds to 0."""
    first, second = broadcastable(draw, 2)
    rng = rng_of(draw)
    b = rng.choice([-1.0, 1.0], second) * rng.uniform(0.8, 2, second)
    shape = np.broadcast_shapes(first, second)
    if first != shape:  # one a for several b: far from all steps, that at 0 too
        return Case((rng.choice([-1.0, 1.0], first) * rng.uniform(0.1, 0.6, first), b))
    return Case(((rng.integers(-4, 4, shape) + rng.uniform(0.1, 0.9, shape)) * b, b))


def _beside_number(numbers: list[Any], divides: bool) -> Any:
    def case(draw: Draw) -> Case:
        number = draw(st.sampled_from(numbers))
        shape = draw(shapes(min_side=0))
        rng = rng_of(draw)
        steps = rng.integers(1, 5, shape) + rng.uniform(0.2, 0.8, shape)
        x = float(number) / steps if divides else float(number) * steps
        return Case((np.asarray(x),), {"number": number})

    return case


def _floor(torch: Any, a: Any, b: Any) -> Any:
    whole = not (torch.is_floating_point(a) if torch.is_tensor(a) else b.is_floating_point())
    return torch.floor_divide(a, b) if whole else torch.floor(a / b)


def _divmod(torch: Any, a: Any, b: Any) -> Any:
    return [_floor(torch, a, b), torch.remainder(a, b)]


KINKS: dict[str, Any] = {"kinks": True, "dtypes": NUMBERS}


def _signs(name: str, op: Any, sign: Any, reference: Any) -> list[Sample]:
    """``x ∘ number`` and ``number ∘ x``."""

    def right(torch: Any, x: Any, number: Any) -> Any:
        return reference(torch, x, float(number))

    def left(torch: Any, x: Any, number: Any) -> Any:
        return reference(torch, torch.tensor(float(number), dtype=x.dtype), x)

    return [
        Sample(
            f"{name} number",
            lambda x, number: sign(x, number),
            _beside_number(DIVISORS, divides=False),
            right,
            op,
            (f"__{name}__",),
            kinks=True,
        ),
        Sample(
            f"number {name}",
            lambda x, number: sign(number, x),
            _beside_number(NUMERATORS, divides=True),
            left,
            op,
            (f"__r{name}__",),
            kinks=True,
        ),
    ]


def _both(a: Any, b: Any) -> list[Any]:
    return list(divmod(a, b))


def _common(name: str, op: Any) -> Sample:
    return of_integers(
        f"np.{name}",
        op,
        lambda a, b: getattr(tnp, name)(a, b),
        two(integers, integers),
        (f"np.{name}",),
        lambda t, a, b: getattr(t, name)(a, b),
        errors=(
            Error(
                lambda: getattr(tnp, name)(Tensor([1.0]), 2),
                TypeError,
                f"[{name}] expected integers, got dtype float32",
            ),
        ),
    )


SAMPLES = [
    ufunc("floor_divide", division.FloorDivide, _quotients, torch=_floor, **KINKS),
    ufunc("remainder", division.Remainder, _quotients, **KINKS),
    ufunc("fmod", division.Fmod, _quotients, **KINKS),
    ufunc("divmod", (division.FloorDivide, division.Remainder), _quotients, torch=_divmod, **KINKS),
    *_signs("floordiv", (division.FloorDivide,), operator.floordiv, _floor),
    *_signs("mod", (division.Remainder,), operator.mod, lambda t, a, b: t.remainder(a, b)),
    *_signs("divmod", (division.FloorDivide, division.Remainder), _both, _divmod),
    _common("gcd", division.Gcd),
    _common("lcm", division.Lcm),
]

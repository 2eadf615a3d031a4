"""Records of ops/bitwise.py."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

import tinygrad_cupy.numpy as tnp
from support.elementwise import integers, of_integers, one, two
from support.sampling import Draw, Error, Sample, rng_of
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import bitwise

NUMBER = 5


def _places(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    return rng_of(draw).integers(0, 9, shape).astype(float)


def _binary(name: str, op: Any, sign: Any, dunder: str, second: Any = integers) -> Sample:
    """The function, the sign, and the sign beside a number on either side."""

    def call(function: Any, a: Any, b: Any) -> list[Any]:
        return [function(a, b), sign(a, b), sign(a, NUMBER), sign(NUMBER, b)]

    return of_integers(
        f"np.{name}",
        op,
        lambda a, b: call(getattr(tnp, name), a, b),
        two(integers, second),
        (f"np.{name}", f"__{dunder}__", f"__r{dunder}__"),
        lambda t, a, b: call(getattr(t, f"bitwise_{name.removeprefix('bitwise_')}"), a, b),
        errors=(
            Error(
                lambda: sign(Tensor([1.0]), 2),
                TypeError,
                f"[{op.name}] expected integers or booleans, got dtype float32",
            ),
        ),
    )


def _count(torch: Any, x: Any) -> Any:
    return sum((x.abs() >> place) & 1 for place in range(8)).to(torch.uint8)


SAMPLES = [
    _binary("bitwise_and", bitwise.BitwiseAnd, operator.and_, "and"),
    _binary("bitwise_or", bitwise.BitwiseOr, operator.or_, "or"),
    _binary("bitwise_xor", bitwise.BitwiseXor, operator.xor, "xor"),
    _binary("left_shift", bitwise.LeftShift, operator.lshift, "lshift", _places),
    _binary("right_shift", bitwise.RightShift, operator.rshift, "rshift", _places),
    of_integers(
        "np.invert",
        bitwise.Invert,
        lambda x: [tnp.invert(x), ~x],
        one(integers),
        ("np.invert", "__invert__"),
        lambda t, x: [t.bitwise_not(x), ~x],
        errors=(
            Error(
                lambda: ~Tensor([1.0]),
                TypeError,
                "[invert] expected integers or booleans, got dtype float32",
            ),
        ),
    ),
    of_integers(
        "np.bitwise_count",
        bitwise.BitwiseCount,
        lambda x: tnp.bitwise_count(x),
        one(integers),
        ("np.bitwise_count",),
        _count,
    ),
]

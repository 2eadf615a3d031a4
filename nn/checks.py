"""The checks that layers make of their arguments and inputs; every error names the layer.

Letters in shapes, here and in the layers: N images or rows of a batch, C channels, H height,
W width, O output channels, F features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np

from tinygrad_cupy.kernels.common.windows import MOST, Shape, as_sizes, is_whole
from tinygrad_cupy.tensor import Tensor


def name_of(owner: object) -> str:
    """What an error text puts in brackets: the class of a layer or optimizer, or a given name."""
    return owner if isinstance(owner, str) else type(owner).__name__


def integer(owner: object, argument: str, value: object, least: int = 1) -> int:
    """`value` as an int from `least` to MOST, or a ValueError that names owner and argument."""
    if not is_whole(value, least, math.inf):
        raise ValueError(
            f"[{name_of(owner)}] {argument} must be an integer of at least {least}, got {value!r}"
        )
    _expect_at_most(owner, argument, value, int(value))
    return int(value)


def sizes(owner: object, argument: str, value: object, ndim: int, least: int = 1) -> Shape:
    """One integer, or one for each of `ndim` axes, as a tuple of ints from `least` to MOST."""
    each = as_sizes(value, least, math.inf, ndim)
    if each is None:
        raise ValueError(
            f"[{name_of(owner)}] {argument} must be an integer of at least {least}"
            f"{_SEVERAL[ndim]}, got {value!r}"
        )
    _expect_at_most(owner, argument, value, *each)
    return each


_SEVERAL = (
    "",
    "",
    " or a pair of them (height, width)",
    " or three of them (depth, height, width)",
)


def _expect_at_most(owner: object, argument: str, value: object, *numbers: int) -> None:
    if max(numbers) > MOST:
        raise ValueError(
            f"[{name_of(owner)}] {argument} must be at most {MOST}, the largest size that is "
            f"computed with, got {value!r}"
        )


def number(
    owner: object, argument: str, value: object, least: float, below: float = math.inf
) -> float:
    """`value` as a float in [least, below), or a ValueError that names owner and argument."""
    if not _is_real(value) or not least <= value < below:
        limits = f"at least {least:g}" + ("" if below == math.inf else f" and below {below:g}")
        raise ValueError(
            f"[{name_of(owner)}] {argument} must be a number of {limits}, got {value!r}"
        )
    return float(value)


def positive(owner: object, argument: str, value: object) -> float:
    """`value` as a finite float above 0, or a ValueError that names owner and argument."""
    if not _is_real(value) or not 0 < value < math.inf:
        raise ValueError(f"[{name_of(owner)}] {argument} must be a number above 0, got {value!r}")
    return float(value)


def real(owner: object, argument: str, value: object) -> float:
    """`value` as a float, any but NaN, or a ValueError that names owner and argument."""
    if not _is_real(value) or value != value:
        raise ValueError(f"[{name_of(owner)}] {argument} must be a number, got {value!r}")
    return float(value)


def sides(owner: object, argument: str, value: object, ndim: int) -> Shape:
    """One number for all sides of `ndim` axes, or one for each: 2 * ndim whole numbers from 0."""
    each: Any = value if isinstance(value, tuple | list) else (value,) * (2 * ndim)
    if len(each) != 2 * ndim or not all(is_whole(n, 0, MOST) for n in each):
        raise ValueError(
            f"[{name_of(owner)}] {argument} must be an integer of at least 0 or {2 * ndim} of "
            f"them, got {value!r}"
        )
    return tuple([int(n) for n in each])


def fraction(owner: object, argument: str, value: object) -> float:
    """`value` as a float in [0, 1], or a ValueError that names owner and argument."""
    if not _is_real(value) or not 0 <= value <= 1:
        raise ValueError(
            f"[{name_of(owner)}] {argument} must be a number from 0 to 1, got {value!r}"
        )
    return float(value)


def choice(owner: object, argument: str, value: object, choices: Sequence[str]) -> str:
    """`value` when it is one of `choices`, or a ValueError that lists them."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(
            f"[{name_of(owner)}] {argument} must be one of {', '.join(choices)}, got {value!r}"
        )
    return value


def groups_divide(owner: object, groups: int, in_channels: int, out_channels: int) -> None:
    """Grouped convolution splits both channel counts into `groups` equal parts."""
    for argument, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
        if channels % groups:
            raise ValueError(
                f"[{name_of(owner)}] groups must divide {argument}: {channels} channels cannot be "
                f"split into {groups} groups"
            )


def input_tensor(owner: object, x: object) -> None:
    """The input must be a Tensor: layers do not guess a device for a bare array."""
    if not isinstance(x, Tensor):
        raise TypeError(f"[{name_of(owner)}] expected a Tensor, got {type(x).__name__}")


def input_axes(owner: object, x: Tensor, *layouts: str) -> None:
    """The input must have as many axes as one of the layouts, such as "N, C, H, W"."""
    input_tensor(owner, x)
    if x.ndim not in [layout.count(",") + 1 for layout in layouts]:
        wanted = " or ".join(f"({layout})" for layout in layouts)
        raise ValueError(
            f"[{name_of(owner)}] expected an input of shape {wanted}, "
            f"got {x.ndim} axes (input shape {x.shape})"
        )


def input_size(owner: object, x: Tensor, axis: int, expected: int, what: str) -> None:
    """The input must have `expected` entries along `axis`; `what` says what they are."""
    input_tensor(owner, x)
    if x.ndim <= axis or x.ndim < -axis or x.shape[axis] != expected:
        got = x.shape[axis] if -x.ndim <= axis < x.ndim else "none"
        raise ValueError(
            f"[{name_of(owner)}] expected {expected} {what}, got {got} (input shape {x.shape})"
        )


def _is_real(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)

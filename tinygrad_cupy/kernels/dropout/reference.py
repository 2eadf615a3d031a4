"""Dropout by the words alone: what the kernels are held to."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import random
from ...backend import Array, device_of

Apply = Callable[[Array, Array, float, bool], Array]  # what multiplies by the mask


def least_word(p: float) -> int:
    """The smallest word of an element that is kept: u ≥ p ⟺ word >> 40 ≥ p · 2²⁴."""
    return math.ceil(p * 2**24) << 40


def scale_of(x: Array, p: float) -> Any:
    """1 / (1 - p) in x's dtype; 0 where nothing is kept."""
    return x.dtype.type(1 / (1 - p)) if p < 1 else x.dtype.type(0)


def draw(x: Array, p: float, apply: Apply) -> tuple[Array, Array]:
    """x · mask / (1 - p) and the mask, both in C order, told from the words alone."""
    raw, least = random.words_of(x.shape, random.STREAM_DROPOUT, device_of(x)), least_word(p)
    mask = raw >= np.uint64(least) if least < 2**64 else raw != raw  # p = 1 keeps nothing
    return apply(x, mask, p, False), mask

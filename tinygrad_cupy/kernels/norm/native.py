"""Batch norm on the CPU through ``norm.c``, where the machine has a C compiler; for float32.

What does not `suit` goes through NumPy, in `cpu`, which says what is computed.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np

from ...backend import Array
from ...backend.c_source import CSource, plain
from ...backend.cpu_memory import aligned_empty
from ...backend.cpu_threads import parts_of, workspace
from ..common.images import contiguous_last, images_of
from ..common.pool2x2 import MASKED

_file = CSource(__file__, "../common/images.h", "norm.c", defines=(f"MASKED={MASKED}",))
LEAST = 1 << 15  # elements for a thread: below this, handing work over costs more


class _Norm(ctypes.Structure):
    """As ``Norm`` in norm.c."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("c", "h", "w", "relu", "pool")],
        ("cap", ctypes.c_float),
    ]


def suits(x: Array) -> bool:
    """Whether x (N, C, …) can be normalized here."""
    return bool(x.dtype == np.float32 and x.size and _file.library is not None)


def moments(x: Array) -> tuple[Array, Array]:
    """Mean and biased variance of each channel of x (N, C, …), float64."""
    sizes = _sizes(x, relu=False, pool=False)
    images, held = images_of(x)
    pivot = plain(x[(0, slice(None), *[0] * (x.ndim - 2))])
    sums = _sums(x)
    _run("norm_moments", x, sizes, images, pivot, sums)
    del held
    one, two = sums.sum(axis=0) / (x.size // sizes.c)
    return pivot + one, np.maximum(two - one * one, 0)


def apply(
    x: Array, mean: Array, scale: Array, shift: Array, relu: bool, pool: bool, cap: float | None
) -> tuple[Array, Array | None]:
    """y (N, …, C) = (x - mean) · scale + shift, then ReLU and pool, and the pool's argmax."""
    sizes = _sizes(x, relu, pool, cap)
    images, held = images_of(x)
    out = [size // 2 for size in x.shape[2:]] if pool else x.shape[2:]
    y = aligned_empty((len(x), *out, sizes.c), np.float32)
    argmax = aligned_empty(y.shape, np.uint8) if pool else None
    arguments = (images, *map(plain, (mean, scale, shift)), y, argmax)
    _run("norm_apply", x, sizes, *arguments)
    del held
    return y, argmax


class Gradient:
    """That in front of ReLU and pool, from ``grad`` behind them; the others as there."""

    def __init__(
        self,
        grad: Array,
        x: Array,
        mean: Array,
        relu_y: Array | None,
        argmax: Array | None,
        cap: float | None,
    ) -> None:
        self.x, self.sizes = x, _sizes(x, relu=False, pool=argmax is not None, cap=cap)
        (grads, held_grad), (images, held_x) = images_of(grad), images_of(x)
        self.held = held_grad, held_x
        opened = contiguous_last(relu_y), contiguous_last(argmax)
        self.arguments = (grads, images, *opened, plain(mean))

    def sums(self) -> tuple[Array, Array]:
        """Of the gradient g and of g · (x - mean), for each channel, float64."""
        sums = _sums(self.x)
        self._run("norm_backward_sums", sums)
        one, two = sums.sum(axis=0)
        return one, two

    def applied(self, scale: Array, slope: Array, mean_g: Array) -> Array:
        """dx (N, …, C) = scale · (g + slope · (x - mean) - mean_g)."""
        dx = aligned_empty((len(self.x), *self.x.shape[2:], self.sizes.c), np.float32)
        self._run("norm_backward_apply", *map(plain, (scale, slope, mean_g)), dx)
        return dx

    def _run(self, name: str, *arguments: Array) -> None:
        _run(name, self.x, self.sizes, *self.arguments, *arguments)


def _sizes(x: Array, relu: bool, pool: bool, cap: float | None = None) -> _Norm:
    size, most = (1, 1, *x.shape[2:]), math.nan if cap is None else cap
    return _Norm(x.shape[1], math.prod(size[:-1]), size[-1], relu, pool, most)


def _sums(x: Array) -> Array:
    """Room for two sums of each channel over each part of the batch."""
    parts = len(parts_of(len(x), _least(x)))
    return workspace("moments", (parts, 2, x.shape[1]), np.float64)


def _least(x: Array) -> int:
    """Images for a thread."""
    return int(-(-LEAST * len(x) // x.size))


def _run(name: str, x: Array, sizes: _Norm, *arguments: Any) -> None:
    scratch = _file.size("norm_scratch", sizes)
    _file.run(name, sizes, len(x), arguments, scratch, _least(x))

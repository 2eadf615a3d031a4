"""Bits packed into bytes, and the function I₀, which NumPy has beside its ufuncs."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops import bessel
from ..ops.axes import normalize_axis
from ..ops.protocols import implements
from ..ops.shape import stack
from .arrays import tensor

__all__ = ["i0", "packbits", "unpackbits"]

BIG = (128, 64, 32, 16, 8, 4, 2, 1)


@implements(np.i0)
def i0(x: Any) -> Any:
    """The modified Bessel function of the first kind and order 0, of each element."""
    return bessel.i0(tensor(x))


@implements(np.packbits)
def packbits(a: Any, /, axis: int | None = None, bitorder: str = "big") -> Any:
    """Booleans, or integers that are not 0, as the bits of bytes (uint8) along ``axis``."""
    x, place, back = _along("packbits", a, axis)
    x = (x != 0).astype(np.int64)
    count = -(-x.shape[-1] // 8)
    x = x.pad((*[(0, 0)] * (x.ndim - 1), (0, 8 * count - x.shape[-1])))
    bits = x.reshape(*x.shape[:-1], count, 8)
    sums = [bits[..., i] * value for i, value in enumerate(_values(bitorder))]
    found = sums[0]
    for one in sums[1:]:
        found = found + one
    return found.astype(np.uint8).permute(*back) if place is not None else found.astype(np.uint8)


@implements(np.unpackbits)
def unpackbits(
    a: Any, /, axis: int | None = None, count: int | None = None, bitorder: str = "big"
) -> Any:
    """The bits of bytes as 0 and 1 (uint8) along ``axis``; the first ``count`` of them."""
    x, place, back = _along("unpackbits", a, axis)
    if x.dtype != np.uint8:
        raise TypeError(f"[unpackbits] expected bytes (uint8), got {x.dtype}")
    rest, bits = x.astype(np.int64), {}
    for value in BIG:
        held = rest >= value
        rest = rest - held.astype(np.int64) * value
        bits[value] = held
    found = stack([bits[value] for value in _values(bitorder)], -1)
    found = found.reshape(*x.shape[:-1], -1).astype(np.uint8)
    if count is not None and count > found.shape[-1]:
        missing = count - found.shape[-1]
        found = found.pad((*[(0, 0)] * (found.ndim - 1), (0, missing)))
    found = found if count is None else found[..., :count]
    return found.permute(*back) if place is not None else found


def _values(bitorder: str) -> tuple[int, ...]:
    if bitorder not in ("big", "little"):
        raise ValueError(f"[packbits] expected bitorder big or little, got {bitorder!r}")
    return BIG if bitorder == "big" else BIG[::-1]


def _along(name: str, a: Any, axis: int | None) -> tuple[Any, int | None, list[int]]:
    """The array with ``axis`` last (flattened where there is none), and how to put it back."""
    x = tensor(a)
    if x.dtype.kind not in "biu":
        raise TypeError(f"[{name}] expected integers or booleans, got {x.dtype}")
    if axis is None:
        return x.reshape(-1), None, []
    (place,) = normalize_axis(axis, x.ndim, name)
    others = [i for i in range(x.ndim) if i != place]
    back = [*range(place), x.ndim - 1, *range(place, x.ndim - 1)]
    return x.permute(*others, place), place, back

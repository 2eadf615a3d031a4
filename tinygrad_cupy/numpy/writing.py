"""Writing elements in place: `put`, `place` and others. See `Tensor.__setitem__` for gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import TensorBase
from ..backend import array_module, on_device_of, to_numpy
from ..ops.axes import normalize_axis
from ..ops.protocols import implements
from .arrays import expect_no_gradient, tensor

__all__ = ["fill_diagonal", "place", "put", "put_along_axis", "putmask"]


def _target(name: str, a: Any, *values: Any) -> Any:
    """The tensor that is written, or a tensor on the memory of an array that is."""
    if isinstance(a, TensorBase):
        return a
    for value in values:  # which an array cannot hold with its gradient
        if isinstance(value, TensorBase):
            expect_no_gradient(name, value)
    return tensor(a)


def _repeated(values: Any, count: int, like: Any) -> Any:
    """``count`` of the values, which begin anew where they end."""
    values = tensor(values, like).reshape(-1)
    with on_device_of(like.data):
        places = array_module(like.data).arange(count) % max(values.size, 1)
    return values.to(like.device)[places].astype(like.dtype)


@implements(np.put)
def put(a: Any, ind: Any, v: Any, mode: str = "raise") -> None:
    """``a.flat[ind] = v``, the values repeated; ``mode`` says what becomes of indices beyond it."""
    x = _target("put", a, v)
    places = _values(ind).reshape(-1)
    if mode == "raise":
        if places.size and not (-x.size <= places.min() and places.max() < x.size):
            raise IndexError(f"[put] expected indices into {x.size} elements, got {places}")
        places = places % max(x.size, 1)
    elif mode == "wrap":
        places = places % max(x.size, 1)
    elif mode == "clip":
        places = places.clip(0, x.size - 1)
    else:
        raise ValueError(f'[put] expected mode "raise", "wrap" or "clip", got {mode!r}')
    last = {int(place): i for i, place in enumerate(places)}  # of several writes, the last counts
    if last:
        kept = np.array(list(last.values()))
        values = _repeated(v, len(places), x)[kept]
        x[np.unravel_index(places[kept], x.shape) if x.shape else ...] = (
            values if x.shape else values[0]
        )


@implements(np.place)
def place(arr: Any, mask: Any, vals: Any) -> None:
    """Where ``mask`` holds, the first values, which begin anew where they end."""
    x = _target("place", arr, vals)
    mask = _values(mask).astype(bool).reshape(x.shape)
    count = int(mask.sum())
    if count:
        x[mask] = _repeated(vals, count, x)


@implements(np.putmask)
def putmask(a: Any, /, mask: Any, values: Any) -> None:
    """Where ``mask`` holds, the values at the same place, which begin anew where they end."""
    x = _target("putmask", a, values)
    mask = _values(mask).astype(bool).reshape(x.shape)
    whole = _repeated(values, x.size, x).reshape(x.shape)
    x[mask] = whole[mask]


@implements(np.put_along_axis)
def put_along_axis(arr: Any, indices: Any, values: Any, axis: int | None) -> None:
    """``values``, which broadcast, where ``indices`` say along ``axis``."""
    x = _target("put_along_axis", arr, values)
    if axis is None:
        places = np.unravel_index(_values(indices).reshape(-1), x.shape)
        x[places] = values
        return
    (place,) = normalize_axis(axis, x.ndim, "put_along_axis")
    found = _values(indices)
    key = [
        np.arange(n).reshape(-1, *[1] * (x.ndim - 1 - i)) if i != place else found
        for i, n in enumerate(x.shape)
    ]
    x[tuple(key)] = values


@implements(np.fill_diagonal)
def fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:
    """``val``, a number or a sequence, along the main diagonal.

    ``wrap``: a tall matrix has another diagonal below each, a row apart.
    """
    x = _target("fill_diagonal", a, val)
    if x.ndim < 2 or (x.ndim > 2 and len(set(x.shape)) > 1):
        raise ValueError(
            f"[fill_diagonal] expected a matrix, or axes of one length, got shape {x.shape}"
        )
    step = sum(int(np.prod(x.shape[i + 1 :])) for i in range(x.ndim))
    end = x.size if wrap or x.ndim > 2 else x.shape[1] * x.shape[1]
    places = np.arange(0, min(end, x.size), step)
    x[np.unravel_index(places, x.shape)] = _repeated(val, len(places), x)


def _values(x: Any) -> Any:
    """Indices or a mask on the host."""
    return to_numpy(tensor(x).data)

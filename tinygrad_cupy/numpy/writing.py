"""Writing elements in place: `put`, `place` and others. See `Tensor.__setitem__` for gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import TensorBase
from ..autograd.levels import Tracer
from ..backend import array_module, on_device_of, to_numpy
from ..ops.axes import normalize_axis
from ..ops.comparison import where
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
    if mode not in ("raise", "wrap", "clip"):
        raise ValueError(f'[put] expected mode "raise", "wrap" or "clip", got {mode!r}')
    places: Any = _indices(ind).reshape(-1)
    held = isinstance(places, TensorBase)
    if mode == "clip":
        places = places.clip(0, x.size - 1)
    elif mode == "wrap":
        places = places % max(x.size, 1)
    elif held:  # beyond the elements is beyond the first axis
        places = places + (places < 0) * x.size
    else:
        if places.size and not (-x.size <= places.min() and places.max() < x.size):
            raise IndexError(f"[put] expected indices into {x.size} elements, got {places}")
        places = places % max(x.size, 1)
    if places.size:
        values = _repeated(v, places.size, x)
        if x.shape:
            x[_unravelled(places, x.shape)] = values
        else:
            x[...] = values[-1]


def _unravelled(places: Any, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Numbers of elements as a key. (`numpy.unravel_index` looks at them, on the host.)"""
    key: list[Any] = []
    for n in reversed(shape[1:]):
        key.append(places % n)
        places = places // n
    return (places, *reversed(key))


@implements(np.place)
def place(arr: Any, mask: Any, vals: Any) -> None:
    """Where ``mask`` holds, the first values, which begin anew where they end."""
    x = _target("place", arr, vals)
    chosen = tensor(mask, x).astype(bool).reshape(-1)
    values = tensor(vals, x).reshape(-1)
    if values.size:
        turns = (chosen.cumsum() - 1) % values.size
        _write_where(x, chosen, values[turns])
    elif bool(chosen.any()):
        raise ValueError("[place] expected values, got none")


@implements(np.putmask)
def putmask(a: Any, /, mask: Any, values: Any) -> None:
    """Where ``mask`` holds, the values at the same place, which begin anew where they end."""
    x = _target("putmask", a, values)
    _write_where(x, tensor(mask, x).astype(bool), _repeated(values, x.size, x))


def _write_where(x: Any, mask: Any, values: Any) -> None:
    """As many values as x has, where the mask holds: what is kept has a fixed size, in a batch."""
    x[...] = where(mask.reshape(x.shape), values.reshape(x.shape).astype(x.dtype), x)


@implements(np.put_along_axis)
def put_along_axis(arr: Any, indices: Any, values: Any, axis: int | None) -> None:
    """``values``, which broadcast, where ``indices`` say along ``axis``."""
    x = _target("put_along_axis", arr, values)
    if axis is None:
        flat = _indices(indices).reshape(-1)
        x[_unravelled(flat + x.size * (flat < 0), x.shape)] = values
        return
    (place,) = normalize_axis(axis, x.ndim, "put_along_axis")
    found = _indices(indices)
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


def _indices(x: Any) -> Any:
    """Indices on the host; those that a transform holds as they are."""
    x = tensor(x)
    return x if isinstance(x, Tracer) else to_numpy(x.data)

"""Shapes and axes, rolling, repeating and turning."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ops import arrange
from ..ops.axes import normalize_axis
from ..ops.protocols import implements
from .arrays import first_tensor, tensor, tensors

__all__ = [
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "broadcast_arrays",
    "broadcast_shapes",
    "broadcast_to",
    "expand_dims",
    "flip",
    "fliplr",
    "flipud",
    "matrix_transpose",
    "moveaxis",
    "permute_dims",
    "ravel",
    "repeat",
    "reshape",
    "resize",
    "roll",
    "rollaxis",
    "rot90",
    "squeeze",
    "swapaxes",
    "tile",
    "transpose",
]

broadcast_shapes = np.broadcast_shapes


def _expect_axes(name: str, a: Any, least: int) -> Any:
    """``a``, or ``ValueError`` where it has fewer axes."""
    if a.ndim < least:
        raise ValueError(f"[{name}] expected at least {least} axes, got shape {a.shape}")
    return a


# --- shapes ---------------------------------------------------------------------------------------


@implements(np.reshape)
def reshape(a: Any, /, shape: Any, order: str = "C", *, copy: bool | None = None) -> Any:
    """The same elements under another shape, one size of which may be -1.

    In C order, or with the first axis fastest for order "F". A view where that is possible;
    ``copy=True`` has memory of its own, ``copy=False`` is refused where it would need any.
    """
    a = tensor(a)
    found = a.reshape(shape, order=order)
    if copy is False and found._version is not a._version:
        raise ValueError(
            f"[reshape] shape {found.shape} of shape {a.shape} needs a copy, got copy=False"
        )
    return found.clone() if copy else found


@implements(np.ravel)
def ravel(a: Any, order: str = "C") -> Any:
    """One axis of all elements; see `Tensor.ravel`."""
    return tensor(a).ravel(order)


@implements(np.squeeze)
def squeeze(a: Any, axis: Any = None) -> Any:
    """Without the axes of size 1: those named, or all."""
    return tensor(a).squeeze(axis)


@implements(np.expand_dims)
def expand_dims(a: Any, axis: Any) -> Any:
    """With new axes of size 1 at these places of the result."""
    a = tensor(a)
    axes = axis if isinstance(axis, tuple | list) else (axis,)
    places = normalize_axis(tuple(axes), a.ndim + len(axes), "expand_dims")
    sizes = iter(a.shape)
    return a.reshape([1 if i in places else next(sizes) for i in range(a.ndim + len(axes))])


@implements(np.broadcast_to)
def broadcast_to(array: Any, shape: Any, subok: bool = False) -> Any:
    """A view stretched to ``shape``; its gradient is summed back."""
    return tensor(array).broadcast_to(shape if isinstance(shape, tuple | list) else (shape,))


@implements(np.broadcast_arrays)
def broadcast_arrays(*args: Any, subok: bool = False) -> tuple[Any, ...]:
    """All stretched to the shape that they have together, as views; text and objects as NumPy's."""
    like = first_tensor(args)
    given = [tensor(a, like) if _has_numbers(a) else np.asarray(a) for a in args]
    try:
        shape = np.broadcast_shapes(*[a.shape for a in given])
    except ValueError as error:
        shapes = " and ".join(str(a.shape) for a in given)
        raise ValueError(f"[broadcast_arrays] shapes {shapes} do not broadcast") from error
    return tuple([_stretched(a, shape) for a in given])


def _stretched(a: Any, shape: tuple[int, ...]) -> Any:
    return np.broadcast_to(a, shape) if type(a) is np.ndarray else a.broadcast_to(shape)


def _has_numbers(a: Any) -> bool:
    kind = getattr(a, "dtype", None)
    return a is not None and not isinstance(a, str) and (kind is None or kind.kind not in "OSUMm")


def _each(shaped: Any, arrays: tuple[Any, ...]) -> Any:
    """The shaped array, or several as a tuple."""
    found = tuple([shaped(a) for a in tensors(*arrays)])
    return found[0] if len(found) == 1 else found


@implements(np.atleast_1d)
def atleast_1d(*arys: Any) -> Any:
    """With one axis at least; several give a tuple."""
    return _each(lambda a: a if a.ndim else a.reshape(1), arys)


@implements(np.atleast_2d)
def atleast_2d(*arys: Any) -> Any:
    """With two axes at least: (n,) becomes (1, n)."""
    return _each(lambda a: a if a.ndim > 1 else a.reshape(1, a.size), arys)


@implements(np.atleast_3d)
def atleast_3d(*arys: Any) -> Any:
    """With three axes at least: (n,) becomes (1, n, 1), (m, n) becomes (m, n, 1)."""

    def shaped(a: Any) -> Any:
        if a.ndim > 2:
            return a
        return a.reshape(*a.shape, 1) if a.ndim == 2 else a.reshape(1, a.size, 1)

    return _each(shaped, arys)


@implements(np.resize)
def resize(a: Any, new_shape: Any) -> Any:
    """The elements over and over, or as many as there is room for, in another shape."""
    flat = tensor(a).reshape(-1)
    shape = new_shape if isinstance(new_shape, tuple | list) else (new_shape,)
    sizes = tuple(operator.index(n) for n in shape)
    if min(sizes, default=0) < 0:
        raise ValueError(f"[resize] expected sizes ≥ 0, got {new_shape}")
    size = math.prod(sizes)
    if flat.size == 0 or size == 0:
        return flat[:0].pad(((0, size),)).reshape(sizes)
    return arrange.tile(flat, (-(-size // flat.size),))[:size].reshape(sizes)


# --- axes -----------------------------------------------------------------------------------------


@implements(np.transpose, np.permute_dims)
def transpose(a: Any, axes: Any = None) -> Any:
    """A view with the axes reversed, or in the order given."""
    a = tensor(a)
    return a.transpose() if axes is None else a.permute(axes)


permute_dims = transpose


@implements(np.matrix_transpose)
def matrix_transpose(x: Any, /) -> Any:
    """A view with the last two axes exchanged."""
    return _expect_axes("matrix_transpose", tensor(x), 2).swapaxes(-1, -2)


@implements(np.moveaxis)
def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    """A view with axes moved to other places, the rest in its order."""
    return arrange.moveaxis(tensor(a), source, destination)


@implements(np.rollaxis)
def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    """A view with an axis moved to where it lies in front of what was axis ``start``."""
    a = tensor(a)
    place = arrange.one_axis(axis, a.ndim, "rollaxis")
    end = operator.index(start) + (a.ndim if start < 0 else 0)
    if not 0 <= end <= a.ndim:
        raise np.exceptions.AxisError(f"[rollaxis] start {start} is out of range for {a.ndim} axes")
    return arrange.moveaxis(a, place, end - (place < end))


@implements(np.swapaxes)
def swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    """A view with two axes exchanged."""
    return tensor(a).swapaxes(axis1, axis2)


# --- the order of elements ------------------------------------------------------------------------


@implements(np.flip)
def flip(m: Any, axis: Any = None) -> Any:
    """A view with the order of elements reversed along axes, all without any."""
    return tensor(m).flip(axis)


@implements(np.fliplr)
def fliplr(m: Any) -> Any:
    """A view with the columns, along axis 1, in reverse."""
    return _expect_axes("fliplr", tensor(m), 2).flip(1)


@implements(np.flipud)
def flipud(m: Any) -> Any:
    """A view with the rows, along axis 0, in reverse."""
    return _expect_axes("flipud", tensor(m), 1).flip(0)


@implements(np.rot90)
def rot90(m: Any, k: int = 1, axes: Sequence[int] = (0, 1)) -> Any:
    """Turned by 90° k times in the plane of two axes, from the first towards the second."""
    return arrange.rot90(_expect_axes("rot90", tensor(m), 2), operator.index(k), axes)


@implements(np.roll)
def roll(a: Any, shift: Any, axis: Any = None) -> Any:
    """Elements moved on, those that leave at the end coming in at the start.

    Along an axis, or several, each by its own shift or all by one; flattened without an axis.
    """
    return arrange.roll(tensor(a), shift, axis)


@implements(np.repeat)
def repeat(a: Any, repeats: Any, axis: int | None = None) -> Any:
    """Each element ``repeats`` times in a row; see `Tensor.repeat`."""
    return tensor(a).repeat(repeats, axis)


@implements(np.tile)
def tile(A: Any, reps: Any) -> Any:
    """Side by side with itself, that often along each axis; missing axes are put in front."""
    counts = reps if isinstance(reps, tuple | list) else np.atleast_1d(reps).tolist()
    return arrange.tile(tensor(A), counts)

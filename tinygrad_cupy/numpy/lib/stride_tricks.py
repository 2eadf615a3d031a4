"""Views by strides, none of which leaves the memory of its tensor."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ops import windows
from ...ops.arrange import bytes_to_next
from ...ops.protocols import implements
from ..arrays import tensor
from ..shaping import broadcast_arrays, broadcast_shapes, broadcast_to

__all__ = [
    "as_strided",
    "broadcast_arrays",
    "broadcast_shapes",
    "broadcast_to",
    "sliding_window_view",
]


@implements(np.lib.stride_tricks.sliding_window_view)
def sliding_window_view(
    x: Any, window_shape: Any, axis: Any = None, *, subok: bool = False, writeable: bool = False
) -> Any:
    """Windows that slide along axes in steps of one, their elements in new last axes.

    A view, whose elements share memory: it is not written. Its gradient adds up what each element
    of x got from the windows that it is in.
    """
    if writeable:
        raise ValueError("[sliding_window_view] windows share their elements: they are not written")
    return windows.sliding_window_view(tensor(x), window_shape, axis)


def as_strided(
    x: Any, shape: Any = None, strides: Any = None, subok: bool = False, writeable: bool = False
) -> Any:
    """A view of ``shape`` whose axes step by ``strides``, in bytes, through x in C order.

    A tensor's strides are those of C order, however it lies in memory. Elements may come up any
    number of times; the gradient adds up. Where a step would leave x it is a ``ValueError``, and
    the view is not written.
    """
    x = tensor(x)
    if writeable:
        raise ValueError("[as_strided] elements may share their memory: they are not written")
    sizes = x.shape if shape is None else shape
    sizes = tuple(sizes) if isinstance(sizes, tuple | list) else (sizes,)
    steps = bytes_to_next(x.shape, x.dtype.itemsize) if strides is None else strides
    return windows.as_strided(x, sizes, steps)

"""Records of ops/windows.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_cupy.numpy as tnp
from support.moving import moved_by, shaped
from support.sampling import MOVED, Draw, Error, Sample
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops.windows import Overlapped, Strided, StridedAdded, Windows

from .arrange import axes_of


def _slid(draw: Draw, shape: tuple[int, ...]) -> dict[str, Any]:
    count = draw(st.integers(1, len(shape)))
    axes = draw(st.sampled_from([None, axes_of(draw, shape, count)]))
    lengths = shape if axes is None else [shape[axis] for axis in axes]
    sides = tuple(draw(st.integers(0, n)) for n in lengths)
    return {"window_shape": sides, "axis": axes}


def _in_numpy(x: Any, window_shape: Any, axis: Any) -> Any:
    """NumPy takes no windows of the whole of an empty axis."""
    return np.lib.stride_tricks.sliding_window_view(x, window_shape, axis)


def _strided(draw: Draw, shape: tuple[int, ...]) -> dict[str, Any]:
    """A shape and steps, in elements, that stay within as many as there are."""
    left = int(np.prod(shape)) - 1
    sizes, steps = [], []
    for _ in range(draw(st.integers(0, 3))):
        step = draw(st.integers(0, max(left, 0)))
        most = left // step + 1 if step else 3
        size = draw(st.integers(0, min(most, 4)))
        left -= max(size - 1, 0) * step
        sizes.append(size)
        steps.append(step)
    if left < 0:
        sizes.append(0)
        steps.append(1)
    return {"shape": tuple(sizes), "steps": tuple(steps)}


def _by_steps(x: Tensor, shape: Any, steps: Any) -> Tensor:
    found: Tensor = tnp.as_strided(x, shape, tuple(n * x.dtype.itemsize for n in steps))
    return found


def _steps_in_numpy(x: Any, shape: Any, steps: Any) -> Any:
    bytes_ = tuple(n * x.itemsize for n in steps)
    if 0 in shape:
        return np.zeros(shape, int)
    return np.lib.stride_tricks.as_strided(np.ascontiguousarray(x), shape, bytes_)


SAMPLES = [
    Sample(
        "np.sliding_window_view",
        lambda x, **options: tnp.sliding_window_view(x, **options),
        shaped(_slid, min_dims=1),
        moved_by(_in_numpy),
        (Windows, Overlapped),
        ("np.sliding_window_view", "np.lib.stride_tricks.sliding_window_view"),
        dtypes=MOVED,
        errors=(
            Error(
                lambda: tnp.sliding_window_view(Tensor.ones(2, 3), 4, 1),
                ValueError,
                "[sliding_window_view] expected windows of 0 to 3 elements along axis 1 of shape "
                "(2, 3), got 4",
            ),
            Error(
                lambda: tnp.sliding_window_view(Tensor.ones(2, 3), 2),
                ValueError,
                "[sliding_window_view] expected one length of a window for each of 2 axes, got 2",
            ),
            Error(
                lambda: tnp.sliding_window_view(Tensor.ones(2), 2, writeable=True),
                ValueError,
                "[sliding_window_view] windows share their elements: they are not written",
            ),
        ),
    ),
    Sample(
        "np.as_strided",
        _by_steps,
        shaped(_strided),
        moved_by(_steps_in_numpy),
        (Strided, StridedAdded),
        ("np.as_strided",),
        dtypes=MOVED,
        errors=(
            Error(
                lambda: tnp.as_strided(Tensor.ones(6), (3, 3), (8, 8)),
                ValueError,
                "[as_strided] shape (3, 3) with strides (8, 8) reads elements 0 to 8 of 6",
            ),
            Error(
                lambda: tnp.as_strided(Tensor.ones(6), (3,), (-4,)),
                ValueError,
                "[as_strided] shape (3,) with strides (-4,) reads elements -2 to 0 of 6",
            ),
            Error(
                lambda: tnp.as_strided(Tensor.ones(6), (3,), (3,)),
                ValueError,
                "[as_strided] expected a size ≥ 0 and a stride, a multiple of 4 bytes, for each "
                "axis, got shape (3,) and strides (3,)",
            ),
        ),
    ),
]

"""Records of ops/indexing.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from support.sampling import MOVED, Case, Draw, Error, Sample, normal, shapes
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import indexing


def draw_key(draw: Draw, shape: tuple[int, ...]) -> Any:
    """Any key that NumPy takes: basic, integer arrays with repeats, masks, and mixtures."""
    kinds = (
        ["basic", "integers", "mask", "mixed"] if shape and 0 not in shape else ["basic", "mask"]
    )
    kind = draw(st.sampled_from(kinds))
    if kind == "basic":
        return draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))
    if kind == "integers":
        result = hnp.array_shapes(max_dims=2, max_side=4)
        return draw(hnp.integer_array_indices(shape, result_shape=result))
    if kind == "mask":
        axes = draw(st.integers(0, len(shape)))
        return draw(hnp.arrays(bool, shape[:axes]))
    count = draw(st.integers(1, 3))
    parts: list[Any] = []
    for n in shape:
        rows = hnp.arrays(np.int64, count, elements=st.integers(-n, n - 1))
        parts.append(draw(st.one_of(rows, st.integers(-n, n - 1), st.slices(n), rows.map(list))))
    return tuple(parts)


def _index_case(draw: Draw) -> Case:
    shape = draw(shapes(min_side=0))
    return Case((normal(draw, shape),), {"key": draw_key(draw, shape)})


def _taken(torch: Any, x: Any, key: Any) -> Any:
    """PyTorch knows no negative steps: NumPy says which elements the key means."""
    numbers = numbers_of(np.arange(x.numel()).reshape(tuple(x.shape)), key)
    return x.reshape(-1)[torch.as_tensor(numbers)]


def numbers_of(elements: np.ndarray, key: Any) -> np.ndarray:
    """Those of the elements that a key means."""
    return np.array(elements[_as_numpy(key)])


def _as_numpy(key: Any) -> Any:
    if isinstance(key, tuple):
        return tuple(_as_numpy(k) for k in key)
    return key.numpy() if hasattr(key, "numpy") else key


def has_mask(key: Any) -> bool:
    """Whether a mask is in the key."""
    parts = key if isinstance(key, tuple) else (key,)
    return any(getattr(getattr(k, "dtype", None), "kind", "") == "b" for k in parts)


SAMPLES = [
    Sample(
        "getitem",
        lambda x, key: x[key],
        _index_case,
        _taken,
        (indexing.Index, indexing.Scatter),
        ("__getitem__",),
        dtypes=MOVED,
        captured=lambda case: not has_mask(case.options["key"]),
        obstacle="a mask as a key: the result's shape depends on values (`where` has a fixed one)",
        errors=(
            Error(
                lambda: Tensor.ones(2, 3)[5],
                IndexError,
                "[index] index 5 is out of bounds for axis 0 with size 2 (tensor of shape (2, 3))",
            ),
            Error(
                lambda: Tensor.ones(2)[1.5],
                IndexError,
                "[index] expected integers or booleans, got 1.5",
            ),
            Error(
                lambda: Tensor.ones(2)[Tensor([0.0])],
                IndexError,
                "[index] expected integers or booleans, got array([0.], dtype=float32)",
            ),
        ),
    ),
]

"""A batch of samples: the arrays and numbers that stand in one place of each are stacked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_cupy import backend
from tinygrad_cupy.tensor import Tensor

from .dataset import DataError
from .trees import like


def default_collate(samples: Sequence[Any]) -> Any:
    """Samples as one batch (B, ...), with the structure that each has: what a `DataLoader` does.

    Arrays, tensors of this library or PyTorch's, and numbers are stacked (Python's floats as
    float32, its integers as int64, its booleans as bool); strings and bytes become a list. Tuples,
    named tuples, lists and dicts are gone through.

    Raises DataError when samples have other shapes, keys or lengths than the first, or hold
    something else; a `collate` function of yours is called in this one's place.

    >>> x, y = datasets.default_collate([([1.0, 2.0], 3), ([4.0, 5.0], 6)])
    >>> x, y
    ([array([1., 4.], dtype=float32), array([2., 5.], dtype=float32)], array([3, 6]))
    """
    return _stacked(list(samples), "")


def _stacked(values: list[Any], path: str) -> Any:
    first = values[0]
    where = f" (at {path})" if path else ""
    if isinstance(first, dict):
        _expect_alike(values, where, "keys", lambda value: sorted(map(str, value)), dict)
        return {k: _stacked([value[k] for value in values], f"{path}[{k!r}]") for k in first}
    if isinstance(first, tuple | list):
        _expect_alike(values, where, "a length", len, (tuple, list))
        parts = [
            _stacked(list(part), f"{path}[{i}]") for i, part in enumerate(zip(*values, strict=True))
        ]
        return like(first, parts)
    if isinstance(first, str | bytes):
        return values
    if all(type(value) in (bool, int, float) for value in values):
        found = np.asarray(values)
        return found.astype(np.float32) if found.dtype == np.float64 else found
    arrays = [_array(value, where) for value in values]
    _expect_alike(arrays, where, "a shape", lambda array: tuple(array.shape), object)
    xp: Any = backend.array_module(arrays[0])
    return xp.stack(arrays)


def _expect_alike(values: list[Any], where: str, what: str, fact: Any, kind: Any) -> None:
    expected = fact(values[0])
    for position, value in enumerate(values):
        got = fact(value) if isinstance(value, kind) else type(value).__name__
        if got != expected:
            raise DataError(
                f"[DataLoader] expected samples that agree in {what}{where}, got {expected} and, "
                f"at position {position} of the batch, {got}: a collate= of yours can pad or "
                "choose"
            )


def _array(value: Any, where: str) -> Any:
    if isinstance(value, Tensor):
        return value.data
    if isinstance(value, np.ndarray | np.generic) or backend.is_cuda(value):
        array = value if backend.is_cuda(value) else np.asarray(value)
    elif type(value) in (bool, int, float):
        array = np.asarray(value, np.float32 if isinstance(value, float) else None)
    elif hasattr(value, "__array__"):
        array = np.asarray(value)
    else:
        array = None
    if array is None or array.dtype.kind in "OSUMm":
        raise DataError(
            f"[DataLoader] expected arrays, tensors, numbers, strings, or tuples, lists and dicts "
            f"of them in a sample{where}, got {type(value).__name__}: have the dataset convert it, "
            "or give a collate= of yours"
        )
    return array

"""Calling NumPy's functions on tensors and on the arrays they hold."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_cupy as tg
import tinygrad_cupy.numpy as tnp
from tinygrad_cupy import Tensor, backend

from .sampling import draw_axis


def placed(values: Any) -> Any:
    """An `ndarray` on the device of the test."""
    return tnp.ndarray(np.asarray(values), device=tg.default_device())


def there(values: Any) -> Any:
    """Arrays, of a list too, as NumPy's or CuPy's on the device of the test; else what it is."""
    if isinstance(values, list):
        return [there(x) for x in values]
    if not isinstance(values, np.ndarray):
        return values
    return backend.to_device(values, tg.default_device())


def same(found: Any, expected: Any, rtol: float = 1e-12) -> None:
    """The same shape, dtype and, to rounding, values; also of several results."""
    if isinstance(expected, tuple | list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other, rtol)
        return
    expected = np.asarray(expected)
    assert isinstance(found, Tensor)
    assert found.shape == expected.shape
    assert found.dtype == (np.int64 if expected.dtype == np.uint64 else expected.dtype)
    np.testing.assert_allclose(found.numpy(), expected, rtol=rtol, atol=1e-13)


def both(name: str, values: Any, *arguments: Any, rtol: float = 1e-12, **options: Any) -> None:
    """NumPy's function on a tensor with arrays where it is, and on arrays alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of means of nothing, by NumPy
        expected = getattr(np, name)(np.asarray(values), *arguments, **options)
    with np.errstate(all="ignore"):
        beside = [there(x) for x in arguments]
        named = {key: there(x) for key, x in options.items()}
        same(getattr(np, name)(placed(values), *beside, **named), expected, rtol)


def an_array(data: st.DataObject, least: int = 1, dtype: Any = float) -> tuple[np.ndarray, Any]:
    """An array of up to four axes, and an axis, several, or None."""
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=least, max_side=3))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    values = rng.integers(-3, 4, shape) if dtype is int else rng.standard_normal(shape)
    return np.asarray(values), draw_axis(data.draw, len(shape))

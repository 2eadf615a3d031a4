"""A call of NumPy's functions on arrays, on tensors, and of this package's namespace: all agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_cupy.numpy as tnp
from tinygrad_cupy import Tensor
from tinygrad_cupy.autograd import TensorBase

Call = Callable[[Any, Any], Any]  # of the module and the tensor or array


def plain(found: Any) -> Any:
    """Results as arrays, several as a list."""
    if isinstance(found, tuple | list):
        return [plain(one) for one in found]
    return found.numpy() if isinstance(found, TensorBase) else np.asarray(found)  # type: ignore[attr-defined]


def expect_same(found: Any, expected: Any, exact: bool = True) -> None:
    """Equal in number, shape, dtype and value."""
    if isinstance(expected, list):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            expect_same(a, b, exact)
        return
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    if exact:
        np.testing.assert_array_equal(found, expected)
    else:
        scale = float(np.abs(expected.astype(float)).max(initial=1))
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * scale)


def agrees(call: Call, array: np.ndarray, device: str = "cpu", exact: bool = True) -> None:
    """Both modules, on a tensor, against NumPy on the array."""
    expected = plain(call(np, array))
    x = Tensor(array, device=device)
    expect_same(plain(call(tnp, x)), expected, exact)
    expect_same(plain(call(np, x)), expected, exact)

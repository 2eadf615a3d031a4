"""What is dropped leaves nothing behind, whatever it was; what is kept stays to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_cupy import Tensor, backend
from tinygrad_cupy.kernels.common.select import keep_where


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64"])
def test_kept_and_dropped(device: str, dtype: str, rng: np.random.Generator) -> None:
    values = (rng.standard_normal((3, 5, 2)) * 9).astype(dtype)
    if dtype != "int64":
        values[0, 0], values[1, 1] = np.inf, np.nan
    keep = rng.random((3, 5, 2)) < 0.5
    keep[0, 0], keep[1, 1] = [True, False], [False, True]
    place = backend.to_device(np.full((3, 10, 2), 7, dtype), device)
    mine, kept = (backend.to_device(a, device) for a in (values, keep))
    expected = np.where(keep, values, np.zeros((), dtype))
    fresh, written = keep_where(mine, kept), keep_where(mine, kept, place[:, ::2])
    for found in (fresh, written):
        np.testing.assert_array_equal(backend.to_numpy(found), expected)
    np.testing.assert_array_equal(backend.to_numpy(place)[:, 1::2], 7)


def test_an_infinite_gradient_does_not_spoil_its_neighbours(device: str) -> None:
    x = Tensor([[[[-1.0, 2.0], [3.0, -4.0]]]], device=device, requires_grad=True)
    x.relu().backward([[[[np.inf, np.inf], [1.0, np.inf]]]])
    assert x.grad is not None
    assert x.grad.tolist() == [[[[0.0, np.inf], [1.0, 0.0]]]]
    x.grad = None
    x.max_pool2d(2).backward([[[[np.inf]]]])
    assert x.grad is not None
    assert x.grad.tolist() == [[[[0.0, 0.0], [np.inf, 0.0]]]]

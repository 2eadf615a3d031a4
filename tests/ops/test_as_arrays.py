"""What NumPy's arrays have beside operations, against NumPy's, and its gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
import tinygrad_cupy.numpy as tnp
from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import to_device

pytestmark = pytest.mark.usefixtures("device")

VALUES = np.random.default_rng(0).uniform(0.5, 2.0, (3, 4))


def pair(device: str) -> tuple[np.ndarray, Tensor]:
    return VALUES.copy(), Tensor(to_device(VALUES, device))


@pytest.mark.parametrize(
    "call",
    [
        lambda a: a.copy("K"),
        lambda a: (a.real, a.imag, a.conj(), a.conjugate()),
        lambda a: (a.itemsize, a.nbytes, len(a.flat)),
        lambda a: (a.flat[3], a.flat[2:5], a.flat[[1, 3]], a.T.flat[1], a.flat.copy()),
        lambda a: list(a.flat),
        lambda a: (a.reshape(4, 3, order="F"), a.reshape((-1, 2), order="F")),
        lambda a: (a.sum(0, float), a.mean(1, np.float32), a.prod(0, None, None, True)),
        lambda a: (a.cumsum(1, dtype="float32"), a.cumprod(0, out=a * 0), a.clip(1, 2, out=a * 0)),
        lambda a: a.astype("float32", casting="unsafe", order="K", copy=False),
        lambda a: (round(a[0, 0]), round(a[0, 0], 1)),
    ],
)
def test_they_give_what_numpy_gives(call: Any, device: str) -> None:
    array, x = pair(device)
    expected, found = call(array), call(x)
    if not isinstance(expected, tuple | list):
        expected, found = [expected], [found]
    assert len(expected) == len(found)
    for one, other in zip(expected, found, strict=True):
        values = other.numpy() if isinstance(other, Tensor) else np.asarray(other)
        assert values.dtype == np.asarray(one).dtype
        np.testing.assert_allclose(values, one, rtol=1e-6)


@pytest.mark.parametrize("turned", [False, True])
def test_flat_is_written(turned: bool, device: str) -> None:
    array, x = pair(device)
    made: Any
    for made in (array, x):
        view = made.T if turned else made
        view.flat[1] = 5.0
        view.flat[2:6] = [1.0, 2.0]
        view.flat[[7, 8]] = [[3.0], [4.0]]
        view.flat[-1:] = 9
        made.put([0, 3], [6.0, 7.0])
    np.testing.assert_array_equal(x.numpy(), array)
    for made in (array, x):
        made.flat = 2.5
    np.testing.assert_array_equal(x.numpy(), array)
    array.fill(3)
    x.fill(3)
    np.testing.assert_array_equal(x.numpy(), array)


def test_what_is_written_has_its_gradient(device: str) -> None:
    def fn(x: Tensor) -> Tensor:
        y = x.copy()
        y.flat[::5] = x[0] * x[1, 0]
        y.T.flat[1] = x[2, 3] ** 2
        y.put([2, 6], x[1, :2])
        y[2].fill(x[0, 1] * x[0, 2])
        return y * x

    assert tg.gradcheck(fn, [Tensor(to_device(VALUES, device), requires_grad=True)])


def test_bytes_and_flags() -> None:
    x = Tensor(VALUES)
    assert x.T.tobytes() == VALUES.T.tobytes()
    assert x.flags.c_contiguous
    assert not x.T.flags.c_contiguous


def test_errors() -> None:
    x = tnp.ones(3)
    with pytest.raises(ValueError, match=r"^\[fill\] expected one number, got shape \(2,\)$"):
        x.fill([1, 2])
    with pytest.raises(ValueError, match=r"^\[flat\] expected values for 2 elements, got none$"):
        x.flat[:2] = []
    with pytest.raises(IndexError):
        x.flat[3] = 1
    with pytest.raises(ValueError, match=r'^\[reshape\] expected order "C" or "F", got \'A\''):
        x.reshape(3, 1, order="A")

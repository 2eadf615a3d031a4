"""Arrays that `tinygrad_cupy.numpy` makes: NumPy's values and dtypes, gradients through them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest

import tinygrad_cupy as tg
import tinygrad_cupy.numpy as np
from tinygrad_cupy import Tensor, backend

SAME: list[Callable[[Any], Any]] = [
    lambda np: np.zeros(3),
    lambda np: np.zeros((2, 3), np.int32),
    lambda np: np.ones((), bool),
    lambda np: np.full((2, 2), 7),
    lambda np: np.full(3, 1.5, dtype=np.float32),
    lambda np: np.full((2, 3), [1, 2, 3]),
    lambda np: np.eye(3, 4, 1),
    lambda np: np.identity(2, int),
    lambda np: np.tri(3, 4, -1),
    lambda np: np.arange(5),
    lambda np: np.arange(1, 8, 3),
    lambda np: np.arange(0.5, 2, 0.25),
    lambda np: np.arange(3, dtype=np.float32),
    lambda np: np.linspace(0, 1, 7),
    lambda np: np.linspace([0, 1], [3, 5], 4, axis=1),
    lambda np: np.linspace(2, 3, 5, endpoint=False),
    lambda np: np.linspace(2, 3, 5, retstep=True)[0],
    lambda np: np.linspace(2, 3, 1),
    lambda np: np.linspace(2, 3, 0),
    lambda np: np.logspace(0, 2, 5),
    lambda np: np.logspace(0, 3, 4, base=2),
    lambda np: np.geomspace(1, 256, 9),
    lambda np: np.array([[1, 2], [3, 4.5]]),
    lambda np: np.array(3),
    lambda np: np.array([True, False]),
    lambda np: np.array([1, 2], dtype=np.float16),
    lambda np: np.array([1, 2], ndmin=3),
    lambda np: np.ascontiguousarray(np.arange(6).reshape(2, 3).T),
    lambda np: np.asarray([1, 2]) / 2,
    lambda np: np.fromfunction(lambda i, j: i * 2 + j, (2, 3)),
    lambda np: np.fromiter((k * k for k in range(5)), dtype=float),
    lambda np: np.fromiter((k * k for k in range(5)), int, 3),
    lambda np: np.mgrid[0:3, 0:4],
    lambda np: np.ogrid[0:3, 0:4][1],
    lambda np: np.r_[1:4, 0, 4.5],
    lambda np: np.c_[np.array([1, 2]), np.array([3.0, 4])],
    lambda np: np.vander(np.array([1.0, 2, 3]), 4),
    lambda np: np.vander(np.array([1, 2, 3]), increasing=True),
    lambda np: np.zeros_like(np.array([1, 2])),
    lambda np: np.ones_like(np.array([1.0, 2]), dtype=np.float32),
    lambda np: np.full_like(np.array([1, 2]), 2.7),
    lambda np: np.full_like(np.array([1, 2]), 3, shape=(2, 2)),
    lambda np: np.copy(np.array([1, 2])),
    lambda np: np.astype(np.array([1, 2]), np.float32),
]


@pytest.mark.parametrize("make", SAME)
def test_values_and_dtypes_are_numpys(make: Callable[[Any], Any]) -> None:
    found, expected = make(np), make(numpy)
    assert isinstance(found, np.ndarray)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    numpy.testing.assert_allclose(found.numpy(), expected, rtol=1e-15)


def test_the_device_is_a_setting(device: str) -> None:
    tg.set_default_device(device)
    for made in (np.zeros(2), np.arange(3), np.linspace(0, 1, 3), np.array([1]), np.eye(2),
                 np.random.normal(size=3), np.random.randint(5, size=2), np.r_[1, 2], np.c_[1, 2],
                 np.tri(2), np.mgrid[:2], np.ogrid[:2, :3][1], np.geomspace(1, 4, 3), np.log(2.0),
                 np.fromfunction(lambda i: i, (3,))):  # fmt: skip
        assert made.device == device
    assert np.zeros(2, device="cpu").device == "cpu"


def test_arrays_of_the_device_are_ends_and_parts(device: str) -> None:
    """Also CuPy's, with numbers beside them and whichever device is the default."""
    values = numpy.array([1.0, 4.0])
    x = backend.to_device(values, device)
    tg.set_default_device("cpu")
    calls: list[Callable[[Any, Any], Any]] = [
        lambda np, x: np.linspace(0.5, x, 3),
        lambda np, x: np.linspace(x, 2 * x, 3, endpoint=False),
        lambda np, x: np.logspace(0.0, x[0], 3),
        lambda np, x: np.geomspace(1.0, x, 3),
        lambda np, x: np.r_[x, 1:3, 7.5],
        lambda np, x: np.c_[x, x],
        lambda np, x: np.interp([1.5, 2.0], x, x),
        lambda np, x: np.append(x, [1.0]),
    ]
    for call in calls:
        found = call(np, x)
        assert found.device == device
        # powers are as exact as their exponents, which are rounded
        numpy.testing.assert_allclose(found.numpy(), call(numpy, values), rtol=1e-14)


def test_a_list_with_tensors_in_it_stays_in_their_graph() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    made = np.array([[x[0], 2, 0.5], [x[1] * x[0], x[1], x.sum()]])
    numpy.testing.assert_allclose(made.numpy(), [[1.0, 2.0, 0.5], [2.0, 2.0, 3.0]])
    made.sum().backward()
    assert x.grad is not None
    numpy.testing.assert_allclose(x.grad.numpy(), [1 + 2 + 1, 1 + 1 + 1])


def test_a_list_with_tensors_in_it_is_an_argument_as_an_array_is() -> None:
    x = Tensor(numpy.array(2.0))
    assert tg.grad(lambda x: np.mean([x, 3 * x]))(x).item() == 2
    assert tg.grad(lambda x: np.sum(np.append([[x, 0.1]], [[x, x]], 0)))(x).item() == 3
    assert (np.ravel([[x, 0.1], [1, 2]]).numpy() == [2, 0.1, 1, 2]).all()


def test_what_is_computed_from_an_ndarray_is_one() -> None:
    x = np.array([1, 2, 3])
    assert type(x / 2) is np.ndarray
    assert (x / 2).dtype == numpy.float64
    assert type(numpy.exp(x)) is np.ndarray
    assert numpy.exp(x).dtype == numpy.float64
    assert x.mean().dtype == numpy.float64
    assert type(x[0]) is type(x.sum()) is type(np.sqrt(x)) is np.ndarray
    assert numpy.exp(Tensor([1, 2])).dtype == numpy.float32


def test_a_tensor_becomes_an_ndarray_on_the_same_memory_in_the_same_graph() -> None:
    x = Tensor([1, 2])
    same = np.asarray(x)
    assert isinstance(same, np.ndarray)
    assert same.data is x.data
    x[0] = 5
    assert same.numpy().tolist() == [5, 2]
    leaf = Tensor([1.0, 2.0], requires_grad=True)
    (np.asarray(leaf) ** 2).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.numpy().tolist() == [2.0, 4.0]
    array = np.asarray(leaf)
    assert np.asarray(array) is array
    assert np.array(array) is not array
    with pytest.raises(ValueError, match=r"\[asarray\] expected an array that needs no copy"):
        np.asarray(array, numpy.float64, copy=False)


def test_a_leaf_of_the_namespace() -> None:
    x = np.array([1.0, 2.0], requires_grad=True)
    assert x.is_leaf
    (x * x).sum().backward()
    assert x.grad is not None
    assert x.grad.numpy().tolist() == [2.0, 4.0]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda a, b: np.linspace(a, b, 5), [[2.5], [2.5]]),
        (lambda a, b: np.linspace(a, b, 4, endpoint=False), [[2.5], [1.5]]),
        (lambda a, b: np.full((3, 1), a) * b, [[12], [6]]),
        (lambda a, b: np.full_like(b, a), [[1], [0]]),
        (lambda a, b: np.r_[a, 1:3, b], [[1], [1]]),
        (lambda a, b: np.c_[a, b], [[1], [1]]),
    ],
)
def test_gradients_by_what_arrays_are_made_of(make: Any, expected: Any) -> None:
    a = Tensor([2.0], requires_grad=True)
    b = Tensor([4.0], requires_grad=True)
    found = tg.grad([make(a, b).sum()], [a, b], allow_unused=True)
    for gradient, value in zip(found, expected, strict=True):
        numpy.testing.assert_allclose(0 if gradient is None else gradient.numpy(), value)


def test_geomspace_of_tensors_has_the_gradient_of_its_formula() -> None:
    ends = tg.Tensor([2.0, 16.0], dtype="float64", requires_grad=True)
    assert tg.gradcheck(lambda x: np.geomspace(x[0], x[1], 4), [ends])
    numpy.testing.assert_allclose(
        np.geomspace(ends[0], ends[1], 4).detach().numpy(), [2, 4, 8, 16], rtol=1e-15
    )


def test_a_number_beside_float64_is_not_rounded_to_float32() -> None:
    for x in (np.ones(2), Tensor(numpy.ones(2))):
        assert (np.full_like(x, 0.1).numpy() == 0.1).all()
        assert (np.append(x, 0.1).numpy()[2:] == 0.1).all()
        assert (np.concatenate([x, [0.1, 0.2]]).numpy()[2:] == [0.1, 0.2]).all()


@pytest.mark.parametrize("name", ["linspace", "logspace", "geomspace"])
def test_ranges_between_narrower_ends_have_the_precision_asked_for(name: str) -> None:
    ends = numpy.float32(1.25), numpy.float32(1.75)
    found = getattr(np, name)(*map(Tensor, ends), 50, dtype="float64")
    expected = getattr(numpy, name)(*map(float, ends), 50)
    numpy.testing.assert_allclose(found.numpy(), expected, 1e-14)


def test_memory_is_shared_through_dlpack() -> None:
    source = numpy.arange(3.0)
    made = np.from_dlpack(source)
    source[0] = 7
    assert made.numpy().tolist() == [7, 1, 2]
    made = np.ones(2)
    other = numpy.from_dlpack(made)
    made[0] = 4
    assert other.tolist() == [4, 1]


def test_numpys_types_and_constants_are_passed_on() -> None:
    assert np.float32 is numpy.float32
    assert np.pi == numpy.pi
    assert np.newaxis is None
    assert np.finfo(np.float64).eps == numpy.finfo(float).eps
    with np.errstate(divide="ignore"):
        assert np.inf > 0
    with pytest.raises(AttributeError, match=r"has no attribute 'nonsense'$"):
        np.nonsense  # noqa: B018
    with pytest.raises(AttributeError, match=r"no attribute 'busday_count': NumPy's takes values"):
        np.busday_count  # noqa: B018


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: np.fromiter([1], int, 2), ValueError, "[fromiter] expected 2 elements, got 1"),
        (
            lambda: np.r_["0", Tensor([1.0])],
            TypeError,
            "[r_] expected arrays, numbers and slices beside tensors, got a string",
        ),
        (lambda: np.vander(np.eye(2)), ValueError, "[vander] expected a vector, got shape (2, 2)"),
        (lambda: np.zeros(-1), ValueError, "[full] expected a shape of integers ≥ 0, got (-1,)"),
    ],
)
def test_errors(call: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as raised:
        call()
    assert text in str(raised.value)


@pytest.mark.parametrize("name", ["bartlett", "blackman", "hamming", "hanning", "kaiser"])
def test_windows(name: str, device: str) -> None:
    tg.set_default_device(device)
    more = (8.6,) if name == "kaiser" else ()
    for count in (0, 1, 2, 7):
        found = getattr(np, name)(count, *more)
        expected = getattr(numpy, name)(count, *more)
        assert isinstance(found, np.ndarray)
        assert found.shape == numpy.shape(expected)
        numpy.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-14)


def test_the_kaiser_window_is_differentiable_in_beta() -> None:
    assert tg.gradcheck(lambda beta: np.kaiser(6, beta), [np.array(2.0, requires_grad=True)])


def test_files_are_read(tmp_path: Any) -> None:
    values = np.array([[1.0, 2.0], [3.0, 4.5]])
    np.savetxt(tmp_path / "a.txt", values)
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "a.npz", values=values)
    for found in (
        np.loadtxt(tmp_path / "a.txt"),
        np.genfromtxt(tmp_path / "a.txt"),
        np.load(tmp_path / "a.npy"),
        np.frombuffer(values.tobytes()).reshape(2, 2),
        np.fromstring("1 2 3 4.5", sep=" ").reshape(2, 2),
    ):
        assert isinstance(found, np.ndarray)
        numpy.testing.assert_array_equal(found.numpy(), values.numpy())
    columns = np.loadtxt(tmp_path / "a.txt", unpack=True)
    numpy.testing.assert_array_equal(columns[1].numpy(), [2.0, 4.5])
    with np.load(tmp_path / "a.npz") as found:
        numpy.testing.assert_array_equal(found["values"], values.numpy())


def test_what_numpy_has_of_dtypes_is_there() -> None:
    assert np.issubdtype(np.ones(1).dtype, np.floating)
    assert np.promote_types("f4", "f8") == numpy.float64
    assert np.True_ is numpy.True_
    assert np.__version__ == numpy.__version__

"""CuPy's functions on tensors: those that ask record, the others raise.

Without a GPU a stand-in asks as CuPy 14 does; `pytest -m gpu` asks CuPy itself.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support import cupy_stand_in
from tinygrad_cupy import Tensor, backend


class Place:
    """CuPy or what stands in for it, and tensors where it works."""

    def __init__(self, cupy: Any, device: str) -> None:
        self.cupy, self.device = cupy, device

    def array(self, values: Any) -> Any:
        return backend.to_device(np.array(values), self.device)

    def tensor(self, values: Any, requires_grad: bool = True) -> Any:
        return Tensor(self.array(values), requires_grad=requires_grad)


@pytest.fixture(params=["stand-in", pytest.param("cuda:0", marks=pytest.mark.gpu)])
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "stand-in":
        return Place(cupy_stand_in, "cpu")
    return Place(backend.import_cupy(), request.param)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("exp", np.exp), ("add", np.add), ("multiply", np.multiply), ("maximum", np.maximum)],
)
def test_ufuncs_are_recorded(place: Place, name: str, expected: Any) -> None:
    theirs, values, other = getattr(place.cupy, name), [0.5, -1.0, 2.0], [1.0, 2.0, -3.0]
    x, array = place.tensor(values), place.array(other)
    calls: list[Any] = [((x, array), (values, other)), ((array, x), (other, values))]
    calls = [((x,), (values,))] if name == "exp" else [*calls, ((x, 2.0), (values, 2.0))]
    for args, plain in calls:
        found = theirs(*args)
        assert isinstance(found, Tensor)
        assert found.requires_grad
        np.testing.assert_allclose(found.numpy(), expected(*map(np.array, plain)))
        assert theirs(*args, dtype=np.float64).dtype == np.float64


def test_comparisons_and_methods_of_the_tensor(place: Place) -> None:
    x = place.tensor([0.5, -1.0, 2.0])
    assert place.cupy.less(x, 0.0).tolist() == [False, True, False]
    assert place.cupy.sum(x).tolist() == 1.5
    assert place.cupy.sum(x, 0, None, None, True).tolist() == [1.5]
    assert place.cupy.mean(x).item() == pytest.approx(0.5)
    assert place.cupy.mean(x, keepdims=True).shape == (1,)
    assert place.cupy.amax(x, axis=0).item() == 2.0
    assert place.cupy.argmax(x).item() == 2
    assert place.cupy.clip(x, 0.0, 1.0).tolist() == [0.5, 0.0, 1.0]
    loss = place.cupy.sum(place.cupy.exp(x) * place.array([1.0, 2.0, 3.0]))
    grad = tg.grad(loss, x)
    np.testing.assert_allclose(grad.numpy(), np.exp([0.5, -1.0, 2.0]) * [1, 2, 3])


# How CuPy's functions of these names call a method of what they are given.
METHODS: dict[str, Any] = {
    "sum": lambda x: x.sum(None, None, None, False),
    "prod": lambda x: x.prod(0, None, None, False),
    "mean": lambda x: x.mean(axis=0, dtype=None, out=None, keepdims=False),
    "std": lambda x: x.std(axis=0, dtype=None, out=None, ddof=0, keepdims=False),
    "var": lambda x: x.var(axis=0, dtype=None, out=None, ddof=1, keepdims=False),
    "amax": lambda x: x.max(axis=0, out=None, keepdims=False),
    "clip": lambda x: x.clip(0.0, 1.0, out=None),
    "swapaxes": lambda x: x.swapaxes(0, 1),
    "transpose": lambda x: x.transpose(None),
    "squeeze": lambda x: x.squeeze(None),
    "diagonal": lambda x: x.diagonal(0, 0, 1),
    "repeat": lambda x: x.repeat(2, None),
    "ravel": lambda x: x.ravel("C"),
    "dot": lambda x: x.dot(x.T, None),
    "fliplr": lambda x: x[:, ::-1],
}


@pytest.mark.parametrize("name", list(METHODS))
def test_methods_are_called_as_cupy_calls_them(name: str) -> None:
    x = Tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    assert METHODS[name](x).requires_grad


@pytest.mark.gpu
@pytest.mark.parametrize("name", list(METHODS))
def test_functions_of_cupy_that_call_a_method_record(name: str) -> None:
    cupy = backend.import_cupy()
    x = Tensor(cupy.arange(6.0).reshape(2, 3), requires_grad=True)
    arguments: dict[str, Any] = {"clip": (0.0, 1.0), "swapaxes": (0, 1), "repeat": (2,)}
    found = getattr(cupy, name)(x, *arguments.get(name, ((x.T,) if name == "dot" else ())))
    assert isinstance(found, Tensor)
    assert found.requires_grad


def test_kernels_without_a_function_of_their_own() -> None:
    x = Tensor([0.5, -1.0, 2.0], requires_grad=True)
    assert cupy_stand_in.erf(x).tolist() == x.erf().tolist()
    assert cupy_stand_in.expit(x).tolist() == x.sigmoid().tolist()
    assert cupy_stand_in.gammaln(x).tolist() == tg.special.gammaln(x).tolist()
    assert cupy_stand_in.beta(x, 2.0).tolist() == tg.special.beta(x, 2.0).tolist()
    assert cupy_stand_in.xlogy(x, 2.0).tolist() == tg.special.xlogy(x, 2.0).tolist()
    assert cupy_stand_in.zeta(2.0, x).requires_grad
    assert cupy_stand_in.is_close(x, 0.5, 1e-5, 1e-8, False).tolist() == [True, False, False]
    assert cupy_stand_in.sum_kernel(x, keepdims=True).tolist() == [1.5]
    assert cupy_stand_in.sum_kernel(x, None, np.float64).dtype == np.float64
    for name, kernel in (
        ("mine", cupy_stand_in.Kernel("mine")),
        ("exp", cupy_stand_in.Kernel("exp")),
        ("cupy_random_x", cupy_stand_in.Kernel("cupy_random_x")),
        ("cupy_isnat", cupy_stand_in.Kernel("cupy_isnat")),
        ("cupy_unheard_of", cupy_stand_in.Reduction("cupy_unheard_of")),
    ):
        with pytest.raises(TypeError) as raised:
            kernel(x)
        assert str(raised.value) == (
            f"[cupy] the kernel {name} expected arrays, got a Tensor: give it x.detach().data, or "
            "make an operation of it with tg.custom_op"
        )


def test_where(place: Place) -> None:
    x = place.tensor([0.5, -1.0, 2.0])
    found = place.cupy.where(x > 0, x, 0.0)
    assert found.tolist() == [0.5, 0.0, 2.0]
    assert found.requires_grad
    assert place.cupy.where(place.array([True, False, True]), 1.0, x).tolist() == [1.0, -1.0, 1.0]


def test_an_array_holds_no_gradient(place: Place) -> None:
    x, out = place.tensor([1.0, 2.0]), place.array([0.0, 0.0])
    calls: list[Any] = [
        lambda: place.cupy.exp(x, out),
        lambda: place.cupy.exp(x, out=out),
        lambda: place.cupy.add(out, x, out),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="got an array, which holds no gradient"):
            call()
    with tg.no_grad():
        assert place.cupy.exp(x, out) is out
    np.testing.assert_allclose(backend.to_numpy(out), np.exp([1.0, 2.0]))


def test_writing_into_an_array() -> None:
    x, out = Tensor([1.0, 2.0], requires_grad=True), np.zeros(2)
    for kernel in (cupy_stand_in.elementwise_copy, cupy_stand_in.fill_kernel):
        with pytest.raises(TypeError, match="got an array, which holds no gradient"):
            kernel(x, out)
    cupy_stand_in.elementwise_copy(x.detach(), out, _where=np.array([False, True]))
    assert out.tolist() == [0.0, 2.0]


# --- CuPy itself --------------------------------------------------------------------------------


@pytest.mark.gpu
def test_an_array_that_a_tensor_is_added_to() -> None:
    cupy = backend.import_cupy()
    x, total = Tensor(cupy.array([1.0, 2.0]), requires_grad=True), cupy.zeros(2)
    alias = total
    total += x
    assert isinstance(total, Tensor)
    assert tg.grad(total.sum(), x).tolist() == [1.0, 1.0]
    assert alias.tolist() == [1.0, 2.0]
    alias -= x.detach()
    assert alias.tolist() == [0.0, 0.0]


@pytest.mark.gpu
@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_elements_of_an_array_are_not_written_with_a_gradient(scale: float) -> None:
    cupy = backend.import_cupy()
    x, out = Tensor(cupy.array([1.0, 2.0]), requires_grad=True), cupy.zeros(3)
    for key, value in ((0, x[0]), (slice(2), x), (cupy.array([0, 2]), x)):
        with pytest.raises((TypeError, RuntimeError, ValueError)):
            out[key] = value
    assert not out.any()


# What is given to CuPy's functions; where a function takes none of these, it raises for that.
CALLS: list[Any] = [
    lambda f, x, a: f(x),
    lambda f, x, a: f(x, x),
    lambda f, x, a: f(a, x),
    lambda f, x, a: f(x, 1),
    lambda f, x, a: f([x, x]),
    lambda f, x, a: f(3, x[0]),
    lambda f, x, a: f(x, axis=0),
    lambda f, x, a: f(a > 0, x, x),
    lambda f, x, a: f("i,i", x, a),
]

UNSET = {"empty", "empty_like"}  # what they give is what was in memory


def functions_of_cupy() -> list[str]:
    """Names of CuPy's public functions."""
    if not backend.cuda_available():
        return []
    cupy = backend.import_cupy()
    found = []
    for name in dir(cupy):
        function = getattr(cupy, name)
        skipped = name.startswith(("_", "show", "save", "load", "from", "gen", "get_", "set_"))
        if callable(function) and not inspect.isclass(function) and not skipped:
            found.append(name)
    return found


def plain_floats(found: Any) -> Iterator[np.ndarray]:
    """The floats in a result that carry no gradient."""
    for part in found if isinstance(found, tuple | list) else [found]:
        if hasattr(part, "dtype") and part.dtype.kind in "fc" and not carries(part):
            yield part.numpy() if isinstance(part, Tensor) else backend.to_numpy(part)


def carries(part: Any) -> bool:
    return isinstance(part, Tensor) and part.requires_grad


@pytest.mark.gpu
@pytest.mark.parametrize("name", functions_of_cupy() or ["none"])
@pytest.mark.filterwarnings("ignore")
def test_no_function_of_cupy_drops_a_gradient(name: str) -> None:
    """It raises, or warns, or what carries no gradient is the same whatever the tensor holds.

    As where a tensor stands for a dtype, an axis or a flag: ``cupy.asarray(3, x)`` is 3.
    """
    cupy = backend.import_cupy()
    function, array = getattr(cupy, name), cupy.array([0.3, 0.6, 0.9])
    for call in CALLS:
        found = []
        with warnings.catch_warnings():
            warnings.simplefilter("error", tg.GradientDroppedWarning)
            try:
                for shift in (0.0, 0.01):
                    x = Tensor(array + shift, requires_grad=True)
                    found.append(list(plain_floats(call(function, x, array.copy()))))
            except Exception:  # an error says more than a wrong gradient
                continue
        for before, after in zip(*found, strict=True):
            same = name in UNSET or np.array_equal(before, after, equal_nan=True)
            assert same, f"cupy.{name} took the values out of the graph"

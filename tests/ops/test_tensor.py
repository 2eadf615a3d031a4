"""Tensor: how it is made, what it shows, how its values leave it, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, backend

on_device = pytest.mark.usefixtures("device")


# --- construction -------------------------------------------------------------------------------


@on_device
@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.5, "float32"),
        (2, "int64"),
        (True, "bool"),
        ([1.0, 2], "float32"),
        ([[1, 2], [3, 4]], "int64"),
        ([True, False], "bool"),
        ([], "float32"),
        ((1.0, 2.0), "float32"),
        (np.float64(2), "float64"),
        ([np.float64(2)], "float32"),
        (range(3), "int64"),
    ],
)
def test_dtype_of_python_data(data: Any, dtype: str) -> None:
    t = Tensor(data)
    assert t.dtype == dtype
    assert t.device == tg.default_device()
    np.testing.assert_array_equal(t.numpy(), np.asarray(data))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint8", "bool"])
def test_an_array_is_wrapped_without_a_copy(dtype: str, device: str) -> None:
    array = backend.to_device(np.ones((2, 3), dtype), device)
    t = Tensor(array)
    assert t.data is array
    assert t.dtype == dtype
    assert t.device == device


def test_a_host_array_stays_on_the_host_unless_told(device: str) -> None:
    array = np.ones(3)
    assert Tensor(array).device == "cpu"
    moved = Tensor(array, device=device)
    assert moved.device == device
    assert (moved.data is array) == (device == "cpu")


@on_device
def test_dtype_is_exact() -> None:
    assert Tensor([0.1], dtype="float64").item() == 0.1
    assert Tensor([2**53 + 1], dtype="int64").item() == 2**53 + 1
    assert Tensor([1.7], dtype="int32").tolist() == [1]
    assert Tensor(np.ones(2), dtype=np.float32).dtype == np.float32


@on_device
def test_a_tensor_of_a_tensor_is_the_same_array_outside_the_graph() -> None:
    x = Tensor([1.0], requires_grad=True)
    again = Tensor(x)
    assert again.data is x.data
    assert not again.requires_grad


@on_device
@pytest.mark.parametrize("data", ["text", [None], np.array(["a"]), np.array(["2020"], "M8[Y]")])
def test_only_numbers(data: Any) -> None:
    with pytest.raises(TypeError, match=r"^\[Tensor\] expected numbers or booleans, got dtype"):
        Tensor(data)


@on_device
def test_complex_numbers_are_not_cut_to_real_ones() -> None:
    with pytest.raises(TypeError) as raised:
        Tensor([1j], dtype="float32")
    assert str(raised.value) == (
        "[Tensor] expected real numbers for dtype float32, got dtype complex128; take .real first"
    )
    assert Tensor([1.0], dtype="complex64").dtype == np.complex64


def test_makers(device: str) -> None:
    cases: list[tuple[Tensor, Any, str]] = [
        (Tensor.zeros(2, 3), np.zeros((2, 3)), "float32"),
        (Tensor.zeros((2, 3)), np.zeros((2, 3)), "float32"),
        (Tensor.zeros(), np.zeros(()), "float32"),
        (Tensor.ones(2, dtype="int64"), np.ones(2), "int64"),
        (Tensor.full((2, 2), 1.5), np.full((2, 2), 1.5), "float32"),
        (Tensor.full(3, 7), np.full(3, 7), "int64"),
        (Tensor.full(3, True), np.ones(3), "bool"),
        (Tensor.eye(3), np.eye(3), "float32"),
        (Tensor.arange(4), np.arange(4), "int64"),
        (Tensor.arange(0), np.arange(0), "int64"),
        (Tensor.arange(1, 4), np.arange(1, 4), "int64"),
        (Tensor.arange(4, 0, -2), np.arange(4, 0, -2), "int64"),
        (Tensor.arange(0, 1, 0.25), np.arange(0, 1, 0.25), "float32"),
        (Tensor.arange(3, dtype="float64"), np.arange(3), "float64"),
    ]
    for t, expected, dtype in cases:
        np.testing.assert_array_equal(t.numpy(), expected)
        assert (t.dtype.name, t.device, t.requires_grad) == (dtype, device, False)


@pytest.mark.parametrize("make", ["zeros", "ones", "rand", "randn"])
def test_makers_take_dtype_device_and_requires_grad(make: str, device: str) -> None:
    t = getattr(Tensor, make)(2, 3, dtype="float64", device=device, requires_grad=True)
    assert (t.shape, t.dtype.name, t.device, t.requires_grad) == ((2, 3), "float64", device, True)


@on_device
def test_integers_of_full_cannot_require_a_gradient() -> None:
    with pytest.raises(TypeError, match="only floating-point and complex tensors have gradients"):
        Tensor.full(3, 7, requires_grad=True)


# --- what it shows ------------------------------------------------------------------------------


@on_device
def test_sizes() -> None:
    t = Tensor.zeros(2, 3, 4)
    assert (t.shape, t.ndim, t.size, len(t)) == ((2, 3, 4), 3, 24, 2)
    scalar = Tensor(1.0)
    assert (scalar.shape, scalar.ndim, scalar.size) == ((), 0, 1)
    with pytest.raises(TypeError) as raised:
        len(scalar)
    assert str(raised.value) == "[len] a tensor without axes has no length"


@pytest.mark.parametrize(
    ("t", "text"),
    [
        (lambda: Tensor([1.0, 2.5]), "Tensor([1. , 2.5])"),
        (lambda: Tensor([1, 2]), "Tensor([1, 2])"),
        (lambda: Tensor([1.0], requires_grad=True), "Tensor([1.], requires_grad=True)"),
        (lambda: Tensor([1.0], dtype="float64"), "Tensor([1.], dtype=float64)"),
        (lambda: Tensor([[1.0], [2.0]]), "Tensor([[1.],\n        [2.]])"),
        (lambda: Tensor(2.0), "Tensor(2.)"),
    ],
)
def test_repr(t: Any, text: str) -> None:
    assert repr(t()) == text


@pytest.mark.gpu
def test_repr_names_the_gpu() -> None:
    assert repr(Tensor([1.0], device="cuda")) == 'Tensor([1.], device="cuda:0")'


# --- leaving it ---------------------------------------------------------------------------------


@on_device
def test_numpy_is_always_a_copy() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    values = x.numpy()
    assert isinstance(values, np.ndarray)
    values[0] = 99
    assert x.tolist() == [1.0, 2.0]
    assert (x * 2).numpy().tolist() == [2.0, 4.0]


@on_device
def test_python_numbers() -> None:
    assert Tensor([[1.5]]).item() == 1.5
    assert float(Tensor([1.5])) == 1.5
    assert int(Tensor(3)) == 3
    assert bool(Tensor(0.0)) is False
    assert bool(Tensor([2.0]) > 1) is True
    assert isinstance(Tensor(1.5).item(), float)
    assert isinstance(Tensor(2).item(), int)
    assert Tensor([[1, 2]]).tolist() == [[1, 2]]
    assert Tensor(1.5, requires_grad=True).item() == 1.5


@on_device
def test_several_elements_are_no_python_number() -> None:
    with pytest.raises(ValueError, match=r"^\[item\]") as raised:
        Tensor([1.0, 2.0]).item()
    assert str(raised.value) == "[item] expected one element, got shape (2,)"
    with pytest.raises(ValueError, match=r"^\[bool\]") as raised:
        bool(Tensor([1.0, 2.0]))
    assert str(raised.value) == (
        "[bool] a tensor of shape (2,) is neither true nor false; use .numpy() with .any() or "
        ".all()"
    )


@pytest.mark.parametrize("protocol", [np.asarray, np.array])
def test_an_array_of_a_value_with_a_gradient_is_a_copy_and_warns(protocol: Any) -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    for t in (x, x * 2):
        with pytest.warns(tg.GradientDroppedWarning) as told:
            array = protocol(t)
        assert len(told) == 1
        assert told[0].filename == __file__
        assert str(told[0].message) == (
            "[Tensor] a NumPy array is made of a value that carries a gradient: what is computed "
            "from the array has no gradient. Call NumPy's functions with the tensor itself, make "
            "arrays of tensors with tinygrad_cupy.numpy (tg.numpy.array([x[0], y])), or, where the "
            "values are meant, say x.detach() before"
        )
        assert array.tolist() == t.tolist()
        assert not np.shares_memory(array, t.data)  # writes into it would be unseen
    with pytest.warns(tg.GradientDroppedWarning):
        assert np.shares_memory(np.asarray(x, copy=False), x.data)


def test_dlpack_refuses_while_a_gradient_is_required() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    for t in (x, x * 2):
        with pytest.raises(RuntimeError) as raised:
            np.from_dlpack(t)
        assert str(raised.value) == (
            "[Tensor] DLPack would take the values out of the graph unnoticed; use .detach() "
            "first, or .numpy() for a host copy"
        )


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("protocol", [np.asarray, np.array, np.from_dlpack])
def test_implicit_protocols_work_where_nothing_is_recorded(
    protocol: Any, requires_grad: bool
) -> None:
    array = np.array([1.0, 2.0])
    x = Tensor(array, requires_grad=requires_grad)
    with tg.no_grad() if requires_grad else tg.enable_grad():
        expect_shared(x, protocol, array)


def expect_shared(x: Tensor, protocol: Any, array: np.ndarray) -> None:
    assert protocol(x).tolist() == [1.0, 2.0]
    assert np.shares_memory(protocol(x), array) == (protocol is not np.array)


def test_asarray_with_a_dtype() -> None:
    assert np.asarray(Tensor([1.0]), dtype=np.float64).dtype == np.float64


@pytest.mark.gpu
@pytest.mark.parametrize("requires_grad", [False, True])
def test_numpy_does_not_copy_from_the_gpu_implicitly(requires_grad: bool) -> None:
    for function in (np.asarray, backend.import_cupy().asarray):
        with pytest.raises(TypeError) as raised:
            function(Tensor([1.0], device="cuda", requires_grad=requires_grad))
        assert str(raised.value) == (
            "[Tensor] implicit copy from the GPU to NumPy; use .numpy() to copy explicitly, or "
            ".detach().data for CuPy's array"
        )


# --- what it refuses ----------------------------------------------------------------------------


@on_device
def test_attributes_are_fixed() -> None:
    with pytest.raises(AttributeError):
        Tensor([1.0]).gard = 2  # type: ignore[attr-defined]


@on_device
def test_requires_grad_of_a_leaf_may_change() -> None:
    x = Tensor([1.0])
    assert x.requires_grad_() is x
    assert (x * 2).requires_grad
    x.requires_grad_(False)
    assert not (x * 2).requires_grad
    with pytest.raises(TypeError, match="only floating-point and complex tensors have gradients"):
        Tensor([1]).requires_grad_()


@on_device
def test_requires_grad_of_a_result_may_not() -> None:
    y = Tensor([1.0], requires_grad=True) * 2
    with pytest.raises(RuntimeError) as raised:
        y.requires_grad_(False)
    assert str(raised.value) == ("[requires_grad_] only a leaf can be changed; use .detach() first")


@on_device
def test_tensors_are_keys_by_identity() -> None:
    x, y = Tensor([1.0]), Tensor([1.0])
    assert len({x, y, x}) == 2
    assert {x: "x", y: "y"}[x] == "x"


# --- arrays and scalars on the left -------------------------------------------------------------


@on_device
@pytest.mark.parametrize("scalar", [3, 3.0, np.float64(3), np.float32(3), np.int64(3), True])
def test_a_scalar_on_the_left_is_recorded(scalar: Any) -> None:
    x = Tensor([2.0, 4.0], requires_grad=True)
    for y in (scalar * x, scalar + x, scalar - x, scalar / x, scalar**x):
        assert isinstance(y, Tensor)
        assert y.requires_grad
        assert y.dtype == np.float32
    assert (scalar * x).tolist() == [float(scalar) * 2, float(scalar) * 4]


def test_an_array_on_the_left_is_recorded(device: str) -> None:
    array = backend.to_device(np.array([2.0, 4.0]), device)
    x = Tensor(array * 0 + 3, requires_grad=True)
    for y in (array * x, array + x, array - x, array / x, array**x, array @ x):
        assert isinstance(y, Tensor)
        assert y.requires_grad
    assert tg.grad((array * x).sum(), x).tolist() == [2.0, 4.0]
    assert tg.grad(array @ x, x).tolist() == [2.0, 4.0]
    assert (array < x).tolist() == [True, False]


@on_device
@pytest.mark.parametrize("other", ["text", None, ["text"], [None], {}])
def test_other_objects_are_not_operands(other: Any) -> None:
    x = Tensor([1.0])
    calls: list[Callable[[], Any]] = [
        lambda: x + other,
        lambda: x - other,
        lambda: other * x,
        lambda: other / x,
        lambda: x**other,
        lambda: x < other,
    ]
    for call in calls:
        with pytest.raises(TypeError):
            call()
    assert (x == other) is False


# --- devices ------------------------------------------------------------------------------------


def test_to_the_same_device_is_itself(device: str) -> None:
    x = Tensor([1.0], device=device)
    assert x.to(device) is x


@pytest.mark.gpu
def test_moving_is_differentiable() -> None:
    x = Tensor([1.0, 2.0], dtype="float64", device="cpu", requires_grad=True)
    y = (x.to("cuda") ** 2).to("cpu")
    assert tg.gradcheck(lambda x: (x.to("cuda") ** 2).to("cpu"), [x])
    y.sum().backward()
    assert x.grad is not None
    assert (x.grad.device, x.grad.tolist()) == ("cpu", [2.0, 4.0])


@pytest.mark.gpu
def test_mixed_devices_are_an_error_that_names_both() -> None:
    with pytest.raises(ValueError, match="one device") as raised:
        Tensor([1.0], device="cpu") + Tensor([1.0], device="cuda")
    assert str(raised.value) == (
        "[Add] expected all inputs on one device, got cpu and cuda:0; move one with .to(device)"
    )


def test_another_byte_order_is_brought_home() -> None:
    x = Tensor(np.array([1.0, 2.0], ">f4"), requires_grad=True)
    assert x.dtype == np.dtype("=f4")
    assert x.data.dtype.isnative
    (x * x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2.0, 4.0]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: Tensor([1.0]) * np.array(["a"]),
            "[Tensor] expected numbers or booleans, got dtype",
        ),
        (lambda: tg.concat([np.ones(2)]), "[concat] expected tensors, got ndarray"),  # type: ignore[list-item]
        (lambda: tg.stack([np.ones(2)]), "[stack] expected tensors, got ndarray"),  # type: ignore[list-item]
        (lambda: Tensor([1.0, 2.0]) > Tensor([1.0, 2.0, 3.0]), "[Compare] shapes (2,) and (3,)"),
    ],
)
def test_operands_that_do_not_fit(call: Callable[[], Tensor], text: str) -> None:
    with pytest.raises((TypeError, ValueError)) as raised:
        call()
    assert str(raised.value).startswith(text)


# --- subclasses of arrays -------------------------------------------------------------------------


class Marked(np.ndarray):
    """A subclass of somebody's."""


SUBCLASSES = {
    "memmap": lambda a, path: np.memmap(path, a.dtype, "w+", shape=a.shape),
    "matrix": lambda a, path: np.matrix(a),
    "recarray": lambda a, path: a.view(np.recarray),
    "masked array": lambda a, path: a.view(np.ma.MaskedArray),
    "a user's": lambda a, path: a.view(Marked),
}


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("name", list(SUBCLASSES))
def test_subclasses_of_arrays_become_plain_ones(name: str, tmp_path: Path) -> None:
    values = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    array = SUBCLASSES[name](values, tmp_path / "memory")  # type: ignore[no-untyped-call]
    array[...] = values
    x, y = Tensor(array, requires_grad=True), Tensor(array)
    assert type(x.data) is np.ndarray
    assert np.shares_memory(x.data, array)
    for z in (x + y, x * array, array * x, x @ array, array @ x, x.where(array > 1, 0)):
        assert type(z) is Tensor
        assert type(z.data) is np.ndarray
        z.sum().backward()
    x.grad = None
    (x * array).backward(array)
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), values * values)
    assert type(x[np.array([0, 1]).view(Marked)].data) is np.ndarray
    x.detach().assign_(array)
    y[0] = array[1]
    assert x[0].tolist() == [3.0, 4.0]


def test_a_masked_array_that_masks_something_is_refused() -> None:
    array: Any = np.ma.masked_equal([1.0, 2.0], 2.0)
    for make in (lambda: Tensor(array), lambda: Tensor([1.0, 2.0]) * array):
        with pytest.raises(TypeError) as raised:
            make()
        assert str(raised.value) == (
            "[Tensor] expected an array without masked elements, got 1 of them: say what stands "
            "there with .filled(value)"
        )

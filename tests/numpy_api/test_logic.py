"""Comparisons of whole arrays, dtypes, memory and text of tensors, whether they want a gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
import tinygrad_cupy.numpy as tnp
from support.against_numpy import there
from tinygrad_cupy import Tensor

on_device = pytest.mark.usefixtures("device")
BFLOAT16 = Tensor([1.0], dtype="bfloat16", device="cpu").dtype


def pair(values: Any, dtype: str = "float64") -> tuple[np.ndarray, Any]:
    array = np.array(values, dtype)
    return array, Tensor(array, device=tg.default_device(), requires_grad=array.dtype.kind == "f")


@on_device
def test_closeness_is_numpys() -> None:
    specials = [0.0, -0.0, 1.0, 1 + 1e-6, np.inf, -np.inf, np.nan, 1e300, 1e-300]
    array, x = pair(specials)
    for equal_nan in (False, True):
        for rtol, atol in ((1e-5, 1e-8), (0.0, 0.0), (0.1, 1e-300)):
            options: dict[str, Any] = {"rtol": rtol, "atol": atol, "equal_nan": equal_nan}
            expected = np.isclose(array[:, None], array, **options)
            found: Any = np.isclose(x[:, None], x, **options)
            np.testing.assert_array_equal(found.numpy(), expected)
            assert not found.requires_grad
    assert np.isclose(x, 1.0)[3].item()
    assert np.isclose(0.1, Tensor([0.1], "float64"), 0, 0).tolist() == [True]
    assert np.isclose(Tensor(np.array([0.1])).to(tg.default_device()), 0.1, 0, 0).tolist() == [True]


@on_device
def test_closeness_of_other_dtypes() -> None:
    large = np.array([2**53, 2**53 + 2, -1], np.int64)
    assert np.isclose(pair(large, "int64")[1], there(large + 2), 0, 0).tolist() == [False] * 3
    unsigned = pair([0, 5], "uint8")[1]
    assert np.isclose(unsigned, Tensor([1, 5], dtype="uint8")).tolist() == [False, True]
    flags = pair([True, False], "bool")[1]
    assert np.isclose(flags, [True, True]).tolist() == [True, False]
    for dtype in ("float16", "bfloat16"):
        x = Tensor([1.0, 60000.0], dtype=dtype)
        assert np.isclose(x, Tensor([1.0, -60000.0], dtype=dtype)).tolist() == [True, False]
        assert np.allclose(x, x)
    assert tg.vmap(lambda x, y: np.isclose(x, y))(flags, flags).tolist() == [True, True]


@on_device
def test_whole_arrays() -> None:
    _, x = pair([[1.0, np.nan], [3.0, 4.0]])
    assert not np.allclose(x, x)
    assert np.allclose(x, x, equal_nan=True)
    assert np.allclose(x[1], [3.0, 4.0])
    assert np.allclose([3.0, 4.0], x[1])
    assert not np.array_equal(x, x)
    assert np.array_equal(x, x.clone(), equal_nan=True)
    assert np.array_equal(x[1], [3, 4])
    assert not np.array_equal(x, x[0])
    assert np.array_equiv(x[1], there(np.array([[3.0, 4.0], [3.0, 4.0]])))
    assert not np.array_equiv(x[1], there(np.zeros(3)))
    for found in (np.allclose(x, x), np.array_equal(x, x), np.array_equiv(x, x)):
        assert found is False
    assert tnp.array_equal([1, 2], [1, 2])
    assert np.allclose(Tensor([]), Tensor([]))


@on_device
def test_what_an_array_is() -> None:
    _, x = pair(np.zeros((2, 3, 4)))
    assert (np.shape(x), np.ndim(x), np.size(x), np.size(x, 1), np.size(x, (0, -1))) == (
        *((2, 3, 4), 3, 24, 3),
        8,
    )
    assert tnp.shape([[1, 2]]) == (1, 2)
    assert tnp.ndim(3.0) == 0
    assert not np.iscomplexobj(x)
    assert np.isrealobj(x)
    assert not tnp.isscalar(Tensor(1.0))
    assert tnp.isscalar(1.0)


@on_device
def test_dtypes() -> None:
    x = Tensor([1.0], requires_grad=True)
    half, brain = x.astype("float16"), x.astype("bfloat16")
    assert np.result_type(x, half) == np.float32
    assert np.result_type(x, np.float64(2)) == np.float32  # a number does not widen a tensor
    assert np.result_type(x, 2.0, np.dtype("int8")) == np.float32
    assert np.result_type(brain, 2.0) == brain.dtype
    assert np.result_type(brain, half) == np.float32
    assert np.can_cast(x, np.float64)
    assert not np.can_cast(x, "int32")
    assert np.can_cast(x, np.float16, "same_kind")
    assert tnp.can_cast(brain, np.float32)
    assert not tnp.can_cast(x, "bfloat16")
    assert tnp.can_cast(x, "bfloat16", "same_kind")
    assert not tnp.can_cast(x, "bfloat16", "no")
    assert tnp.can_cast(brain, "bfloat16", "no")
    assert tnp.can_cast(brain, "int8", "unsafe")
    assert np.min_scalar_type(Tensor(300)) == np.uint16
    assert np.min_scalar_type(x) == np.float32
    assert np.common_type(x, half) is np.float32
    assert np.common_type(x, Tensor([1])) is np.float64


@on_device
def test_memory() -> None:
    x = Tensor(np.arange(6.0), device=tg.default_device(), requires_grad=True)
    assert np.may_share_memory(x, x[2:])
    assert np.shares_memory(x[::2], x)
    assert not np.shares_memory(x[::2], x[1::2])
    assert not np.may_share_memory(x[:2], x[2:])
    assert not np.shares_memory(x, x.clone())


@on_device
def test_text() -> None:
    array, x = pair([1.0, 2.5])
    assert np.array_repr(x) == np.array_repr(array) == "array([1. , 2.5])"
    assert np.array_str(x, precision=1) == np.array_str(array, precision=1)
    assert np.array2string(x, separator=", ", prefix=">") == "[1. , 2.5]"
    assert np.array_str(x.astype("bfloat16")) == "[1 2.5]"


@on_device
def test_copying_into_another() -> None:
    target: Any = Tensor([0.0, 0.0])
    whole: Any = Tensor([0, 0])
    x = Tensor([1.5, 2.5], requires_grad=True)
    with tg.no_grad():
        np.copyto(target, x)
        assert target.tolist() == [1.5, 2.5]
        np.copyto(target, 7, where=there(np.array([True, False])))
        assert target.tolist() == [7.0, 2.5]
        np.copyto(whole, x, casting="unsafe")
        assert whole.tolist() == [1, 2]
    with pytest.raises(TypeError, match=r'^\[copyto\] expected values .* int64 by casting="same_k'):
        np.copyto(whole, x)
    np.copyto(target, 1.0, "safe")
    np.copyto(target, there(np.array([1, 2], np.int8)), "safe")
    assert target.tolist() == [1.0, 2.0]


def test_copying_into_an_array_drops_no_gradient() -> None:
    array, x = np.zeros(2), Tensor([1.5, 2.5], requires_grad=True)
    with pytest.raises(TypeError, match=r"^\[copyto\] expected out to be a tensor, got an array"):
        np.copyto(array, x)
    np.copyto(array, x.detach(), where=[True, False])
    assert array.tolist() == [1.5, 0.0]

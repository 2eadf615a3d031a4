"""Every function of the array API standard against `array-api-strict`: values, shapes, dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tinygrad_cupy as tg
from array_api.cases import CASES, Call
from tinygrad_cupy import Tensor, array_api

xp: Any = array_api
strict = pytest.importorskip("array_api_strict", reason='needs: pip install -e ".[dev]"')
strict.set_array_api_strict_flags(api_version="2024.12")

# What is compared in another way: these say what there is, make what no other namespace can, or
# give vectors whose signs are free.
OTHERWISE = {
    *("__array_namespace_info__", "can_cast", "empty", "empty_like", "finfo", "from_dlpack"),
    *("iinfo", "isdtype", "result_type"),
    *("linalg.eigh", "linalg.qr", "linalg.svd"),
}
# Where NumPy's functions, which ours follow, differ from the standard.
DIFFERENT = {
    "floor_divide": "of infinities and by them NumPy gives NaN, or rounds to -1",
    "remainder": "of a finite number by an infinity of the other sign NumPy gives the infinity",
}


def functions() -> set[str]:
    """The standard's functions, those of extensions with their module."""
    found = {name for name in xp.__all__ if callable(getattr(xp, name))}
    for module in (xp.fft, xp.linalg):
        short = module.__name__.rpartition(".")[2]
        found |= {f"{short}.{name}" for name in module.__all__}
    return found


def test_every_function_is_called() -> None:
    assert set(CASES) | OTHERWISE >= functions()
    assert functions() >= set(CASES)


def _find(space: Any, name: str) -> Any:
    for part in name.split("."):
        space = getattr(space, part)
    return space


def _given(space: Any, value: Any, grad: bool = False) -> Any:
    """An argument for a namespace."""
    if isinstance(value, np.ndarray | np.generic):
        made = space.asarray(value)
        return made.requires_grad_() if grad and value.dtype.kind in "fc" else made
    if isinstance(value, str) and value.startswith("dtype:"):
        return getattr(space, value.removeprefix("dtype:"))
    if isinstance(value, list):
        return [_given(space, one, grad) for one in value]
    return value


def run(space: Any, name: str, call: Call, grad: bool = False) -> Any:
    """The call in a namespace."""
    args = [_given(space, value, grad) for value in call.args]
    kwargs = {key: _given(space, value, grad) for key, value in call.kwargs.items()}
    with np.errstate(all="ignore"):
        return _find(space, name)(*args, **kwargs)


def leaves(found: Any) -> list[Any]:
    return list(found) if isinstance(found, list | tuple) else [found]


def same(ours: Any, theirs: Any) -> None:
    assert len(leaves(ours)) == len(leaves(theirs))
    for mine, other in zip(leaves(ours), leaves(theirs), strict=True):
        expected = np.asarray(other._array) if hasattr(other, "_array") else np.asarray(other)
        found = mine.numpy() if isinstance(mine, Tensor) else np.asarray(mine)
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        if found.dtype.kind not in "fc":
            np.testing.assert_array_equal(found, expected)
            continue
        single = found.dtype in (np.float32, np.complex64)
        scale = np.abs(expected[np.isfinite(expected)]).max(initial=1)
        limits = (
            {"rtol": 1e-4, "atol": 2e-5 * scale}
            if single
            else {"rtol": 1e-9, "atol": 1e-11 * scale}
        )
        np.testing.assert_allclose(found, expected, **limits)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", sorted(functions() - OTHERWISE - set(DIFFERENT)))
@settings(max_examples=8, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_as_array_api_strict(name: str, data: st.DataObject) -> None:
    call = CASES[name](data.draw)
    same(run(xp, name, call), run(strict, name, call))


# Steps, counts, places, data types: no derivative, or one that is 0 throughout.
CONSTANT = {
    *("all", "any", "argmax", "argmin", "argsort", "astype", "broadcast_arrays", "ceil", "clip"),
    *("count_nonzero", "equal", "floor", "greater", "greater_equal", "isfinite", "isinf", "isnan"),
    *("less", "less_equal", "nextafter", "nonzero", "not_equal", "ones_like", "zeros_like"),
    *("full_like", "round", "searchsorted", "sign", "signbit", "trunc", "linalg.matrix_rank"),
    *("unique_all", "unique_counts", "unique_inverse"),
}


@pytest.mark.one_in(4)
@pytest.mark.parametrize("name", sorted(functions() - OTHERWISE - CONSTANT))
@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_is_differentiable_is_recorded(name: str, data: st.DataObject) -> None:
    call = CASES[name](data.draw)
    flat = [one for value in call.args for one in (value if isinstance(value, list) else [value])]
    if not any(isinstance(value, np.ndarray) and value.dtype.kind in "fc" for value in flat):
        return
    found = run(xp, name, call, grad=True)
    assert any(y.requires_grad for y in leaves(found) if y.dtype.kind in "fc")


# --- what is compared in another way --------------------------------------------------------------


@settings(max_examples=10, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_factors_give_the_matrix_again(data: st.DataObject) -> None:
    x = CASES["linalg.svd"](data.draw).args[0]
    u, s, vh = xp.linalg.svd(xp.asarray(x), full_matrices=False)
    q, r = xp.linalg.qr(xp.asarray(x))
    limit = 1e-4 if x.dtype in (np.float32, np.complex64) else 1e-9
    np.testing.assert_allclose(((u * s[..., None, :].astype(u.dtype)) @ vh).numpy(), x, atol=limit)
    np.testing.assert_allclose((q @ r).numpy(), x, atol=limit)
    h = CASES["linalg.eigh"](data.draw).args[0]
    w, v = xp.linalg.eigh(xp.asarray(h))
    again = (v * w[..., None, :].astype(v.dtype)) @ xp.matrix_transpose(xp.conj(v))
    limit = 1e-2 if h.dtype in (np.float32, np.complex64) else 1e-9
    np.testing.assert_allclose(again.numpy(), h, atol=limit)


def test_types_and_their_limits() -> None:
    for name in ("float32", "float64", "complex64", "complex128"):
        mine, theirs = xp.finfo(getattr(xp, name)), strict.finfo(getattr(strict, name))
        for limit in ("bits", "eps", "max", "min", "smallest_normal"):
            assert getattr(mine, limit) == getattr(theirs, limit)
        assert type(mine.eps) is float
    assert xp.iinfo(xp.int16).max == 2**15 - 1
    for kinds in ("bool", "integral", "real floating", "complex floating", "numeric"):
        for name in ("bool", "int8", "uint32", "float32", "complex128"):
            expected = strict.isdtype(getattr(strict, name), kinds)
            assert xp.isdtype(getattr(xp, name), kinds) == expected
    assert xp.result_type(xp.int8, xp.int16) == xp.int16
    assert xp.can_cast(xp.float32, xp.float64)
    assert not xp.can_cast(xp.float64, xp.float32)


def test_what_can_be_asked_of_the_namespace() -> None:
    info = xp.__array_namespace_info__()
    assert info.devices()[0] == "cpu"
    assert info.default_device() in info.devices()
    assert info.default_dtypes()["complex floating"] == xp.complex128
    assert set(info.dtypes(kind="integral")) == set(
        info.dtypes(kind=("signed integer", "unsigned integer"))
    )
    with pytest.raises(ValueError, match="expected kinds among"):
        info.dtypes(kind="float")
    assert info.capabilities()["data-dependent shapes"]
    x = Tensor([1.0])
    assert x.__array_namespace__() is xp
    assert x.__array_namespace__(api_version="2023.12") is xp
    with pytest.raises(ValueError, match="expected api_version to be one of"):
        x.__array_namespace__(api_version="2019.12")
    assert x.to_device("cpu") is x
    assert xp.from_dlpack(np.arange(3)).tolist() == [0, 1, 2]
    assert xp.empty((2, 3)).shape == xp.empty_like(xp.zeros((2, 3))).shape


def test_a_gradient_through_the_namespace() -> None:
    def energy(x: Any) -> Any:
        space = x.__array_namespace__()
        return space.sum(space.exp(-space.abs(x)) * space.asarray([1.0, 2.0]))

    found = tg.grad(energy)(Tensor(np.array([0.0, 1.0])))
    np.testing.assert_allclose(found.numpy(), [0, -2 / np.e], rtol=1e-12)

"""Sorting, searching and sets mean what NumPy means by them: NaN last, equal elements in order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_cupy as tg
import tinygrad_cupy.numpy as tnp
from support.examples import examples
from support.same_as_numpy import Call, agrees, expect_same
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import sort as sorting

DTYPES = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"]
SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 2.5, -2.5]


def draw_array(data: st.DataObject, dtype: str, **limits: int) -> np.ndarray:
    """Any shape, elements with repeats, NaN of either sign, infinities and zeros among them."""
    shape = data.draw(hnp.array_shapes(**{"min_dims": 1, "max_dims": 3, "min_side": 0, **limits}))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    if np.dtype(dtype).kind == "f":
        values: np.ndarray = rng.choice(SPECIAL, shape) * rng.choice([1.0, -1.0], shape)
        return values.astype(dtype)
    return rng.integers(0, 5, shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@examples(10)
@given(data=st.data())
def test_sort_and_argsort_as_numpy(dtype: str, device: str, data: st.DataObject) -> None:
    array = draw_array(data, dtype)
    axis = data.draw(st.one_of(st.none(), st.integers(-array.ndim, array.ndim - 1)))
    agrees(lambda m, x: m.sort(x, axis), array, device)
    agrees(lambda m, x: m.argsort(x, axis, stable=True), array, device)
    agrees(lambda m, x: m.argsort(x, axis, kind="stable"), array, device)
    x = Tensor(array, device=device)
    assert x.argsort(axis).tolist() == np.argsort(array, axis, kind="stable").tolist()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@examples(10)
@given(data=st.data())
def test_sorted_values_with_a_gradient_are_those_without(
    dtype: str, device: str, data: st.DataObject
) -> None:
    array = draw_array(data, dtype)
    axis = data.draw(st.integers(-array.ndim, array.ndim - 1))
    x = Tensor(array, device=device, requires_grad=True)
    y = tnp.sort(x, axis, stable=True)
    np.testing.assert_array_equal(y.numpy(), np.sort(array, axis))
    weights = np.arange(float(array.size)).reshape(array.shape).astype(dtype)
    expected = np.empty_like(weights)
    np.put_along_axis(expected, np.argsort(array, axis, kind="stable"), weights, axis)
    found = tg.grad(y, x, Tensor(weights, device=device))
    np.testing.assert_array_equal(found.numpy(), expected)


def test_bfloat16_is_sorted(device: str) -> None:
    x = Tensor([3.0, np.nan, -1.0, 2.0, -np.inf], device=device).astype("bfloat16")
    for y in (tnp.sort(x), tnp.sort(x.clone().requires_grad_())):
        assert y.dtype == "bfloat16"
        assert y.astype("float32").tolist()[:4] == [-np.inf, -1, 2, 3]
    assert x.argsort().tolist() == [4, 2, 3, 0, 1]
    assert tnp.topk(x, 2)[1].tolist() == [1, 0]
    assert tnp.searchsorted(tnp.sort(x), Tensor(2.0, device=device)).item() == 2
    assert tnp.unique(x).shape == (5,)
    assert tnp.isin(x, x).tolist() == [True, False, True, True, True]


@examples(10)
@given(data=st.data())
def test_partitions_as_numpy(device: str, data: st.DataObject) -> None:
    array = draw_array(data, "float64", min_side=1)
    axis = data.draw(st.integers(-array.ndim, array.ndim - 1))
    n = array.shape[axis]
    kth = data.draw(st.one_of(st.integers(-n, n - 1), st.lists(st.integers(0, n - 1), max_size=2)))
    places = np.atleast_1d(np.asarray(kth, np.int64))
    expected = np.sort(array, axis).swapaxes(0, axis)[places]
    x = Tensor(array, device=device)
    ordered = tnp.take_along_axis(x, tnp.argpartition(x, kth, axis), axis)
    answered: Any = np.partition(x, kth, axis)
    for y in (tnp.partition(x, kth, axis), ordered, answered):
        np.testing.assert_array_equal(y.numpy().swapaxes(0, axis)[places], expected)
        np.testing.assert_array_equal(np.sort(y.numpy(), axis), np.sort(array, axis))


@examples(10)
@given(data=st.data())
def test_the_largest_and_smallest(device: str, data: st.DataObject) -> None:
    array = draw_array(data, "float32", min_side=1)
    axis = data.draw(st.integers(-array.ndim, array.ndim - 1))
    k = data.draw(st.integers(0, array.shape[axis]))
    ascending = np.sort(array, axis)
    x = Tensor(array, device=device, requires_grad=True)
    for largest in (True, False):
        values, where = tnp.topk(x, k, axis, largest)
        expected = np.flip(ascending, axis) if largest else ascending
        expected = np.take(expected, np.arange(k), axis)
        np.testing.assert_array_equal(values.numpy(), expected)
        np.testing.assert_array_equal(
            np.take_along_axis(array, where.numpy(), axis), values.numpy()
        )
        ones = np.zeros_like(array)
        np.put_along_axis(ones, where.numpy(), 1, axis)
        seed = Tensor.ones(*values.shape, device=device)
        np.testing.assert_array_equal(tg.grad(values, x, seed).numpy(), ones)


@examples(10)
@given(data=st.data())
def test_lexsort_as_numpy(device: str, data: st.DataObject) -> None:
    array = draw_array(data, "int64", min_dims=2, min_side=1)
    axis = data.draw(st.integers(-array.ndim + 1, array.ndim - 2))
    agrees(lambda m, x: m.lexsort(x, axis), array, device)
    agrees(lambda m, x: m.lexsort((x[0], x[-1]), axis), array, device)
    x = Tensor(array, device=device)  # of a list NumPy does not ask
    expect_same(tnp.lexsort([x[0], x[-1]], axis).numpy(), np.lexsort(array[[0, -1]], axis))


@examples(15)
@given(data=st.data())
def test_searchsorted_as_numpy(device: str, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(["float64", "float32", "float16", "int64", "int8"]))
    array = draw_array(data, dtype, max_dims=1)
    values = draw_array(data, dtype)
    side: Any = data.draw(st.sampled_from(["left", "right"]))
    ordered = np.sort(array)
    expected = np.searchsorted(ordered, values, side)
    a, v = Tensor(array, device=device), Tensor(values, device=device)
    answered: Any = np.searchsorted(tnp.sort(a), v, side)
    for found in (
        answered,
        tnp.searchsorted(tnp.sort(a), v, side),
        tnp.searchsorted(a, v, side, sorter=a.argsort()),
        tnp.sort(a).searchsorted(v, side),
    ):
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found.numpy(), expected)


def test_searchsorted_takes_numbers_and_other_dtypes(device: str) -> None:
    a = Tensor([1, 2, 3], device=device)
    assert tnp.searchsorted(a, 2.5).item() == 2
    assert tnp.searchsorted(a, [0, 9]).tolist() == [0, 3]
    assert a.searchsorted(2).shape == ()
    assert tnp.searchsorted(a, Tensor([1.5], device=device)).tolist() == [1]


@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0)])
def test_searchsorted_in_batches(axes: Any, device: str, rng: np.random.Generator) -> None:
    a = tnp.sort(Tensor(rng.standard_normal((3, 5)), device=device))
    v = Tensor(rng.standard_normal((3, 2, 2)), device=device)
    given = [x if axis == 0 else x[1] for x, axis in zip((a, v), axes, strict=True)]
    found = tg.vmap(tnp.searchsorted, axes)(*given)
    for i in range(3):
        alone = [x[i] if axis == 0 else x for x, axis in zip(given, axes, strict=True)]
        assert found[i].tolist() == tnp.searchsorted(*alone).tolist()


# --- in place -------------------------------------------------------------------------------------


def test_the_methods_sort_in_place(device: str) -> None:
    x = Tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 4.0]], device=device)
    rows = x[0]
    before = x._version.count
    assert x.sort() is None  # type: ignore[func-returns-value]
    assert x.tolist() == [[1, 2, 3], [0, 4, 5]]
    assert rows.tolist() == [1, 2, 3]
    assert x._version.count > before
    x.sort(axis=0)
    assert x.tolist() == [[0, 2, 3], [1, 4, 5]]
    y = Tensor([3.0, 1.0, 2.0], device=device)
    y.partition(0)
    assert y[0].item() == 1


def test_a_leaf_that_wants_a_gradient_is_not_sorted_in_place() -> None:
    x = Tensor([2.0, 1.0], requires_grad=True)
    with pytest.raises(RuntimeError, match=r"\[index\] a leaf that wants a gradient"):
        x.sort()
    with tg.no_grad():
        x.sort()
    assert x.tolist() == [1, 2]


def test_no_permutation_is_computed_where_no_gradient_is_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(sorting.Sort, "forward", refuse)
    x = Tensor([2.0, 1.0], requires_grad=True)
    assert tnp.sort(x.detach()).tolist() == [1, 2]
    with tg.no_grad():
        assert tnp.sort(x).tolist() == [1, 2]
    with pytest.raises(AssertionError):
        tnp.sort(x)


# --- sets -----------------------------------------------------------------------------------------

SETS: dict[str, Call] = {
    "unique": lambda m, x: m.unique(x),
    "unique without NaN": lambda m, x: m.unique(x, equal_nan=False),
    "all": lambda m, x: m.unique(x, True, True, True),
    "inverse": lambda m, x: m.unique(x, return_inverse=True),
    "counts": lambda m, x: m.unique(x, return_counts=True, equal_nan=False),
    "unique_all": lambda m, x: m.unique_all(x),
    "unique_counts": lambda m, x: m.unique_counts(x),
    "unique_inverse": lambda m, x: m.unique_inverse(x),
    "unique_values": lambda m, x: m.sort(m.unique_values(x)),
    "union1d": lambda m, x: m.union1d(x, x[:1]),
    "intersect1d": lambda m, x: m.intersect1d(x, x[:1]),
    "intersect1d where": lambda m, x: m.intersect1d(x, x[:1], return_indices=True),
    "setdiff1d": lambda m, x: m.setdiff1d(x, x[:1]),
    "setdiff1d of other": lambda m, x: m.setdiff1d(m.unique(x[:1]), m.unique(x[1:]), True),
    "setxor1d": lambda m, x: m.setxor1d(x[:2], x[1:]),
    "isin": lambda m, x: m.isin(x, x[:1]),
    "isin nothing": lambda m, x: m.isin(x, x[:0]),
    "is not in": lambda m, x: m.isin(x, x[:1], invert=True, kind="sort"),
}


@pytest.mark.one_in(4)
@pytest.mark.parametrize("name", SETS)
@examples(10)
@given(data=st.data())
def test_sets_as_numpy(name: str, device: str, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(["float64", "float32", "float16", "int64", "uint8"]))
    array = draw_array(data, dtype, max_dims=2, min_side=1) + 0  # no -0
    if "inverse" in name:  # which of several NaN it is NumPy leaves open
        array = np.nan_to_num(array)
    agrees(SETS[name], array, device)


@examples(10)
@given(data=st.data())
def test_unique_slices_as_numpy(device: str, data: st.DataObject) -> None:
    array = draw_array(data, "int64", min_dims=2, min_side=1)
    axis = data.draw(st.integers(-array.ndim, array.ndim - 1))
    agrees(lambda m, x: m.unique(x, True, True, True, axis=axis), array, device)


def test_the_gradient_of_unique_goes_to_the_first(device: str) -> None:
    x = Tensor([2.0, 1.0, 2.0, 1.0], device=device, requires_grad=True)
    assert tg.grad((tnp.unique(x) * Tensor([3.0, 5.0], device=device)).sum(), x).tolist() == [
        *(5, 3, 0, 0)
    ]
    rows = Tensor([[1.0, 2.0], [1.0, 2.0], [0.0, 2.0]], device=device, requires_grad=True)
    found = tg.grad(tnp.unique(rows, axis=0).sum(), rows)
    assert found.tolist() == [[1, 1], [0, 0], [1, 1]]


def test_names_of_results() -> None:
    x = Tensor([2.0, 1.0, 2.0])
    found = tnp.unique_all(x)
    assert found.values.tolist() == [1, 2]
    assert found.indices.tolist() == [1, 0]
    assert found.inverse_indices.tolist() == [1, 0, 1]
    assert found.counts.tolist() == [1, 2]
    assert tnp.unique_counts(x).counts.tolist() == [1, 2]
    assert tnp.unique_inverse(x).inverse_indices.tolist() == [1, 0, 1]

"""Shapes, axes, joining and padding mean what NumPy means by them, in every dtype."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cupy as tg
import tinygrad_cupy.numpy as tnp
from records.padding import draw_width
from support.examples import examples
from support.looped import looped
from support.same_as_numpy import Call, agrees
from tinygrad_cupy import Tensor
from tinygrad_cupy.numpy import grids, indexing, joining, padding, sets, shaping, sorting

DTYPES = ["float64", "float32", "float16", "int64", "int8", "uint16", "bool"]

CALLS: dict[str, Call] = {
    "reshape": lambda m, x: m.reshape(x, (4, -1)),
    "reshape F": lambda m, x: m.reshape(x, (2, 6), order="F"),
    "reshape to a number": lambda m, x: m.reshape(x, -1),
    "ravel": lambda m, x: m.ravel(x),
    "ravel F": lambda m, x: m.ravel(x, "F"),
    "transpose": lambda m, x: m.transpose(x, (1, 0)),
    "permute_dims": lambda m, x: m.permute_dims(x, (-1, 0)),
    "matrix_transpose": lambda m, x: m.matrix_transpose(x),
    "moveaxis": lambda m, x: m.moveaxis(x, [0], [-1]),
    "rollaxis": lambda m, x: m.rollaxis(x, 1),
    "swapaxes": lambda m, x: m.swapaxes(x, 0, 1),
    "expand_dims": lambda m, x: m.expand_dims(x, (0, -1)),
    "squeeze": lambda m, x: m.squeeze(x[:1], 0),
    "broadcast_to": lambda m, x: m.broadcast_to(x, (2, 3, 4)),
    "broadcast_to a number": lambda m, x: m.broadcast_to(x[0, :1], 3),
    "broadcast_arrays": lambda m, x: m.broadcast_arrays(x, x[:1], x[:, :1]),
    "atleast_1d": lambda m, x: m.atleast_1d(x[0, 0], x),
    "atleast_2d": lambda m, x: m.atleast_2d(x[0], x[0, 0]),
    "atleast_3d": lambda m, x: m.atleast_3d(x[0], x, x[0, 0]),
    "concatenate": lambda m, x: m.concatenate((x, x[:1])),
    "concatenate of all": lambda m, x: m.concatenate([x, x[0]], axis=None),
    "concatenate as": lambda m, x: m.concatenate([x, x], dtype="float64", casting="unsafe"),
    "concat": lambda m, x: m.concat([x, x], 1),
    "stack": lambda m, x: m.stack([x, x], axis=-1),
    "stack as": lambda m, x: m.stack([x, x], dtype="float64"),
    "unstack": lambda m, x: m.unstack(x, axis=1),
    "hstack": lambda m, x: m.hstack([x, x]),
    "hstack of lines": lambda m, x: m.hstack((x[0], x[1], x[0, 0])),
    "hstack of rows": lambda m, x: m.hstack(m.unstack(x)),
    "vstack": lambda m, x: m.vstack((x, x[0])),
    "dstack": lambda m, x: m.dstack((x, x)),
    "dstack of lines": lambda m, x: m.dstack((x[0], x[1])),
    "column_stack": lambda m, x: m.column_stack((x[:, 0], x)),
    "block": lambda m, x: m.block([[x, x[:, :1]], [x[:1], x[0, 0]]]),
    "block of one": lambda m, x: m.block(x),
    "block of lines": lambda m, x: m.block([x[0], x[1, :2]]),
    "block of cubes": lambda m, x: m.block([[[x]], [[x]]]),
    "split": lambda m, x: m.split(x, 2, axis=1),
    "split at": lambda m, x: m.split(x, [1, 3, 2], axis=1),
    "array_split": lambda m, x: m.array_split(x, 3, axis=-1),
    "hsplit": lambda m, x: m.hsplit(x, 2),
    "hsplit of a line": lambda m, x: m.hsplit(x[0], 2),
    "vsplit": lambda m, x: m.vsplit(x, [1]),
    "dsplit": lambda m, x: m.dsplit(m.expand_dims(x, 0), 2),
    "tile": lambda m, x: m.tile(x, (2, 1, 3)),
    "tile of a number": lambda m, x: m.tile(x[0, 0], 3),
    "tile by less": lambda m, x: m.tile(m.expand_dims(x, 0), 2),
    "repeat": lambda m, x: m.repeat(x, 2),
    "repeat rows": lambda m, x: m.repeat(x, [1, 0, 2], axis=0),
    "repeat by one of one": lambda m, x: m.repeat(x, [2], axis=1),
    "repeat nothing": lambda m, x: m.repeat(x[:0], [], axis=0),
    "roll": lambda m, x: m.roll(x, 5),
    "roll axes": lambda m, x: m.roll(x, (1, -2), (0, 1)),
    "roll twice along one": lambda m, x: m.roll(x, (1, 1), (0, 0)),
    "roll by one": lambda m, x: m.roll(x, 1, (0, 1)),
    "rot90": lambda m, x: m.rot90(x),
    "rot90 back": lambda m, x: m.rot90(x, -1, (1, 0)),
    "rot90 twice": lambda m, x: m.rot90(x, 2),
    "flip": lambda m, x: m.flip(x),
    "fliplr": lambda m, x: m.fliplr(x),
    "flipud": lambda m, x: m.flipud(x),
    "delete": lambda m, x: m.delete(x, 1, axis=1),
    "delete several": lambda m, x: m.delete(x, [0, -1, 0], axis=1),
    "delete a slice": lambda m, x: m.delete(x, slice(None, None, 2), axis=1),
    "delete a mask": lambda m, x: m.delete(x, [True, False, True], axis=0),
    "delete nothing": lambda m, x: m.delete(x, [], axis=0),
    "delete of all": lambda m, x: m.delete(x, [3, 5]),
    "insert": lambda m, x: m.insert(x, 1, 1, axis=0),
    "insert a row": lambda m, x: m.insert(x, 1, x[0], axis=0),
    "insert a column": lambda m, x: m.insert(x, -1, x[:, 0], axis=1),
    "insert columns": lambda m, x: m.insert(x, [1], x[:, :2], axis=1),
    "insert at several": lambda m, x: m.insert(x, [2, 0, 2], x[:, :3], axis=1),
    "insert at a slice": lambda m, x: m.insert(x, slice(0, 3), 1, axis=1),
    "insert in all": lambda m, x: m.insert(x, [1, 1], [1, 0]),
    "insert nothing": lambda m, x: m.insert(x, [], 1),
    "append": lambda m, x: m.append(x, x[0]),
    "append rows": lambda m, x: m.append(x, x[:1], axis=0),
    "resize": lambda m, x: m.resize(x, (5, 4)),
    "resize to less": lambda m, x: m.resize(x, 5),
    "resize nothing": lambda m, x: m.resize(x[:0], (2, 2)),
    "trim_zeros": lambda m, x: m.trim_zeros(m.pad(x[0], 2)),
    "trim_zeros in front": lambda m, x: m.trim_zeros(m.pad(x[0], 2), "f"),
    "trim_zeros of a matrix": lambda m, x: m.trim_zeros(m.pad(x, ((1, 2), (0, 1)))),
    "trim_zeros of nothing": lambda m, x: m.trim_zeros(m.pad(x[0, :0], 2)),
}


def sample(dtype: str) -> np.ndarray:
    """(3, 4), no element 0."""
    return np.array([[3, 1, 4, 1], [5, 9, 2, 6], [5, 3, 5, 8]]).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@looped("name", CALLS)
def test_as_numpy(name: str, dtype: str, device: str) -> None:
    agrees(CALLS[name], sample(dtype), device)


@looped("name", CALLS)
def test_bfloat16_moves_as_float32(name: str, device: str) -> None:
    if name.endswith(" as"):
        return
    array = sample("float32")
    expected = CALLS[name](tnp, Tensor(array, device=device))
    found = CALLS[name](tnp, Tensor(array, device=device).astype("bfloat16"))
    many = isinstance(expected, tuple | list)
    for a, b in zip(found if many else [found], expected if many else [expected], strict=True):
        assert a.dtype == "bfloat16"
        np.testing.assert_array_equal(a.astype("float32").numpy(), b.numpy())


@pytest.mark.parametrize("module", [shaping, joining, padding, indexing, grids, sorting, sets])
def test_functions_take_what_numpys_take(module: ModuleType) -> None:
    ours = {"gather", "one_hot", "scatter_add", "scatter_reduce", "segment_sum", "topk"}
    special = {"broadcast_shapes", "as_strided"}  # NumPy's own, and one that is never written
    for name in set(module.__all__) - ours - special:
        theirs = getattr(np, name, None) or getattr(np.lib.stride_tricks, name)
        expected = dict(inspect.signature(theirs).parameters)
        expected.pop("descending", None)  # new in NumPy 2.5
        found = inspect.signature(getattr(module, name)).parameters
        assert list(found) == list(expected), name
        for parameter in found.values():
            assert parameter.default == expected[parameter.name].default, (name, parameter)


# --- padding --------------------------------------------------------------------------------------


def draw_options(draw: Any, mode: str, ndim: int) -> dict[str, Any]:
    number = st.integers(-9, 9)
    sides = st.one_of(
        number, st.tuples(number, number), st.tuples(*[st.tuples(number, number)] * ndim)
    )
    if mode == "constant":
        return {"constant_values": draw(sides)}
    if mode == "linear_ramp":
        return {"end_values": draw(sides)}
    if mode in ("reflect", "symmetric"):
        return {"reflect_type": draw(st.sampled_from(["even", "odd"]))}
    if mode in ("maximum", "minimum", "mean", "median"):
        length = st.integers(1, 4)
        return {"stat_length": draw(st.one_of(st.none(), length, st.tuples(length, length)))}
    return {}


MODES = ["constant", "edge", "linear_ramp", "maximum", "mean", "median", "minimum"]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("mode", [*MODES, "reflect", "symmetric", "wrap"])
@examples(10)
@given(data=st.data())
def test_pad_as_numpy(mode: str, device: str, data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple))
    width = draw_width(data.draw, len(shape), 9)
    options = draw_options(data.draw, mode, len(shape))
    dtype = data.draw(st.sampled_from(["float64", "float32", "int64", "int16"]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    array = (rng.standard_normal(shape) * 9).astype(dtype)
    exact = dtype[0] == "i" or mode in ("constant", "edge", "maximum", "minimum", "wrap")

    def padded(m: Any, x: Any) -> Any:
        return m.pad(x, width, mode, **options)

    agrees(padded, array, device, exact)


def test_pad_takes_widths_by_axis(device: str) -> None:
    agrees(lambda m, x: m.pad(x, {1: (2, 1), -2: 1}, "edge"), sample("float32"), device)


def test_what_empty_adds_is_zero(device: str) -> None:
    found = tnp.pad(Tensor([1.0, 2.0], device=device), (1, 2), "empty")
    assert found.tolist() == [0, 1, 2, 0, 0]


def test_axes_that_are_not_padded_may_be_empty(device: str) -> None:
    agrees(lambda m, x: m.pad(x[:, :0], ((1, 1), (0, 0)), "wrap"), sample("float32"), device)


def test_an_extremum_that_is_shared_pads_with_a_shared_gradient() -> None:
    x = Tensor([2.0, 5.0, 5.0], requires_grad=True)
    assert tg.grad(tnp.pad(x, (2, 0), "maximum").sum(), x).tolist() == [1, 2, 2]


def test_nan_pads_with_nan() -> None:
    array = np.array([1.0, np.nan, 0.0, 7.0])
    for mode in ("maximum", "mean", "median", "minimum"):
        expected = np.pad(array, 2, mode)
        np.testing.assert_array_equal(tnp.pad(Tensor(array), 2, mode).numpy(), expected)


# --- memory ---------------------------------------------------------------------------------------


def test_views_share_memory_and_copies_do_not() -> None:
    x = Tensor(np.zeros((3, 4)))
    views: list[Any] = [
        tnp.ravel(x),
        x.ravel(),
        tnp.swapaxes(x, 0, 1),
        tnp.moveaxis(x, 0, 1),
        x.mT,
        tnp.flip(x),
        tnp.rot90(x),
        tnp.expand_dims(x, 0),
        tnp.squeeze(x[:, None]),
        tnp.broadcast_to(x, (2, 3, 4)),
        tnp.atleast_3d(x),
        *tnp.split(x, 2, 1),
        *tnp.unstack(x),
        tnp.reshape(x, (4, 3)),
    ]
    for view in views:
        assert np.shares_memory(view.data, x.data)
        assert view._version is x._version
    copies = [x.flatten(), x.flatten("F"), x[0].flatten(), tnp.repeat(x, 1), tnp.roll(x, 1)]
    for copy in [*copies, tnp.reshape(x, (4, 3), copy=True)]:
        assert not np.shares_memory(copy.data, x.data)


@pytest.mark.parametrize("axis", [0, -1, 1])
@pytest.mark.parametrize(
    "call",
    [
        lambda x, axis: np.repeat(x, 3, axis=axis),
        lambda x, axis: np.repeat(x, [2], axis=axis),
        lambda x, axis: np.take(x, [0, -1], axis=axis),
        lambda x, axis: np.take(x, 0, axis=axis),
        lambda x, axis: np.compress([True], x, axis=axis),
        lambda x, axis: np.argsort(x, axis=axis),
        lambda x, axis: np.argpartition(x, 0, axis=axis),
        lambda x, axis: np.squeeze(x, axis=axis),
        lambda x, axis: np.sort(x, axis=axis),
    ],
)
def test_a_number_has_an_axis_where_numpys_has(call: Any, axis: int, device: str) -> None:
    x = Tensor(np.array(3.0), device=device, requires_grad=True)
    try:
        expected = call(np.array(3.0), axis)
    except np.exceptions.AxisError:
        with pytest.raises(ValueError, match=f"axis {axis} is out of range"):
            call(x, axis)
        return
    found = call(x, axis)
    assert found.shape == expected.shape
    assert found.tolist() == expected.tolist()
    if found.requires_grad:
        assert tg.grad(found.sum(), x).item() == expected.size


def test_ravel_copies_what_does_not_lie_in_a_row() -> None:
    array = np.arange(6.0)
    for change in (np.flip, lambda x: x[::2], lambda x: np.broadcast_to(x[:1], (3,)), np.copy):
        x, y = Tensor(array.copy()), array.copy()
        ravelled, expected = np.ravel(change(x)), np.ravel(change(y))
        ravelled += 1
        expected += 1
        assert ravelled.tolist() == expected.tolist()
        assert x.tolist() == y.tolist()
    with_axis = Tensor(array.reshape(6, 1))[::-1][:1].ravel()  # one element is a row
    with_axis += 10
    assert with_axis.tolist() == [15.0]


def test_a_reshape_that_may_not_copy() -> None:
    x = Tensor(np.zeros((3, 4)))
    assert np.shares_memory(tnp.reshape(x, (4, 3), copy=False).data, x.data)
    with pytest.raises(ValueError, match=r"^\[reshape\] shape \(12,\) of shape \(4, 3\) needs a c"):
        tnp.reshape(x.T, (12,), copy=False)


def test_strides_are_those_of_c_order() -> None:
    x = Tensor(np.zeros((2, 3, 4), np.float32))
    assert x.strides == np.zeros((2, 3, 4), np.float32).strides
    assert x.transpose().strides == (24, 8, 4)
    assert Tensor(1.0).strides == ()
    assert Tensor(np.zeros((0, 3))).strides == (24, 8)


def test_flatten_takes_an_order() -> None:
    array = sample("float32")
    for order in ("C", "F"):
        expected = array.flatten(order).tolist()
        assert Tensor(array).flatten(order).tolist() == expected
        assert Tensor(array).flatten(order=order).tolist() == expected


def test_dtypes_are_promoted_as_in_numpy() -> None:
    x = Tensor(sample("float32"))
    agrees(lambda m, x: m.concatenate([x, np.ones((1, 4), np.int64)]), sample("float32"))
    agrees(lambda m, x: m.stack([x, np.ones((3, 4))]), sample("int8"))
    with pytest.raises(TypeError, match=r"^\[concatenate\] expected what can be cast to int64"):
        tnp.concatenate([x, x], dtype="int64")


def test_out_is_written() -> None:
    x = Tensor(sample("float32"))
    out = Tensor.zeros(6, 4)
    assert tnp.concatenate([x, x], out=out) is out
    np.testing.assert_array_equal(out.numpy(), np.concatenate([x.numpy()] * 2))


def test_values_put_in_have_a_gradient() -> None:
    x, v = (Tensor(np.arange(n, dtype=np.float64), requires_grad=True) for n in (3, 2))
    y = tnp.insert(x, [1, 3], v) * np.arange(5.0)
    by_x, by_v = tg.grad(y.sum(), [x, v])
    assert by_x.tolist() == [0, 2, 3]
    assert by_v.tolist() == [1, 4]
    assert tg.grad((tnp.insert(x, 1, v[0]) * np.arange(4.0)).sum(), v).tolist() == [1, 0]


def test_counts_of_repeats_may_be_tensors(device: str) -> None:
    x = Tensor([1.0, 2.0], device=device)
    assert tnp.repeat(x, Tensor([2, 1], device=device)).tolist() == [1, 1, 2]

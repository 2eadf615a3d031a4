"""Taking, choosing and adding by index mean what NumPy, PyTorch and JAX mean by them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
import tinygrad_cupy.numpy as tnp
from support.looped import looped
from support.same_as_numpy import Call, agrees
from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import capture
from tinygrad_cupy.jit.recording import Recording

DTYPES = ["float64", "float32", "float16", "int64", "int8", "uint16", "bool"]
MASK = np.array([[True, False, True, False], [False] * 4, [True] * 4])

CALLS: dict[str, Call] = {
    "take": lambda m, x: m.take(x, [[0, -1], [5, 5]]),
    "take of one": lambda m, x: m.take(x, 3),
    "take of one row": lambda m, x: m.take(x, 1, axis=0),
    "take of none": lambda m, x: m.take(x, [], axis=0) if m is not np else x[:0],
    "take along": lambda m, x: m.take(x, np.array([2, 0, 2]), axis=-1),
    "take by int8": lambda m, x: m.take(x, np.array([2, -1], np.int8), axis=0),
    "take by uint8": lambda m, x: m.take(x, np.array([2, 1], np.uint8), axis=0),
    "take clipped": lambda m, x: m.take(x, [-9, 1, 9], axis=1, mode="clip"),
    "take wrapped": lambda m, x: m.take(x, [-9, 1, 9], axis=1, mode="wrap"),
    "take_along_axis": lambda m, x: m.take_along_axis(x, np.array([[0, 1], [1, 1], [3, -4]]), 1),
    "take_along_axis of all": lambda m, x: m.take_along_axis(x, np.array([3, 5]), None),
    "take_along_axis of one line": lambda m, x: m.take_along_axis(x, np.array([[1], [2]]), 0),
    "compress": lambda m, x: m.compress([True, False, True], x, axis=0),
    "compress by less": lambda m, x: m.compress([0, 1], x, axis=1),
    "compress of all": lambda m, x: m.compress(MASK.ravel(), x),
    "extract": lambda m, x: m.extract(MASK, x),
    "choose": lambda m, x: m.choose(np.array([0, 2, 1, 0]), [x[0], x[1], x[2]]),
    "choose broadcast": lambda m, x: m.choose(np.array([[0], [1]]), (x[0], x[1, :1])),
    "choose wrapped": lambda m, x: m.choose(np.array([-1, 5]), [x[0, :2], x[1, :2]], mode="wrap"),
    "choose clipped": lambda m, x: m.choose(np.array([-1, 5]), [x[0, :2], x[1, :2]], mode="clip"),
    "diag": lambda m, x: m.diag(x[0], 1),
    "diag of a matrix": lambda m, x: m.diag(x, -1),
    "diag outside": lambda m, x: m.diag(x, 9),
    "diagflat": lambda m, x: m.diagflat(x, -2),
    "diagonal": lambda m, x: m.diagonal(x, 1),
    "diagonal of others": lambda m, x: m.diagonal(m.expand_dims(x, 0), 0, 2, 1),
    "tril": lambda m, x: m.tril(x),
    "tril far": lambda m, x: m.tril(x, -9),
    "triu": lambda m, x: m.triu(x, 1),
    "triu of a line": lambda m, x: m.triu(x[0]),
    "triu of cubes": lambda m, x: m.triu(m.stack([x, x]), -1),
    "nonzero": lambda m, x: m.nonzero(x * MASK),
    "flatnonzero": lambda m, x: m.flatnonzero(x * MASK),
    "argwhere": lambda m, x: m.argwhere(x * MASK),
    "argwhere of a number": lambda m, x: m.argwhere(x[0, 0]),
    "where of one": lambda m, x: m.where(x * MASK),
    "where": lambda m, x: m.where(MASK, x, x[:1]),
    "where not 0": lambda m, x: m.where(x * MASK, x, x),
    "meshgrid": lambda m, x: m.meshgrid(x[0], x[1, :2]),
    "meshgrid ij": lambda m, x: m.meshgrid(x[0], x[1, :2], x[0, 0], indexing="ij"),
    "meshgrid sparse": lambda m, x: m.meshgrid(x[0], x[1, :2], sparse=True, copy=False),
    "meshgrid of one": lambda m, x: m.meshgrid(x[0]),
    "ix_": lambda m, x: x[m.ix_([0, 2], [3, 1])],
    "ix_ of a mask": lambda m, x: x[m.ix_(np.array([True, False, True]), np.array([], int))],
    "tril_indices_from": lambda m, x: m.tril_indices_from(x, 1),
    "triu_indices_from": lambda m, x: m.triu_indices_from(x, -1),
    "diag_indices_from": lambda m, x: m.diag_indices_from(x[:, :3]),
    "windows": lambda m, x: np.lib.stride_tricks.sliding_window_view(x, (2, 3)),
    "windows along": lambda m, x: np.lib.stride_tricks.sliding_window_view(x, 2, axis=-1),
    "windows twice": lambda m, x: np.lib.stride_tricks.sliding_window_view(x, (2, 2), (1, 1)),
}


ON_THE_HOST = ("choose", "nonzero", "flatnonzero", "argwhere", "where")


def sample(dtype: str) -> np.ndarray:
    """(3, 4), no element 0."""
    return np.array([[3, 1, 4, 1], [5, 9, 2, 6], [5, 3, 5, 8]]).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@looped("name", CALLS)
def test_as_numpy(name: str, dtype: str, device: str) -> None:
    if device != "cpu" and name.startswith(ON_THE_HOST):
        pytest.skip("an array of the host meets a tensor of a GPU")
    agrees(CALLS[name], sample(dtype), device)


def test_choices_may_be_the_rows_of_a_tensor() -> None:
    numbers, rows = np.array([0, 2, 1, 0]), sample("float32")
    assert tnp.choose(numbers, Tensor(rows)).tolist() == np.choose(numbers, rows).tolist()


def test_trace_as_numpy(device: str) -> None:
    for dtype in ("float64", "float32", "int64", "int8"):
        agrees(lambda m, x: m.trace(x, 1), sample(dtype), device)
    agrees(lambda m, x: m.trace(x, dtype="float64"), sample("float32"), device)
    agrees(lambda m, x: m.trace(m.stack([x, x]), 0, 1, 2), sample("float64"), device)


SELECTED: dict[str, Call] = {
    "tensors": lambda m, x: m.select([x > 4, x < 2], [x, x * 2]),
    "default": lambda m, x: m.select([x > 4, x < 2], [x, x * 2], default=7),
    "both": lambda m, x: m.select([x > 1, x > 4], [x, x * 2]),
    "broadcast": lambda m, x: m.select([x > 4, x[:1] < 2], [x, x[:, :1]], x[0]),
    "other dtypes": lambda m, x: m.select([x > 4], [x], default=x.astype("float64") / 2),
}


@pytest.mark.parametrize("name", SELECTED)
def test_select_as_numpy(name: str, device: str) -> None:
    for dtype in ("float64", "float32", "int64"):
        agrees(SELECTED[name], sample(dtype), device)


def test_select_of_numbers(device: str) -> None:
    x = Tensor([1.0, 5.0, 9.0], device=device)
    found = tnp.select([x > 6, x > 3], [1.0, 0.5], 0.0)
    assert found.tolist() == [0, 0.5, 1]
    assert found.dtype == "float32"


def test_where_of_numbers_and_tensors(device: str) -> None:
    x = Tensor([1.0, 5.0], device=device, requires_grad=True)
    assert tnp.where(x > 2, 1, 0).tolist() == [0, 1]
    assert tnp.where(x > 2, x, 0.5).tolist() == [0.5, 5]
    assert tnp.where(x > 2, x, 0.5).dtype == "float32"
    assert tg.grad(tnp.where(x > 2, 0.5, x).sum(), x).tolist() == [1, 0]


INDICES: dict[str, Call] = {
    "tril_indices": lambda m, _: m.tril_indices(3, -1, 4),
    "triu_indices": lambda m, _: m.triu_indices(3, 1),
    "diag_indices": lambda m, _: m.diag_indices(3, 3),
    "mask_indices": lambda m, _: m.mask_indices(3, m.triu, 1),
    "indices": lambda m, _: m.indices((2, 3)),
    "indices of a dtype": lambda m, _: m.indices((2,), dtype="int32"),
    "sparse indices": lambda m, _: m.indices((2, 3), sparse=True),
    "unravel_index": lambda m, _: m.unravel_index([5, 0], (2, 3)),
    "unravel_index F": lambda m, _: m.unravel_index(5, (2, 3), order="F"),
    "ravel_multi_index": lambda m, _: m.ravel_multi_index(([1, 0], [2, 1]), (2, 3)),
    "ravel_multi_index F": lambda m, _: m.ravel_multi_index(([1, 0], [2, 1]), (2, 3), order="F"),
    "ravel_multi_index within": lambda m, _: m.ravel_multi_index(
        ([3, -1], [9, -9]), (2, 3), ("wrap", "clip")
    ),
}


@pytest.mark.parametrize("name", INDICES)
def test_indices_as_numpy(name: str, device: str) -> None:
    expected, found = INDICES[name](np, None), INDICES[name](tnp, None)
    many = isinstance(expected, tuple)
    for a, b in zip(found if many else [found], expected if many else [expected], strict=True):
        assert a.device == device
        assert (a.shape, a.dtype) == (np.shape(b), np.asarray(b).dtype)
        np.testing.assert_array_equal(a.numpy(), b)


def test_one_hot(device: str) -> None:
    found = tnp.one_hot(Tensor([2, 0, 3, -1], device=device), 3)
    assert found.tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert found.dtype == "float32"
    assert tnp.one_hot(tnp.ndarray([1]), 2).dtype == "float64"
    assert tnp.one_hot(Tensor([[1]]), 2, axis=0, dtype="int8").shape == (2, 1, 1)
    assert tg.vmap(lambda i: tnp.one_hot(i, 2))(Tensor([0, 1])).tolist() == [[1, 0], [0, 1]]


def test_numbers_by_index(device: str) -> None:
    array = sample("int64")
    x = Tensor(array, device=device)
    for index in ((5,), (-1,), (1, 2), ((2, 3),)):
        assert x.item(*index) == array.item(*index)
        assert type(x.item(*index)) is int
    assert Tensor([2.5], requires_grad=True).item(0) == 2.5
    with pytest.raises(IndexError, match="out of bounds"):
        x.item(12)
    with pytest.raises(ValueError, match="expected one element"):
        x.item(0, slice(None))


# --- memory ---------------------------------------------------------------------------------------


def test_views_and_copies() -> None:
    x = Tensor(np.zeros((3, 3)))
    for view in (x.diagonal(), tnp.diag(x, 1), tnp.sliding_window_view(x, 2, 1)):
        assert np.shares_memory(view.data, x.data)
        assert view._version is x._version
    assert np.shares_memory(tnp.as_strided(x, (2, 2), (8, 8)).data, x.data)
    for copy in (tnp.take(x, 0), tnp.take(x, 1, axis=0), tnp.triu(x), tnp.diagflat(x)):
        assert not np.shares_memory(copy.data, x.data)
    x.diagonal().assign_(1)
    assert x.tolist() == np.eye(3).tolist()


def test_windows_are_not_written() -> None:
    x = Tensor(np.zeros(5))
    for windows in (tnp.sliding_window_view(x, 2), tnp.as_strided(x, (4, 2), (8, 8))):
        with pytest.raises(ValueError, match=r"is read-only; write into a \.clone"):
            windows[0] = 1


def test_strided_views_read_in_c_order_however_a_tensor_lies() -> None:
    x = Tensor(np.asfortranarray(np.arange(6.0).reshape(2, 3)))
    assert tnp.as_strided(x, (3,), (16,)).tolist() == [0, 2, 4]
    assert tnp.lib.stride_tricks.as_strided(x[:, 1:], (4,), x[:, 1:].strides[1:]).tolist() == [
        *(1, 2, 4, 5)
    ]
    assert tnp.as_strided(x).tolist() == x.tolist()


# --- indices out of bounds, repeated, batched ----------------------------------------------------


def test_the_gradient_of_windows_counts_them(device: str) -> None:
    x = Tensor(np.zeros(6), device=device, requires_grad=True)
    assert tg.grad(tnp.sliding_window_view(x, 3).sum(), x).tolist() == [1, 2, 3, 3, 2, 1]
    assert tg.grad(tnp.sliding_window_view(x, 5).sum(), x).tolist() == [1, 2, 2, 2, 2, 1]
    assert tg.grad(tnp.as_strided(x, (3, 3), (8, 8)).sum(), x).tolist() == [1, 2, 3, 2, 1, 0]


def test_an_index_in_a_batch_stays_within_its_element() -> None:
    x = Tensor(np.arange(6.0).reshape(2, 3))
    with pytest.raises(IndexError, match="index 4 is out of bounds"):
        tg.vmap(lambda x, i: x.take(i))(x, Tensor([[0], [4]]))


@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0)])
def test_batches_of_indices(axes: Any, device: str, rng: np.random.Generator) -> None:
    x = Tensor(rng.standard_normal((3, 4, 5)), device=device)
    rows = Tensor(rng.integers(-4, 4, (3, 2, 2)), device=device)
    lines = Tensor(rng.integers(0, 4, (3, 2, 5)), device=device)

    def check(call: Any, *given: Any) -> None:
        given = tuple(g if a == 0 else g[1] for g, a in zip(given, axes, strict=True))

        def gradient(x: Tensor, i: Tensor) -> Any:
            return tg.grad(lambda x: (call(x, i) ** 2).sum())(x)

        for function in (call, gradient):
            together = tg.vmap(function, axes)(*given)
            for n in range(3):
                alone = function(*[g[n] if a == 0 else g for g, a in zip(given, axes, strict=True)])
                np.testing.assert_allclose(together[n].numpy(), alone.numpy(), atol=1e-12)

    check(lambda x, i: x.take(i, axis=0), x, rows)
    check(lambda x, i: x.take(i, axis=1), x, rows)
    check(lambda x, i: tnp.take_along_axis(x, i, 0), x, lines)
    check(lambda x, i: tnp.scatter_add(x, i, 2.0 * x[:2], 0), x, lines)
    check(lambda x, i: tnp.scatter_reduce(x, i, 2.0 * x[:2], 0, "prod"), x, lines)
    check(lambda x, i: tnp.scatter_reduce(x, i, 2.0 * x[:2], 0, "amax"), x, lines)


def test_a_saved_index_that_is_written_is_noticed() -> None:
    x, i = Tensor([1.0, 2.0], requires_grad=True), Tensor([0, 1])
    y = x.take(i)
    i.assign_(0)
    with pytest.raises(RuntimeError, match="was written in place"):
        y.sum().backward()


def test_an_array_of_indices_may_be_written_after_its_use() -> None:
    x, i = Tensor([1.0, 2.0], requires_grad=True), np.array([0, 0])
    y = x.take(i)
    i[:] = 1
    assert tg.grad(y.sum(), x).tolist() == [2, 0]


# --- sums and other reductions by place -----------------------------------------------------------


def test_sums_are_added_up_in_a_wider_type(device: str) -> None:
    ids = np.zeros(20_001, np.int64)
    values = np.full(20_001, 1e-4, np.float32)
    values[0] = 1e4
    found = tnp.segment_sum(Tensor(values, device=device), ids)
    assert found.item() == np.float32(values.astype(np.float64).sum())
    halves = Tensor(np.ones(5000, np.float16), device=device)
    assert tnp.segment_sum(halves, ids[:5000]).item() == 5000
    x = Tensor(np.zeros(1, np.float16), device=device, requires_grad=True)
    assert tg.grad(x.take(ids[:5000]).sum(), x).item() == 5000
    wide = halves.astype("bfloat16")
    assert tnp.segment_sum(wide, ids[:5000]).item() == 4992  # the nearest in bfloat16


def test_segments_may_be_read_from_their_numbers(device: str) -> None:
    x = Tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], device=device)
    assert tnp.segment_sum(x, [2, 0, 2]).tolist() == [[3, 4], [0, 0], [6, 8]]
    assert tnp.segment_sum(x[:0], []).shape == (0, 2)


def test_equal_extrema_share_the_gradient(device: str) -> None:
    x = Tensor([5.0, 0.0], device=device, requires_grad=True)
    v = Tensor([5.0, 5.0, -1.0, 0.0], device=device, requires_grad=True)
    y = tnp.scatter_reduce(x, [0, 0, 1, 1], v, 0, "amax")
    assert y.tolist() == [5, 0]
    by_x, by_v = tg.grad(y.sum(), [x, v])
    np.testing.assert_allclose(by_x.numpy(), [1 / 3, 1 / 2], rtol=1e-6)
    np.testing.assert_allclose(by_v.numpy(), [1 / 3, 1 / 3, 0, 1 / 2], rtol=1e-6)


def test_nan_is_the_extremum(device: str) -> None:
    v = Tensor([1.0, np.nan, 2.0], device=device)
    for kind in ("amax", "amin"):
        y = tnp.scatter_reduce(Tensor([0.0, 0.0], device=device), [0, 0, 1], v, 0, kind)
        assert np.isnan(y.numpy()).tolist() == [True, False]


@pytest.mark.parametrize("zeros", [0, 1, 2, 3])
def test_products_with_zeros_to_second_order(zeros: int, device: str) -> None:
    """Against the product written out."""
    values = np.array([2.0, 3.0, 5.0, 7.0])
    values[:zeros] = 0
    v = Tensor(values, device=device)
    ids = np.zeros(4, np.int64)

    def ours(v: Tensor) -> Any:
        return tnp.scatter_reduce(Tensor([1.0], device=device), ids, v, 0, "prod").sum()

    def plain(v: Tensor) -> Any:
        return v[0] * v[1] * v[2] * v[3]

    assert ours(v).item() == plain(v).item()
    np.testing.assert_allclose(tg.grad(ours)(v).numpy(), tg.grad(plain)(v).numpy())
    np.testing.assert_allclose(tg.hessian(ours)(v).numpy(), tg.hessian(plain)(v).numpy())
    np.testing.assert_allclose(
        tg.jvp(ours, [v], [v + 1])[1].numpy(), tg.jvp(plain, [v], [v + 1])[1].numpy()
    )


def test_integers_are_reduced_as_they_are(device: str) -> None:
    x = Tensor(np.array([1, 2], np.int8), device=device)
    found = {
        kind: tnp.scatter_reduce(x, [0, 0, 1], [3, -4, 5], 0, kind).tolist()
        for kind in ("sum", "prod", "amax", "amin")
    }
    assert found == {"sum": [0, 7], "prod": [-12, 10], "amax": [3, 5], "amin": [-4, 2]}
    assert tnp.scatter_reduce(x, [0], [2], 0, "mean").dtype == "float32"
    alone = tnp.scatter_reduce(x, [0, 0], [3, -4], 0, "amax", include_self=False)
    assert alone.tolist() == [3, 2]


def test_narrow_floats_are_reduced(device: str) -> None:
    for dtype in ("float16", "bfloat16"):
        x = Tensor([1.0, 2.0], device=device).astype(dtype)
        for kind in ("sum", "mean", "prod", "amax", "amin"):
            y = tnp.scatter_reduce(
                x, [0, 0], Tensor([3.0, 4.0], device=device).astype(dtype), 0, kind
            )
            assert y.dtype == dtype


def test_sums_are_the_same_in_every_run(device: str, rng: np.random.Generator) -> None:
    values = Tensor(rng.standard_normal(10_000).astype(np.float32), device=device)
    ids = rng.integers(0, 5, 10_000)
    runs = {tnp.segment_sum(values, ids, 5).numpy().tobytes() for _ in range(5)}
    assert len(runs) == 1


# --- under jit ------------------------------------------------------------------------------------


def test_sizes_that_depend_on_values_are_refused_by_name() -> None:
    with pytest.raises(RuntimeError, match=r"the size of what nonzero gives depends on values"):
        Recording("step", (), on_gpu=True).run(lambda: capture.refuse_size("nonzero"))
    capture.refuse_size("nonzero")


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("nonzero", lambda x: tnp.nonzero(x)),
        ("nonzero", lambda x: tnp.compress(x > 0, x)),
        ("unique", lambda x: tnp.unique(x)),
        ("unique", lambda x: tnp.union1d(x, x)),
        ("an index by booleans", lambda x: x[x > 0]),
    ],
)
def test_functions_whose_size_depends_on_values_are_refused(name: str, call: Any) -> None:
    tg.set_default_device("cuda:0")
    with pytest.raises(RuntimeError, match=f"the size of what {name} gives depends on values"):
        tg.jit(call)(Tensor([1.0, -1.0]))


# --- elements ------------------------------------------------------------------------------------


def _sorted_by_swaps(np: Any, x: Any) -> Any:
    """An insertion sort, and a rotation of three: what NumPy's numbers are used for."""
    y = x * 1
    for i in range(1, len(y)):
        for j in range(i, 0, -1):
            if bool(y[j] < y[j - 1]):
                y[j], y[j - 1] = y[j - 1], y[j]
    first = y[0]
    y[0] = y[1] * y[1]
    y[1] = first
    for element in y:
        element += 1
    y[-1] += first
    return np.stack([y[0], y[1], y[2], y[()][2]])


def test_an_element_in_the_namespace_is_a_copy(device: str) -> None:
    x = np.array([3.0, 1.0, 2.0])
    expected = _sorted_by_swaps(np, x)
    made = tnp.array(x, device=device)
    assert _sorted_by_swaps(tnp, made).tolist() == expected.tolist()
    row = tnp.array([[1.0, 2.0]], device=device)
    row[0][1], row[..., 0][0] = 5.0, 6.0
    view = row[0, 0, ...]  # as NumPy's
    view += 1
    assert row.tolist() == [[7.0, 5.0]]

    def f(x: Any) -> Any:
        y = x * x
        y[0], y[1] = y[1], y[0]
        before = y[2]
        y[2] = before * y[0]
        return y * tnp.array([1.0, 2.0, 3.0], device=device) + before

    jacobian = np.array([[0, 2, 4], [12, 0, 4], [0, 24, 16]])
    assert tg.jacobian(f)(made).tolist() == jacobian.tolist()
    whole = tg.vmap(f)(tnp.stack([made, made + 1]))
    assert whole.tolist() == [f(made).tolist(), f(made + 1).tolist()]
    value, tangent = tg.jvp(f, (made,), (tnp.ones_like(made),))
    assert value.tolist() == f(made).tolist()
    assert tangent.tolist() == jacobian.sum(1).tolist()


def test_an_element_of_a_tensor_is_a_view() -> None:
    x = Tensor([1.0, 2.0])
    first = x[0]
    first += 1
    assert x.tolist() == [2.0, 2.0]


def test_what_transforms_see_of_the_namespace_keeps_its_dtypes() -> None:
    whole = tnp.array([1, 2, 3])
    assert tg.vmap(lambda n: n / 2)(whole).dtype == np.float64
    assert tg.vmap(tg.vmap(lambda n: n / 2))(whole[None]).dtype == np.float64
    assert tg.vmap(lambda n: n / 2)(Tensor([1, 2])).dtype == np.float32
    x = tnp.array([0.5, 2.0])
    value, _ = tg.jvp(lambda x: tnp.argsort(x).sum() / 2 + x, (x,), (x,))
    assert value.dtype == np.float64
    assert isinstance(value, tnp.ndarray)


def test_numbers_of_the_namespace_are_not_written() -> None:
    def moments(x: Any) -> Any:
        mean, square, seen = 0.0, 0.0, []
        for k, v in enumerate(x, 1):
            away = v - mean
            mean += away / k
            square += away * (v - mean)
            seen.append(mean)
            seen.append(square)
        count = (x > 2).sum()
        count /= 4  # integers become floats
        return x.dtype.type(0) + count, seen

    values = np.array([3.0, 1.0, 2.0, 5.0])
    count, seen = moments(values)
    for x in (tnp.array(values), tnp.array(values, requires_grad=True)):
        found = moments(x)
        assert found[0].item() == count
        np.testing.assert_allclose([y.item() for y in found[1]], seen)
    assert tg.gradcheck(lambda x: tnp.array(moments(x)[1]), [x])
    w = tnp.array(2.0, requires_grad=True)
    same = w
    with tg.no_grad():
        w -= 0.5
    assert w is same
    assert w.requires_grad
    assert w.item() == 1.5

"""The chapter of products against NumPy: shapes, dtypes, ``out``, ``dtype``, axes."""

from __future__ import annotations

from typing import Any

import numpy
import pytest

from support.looped import looped
from tinygrad_cupy import Tensor, backend
from tinygrad_cupy import numpy as ours
from tinygrad_cupy.ops.protocols import TABLE

np: Any = numpy  # of whose calls with tensors its types know nothing
tnp: Any = ours

DTYPES = (np.float64, np.float32, np.int64, np.int8, np.uint8, np.bool_)

Shapes = tuple[tuple[int, ...], ...]
VECTORS: Shapes = ((), (3,), (2, 3), (4, 2, 3), (0, 3), (3, 0))

CALLS: list[tuple[Any, Shapes, dict[str, Any]]] = [
    *[(np.dot, pair, {}) for pair in (
        ((), ()), ((), (3,)), ((2, 3), ()), ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)),
        ((2, 3), (3, 4)), ((2, 4, 3), (5, 3, 2)), ((2, 0), (0, 3)), ((0, 3), (3, 2)),
    )],
    *[(np.inner, pair, {}) for pair in (
        ((), ()), ((), (2, 3)), ((3,), (3,)), ((2, 3), (4, 3)), ((2, 4, 3), (3,)), ((2, 0), (0,)),
    )],
    *[(np.vdot, pair, {}) for pair in (((), ()), ((2, 3), (3, 2)), ((4,), (4,)), ((0,), (0,)))],
    *[(np.outer, (a, b), {}) for a in VECTORS for b in VECTORS],
    *[(np.kron, (a, b), {}) for a in VECTORS for b in VECTORS],
    (np.tensordot, ((2, 3, 4), (3, 4, 5)), {}),
    (np.tensordot, ((2, 3, 4), (4, 5)), {"axes": 1}),
    (np.tensordot, ((2, 3), (4,)), {"axes": 0}),
    (np.tensordot, ((2, 3, 4), (4, 5, 2)), {"axes": ([0, -1], [2, 0])}),
    (np.tensordot, ((2, 3), (5, 3)), {"axes": (1, 1)}),
    (np.tensordot, ((2, 3), (2, 3)), {"axes": 2}),
    (np.linalg.tensordot, ((2, 3), (5, 3)), {"axes": (1, 1)}),
    *[(np.matmul, pair, {}) for pair in (
        ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 4, 3), (5, 1, 3, 2)), ((2, 0), (0, 3)),
    )],
    (np.matmul, ((2, 4, 3), (4, 3, 4)), {"axes": [(0, 2), (1, 2), (0, 1)]}),
    (np.matmul, ((3, 2, 4), (3,)), {"axes": [(2, 0), (0,), (0,)]}),
    (np.linalg.matmul, ((2, 3), (3, 4)), {}),
    *[(np.vecdot, pair, options) for pair, options in (
        (((3,), (3,)), {}), (((2, 3), (4, 1, 3)), {}), (((3, 4), (3, 4)), {"axis": 0}),
        (((3, 4), (3, 4)), {"axis": 0, "keepdims": True}), (((2, 0), (0,)), {}),
    )],
    (np.linalg.vecdot, ((3, 4), (3, 4)), {"axis": 0}),
    (np.linalg.outer, ((3,), (2,)), {}),
]  # fmt: skip
if hasattr(np, "matvec"):
    CALLS += [
        (np.matvec, ((5, 2, 3), (3,)), {}),
        (np.matvec, ((2, 3, 5), (5, 3)), {"axes": [(0, 1), 1, 1]}),
        (np.vecmat, ((4, 1, 2), (2, 3)), {}),
    ]
CROSS: list[tuple[Any, Shapes, dict[str, Any]]] = [
    (np.cross, ((3,), (3,)), {}),
    (np.cross, ((4, 3), (2, 1, 3)), {}),
    (np.cross, ((3, 4), (4, 3)), {"axisa": 0, "axisc": 0}),
    (np.cross, ((3, 4), (3, 4)), {"axis": 0}),
    (np.cross, ((0, 3), (3,)), {}),
    (np.cross, ((2,), (2,)), {}),
    (np.cross, ((5, 2), (5, 3)), {}),
    (np.cross, ((5, 3), (2,)), {}),
    (np.linalg.cross, ((3, 4), (3, 4)), {"axis": 0}),
]


def values(shape: tuple[int, ...], dtype: Any, rng: Any) -> Any:
    drawn = rng.standard_normal(shape) * 3
    return np.asarray(drawn > 0 if dtype is np.bool_ else drawn.astype(dtype))


def expected_of(function: Any, arrays: list[Any], options: dict[str, Any]) -> Any:
    """NumPy's result, of integers that do not wrap around."""
    if arrays[0].dtype.kind in "iu":
        arrays = [x.astype(np.int64) for x in arrays]
    if function is np.cross and not options and 2 in (arrays[0].shape[-1], arrays[1].shape[-1]):
        return flat_cross(*arrays)
    return function(*arrays, **options)


def flat_cross(a: Any, b: Any) -> Any:
    """`numpy.cross` of vectors of two elements, which NumPy takes up to 2.4: the third is 0.

    Of two such, the third element of the product alone.
    """
    solid = [np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, 3 - x.shape[-1])]) for x in (a, b)]
    found = np.cross(*solid)
    return found[..., 2] if a.shape[-1] == b.shape[-1] else found


def near(found: Any, expected: Any) -> None:
    expected = np.asarray(expected)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    limit = 1e-5 if expected.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(found.numpy(), expected, rtol=limit, atol=limit)


@pytest.mark.parametrize("dtype", DTYPES)
@looped("function, shapes, options", [*CALLS, *CROSS], ids=lambda x: getattr(x, "__name__", str(x)))
def test_as_numpy(
    function: Any, shapes: Shapes, options: dict[str, Any], dtype: Any, device: str
) -> None:
    if function in (np.cross, np.linalg.cross) and dtype not in (np.float64, np.float32, np.int64):
        pytest.skip("differences of small integers wrap around, booleans have none")
    rng = np.random.default_rng(0)
    arrays = [values(shape, dtype, rng) for shape in shapes]
    tensors = [Tensor(backend.to_device(x, device)) for x in arrays]
    expected = expected_of(function, arrays, options)
    near(function(*tensors, **options), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 10])
def test_powers_of_matrices(n: int, dtype: Any, device: str) -> None:
    array = values((2, 3, 3), dtype, np.random.default_rng(0))
    found = np.linalg.matrix_power(Tensor(backend.to_device(array, device)), n)
    wide = array.astype(np.int64) if array.dtype.kind in "iu" else array
    np.testing.assert_allclose(found.numpy(), np.linalg.matrix_power(wide, n), rtol=1e-4)


def test_a_chain_of_matrices_in_the_cheapest_order(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s) for s in ((5, 2), (2, 6), (6, 1), (1, 7))]
    made: list[tuple[int, ...]] = []
    dot = tnp.linalg.ops.dot

    def seen(a: Any, b: Any) -> Any:
        y = dot(a, b)
        made.append(y.shape)
        return y

    monkeypatch.setattr(tnp.linalg.ops, "dot", seen)
    found = np.linalg.multi_dot([Tensor(x) for x in arrays])
    np.testing.assert_allclose(found.numpy(), np.linalg.multi_dot(arrays))
    assert made == [(2, 1), (5, 1), (5, 7)]


def test_numbers_do_not_widen(device: str) -> None:
    x = Tensor(np.float32([1, 2, 3]), device=device)
    for y in (
        np.dot(x, 2.0),
        np.dot(np.float64(2), x),
        np.inner(x, 2.0),
        np.outer(2.0, x),
        np.kron(x, np.float64(2)),
        np.einsum("i,->i", x, 2.0),
        x.dot(2.0),
    ):
        assert y.dtype == np.float32
    assert np.einsum("i,->i", Tensor([1, 2], device=device), 0.5).dtype == np.float32
    assert np.dot(Tensor([1, 2], device=device), 2).dtype == np.int64


def test_results_are_written_into_out(device: str) -> None:
    rng = np.random.default_rng(0)
    a, b = (Tensor(backend.to_device(rng.standard_normal((3, 3)), device)) for _ in range(2))
    expected = a.numpy() @ b.numpy()
    for call in (
        lambda out: np.dot(a, b, out=out),
        lambda out: a.dot(b, out=out),
        lambda out: np.matmul(a, b, out=out),
        lambda out: np.einsum("ij,jk", a, b, out=out),
        lambda out: np.linalg.multi_dot([a, b], out=out),
    ):
        out = Tensor.zeros(3, 3, dtype="float64", device=device)
        assert call(out) is out
        np.testing.assert_allclose(out.numpy(), expected)


def test_the_dtype_that_is_asked_for(device: str) -> None:
    x = Tensor(np.int8([100, 100]), device=device)
    assert np.einsum("i,i", x, x, dtype="float32").dtype == np.float32
    assert np.matmul(x, x, dtype=np.float64).item() == 20000.0
    single = Tensor([1.5], device=device)
    assert np.einsum("i->i", single, dtype=np.int64, casting="unsafe").tolist() == [1]


@pytest.mark.parametrize("optimize", [False, True, "greedy", "optimal", ("greedy", 10**6)])
def test_optimizers_of_numpy(optimize: Any, device: str) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s) for s in ((2, 3), (3, 4), (4, 5))]
    tensors = [Tensor(backend.to_device(x, device)) for x in arrays]
    found = np.einsum("ij,jk,kl->il", *tensors, optimize=optimize)
    np.testing.assert_allclose(found.numpy(), np.linalg.multi_dot(arrays))


def test_a_path_of_numpy() -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s) for s in ((2, 3), (3, 4), (4, 5))]
    tensors = [Tensor(x) for x in arrays]
    found = np.einsum_path("ij,jk,kl->il", *tensors)
    assert found == np.einsum_path("ij,jk,kl->il", *arrays)
    assert found[0] == np.einsum_path(tensors[0], [0, 1], tensors[1], [1, 2], tensors[2], [2, 3])[0]
    result = np.einsum("ij,jk,kl->il", *tensors, optimize=found[0])
    np.testing.assert_allclose(result.numpy(), np.linalg.multi_dot(arrays))


def test_the_namespace_takes_lists_and_gives_its_own_arrays() -> None:
    found = tnp.einsum("ij,j", [[1.0, 2.0], [3.0, 4.0]], [1, 2])
    assert type(found) is tnp.ndarray
    assert found.dtype == np.float64
    assert found.tolist() == [5.0, 11.0]
    assert tnp.dot([1, 2], [3, 4]).item() == 11
    assert tnp.linalg.multi_dot([[[1.0]], [[2.0]], [[3.0]]]).tolist() == [[6.0]]


def test_an_unknown_option_is_an_error() -> None:
    with pytest.raises(TypeError):
        np.einsum("i", Tensor([1.0]), what=1)


def test_a_negative_power_needs_an_inverse() -> None:
    x = Tensor(np.array([[2.0]]))
    if np.linalg.inv in TABLE:
        assert np.linalg.matrix_power(x, -2).tolist() == [[0.25]]
    else:
        with pytest.raises(TypeError, match=r"\[numpy.linalg.inv\]"):
            np.linalg.matrix_power(x, -2)

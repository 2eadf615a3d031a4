"""`einsum` means what NumPy means by it, whatever the equation, and is as exact as it can be."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cupy as tg
from support.equations import draw_equation
from support.examples import examples
from support.sampling import draw_layout, lay_out
from tinygrad_cupy import Tensor, backend
from tinygrad_cupy.kernels import einsum as kernels
from tinygrad_cupy.ops import subscripts
from tinygrad_cupy.ops.einsum import einsum

DTYPES = ("float64", "float32", "int64", "int32", "int8", "uint8", "bool", "float16")
LIMITS = {"float64": 1e-12, "float32": 1e-5, "float16": 4e-3}


def drawn(data: st.DataObject, dtype: str, device: str, most: int = 3) -> tuple[str, Any, Any]:
    """An equation, NumPy's arrays in any layout, and tensors of the same values."""
    equation, shapes = draw_equation(data.draw, most=most)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    kind = np.dtype(dtype).kind
    arrays = []
    for shape in shapes:
        values = rng.standard_normal(shape) if kind == "f" else rng.integers(0, 4, shape)
        layout = draw_layout(data.draw, len(shape), broadcast=True)
        arrays.append(lay_out(np.asarray(values > 1 if kind == "b" else values, dtype), layout))
    return equation, arrays, [Tensor(backend.to_device(x, device)) for x in arrays]


@examples(60)
@given(data=st.data())
def test_any_equation_in_any_dtype(device: str, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(DTYPES))
    equation, arrays, tensors = drawn(data, dtype, device)
    wide = "float64" if np.dtype(dtype).kind == "f" else dtype if dtype == "bool" else "int64"
    expected = np.einsum(equation, *[x.astype(wide) for x in arrays])
    found = einsum(equation, *tensors)
    assert found.shape == expected.shape
    assert found.dtype == (dtype if dtype in LIMITS else wide)
    if dtype not in LIMITS:
        np.testing.assert_array_equal(found.numpy(), expected)
        return
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    limit = LIMITS[dtype] * scale
    np.testing.assert_allclose(found.numpy().astype(np.float64), expected, rtol=0, atol=limit)


@examples(20)
@given(data=st.data())
def test_every_order_of_products_gives_the_same(device: str, data: st.DataObject) -> None:
    equation, arrays, tensors = drawn(data, "float64", device, most=5)
    expected = np.einsum(equation, *arrays)
    paths: list[Any] = [True, "greedy", "optimal"]
    places = list(range(len(arrays)))
    path = [tuple(places)]  # all at once, from the left
    if len(arrays) > 2:
        order = data.draw(st.permutations(places))
        path = [tuple(order[:2]), tuple(range(len(arrays) - 1))]
    for optimize in (*paths, tuple(path)):
        found = einsum(equation, *tensors, optimize=optimize)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10, atol=1e-10)


@examples(15)
@given(data=st.data())
def test_gradients_to_the_second_order(device: str, data: st.DataObject) -> None:
    equation, _, tensors = drawn(data, "float64", device)
    given_ = [Tensor(x.data, requires_grad=True) for x in tensors]
    assert tg.gradcheck(
        lambda *xs: einsum(equation, *xs), given_, order=2, forward_mode=True, batched=True
    )


def test_without_opt_einsum(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setitem(sys.modules, "opt_einsum", None)
    subscripts._opt_einsum.cache_clear()
    subscripts.planned.cache_clear()
    a, b, c = (Tensor.rand(*s, device=device) for s in ((2, 30), (30, 30), (30, 1)))
    expected = a.numpy() @ b.numpy() @ c.numpy()
    np.testing.assert_allclose(einsum("ij,jk,kl->il", a, b, c).numpy(), expected, rtol=1e-4)
    plan = subscripts.planned("ij,jk,kl->il", (a.shape, b.shape, c.shape))
    assert {plan.steps[0].first, plan.steps[0].second} == {1, 2}  # the column first
    monkeypatch.undo()
    subscripts._opt_einsum.cache_clear()
    subscripts.planned.cache_clear()


def test_more_labels_than_letters(device: str) -> None:
    shapes = [(1, 2) + (1,) * 18] * 3
    tensors = [Tensor.rand(*shape, device=device) for shape in shapes]
    expected = math.prod(x.numpy() for x in tensors)
    np.testing.assert_allclose(einsum("...,...,...", *tensors).numpy(), expected, rtol=1e-6)


def test_results_of_one_operand_are_views() -> None:
    x = Tensor(np.arange(27.0).reshape(3, 3, 3))
    for equation in ("iii->i", "iij->ij", "ijk->kji", "ij...->...ji"):
        y = einsum(equation, x)
        np.testing.assert_array_equal(y.numpy(), np.einsum(equation, x.data))
        assert np.shares_memory(y.data, x.data)
        y.assign_(7.0)
        assert (einsum(equation, x).numpy() == 7).all()


def test_a_diagonal_of_memory_that_is_read_only() -> None:
    array = np.eye(3)
    array.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        einsum("ii->i", Tensor(array)).assign_(1.0)


def test_narrow_floats_are_rounded_once(device: str) -> None:
    """Each product rounds to 1 by itself, and the sum of the parts that got lost does not."""
    dtype = np.float16
    a = Tensor(np.full((1, 3000), 1 + 2**-10, dtype), device=device)
    b = Tensor(np.full((3000, 1), 1 + 2**-10, dtype), device=device)
    ones = Tensor(np.ones(1, dtype), device=device)
    exact = 3000 * (1 + 2**-10) ** 2
    assert einsum("ij,jk->", a, b).item() == dtype(exact)
    assert einsum("ij,jk,k->", a, b, ones).item() == dtype(exact)
    assert einsum("ij,jk,k->", a * 40, b, ones * 0.01).item() == pytest.approx(1200, rel=1e-2)


def test_integers_do_not_wrap_around(device: str) -> None:
    x = Tensor(np.full(1000, 100, np.int8), device=device)
    assert einsum("i,i->", x, x).item() == 10_000_000
    assert einsum("i,j->", x, x).item() == 10**10
    large = Tensor(np.array([2**53 + 1, 1]), device=device)
    assert einsum("i,i->", large, Tensor(np.array([1, 1]), device=device)).item() == 2**53 + 2
    unsigned = Tensor(np.array([2**63 + 5], np.uint64), device=device)
    assert einsum("i,i->i", unsigned, unsigned * 0 + 1).tolist() == [2**63 + 5]


def test_mixed_dtypes_meet_as_in_numpy(device: str) -> None:
    half, single, count = (
        Tensor(np.ones(3, dtype), device=device) for dtype in (np.float16, np.float32, np.int32)
    )
    assert einsum("i,i->", half, single).dtype == np.float32
    assert einsum("i,i->", single, count).dtype == np.float64
    half.requires_grad_()
    found = tg.grad(einsum("i,i,i->", half, single, single), half)
    assert found.dtype == np.float16


@pytest.mark.parametrize("equation", ["i,i->", "i,ij->j", "bi,bi->b", "ij,ik->jk"])
def test_long_sums_keep_their_digits(equation: str, device: str) -> None:
    """A million terms of float32 near 1: a running sum of float32 alone loses four digits."""
    count = 1 << 20
    sizes = {"i": count, "b": 1, "j": 3, "k": 2}
    inputs = equation.partition("->")[0]
    rng = np.random.default_rng(0)
    arrays = [
        rng.uniform(0.9, 1.1, [sizes[c] for c in term]).astype(np.float32)
        for term in inputs.split(",")
    ]
    expected = np.einsum(equation, *[x.astype(np.float64) for x in arrays])
    found = einsum(equation, *[Tensor(backend.to_device(x, device)) for x in arrays])
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-6)


def test_nothing_is_copied_of_plain_matrices() -> None:
    """Batches in the middle, transposed operands and several summed axes are views."""
    for equation, *shapes in (
        ("ij,jk->ik", (2, 3), (3, 4)),
        ("ij,kj->ki", (2, 3), (4, 3)),
        ("bqhd,bkhd->bhqk", (2, 3, 4, 5), (2, 6, 4, 5)),
        ("ijk,k->ij", (2, 3, 4), (4,)),
        ("ijk,jk->i", (2, 3, 4), (3, 4)),
        ("ij,kl->ijkl", (2, 3), (4, 5)),
    ):
        (step,) = subscripts.planned(equation, tuple(shapes)).steps
        for view, shape in ((step.how.a, shapes[0]), (step.how.b, shapes[1])):
            array = np.zeros(shape)
            assert np.shares_memory(view(array), array)


@pytest.mark.parametrize("swapped", [False, True])
def test_large_products_without_sums_are_written_by_threads(swapped: bool) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((700, 5)), rng.standard_normal((5, 300))
    how = kernels.pair("ij", "jk", "jki" if swapped else "ijk", {"i": 700, "j": 5, "k": 300})
    assert how.size > kernels.LARGE
    expected = np.einsum("ij,jk->jki" if swapped else "ij,jk->ijk", a, b)
    np.testing.assert_array_equal(kernels.contract(a, b, how), expected)


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [(3, 5), (1, 100_003), (2000, 700)], ids=str)
def test_dot_products_on_a_gpu(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, *shape))
    for dtype, limit in ((np.float32, 1e-6), (np.float64, 1e-13)):
        given_ = [Tensor(backend.to_device(x.astype(dtype), "cuda:0")) for x in (a, b)]
        found = einsum("bi,bi->b", *given_).numpy()
        terms = np.einsum("bi,bi->b", np.abs(a), np.abs(b))
        assert (np.abs(found - np.einsum("bi,bi->b", a, b)) <= limit * terms).all()


@pytest.mark.parametrize("shape", [(976, 32, 32), (700, 31, 13), (700, 400, 1), (40, 900, 16)])
def test_a_large_product_with_a_short_line(
    shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    a = rng.standard_normal(shape[:-1], np.float32)
    b = rng.standard_normal(shape[-1], np.float32)
    a[0, 0], b[0] = np.nan, -0.0
    expected = a[..., None] * b
    assert expected.size > kernels.LARGE
    for equation, x, y in (("ij,k->ijk", a, b), ("k,ij->ijk", b, a)):
        found = tg.numpy.einsum(equation, Tensor(x), Tensor(y)).numpy()
        assert found.tobytes() == expected.tobytes()

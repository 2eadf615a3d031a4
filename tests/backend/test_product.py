"""float32 products in C: every layout that they take, at odd sizes, and nothing beside them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from support import cpu_threads
from tinygrad_cupy.backend import blas, product
from tinygrad_cupy.backend.compiling import compiler

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs a C compiler")

LAYOUTS = ("rows", "columns", "rows apart", "columns apart")
BESIDE = np.float32(-7)
layout = st.sampled_from(LAYOUTS)


def laid_out(values: np.ndarray, layout: str) -> tuple[np.ndarray, np.ndarray]:
    """A copy that lies in memory like that, and the array around it, which holds `BESIDE`."""
    turned = layout.startswith("columns")
    values = values.T if turned else values
    gap = 3 if layout.endswith("apart") else 0
    around = np.full((values.shape[0] + 2, values.shape[1] + gap), BESIDE)
    inside = around[1:-1, : values.shape[1]]
    inside[...] = values
    return inside.T if turned else inside, around


def check(shape: tuple[int, int, int], layouts: tuple[str, str, str]) -> np.ndarray:
    """y of `product`, which is right, all written, and all that is."""
    m, k, n = shape
    rng = np.random.default_rng(m * 7 + k * 3 + n)
    a, b = rng.standard_normal((m, k), np.float32), rng.standard_normal((k, n), np.float32)
    (left, _), (right, _) = (laid_out(x, how) for x, how in zip((a, b), layouts, strict=False))
    y, around = laid_out(np.full((m, n), np.nan, np.float32), layouts[2])
    beside = np.sum(around == BESIDE)
    assert product.product(left, right, y)
    expected = a.astype(np.float64) @ b.astype(np.float64)
    assert np.abs(y - expected).max() <= 2e-6 * k**0.5 * max(1, np.abs(expected).max())
    assert np.sum(around == BESIDE) == beside
    return np.array(y)


@given(
    st.tuples(st.integers(1, 70), st.integers(1, 70), st.integers(1, 70)),
    st.tuples(layout, layout, layout),
)
def test_any_sizes_and_layouts(shape: tuple[int, int, int], layouts: tuple[str, str, str]) -> None:
    check(shape, layouts)


@pytest.mark.parametrize(
    "layouts",
    [
        ("rows", "columns", "rows"),
        ("columns", "rows", "rows"),
        ("rows", "rows", "columns"),
        ("rows", "rows", "rows"),
    ],
)
@pytest.mark.parametrize(
    "shape", [(33, 300, 130), (130, 300, 33), (5, 2048, 70), (300, 40, 530), (1, 513, 1)]
)
def test_sums_and_matrices_of_several_panels(
    shape: tuple[int, int, int], layouts: tuple[str, str, str]
) -> None:
    check(shape, layouts)


@pytest.mark.parametrize("shape", [(33, 300, 130), (330, 300, 31), (1000, 20, 65)])
def test_the_same_bits_with_any_number_of_threads(
    shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for threads in (1, 2, 3):
        cpu_threads.take(monkeypatch, threads)
        found.append(check(shape, ("rows", "columns", "rows")).tobytes())
    assert found[0] == found[1] == found[2]


@given(st.floats(allow_nan=True, allow_infinity=True, width=32))
@example(np.inf)
def test_what_is_not_finite_stays_in_its_row_and_column(value: float) -> None:
    a, b = np.ones((13, 5), np.float32), np.ones((5, 37), np.float32)
    y = np.empty((13, 37), np.float32)
    a[4, 2] = value
    product.product(a, b, y)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(y, a @ b, rtol=1e-6)


def test_what_is_left_to_blas() -> None:
    x, y = np.ones((8, 8), np.float32), np.full((8, 8), BESIDE)
    odd = np.frombuffer(bytes(8 * 8 * 4 + 1), np.float32, 64, 1).reshape(8, 8)
    sparse = np.ones((16, 16), np.float32)[::2, ::2]
    tall = np.ones((4096, 8), np.float32)
    large = np.broadcast_to(np.float32(1), (1 << 10, 1 << 10))
    nothing = x[:, :0]
    for a, b, out in [
        *((x.astype(np.float64), x, y), (x.astype(">f4"), x, y), (x[None], x, y[None])),
        *((x[::-1], x, y), (sparse, x, y), (odd, x, y), (x[:0], x, y[:0]), (nothing, x[:0], y)),
    ]:
        assert not product.product(a, b, out)
    assert not product.pays(large, large)
    assert not product.pays(tall.T, tall)
    assert product.pays(tall, x)
    assert (y == BESIDE).all()
    assert product.product(x, x, y)
    assert (y == 8).all()


def test_a_product_of_the_engine_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def done(a: np.ndarray, b: np.ndarray, y: np.ndarray) -> bool:
        asked.append((a.shape, b.shape))
        return True

    monkeypatch.setattr(product, "product", done)
    x = np.ones((64, 128), np.float32)
    blas.matmul(x, np.ones((128, 64), np.float32))
    blas.matmul(x[:2], np.ones((128, 64), np.float32))  # too small to be worth it
    assert asked == [((64, 128), (128, 64))]


# On an emulated processor NumPy's product says so of numbers that are none such.
@pytest.mark.filterwarnings("ignore:.* encountered in matmul:RuntimeWarning")
def test_a_result_in_the_place_of_a_factor() -> None:
    rng = np.random.default_rng()
    a, b = rng.standard_normal((2, 80, 80), np.float32)
    expected = a.astype(np.float64) @ b
    for y in (a, b):
        kept = y.copy()
        np.testing.assert_allclose(blas.matmul(a, b, y), expected, atol=1e-4)
        y[...] = kept


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", [(33, 300, 130), (130, 300, 33), (5, 700, 2000), (300, 40, 70)])
def test_a_layer_with_its_bias_and_relu(
    shape: tuple[int, int, int], relu: bool, rng: np.random.Generator
) -> None:
    n, i, o = shape
    x, weight = rng.standard_normal((n, i), np.float32), rng.standard_normal((o, i), np.float32)
    for bias in (
        None,
        rng.standard_normal(o, np.float32),
        rng.standard_normal(3 * o, np.float32)[::3],
    ):
        y = np.full((n, o), np.nan, np.float32)
        assert product.product(x, weight.T, y, bias, relu)
        expected = x.astype(np.float64) @ weight.T + (0 if bias is None else bias)
        np.testing.assert_allclose(y, np.maximum(expected, 0) if relu else expected, atol=1e-3)
        np.testing.assert_array_equal(blas.linear(x, weight, bias, relu), y)


def test_relu_hands_nan_on() -> None:
    x, weight = np.ones((40, 90), np.float32), np.ones((80, 90), np.float32)
    x[3, 4] = np.nan
    y = blas.linear(x, weight, None, True)
    assert np.isnan(y[3]).all()
    assert np.isnan(y).sum() == 80


@given(
    st.sampled_from([(5,), (2, 3), (3, 1, 2)]),
    st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40)),
    st.booleans(), st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip
def test_stacks_of_matrices(
    lead: tuple[int, ...],
    shape: tuple[int, int, int],
    turned_a: bool,
    turned_b: bool,
    shared: bool,
    by_heads: bool,
) -> None:
    m, k, n = shape
    rng = np.random.default_rng(m * 7 + k * 3 + n)

    def stack(rows: int, columns: int, turned: bool) -> np.ndarray:
        if by_heads and len(lead) == 2 and not turned:  # (batch, rows, heads, columns) in memory
            values = rng.standard_normal((lead[0], rows, lead[1], columns), np.float32)
            return values.transpose(0, 2, 1, 3)
        size = (columns, rows) if turned else (rows, columns)
        values = rng.standard_normal((*lead, *size), np.float32)
        return values.swapaxes(-1, -2) if turned else values

    a, b = stack(m, k, turned_a), stack(k, n, turned_b)
    if shared:
        b = b[(0,) * (len(lead) - 1)]  # (lead[-1], K, N), for all that stand before
    y = np.full((*lead, m, n), np.nan, np.float32)
    assert product.stacked(a, b, y)
    expected = a.astype(np.float64) @ b.astype(np.float64)
    assert np.abs(y - expected).max() <= 2e-6 * k**0.5 * max(1, np.abs(expected).max())


def test_a_stack_of_the_engine_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def done(a: np.ndarray, b: np.ndarray, y: np.ndarray) -> bool:
        asked.append(y.shape)
        return True

    monkeypatch.setattr(product, "stacked", done)
    x = np.ones((24, 65, 64), np.float32)
    blas.matmul(x, x.swapaxes(-1, -2))
    assert asked == [(24, 65, 65)]


def test_what_does_not_fit_is_numpys_to_refuse() -> None:
    x = np.ones((64, 128), np.float32)
    for a, b, shape in [
        *((x, x[:60].T[:100], (64, 60)), (x, np.ones((160, 64), np.float32), (64, 64))),
        *((x, x.T, (64, 60)), (x[None].repeat(8, 0), x[None, :50].repeat(8, 0), (8, 64, 128))),
    ]:
        y = np.full(shape, BESIDE)
        assert not (product.stacked if y.ndim == 3 else product.product)(a, b, y)
        assert (y == BESIDE).all()
        with pytest.raises(ValueError, match="matmul"):
            blas.matmul(a, b, y)
    fixed = np.full((64, 64), BESIDE)
    fixed.flags.writeable = False
    assert not product.product(x, x.T, fixed)
    assert (fixed == BESIDE).all()
    assert not product.product(x, x.T, fixed.copy(), np.ones(63, np.float32))


@pytest.mark.parametrize("dtype", ["float64", "int64", "float16"])
def test_a_bias_of_another_dtype_is_converted(dtype: str) -> None:
    x, bias = np.ones((64, 128), np.float32), np.arange(64).astype(dtype)
    y = blas.linear(x, x, bias)
    np.testing.assert_array_equal(y, 128 + np.arange(64) + np.zeros((64, 1)))


def test_long_sums_are_put_together_in_double(rng: np.random.Generator) -> None:
    x, w = (rng.random((4, 1 << 20), np.float32) for _ in range(2))
    expected = x.astype(np.float64) @ w.T.astype(np.float64)
    assert np.abs(blas.linear(x, w) / expected - 1).max() < 2e-7


@pytest.mark.parametrize(
    ("a", "b", "pays"),
    [
        ((1, 4096), (4096, 1024), False),  # BLAS reads a matrix once for a vector
        ((4096, 1024), (1024, 1), False),
        ((100_000, 3), (3, 3), False),  # and copies next to nothing here
        ((1000, 1), (1, 1000), True),
        ((32, 1024), (1024, 10), True),
        ((5000, 8, 8), (5000, 8, 8), False),
        ((64, 1, 512), (64, 512, 512), False),
        ((24, 65, 64), (24, 64, 65), True),
    ],
)
def test_which_products_pay(a: tuple[int, ...], b: tuple[int, ...], pays: bool) -> None:
    left, right = (np.broadcast_to(np.float32(1), shape) for shape in (a, b))
    right = np.empty(b, np.float32) if right.size < 1 << 24 else right
    assert product.pays(left, right) == pays


def test_many_small_matrices_whose_terms_are_neighbours_pay() -> None:
    x = np.ones((5000, 3, 3), np.float32)
    assert product.pays(x, x.swapaxes(-1, -2))


def test_where_large_stacks_begin_is_not_kept() -> None:
    before = product._kept_places.cache_info().currsize
    x = np.ones((product.KEPT + 1, 8, 8), np.float32)
    y = np.empty_like(x)
    assert product.stacked(x, x.swapaxes(-1, -2), y)
    assert (y == 8).all()
    assert product._kept_places.cache_info().currsize == before


def test_that_there_was_no_library_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = np.ones((37, 41), np.float32), np.full((37, 37), BESIDE)
    with monkeypatch.context() as without:
        without.setitem(vars(product._file), "library", None)
        assert not product.product(x, x.T, y)
        assert (y == BESIDE).all()
    assert product.product(x, x.T, y)
    assert (y == 41).all()


@pytest.mark.parametrize("threads", [1, 2, 16, 64])
@pytest.mark.parametrize(
    ("shape", "parts"), [((700, 50, 32), 16), ((128, 64, 96), 11), ((10, 128, 1024), 16)]
)
def test_there_is_work_for_many_threads(
    shape: tuple[int, int, int], parts: int, threads: int
) -> None:
    rows, terms, columns = shape
    steps = [(4 * terms, 4), (4 * columns, 4), (4 * columns, 4)]
    plan = product._plan((rows, terms), columns, *steps, False, threads)
    assert plan is not None
    there = -(-plan.items // plan.each)
    assert there >= min(threads, 16, plan.items)
    if product._file.size("product_tile") == 12:
        assert there >= min(threads, parts)

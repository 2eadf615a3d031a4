"""Matrix products: how arrays lie in memory for cuBLASLt, precisions, and products on a GPU."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cupy as tg
from support.sampling import draw_layout, lay_out
from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import blas, cublaslt, to_device, to_numpy
from tinygrad_cupy.backend.cublaslt_library import library, why_missing
from tinygrad_cupy.backend.dtypes import resolve_dtype

# Relative errors by norm.
LIMITS = {"fp32": 1e-5, "tf32": 1e-3, "bf16": 1e-2}
TYPES = {"float64": 1e-13, "float16": 2e-3, "bfloat16": 1e-2}
SIZES = [
    (1, 1, 1),
    (1, 3, 17),
    (7, 17, 3),
    (64, 64, 64),
    (129, 65, 33),
    (3, 1, 129),
    (129, 1000, 1),
]


def error(found: Any, expected: np.ndarray) -> float:
    """The relative error by norm."""
    difference = to_numpy(found).astype(np.float64) - expected
    return float(np.linalg.norm(difference) / max(float(np.linalg.norm(expected)), 1e-30))


# --- precision ----------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_precision_is_set_and_read(precision: str) -> None:
    tg.set_precision(precision)
    assert tg.get_precision() == precision


def test_tensor_cores_are_the_default() -> None:
    code = "import tinygrad_cupy as tg; print(tg.get_precision())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "tf32"


def test_an_unknown_precision_is_an_error_and_changes_nothing() -> None:
    with pytest.raises(ValueError, match=r"^\[set_precision\]") as raised:
        tg.set_precision("fp16")
    assert str(raised.value) == (
        "[set_precision] expected one of ('fp32', 'tf32', 'bf16'), got 'fp16'"
    )
    assert tg.get_precision() == "fp32"  # as conftest.py set it


def test_products_on_the_cpu_are_exact_in_every_precision(rng: np.random.Generator) -> None:
    a, b = (rng.standard_normal((40, 40)).astype(np.float32) for _ in range(2))
    products = []
    for precision in blas.PRECISIONS:
        tg.set_precision(precision)
        products.append(blas.matmul(a, b))
    assert all((y == products[0]).all() for y in products)


# --- how arrays lie in memory -------------------------------------------------------------------


@given(data=st.data())
def test_a_matrix_describes_the_memory(data: st.DataObject) -> None:
    side = st.integers(1, 4)
    lead = tuple(data.draw(st.lists(side, max_size=3)))
    kept = lead[data.draw(st.integers(0, len(lead))) :]
    shape = (*(data.draw(st.sampled_from([1, n])) for n in kept), data.draw(side), data.draw(side))
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    array = lay_out(array, draw_layout(data.draw, array.ndim, broadcast=True))
    found = cublaslt._matrix(array, lead)
    if found is None:
        assert not array.flags.c_contiguous or len(shape) > 2
        return
    assert (found.rows, found.columns) == shape[-2:]
    batch = int(np.prod(lead))
    down, right = (1, found.leading) if found.by_columns else (found.leading, 1)
    assert found.leading >= (found.rows if found.by_columns else found.columns)
    strides = [4 * n for n in (found.step, down, right)]
    seen = np.lib.stride_tricks.as_strided(array, (batch, *shape[-2:]), strides)
    expected = np.broadcast_to(array, (*lead, *shape[-2:])).reshape(seen.shape)
    np.testing.assert_array_equal(seen, expected)


def test_plain_and_transposed_matrices_need_no_copy() -> None:
    x = np.zeros((2, 5, 7, 3), np.float32)
    for array in (x, x.swapaxes(2, 3), x[:, :, 2:6], x[..., 1:], x[0], x[:, 1], x[:, :1, :, :]):
        assert cublaslt._matrix(array, array.shape[:-2]) is not None
    for array in (x[..., ::2], x[:, :, ::-1], x.swapaxes(0, 1), x[:, 1:]):
        assert cublaslt._matrix(array, array.shape[:-2]) is None


# --- on the CPU ---------------------------------------------------------------------------------


@given(data=st.data())
def test_large_products_on_the_cpu_in_any_layout(data: st.DataObject) -> None:
    """Split over threads by matrices, rows or columns; also of one matrix for all."""
    rows, inner, columns = data.draw(
        st.sampled_from([(40, 100, 70), (1, 300, 900), (900, 300, 1), (3, 20_000, 5), (64, 64, 64)])
    )
    lead = data.draw(st.sampled_from([(), (5,), (2, 3), (300,), (1, 4)]))
    arrays: list[Any] = []
    for matrix in ((rows, inner), (inner, columns)):
        kept = lead[data.draw(st.integers(0, len(lead))) :]
        if int(np.prod(lead)) > 100:
            matrix = min(matrix[0], 30), min(matrix[1], 30)
        shape = (*(data.draw(st.sampled_from([1, n])) for n in kept), *matrix)
        values = np.random.default_rng(len(arrays)).standard_normal(shape)
        arrays.append(lay_out(values, draw_layout(data.draw, len(shape), broadcast=True)))
    expected = np.matmul(*[np.ascontiguousarray(x) for x in arrays])
    np.testing.assert_allclose(blas.matmul(*arrays), expected, rtol=1e-9, atol=1e-9)
    out = np.full(expected.shape, np.nan)
    out = lay_out(out, draw_layout(data.draw, out.ndim, broadcast=False))
    assert blas.matmul(arrays[0], arrays[1], out) is out
    np.testing.assert_allclose(out, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("largest", [1, 2**20, 2**25, 2**31, 2**62])
def test_large_products_of_integers_are_exact(largest: int, rng: np.random.Generator) -> None:
    a, b = rng.integers(-largest, largest, (2, 80, 80), endpoint=True)
    a[0, :2] = largest, -largest
    found = blas.matmul(a, b)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, np.matmul(a, b))
    smallest = np.full((80, 80), np.iinfo(np.int64).min)
    np.testing.assert_array_equal(blas.matmul(smallest, b), np.matmul(smallest, b))


@pytest.mark.one_in(2)
@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (70, 80)], ids=str)
def test_parts_of_long_sums_on_the_cpu(shape: tuple[int, int], rng: np.random.Generator) -> None:
    count = 2 * blas.LONG + 17
    a = rng.uniform(0.5, 1, (shape[0], count)).astype(np.float32)
    b = rng.uniform(0.5, 1, (count, shape[1])).astype(np.float32)
    expected = a.astype(np.float64) @ b.astype(np.float64)
    for found in (blas.matmul(a, b), blas.matmul(a[None], b)[0]):
        assert found.dtype == np.float32
        assert error(found, expected) < 1e-6


@pytest.mark.parametrize(
    "device", ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)], indirect=True
)
@pytest.mark.parametrize("name", blas.LONGER)
def test_parts_of_long_sums_in_16_bits(name: str, device: str, rng: np.random.Generator) -> None:
    dtype, count = resolve_dtype(name), blas.LONGER[name] + 17
    a = rng.uniform(0.5, 1, (count, 3)).astype(np.float32).astype(dtype).T * dtype.type(2.0**-10)
    b = rng.uniform(0.5, 1, (count, 2)).astype(np.float32).astype(dtype)
    expected = a.astype(np.float64) @ b.astype(np.float64)
    left, right = to_device(a.T, device).T, to_device(b, device)
    bound = {"float16": 0.6e-3, "bfloat16": 5e-3}[name]  # rounded once
    out = to_device(np.zeros((3, 2), dtype), device)
    for found in (blas.matmul(left, right), blas.matmul(left, right, out)):
        assert found.dtype == dtype
        assert error(found, expected) < bound


# --- on a GPU -----------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("precision", blas.PRECISIONS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_products_of_float32(
    precision: str, sizes: tuple[int, int, int], rng: np.random.Generator
) -> None:
    m, k, n = sizes
    tg.set_precision(precision)
    a, b = rng.standard_normal((m, k)), rng.standard_normal((k, n))
    for x, y in ((a, b), (a.T.copy().T, b), (a, b.T.copy().T), (a.T.copy().T, b.T.copy().T)):
        left, right = (to_device(z.astype(np.float32), "cuda:0") for z in (x, y))
        if not x.flags.c_contiguous:
            left = to_device(x.T.astype(np.float32), "cuda:0").T
        if not y.flags.c_contiguous:
            right = to_device(y.T.astype(np.float32), "cuda:0").T
        assert error(blas.matmul(left, right), a @ b) < LIMITS[precision]


@pytest.mark.gpu
def test_cublaslt_is_what_computes() -> None:
    assert library() is not None, why_missing()
    a = to_device(np.ones((3, 4), np.float32), "cuda:0")
    assert cublaslt.product(a, a.T, None, "tf32") is not None


@pytest.mark.gpu
def test_nothing_is_said_when_python_ends() -> None:
    code = "from tinygrad_cupy import Tensor\nx = Tensor([[1.0]], device='cuda')\n(x @ x).item()"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not found.stderr


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_products_of_other_floats(
    dtype: str, sizes: tuple[int, int, int], rng: np.random.Generator
) -> None:
    m, k, n = sizes
    a, b = (Tensor(rng.standard_normal(s), device="cuda:0").astype(dtype) for s in ((m, k), (k, n)))
    expected = a.astype("float64").numpy() @ b.astype("float64").numpy()
    assert error((a @ b).astype("float64").data, expected) < TYPES[dtype]


@pytest.mark.gpu
@given(data=st.data())
def test_stacks_in_any_layout(data: st.DataObject) -> None:
    side = st.integers(0, 4)
    rows, inner, columns = data.draw(st.tuples(side, side, side))
    lead = tuple(data.draw(st.lists(side, max_size=3)))
    arrays: list[Any] = []
    for matrix in ((rows, inner), (inner, columns)):
        kept = lead[data.draw(st.integers(0, len(lead))) :]
        shape = (*(data.draw(st.sampled_from([1, n])) for n in kept), *matrix)
        values = np.random.default_rng(len(arrays)).standard_normal(shape).astype(np.float32)
        array = to_device(values, "cuda:0")
        arrays.append(lay_out(array, draw_layout(data.draw, array.ndim, broadcast=True)))
    expected = np.matmul(*(to_numpy(x).astype(np.float64) for x in arrays))
    found = blas.matmul(*arrays)
    assert found.shape == expected.shape
    np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-5, atol=1e-5)
    full = to_device(np.full(expected.shape, np.nan, np.float32), "cuda:0")  # poisoned
    out = lay_out(full, draw_layout(data.draw, full.ndim, broadcast=False))
    assert blas.matmul(arrays[0], arrays[1], out) is out
    np.testing.assert_allclose(to_numpy(out), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
def test_memory_that_is_not_aligned(rng: np.random.Generator) -> None:
    flat = rng.standard_normal(2000).astype(np.float32)
    on_gpu = to_device(flat, "cuda:0")
    for offset in range(5):
        a = slice(offset, offset + 12 * 31), slice(400 + offset, 400 + offset + 31 * 20)
        expected = flat[a[0]].reshape(12, 31) @ flat[a[1]].reshape(31, 20)
        found = blas.matmul(on_gpu[a[0]].reshape(12, 31), on_gpu[a[1]].reshape(31, 20))
        assert error(found, expected) < 1e-5


@pytest.mark.gpu
@pytest.mark.parametrize("precision", blas.PRECISIONS)
def test_nan_and_infinity_stay_where_they_belong(precision: str) -> None:
    tg.set_precision(precision)
    a = np.ones((33, 17), np.float32)
    a[3, 4], a[5, 6], a[7, :2] = np.nan, np.inf, (np.inf, -np.inf)
    b = np.ones((17, 9), np.float32)
    found = to_numpy(blas.matmul(*(to_device(x, "cuda:0") for x in (a, b))))
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(found, a @ b)


@pytest.mark.gpu
@pytest.mark.parametrize("sizes", [*SIZES, (128, 9216, 128), (8192, 1568, 10)], ids=str)
def test_the_same_bits_every_time(sizes: tuple[int, int, int]) -> None:
    m, k, n = sizes
    cpu = np.random.default_rng(0)
    a, b = (
        to_device(cpu.standard_normal(s).astype(np.float32), "cuda:0") for s in ((m, k), (k, n))
    )
    first = to_numpy(blas.matmul(a, b))
    for _ in range(20):
        np.testing.assert_array_equal(to_numpy(blas.matmul(a, b)), first)


@pytest.mark.gpu
def test_a_product_can_be_captured(rng: np.random.Generator) -> None:
    from tinygrad_cupy.backend import import_cupy

    cupy = import_cupy()
    a, b = (to_device(rng.standard_normal((50, 50)).astype(np.float32), "cuda:0") for _ in range(2))
    out = cupy.empty((50, 50), np.float32)
    expected = to_numpy(blas.matmul(a, b, out))
    out.fill(np.nan)
    stream = cupy.cuda.Stream(non_blocking=True)
    cupy.cuda.Device().synchronize()
    with stream:
        stream.begin_capture()
        blas.matmul(a, b, out)
        graph = stream.end_capture()
        graph.launch(stream)
    stream.synchronize()
    np.testing.assert_array_equal(to_numpy(out), expected)

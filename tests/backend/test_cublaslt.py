"""Plans of products: which is made for which arrays, and what each does, with NumPy as cuBLASLt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.sampling import draw_layout, lay_out
from tinygrad_cupy.backend import blas, cublaslt, cublaslt_library
from tinygrad_cupy.backend.cublaslt import (
    CopiedOperands,
    CopiedResult,
    Product,
    Refused,
    Transposed,
    Zeros,
)


class GpuArray(np.ndarray):
    """An array that says of itself what is asked of CuPy's."""

    device = SimpleNamespace(compute_capability="90")  # type: ignore[assignment]

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self.ctypes.data, device_id=0)


class StandInProduct(Product):
    """Refuses what cuBLASLt would read or write wrongly, and multiplies."""

    def __init__(self, found: Any, dtype: Any, made: Any, compute: str, *others: Any) -> None:
        self.compute, self.relu, self.alignment = compute, others[-1], others[2]
        self.made = made
        self.workspace = 0
        self.works = compute != "COMPUTE_32F_FAST_16BF"

    def __call__(self, a: Any, b: Any, y: Any, bias: Any) -> Any:
        lead = y.shape[:-2]
        matrices = [cublaslt._matrix(x, lead) for x in (a, b, y)]
        assert None not in matrices
        assert not matrices[2].by_columns  # type: ignore[union-attr]
        assert y.dtype == self.made
        y[...] = a @ b if bias is None else a @ b + bias
        if self.relu:
            np.maximum(y, 0, out=y)
        return y

    def runner(self, b: Any, scratch: Any) -> Any:
        return lambda a, y: (a, y, self.alignment)  # what it would be told, and may count on


STAND_IN_CUPY = SimpleNamespace(
    empty=lambda shape, dtype: np.full(shape, 77, dtype).view(GpuArray),
    ascontiguousarray=lambda x: np.ascontiguousarray(x).view(GpuArray),
    broadcast_to=np.broadcast_to,
)


@pytest.fixture(scope="module", autouse=True)
def _stand_in() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cublaslt, "import_cupy", lambda: STAND_IN_CUPY)
        patch.setattr(cublaslt, "library", object)
        patch.setattr(cublaslt, "Product", StandInProduct)
        patch.setattr(cublaslt, "_plans", {})
        yield


def on_gpu(*shape: int, dtype: Any = np.float32) -> Any:
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) % 7 - 3
    return values.astype(dtype).view(GpuArray)


def plans_of(*arguments: Any, **named: Any) -> tuple[Any, list[Any]]:
    """What a product gives, and the plans that are made for it."""
    cublaslt._plans.clear()
    found = cublaslt.product(*arguments, **named)
    return found, list(cublaslt._plans.values())


Arrays = tuple[Any, Any, Any]
BIAS = on_gpu(5)
KINDS: dict[str, tuple[Callable[[], Arrays], list[type[Any]]]] = {
    "plain": (lambda: (on_gpu(3, 4), on_gpu(4, 5), None), [StandInProduct]),
    "transposed operands": (lambda: (on_gpu(4, 3).T, on_gpu(5, 4).T, None), [StandInProduct]),
    "one weight for all": (lambda: (on_gpu(2, 3, 4), on_gpu(4, 5), None), [StandInProduct]),
    "nothing to add up": (lambda: (on_gpu(3, 0), on_gpu(0, 5), None), [Zeros]),
    "nothing at all": (lambda: (on_gpu(0, 4), on_gpu(4, 5), None), [Zeros]),
    "y by columns": (
        lambda: (on_gpu(3, 4), on_gpu(4, 5), on_gpu(5, 3).T),
        [Transposed, StandInProduct],
    ),
    "every other column of a": (
        lambda: (on_gpu(3, 8)[:, ::2], on_gpu(4, 5), None),
        [CopiedOperands, StandInProduct],
    ),
    "every other column of y": (
        lambda: (on_gpu(3, 4), on_gpu(4, 5), on_gpu(3, 10)[:, ::2]),
        [CopiedResult, StandInProduct],
    ),
    "all three": (
        lambda: (on_gpu(3, 8)[:, ::2], on_gpu(8, 5)[::-2], on_gpu(5, 6)[:, ::2].T),
        [CopiedResult, CopiedOperands, StandInProduct],
    ),
    "integers": (lambda: (on_gpu(3, 4, dtype=int), on_gpu(4, 5, dtype=int), None), [Refused]),
}
every_kind = pytest.mark.parametrize(("make", "plans"), KINDS.values(), ids=KINDS)


@every_kind
def test_each_kind_of_product_has_its_plan(
    make: Callable[[], Arrays], plans: list[type[Any]]
) -> None:
    a, b, out = make()
    found, made = plans_of(a, b, out, "fp32")
    assert list(map(type, made)) == plans
    if plans == [Refused]:
        assert found is None
        return
    assert out is None or found is out
    np.testing.assert_array_equal(found, a @ b)


def test_bias_and_relu_are_taken_along() -> None:
    a, b = on_gpu(3, 4), on_gpu(4, 5)
    expected = np.maximum(a @ b + BIAS, 0)
    columns, strided = on_gpu(5, 3).T, on_gpu(4, 10)[:, ::2]
    for arguments, plans in (
        ((a, b, None), [StandInProduct]),
        ((a, b, columns), [CopiedResult, StandInProduct]),  # turned, the bias would lie along rows
        ((a, strided, None), [CopiedOperands, StandInProduct]),
    ):
        found, made = plans_of(*arguments, "fp32", BIAS, relu=True)
        assert list(map(type, made)) == plans
        wanted = expected if arguments[1] is b else np.maximum(a @ strided + BIAS, 0)
        np.testing.assert_array_equal(found, wanted)
    found, made = plans_of(on_gpu(3, 0), on_gpu(0, 5), None, "fp32", BIAS)
    assert found is None
    assert list(map(type, made)) == [Refused]


def test_a_compute_type_that_does_not_work_gives_way_to_the_next() -> None:
    arguments = on_gpu(3, 4), on_gpu(4, 5), None
    computes = {p: plans_of(*arguments, p)[1][0].compute for p in blas.PRECISIONS}
    assert computes["bf16"] == computes["fp32"] == "COMPUTE_32F"  # which the stand-in has not
    assert computes["tf32"] == "COMPUTE_32F_FAST_TF32"


def test_a_plan_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, out = KINDS["all three"][0]()
    plans_of(a, b, out, "fp32")
    monkeypatch.setattr(cublaslt, "_plan", None)
    assert cublaslt.product(a, b, out, "fp32") is out
    with pytest.raises(TypeError):
        cublaslt.product(a, b, out, "tf32")


def test_plans_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cublaslt, "PLANS", 3)
    cublaslt._plans.clear()
    for rows in range(1, 9):
        cublaslt.product(on_gpu(rows, 4), on_gpu(4, 5), None, "fp32")
        assert len(cublaslt._plans) <= 3


def test_what_is_refused_inside_of_a_plan_is_refused() -> None:
    a, b = on_gpu(3, 4, dtype=int), on_gpu(4, 5, dtype=int)
    for plan in (Transposed("fp32"), CopiedOperands("fp32", False), CopiedResult("fp32", False)):
        y = on_gpu(3, 5, dtype=int)
        before = y.copy()
        assert plan(a, b, y, None) is None
        np.testing.assert_array_equal(y, before)


def test_shapes_that_do_not_fit_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"^\[matmul\] shapes \(3, 4\) and \(5, 6\) do not give"):
        cublaslt.product(on_gpu(3, 4), on_gpu(5, 6), None, "fp32")


@given(data=st.data())
def test_stacks_in_any_layout(data: st.DataObject) -> None:
    side = st.integers(0, 4)
    rows, inner, columns = data.draw(st.tuples(side, side, side))
    lead = tuple(data.draw(st.lists(side, max_size=3)))
    arrays: list[Any] = []
    for matrix in ((rows, inner), (inner, columns)):
        kept = lead[data.draw(st.integers(0, len(lead))) :]
        array = on_gpu(*(data.draw(st.sampled_from([1, n])) for n in kept), *matrix)
        layout = draw_layout(data.draw, array.ndim, broadcast=True)
        arrays.append(lay_out(array, layout).view(GpuArray))
    expected = np.matmul(*arrays)
    a, b = arrays
    np.testing.assert_array_equal(cublaslt.product(a, b, None, "fp32"), expected)
    full = np.full(expected.shape, np.nan, np.float32)
    out = lay_out(full, draw_layout(data.draw, full.ndim, broadcast=False)).view(GpuArray)
    assert cublaslt.product(a, b, out, "fp32") is out
    np.testing.assert_array_equal(out, expected)


# --- without cuBLASLt -----------------------------------------------------------------------------


@pytest.fixture
def _missing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine where nvmath-python is not installed."""

    def fail() -> None:
        raise ModuleNotFoundError("No module named 'nvmath'")

    monkeypatch.setattr(cublaslt_library, "Library", fail)
    monkeypatch.setattr(cublaslt, "library", cublaslt_library.library)
    monkeypatch.setattr(cublaslt, "_plans", {})
    cublaslt_library._loaded.cache_clear()
    yield
    cublaslt_library._loaded.cache_clear()


@pytest.mark.usefixtures("_missing")
def test_why_there_is_none_is_kept() -> None:
    assert cublaslt_library.library() is None
    assert cublaslt_library.why_missing() == "ModuleNotFoundError: No module named 'nvmath'"
    assert cublaslt.product(on_gpu(3, 4), on_gpu(4, 5), None, "fp32") is None


def in_a_capture(monkeypatch: pytest.MonkeyPatch) -> str:
    """The text of the error where CuPy itself would have to multiply in a capture."""

    def matmul(*arguments: Any, **named: Any) -> None:
        raise NotImplementedError

    monkeypatch.setattr(blas, "is_cuda", lambda array: True)
    monkeypatch.setattr(blas, "array_module", lambda array: SimpleNamespace(matmul=matmul))
    with pytest.raises(NotImplementedError) as raised:
        blas.matmul(on_gpu(3, 4, dtype=np.int64), on_gpu(4, 5, dtype=np.int64))
    return str(raised.value)


@pytest.mark.usefixtures("_missing")
def test_a_capture_without_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert in_a_capture(monkeypatch).startswith(
        "[matmul] a product in a captured function needs cuBLASLt (ModuleNotFoundError: No module "
        "named 'nvmath'): pip install "
    )


def test_a_capture_says_where_it_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "why_missing", lambda: "")
    assert "needs cuBLASLt (which refuses this one): " in in_a_capture(monkeypatch)


@pytest.mark.parametrize(("columns", "alignment"), [(4, 16), (3, 4)])
def test_products_in_a_loop_are_at_addresses(columns: int, alignment: int) -> None:
    """Which are as aligned as every matrix is, not the first alone."""
    a, b, out = on_gpu(3, 2, columns), on_gpu(columns, 4), on_gpu(1, 2, 4)
    found = cublaslt.each(a, b, out, "fp32")
    assert isinstance(found, cublaslt.Each)
    bits = a.ctypes.data | b.ctypes.data | out.ctypes.data
    least = alignment if bits % 16 == 0 else 4
    assert found(2, 0) == (a[2].ctypes.data, out.ctypes.data, least)
    assert cublaslt.each(a[..., ::2], b[::2], out, "fp32") is None  # it would copy

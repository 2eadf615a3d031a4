"""Generated kernels: the bits of CuPy's own, for any shapes, strides and dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinygrad_cupy.backend import elementwise, import_cupy
from tinygrad_cupy.backend.dtypes import resolve_dtype
from tinygrad_cupy.backend.generated import layout_of
from tinygrad_cupy.backend.symbols import NotElementwise, trace

pytestmark = pytest.mark.gpu

SHAPES = [(1,), (7,), (0, 3), (33, 5), (4, 8, 6, 6), (3, 16, 9, 11), (2, 1, 4, 1), (300, 1000)]
WAYS = ("plain", "strided", "last", "transposed", "off")


def mixed(a: Any, b: Any) -> Any:
    xp = import_cupy()
    return xp.where(a > b, xp.tanh(a) * 0.5, b**2) + 1


def placed(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any, way: str) -> Any:
    """An array that lies as ``way`` says, among poison where it does not fill its memory."""
    cupy = import_cupy()
    if way == "strided":
        memory = cupy.full(tuple(2 * n for n in shape), np.nan, np.float64).astype(dtype)
        x = memory[tuple(slice(1, None, 2) for _ in shape)]
    elif way == "last" and len(shape) == 4:
        n, c, h, w = shape
        x = cupy.empty((n, h, w, c), dtype).transpose(0, 3, 1, 2)
    elif way == "transposed":
        x = cupy.empty(shape[::-1], dtype).T
    elif way == "off":
        x = cupy.empty(int(np.prod(shape)) + 1, dtype)[1:].reshape(shape)
    else:
        x = cupy.empty(shape, dtype)
    x[...] = cupy.asarray(rng.standard_normal(shape)).astype(dtype)
    return x


@pytest.mark.parametrize("name", ["float32", "float64", "float16", "bfloat16"])
def test_bits_are_cupys(name: str, rng: np.random.Generator) -> None:
    cupy, dtype = import_cupy(), resolve_dtype(name)
    made = elementwise(mixed)
    for shape in SHAPES:
        for way in WAYS:
            for other in (*WAYS, "row", "one"):
                a = placed(rng, shape, dtype, way)
                b_shape = {"row": shape[-1:], "one": (1,) * len(shape)}.get(other, shape)
                b = placed(rng, b_shape, dtype, other)
                found, expected = made(a, b), mixed(a, b)
                said = f"{shape} {way} {other}"
                assert found.dtype == expected.dtype, said
                assert found.shape == expected.shape, said
                same = cupy.ascontiguousarray(found).view("u1") == expected.view("u1")
                assert bool(same.all()), said


def test_many_axes_that_cannot_be_joined(rng: np.random.Generator) -> None:
    cupy, axes = import_cupy(), (4, 8, 1, 6, 0, 9, 3, 5, 2, 7)
    a = cupy.asarray(rng.standard_normal((2,) * 10).astype(np.float32)).transpose(axes)
    b = cupy.asarray(rng.standard_normal((2,) * 10).astype(np.float32))
    assert bool((elementwise(mixed)(a, b) == mixed(a, b)).all())


def test_results_lie_as_what_they_are_made_of() -> None:
    cupy = import_cupy()
    last = cupy.zeros((2, 5, 6, 3), np.float32).transpose(0, 3, 1, 2)
    plain = cupy.zeros((2, 3, 5, 6), np.float32)
    assert layout_of(last.shape, [last, plain]) == (0, 2, 3, 1)
    assert layout_of(last.shape, [plain, last]) is None
    assert layout_of(last.shape, [plain[:1], last]) == (0, 2, 3, 1)
    made = elementwise(mixed)
    assert made(last, plain).strides == last.strides
    assert made(last[:, :, ::2], plain[:, :, ::2]).flags.c_contiguous


def test_indices_beyond_31_bits(rng: np.random.Generator) -> None:
    cupy = import_cupy()
    if cupy.cuda.Device().mem_info[0] < 24 << 30:
        pytest.skip("needs 24 GB")
    x = cupy.zeros((1 << 31) + 5, np.int8)
    x[-3:] = cupy.asarray([1, 2, 3])
    y = elementwise(lambda x: x + x)(x)
    assert y[-5:].tolist() == [0, 0, 2, 4, 6]
    assert not y[:-3].any()


def test_what_is_more_than_elementwise_is_not_traced() -> None:
    cupy, dtype = import_cupy(), np.dtype(np.float32)
    for function in (cupy.sum, lambda x: x[0], lambda x: x if x > 0 else -x, cupy.modf):
        with pytest.raises((NotElementwise, AttributeError, TypeError)):
            trace(function, [dtype])

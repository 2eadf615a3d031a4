"""Every operation in float16 and bfloat16: the dtype is kept, and rounding is all that differs.

The reference is the same operation in float32, on inputs that were rounded to 16 bits first. An
element may be off by `UNITS` units of the 16-bit type's rounding (half the distance of neighbours)
at the largest element of its array. In gradients of second order, where terms that nearly cancel
were rounded before, it is `SECOND` units at 1, which the inputs are of the size of, or more.
"""

from __future__ import annotations

import itertools
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import tinygrad_cupy as tg
from records import FAMILIES, SAMPLES
from support.examples import SHARE
from support.sampling import Case, Sample, draw_layout, lay_out, options_on
from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import to_device

NARROW = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
ROUNDING = {"float16": 2.0**-11, "bfloat16": 2.0**-8}
UNITS, SECOND = 4, 8
# The dtype is an argument, or the result; complex numbers have no 16-bit one.
CHOOSING = {
    "astype",
    "np.spacing",
    *(s.name for s in FAMILIES["complex_numbers"] + FAMILIES["fft"]),
    "phase of a determinant",
}
# On a GPU the sum and the bias are rounded one after the other: which of two values of a window is
# the larger, and which value is above 0, may come out otherwise, and the gradient with it.
ROUNDED_TWICE = {"conv2d_block"}
# What a record makes of vectors that were rounded has gradients as far off as gaps are small: that
# of the vectors themselves is compared below.
OF_VECTORS = {"np.linalg.eigh", "np.linalg.svd", "svd of Hermitian matrices"}

every_sample = pytest.mark.parametrize(
    "sample", [s for s in SAMPLES if s.name not in CHOOSING], ids=lambda sample: sample.name
)
narrow = pytest.mark.parametrize("dtype", list(NARROW))
each_in_one = pytest.mark.parametrize(  # of the two dtypes; the slow test takes both
    ("sample", "dtype"),
    [
        pytest.param(s, list(NARROW)[i % 2], id=f"{s.name}-{list(NARROW)[i % 2]}")
        for i, s in enumerate([s for s in SAMPLES if s.name not in CHOOSING][::SHARE])
    ],
)


def derivatives(
    sample: Sample, case: Case, dtype: Any, narrow: Any, device: str, layouts: Any
) -> Any:
    """Outputs, and gradients up to order 2, in ``dtype``, of inputs rounded to ``narrow``."""

    def made(values: Any) -> Any:
        return to_device(np.asarray(values).astype(narrow).astype(dtype), device)

    wanted = sample.order > 0
    inputs = [
        Tensor(lay_out(made(values), layout), requires_grad=wanted)
        for values, layout in zip(case.values, layouts, strict=True)
    ]
    outputs = sample.call(*inputs, **options_on(case.options, device))
    found = [outputs if isinstance(outputs, list) else [outputs]]
    rng = np.random.default_rng(0)
    for _ in range(sample.order):
        used = [o for o in found[-1] if o is not None and o.requires_grad]
        if not used:
            break
        seeds = [Tensor(made(rng.standard_normal(o.shape))) for o in used]
        found.append(tg.grad(used, inputs, seeds, create_graph=True, allow_unused=True))
    return found


def expect_near(found: Tensor | None, expected: Tensor | None, dtype: str, order: int) -> None:
    if found is None or expected is None:
        assert found is expected
        return
    exact = expected.numpy()
    if exact.dtype != np.float32:  # booleans, positions, and what an array of float64 widens
        np.testing.assert_allclose(found.numpy(), exact, rtol=1e-12)
        return
    assert found.dtype == NARROW[dtype]
    units, least = (UNITS, 1e-3) if order < 2 else (SECOND, 1.0)
    scale = max(float(np.abs(exact).max(initial=0)), least)
    limit = units * ROUNDING[dtype] * scale
    np.testing.assert_allclose(found.numpy().astype(np.float32), exact, rtol=0, atol=limit)


def has_room(x: Tensor | None) -> bool:
    """Whether float16 can hold the finite numbers in x: what overflows is not only rounded."""
    if x is None or x.dtype.kind != "f":
        return True
    values = np.abs(x.numpy())
    return bool((values[np.isfinite(values)] < 6e4).all())


def check(sample: Sample, dtype: str, device: str, data: st.DataObject) -> None:
    case = sample.cases(data.draw)
    layouts = [draw_layout(data.draw, x.ndim, not sample.kinks) for x in case.values]
    expected = derivatives(sample, case, np.dtype(np.float32), NARROW[dtype], device, layouts)
    assume(dtype != "float16" or all(map(has_room, itertools.chain(*expected))))
    found = derivatives(sample, case, NARROW[dtype], NARROW[dtype], device, layouts)
    assert len(found) == len(expected)
    if sample.name in ROUNDED_TWICE and device != "cpu":
        found, expected = found[:1], expected[:1]
    if sample.name in OF_VECTORS:
        found, expected = found[:1], expected[:1]
    for order, (mine, theirs) in enumerate(zip(found, expected, strict=True)):
        for x, y in zip(mine, theirs, strict=True):
            expect_near(x, y, dtype, order)


@each_in_one
@settings(max_examples=2)
@given(data=st.data())
def test_only_rounding_tells_16_bits_from_float32(
    sample: Sample, dtype: str, device: str, data: st.DataObject
) -> None:
    check(sample, dtype, device, data)


@pytest.mark.slow
@narrow
@every_sample
@settings(max_examples=10)
@given(data=st.data())
def test_only_rounding_tells_16_bits_from_float32_long(
    sample: Sample, dtype: str, device: str, data: st.DataObject
) -> None:
    check(sample, dtype, device, data)


@narrow
@pytest.mark.parametrize(
    "call",
    [tg.linalg.eigh, tg.linalg.svd, lambda a: tg.linalg.svd(a, hermitian=True)],
    ids=["eigh", "svd", "svd of Hermitian matrices"],
)
def test_vectors_of_16_bits_have_the_gradient_of_float32_rounded_once(
    call: Any, dtype: str, device: str
) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 4, (3, 4, 4)) / 16 + np.diag([1.0, 2, 3, 4])
    x = (x + x.swapaxes(-1, -2)) / 2  # exact in 16 bits
    seeds: Any = None
    found = {}
    for kind in (NARROW[dtype], np.dtype(np.float32)):
        a = Tensor(to_device(x.astype(NARROW[dtype]).astype(kind), device), requires_grad=True)
        outputs = list(call(a))
        seeds = seeds or [rng.standard_normal(y.shape).astype(NARROW[dtype]) for y in outputs]
        given = [Tensor(to_device(seed.astype(kind), device)) for seed in seeds]
        found[kind.name] = [*outputs, tg.grad(outputs, a, given)]
    for mine, wide in zip(found[dtype], found["float32"], strict=True):
        assert mine.dtype == NARROW[dtype]
        np.testing.assert_array_equal(mine.numpy(), wide.numpy().astype(NARROW[dtype]))


def test_what_nearly_cancels_is_rounded_once_in_16_bits(device: str) -> None:
    def made(values: list[Any]) -> Tensor:
        return Tensor(np.array(values, np.float16)).to(device)

    y = made([1, 1]).bilinear(made([1]), made([[[2048], [1]]]), made([-2048]))  # 2049 is not in it
    assert y.dtype == np.float16
    assert y.tolist() == [1]
    places, values = np.zeros(2, np.int64), made([2048, 1])
    for found in (
        tg.numpy.scatter_add(made([-2048]), places, values, 0),
        tg.numpy.scatter_reduce(made([-2048]), places, values, 0, "sum"),
    ):
        assert found.dtype == np.float16
        assert found.tolist() == [1]
    mean = tg.numpy.scatter_reduce(made([-2048]), places, values, 0, "mean")
    assert mean.tolist() == [np.float16(1 / 3)]


def test_a_bias_of_16_bits_leaves_whole_numbers_their_products() -> None:
    x = Tensor(np.full((1, 2), 100, np.int8))
    weight, bias = Tensor(np.full((1, 2, 2), 100, np.int8)), Tensor(np.ones(1, np.float16))
    assert x.bilinear(x, weight, bias).tolist() == [[4_000_001]]

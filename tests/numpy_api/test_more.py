"""Sequences, polynomials, bits, files, functions of functions: against NumPy where it is hard."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cupy as tg
import tinygrad_cupy.numpy as tnp
from tinygrad_cupy import Tensor

numbers = st.integers(0, 2**32 - 1).map(np.random.default_rng)
lengths = st.integers(1, 7)


def same(found: Any, expected: Any, least: float = 1e-12) -> None:
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=least)


@given(n=lengths, m=lengths, rng=numbers, mode=st.sampled_from(["full", "same", "valid"]))
def test_convolution_of_any_lengths(n: int, m: int, rng: Any, mode: Any) -> None:
    a, v = rng.standard_normal(n), rng.integers(-3, 4, m)
    same(np.convolve(Tensor(a), v, mode), np.convolve(a, v, mode))
    same(np.correlate(a, Tensor(v), mode), np.correlate(a, v, mode))
    z, w = a + 1j * rng.standard_normal(n), v + 1j * rng.standard_normal(m)
    same(np.convolve(Tensor(z), w, mode), np.convolve(z, w, mode))
    same(np.correlate(z, Tensor(w), mode), np.correlate(z, w, mode))  # of the conjugate of w
    assert tnp.convolve(v, v).dtype == np.int64


def test_convolution_by_windows_and_of_other_dtypes() -> None:
    rng = np.random.default_rng(0)
    batch, v = rng.standard_normal((3, 5000)), rng.standard_normal(900)
    found = tg.vmap(lambda a: np.convolve(a, v))(Tensor(batch))
    same(found, [np.convolve(a, v) for a in batch], 1e-10)
    half: Any = Tensor(np.full(3000, 0.1, np.float16))
    wide: Any = np.convolve(half, half)
    assert wide.dtype == np.float16
    assert wide.numpy().max() == pytest.approx(30, rel=2e-3)
    assert np.convolve(Tensor([1.0, 2.0], dtype="bfloat16"), [1.0, 1.0]).tolist() == [1.0, 3.0, 2.0]
    assert np.convolve(Tensor(3.0), [1.0, 2.0]).tolist() == [3.0, 6.0]
    with pytest.raises(
        ValueError, match=r"^\[convolve\] expected sequences with elements, got sha"
    ):
        np.convolve(Tensor([]), [1.0])
    with pytest.raises(ValueError, match=r"^\[convolve\] expected mode to be one of \('full', 'sa"):
        np.convolve(Tensor([1.0]), [1.0], "half")  # type: ignore[call-overload]


@given(n=st.integers(1, 6), rng=numbers, ends=st.booleans())
def test_interpolation(n: int, rng: Any, ends: bool) -> None:
    xp, fp = np.sort(rng.integers(-4, 5, n)) / 2, rng.standard_normal(n)  # with repeats
    x = np.concatenate([xp, rng.uniform(-3, 3, 6), [np.nan, np.inf, -np.inf]])
    options: Any = {"left": -7.0, "right": 9.0} if ends else {}
    same(np.interp(Tensor(x), xp, fp, **options), np.interp(x, xp, fp, **options))
    points = Tensor(x[:-3], requires_grad=True)
    grad = tg.grad(np.interp(points, Tensor(xp), fp, **options).sum(), points)
    assert grad is not None
    assert np.isfinite(grad.numpy()).all()


def test_interpolation_says_what_it_expects() -> None:
    with pytest.raises(ValueError, match=r"^\[interp\] expected xp and fp of one shape"):
        np.interp(Tensor([1.0]), [1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match=r"^\[interp\] expected a period other than 0$"):
        np.interp(Tensor([1.0]), [1.0, 2.0], [1.0, 2.0], period=0)


@given(n=lengths, m=lengths, rng=numbers)
def test_polynomials(n: int, m: int, rng: Any) -> None:
    a, b = rng.standard_normal(n), rng.standard_normal(m)
    a[: rng.integers(0, n)] = 0
    for function in (np.polyadd, np.polysub, np.polymul, np.polyval):
        same(function(Tensor(a), Tensor(b)), function(a, b))
    same(np.polyder(Tensor(b), 2), np.polyder(b, 2))
    same(np.polyint(Tensor(b), 2, [1.0, 2.0]), np.polyint(b, 2, [1.0, 2.0]))
    same(np.polyint(Tensor(b), 2, 3.0), np.polyint(b, 2, 3.0))
    same(np.poly(Tensor(b)), np.poly(b))


def test_bits() -> None:
    rng = np.random.default_rng(1)
    flags = rng.integers(0, 2, (3, 11)) > 0
    for axis in (None, 0, 1, -1):
        for order in ("big", "little"):
            packed = np.packbits(flags, axis, bitorder=order)
            found: Any = np.packbits(Tensor(flags), axis, bitorder=order)
            np.testing.assert_array_equal(found.numpy(), packed)
            assert found.dtype == np.uint8
            for count in (None, 9, 40, -1):
                back: Any = np.unpackbits(found, axis, count, order)
                expected = np.unpackbits(packed, axis, count, order)
                np.testing.assert_array_equal(back.numpy(), expected)
    with pytest.raises(
        TypeError, match=r"^\[packbits\] expected integers or booleans, got float32"
    ):
        np.packbits(Tensor([1.0]))
    with pytest.raises(TypeError, match=r"^\[unpackbits\] expected bytes \(uint8\), got int64"):
        np.unpackbits(Tensor([1]))


def test_files() -> None:
    x = Tensor([1.0, 2.5], requires_grad=True)
    file = io.BytesIO()
    np.save(file, x)
    file.seek(0)
    assert np.load(file).tolist() == [1.0, 2.5]
    for saved in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        saved(file, x, other=x * 2)
        file.seek(0)
        with np.load(file) as arrays:
            assert (arrays["arr_0"].tolist(), arrays["other"].tolist()) == ([1.0, 2.5], [2.0, 5.0])
    text = io.StringIO()
    np.savetxt(text, x, "%.1f", delimiter=",")
    assert text.getvalue() == "1.0\n2.5\n"


def test_functions_of_functions() -> None:
    values = np.arange(24.0).reshape(2, 3, 4)
    x: Any = Tensor(values, requires_grad=True)
    along: Any = np.apply_along_axis
    for axis in range(-3, 3):
        for function in (lambda v: v.sum(), lambda v: v[::-1], lambda v: v[:2, None] * v[None, :2]):
            same(along(function, axis, x), along(function, axis, values))
    for axes in (0, (0, 2), [-1]):
        over = np.apply_over_axes
        same(over(lambda a, axis: a.sum(axis), x, axes), over(np.sum, values, axes))
    pieces: Any = [lambda v, shift: v * shift, lambda v, shift: v - shift, -1.0]
    conditions = [values < 5, values > 20]
    found = np.piecewise(x, conditions, pieces, shift=3.0)
    same(found, np.piecewise(values, conditions, pieces, shift=3.0))
    line = values[0, 0]
    same(np.piecewise(x[0, 0], line > 1, [1.0]), np.piecewise(line, line > 1, [1.0]))
    with pytest.raises(
        ValueError, match=r"^\[piecewise\] expected 1 functions, or one more, got 3$"
    ):
        np.piecewise(x, [values > 3], [1.0, 2.0, 3.0])
    with pytest.raises(
        ValueError, match=r"^\[apply_along_axis\] axis 3 is out of range for 3 axes"
    ):
        along(sum, 3, x)


WRITES: list[Any] = [
    lambda a: np.put(a, [0, -1, 3], [7.0, 8.0]),
    lambda a: np.put(a, [1, 1, 1], [7.0, 8.0, 9.0]),
    lambda a: np.put(a, [9, -9], 5.0, mode="wrap"),
    lambda a: np.put(a, [99, -99], [5.0, 6.0], mode="clip"),
    lambda a: np.place(a, a < 3, [7.0, 8.0]),
    lambda a: np.putmask(a, a < 3, [7.0, 8.0]),
    lambda a: np.put_along_axis(a, np.array([[1], [0], [2]]), 9.0, axis=1),
    lambda a: np.put_along_axis(a, np.array([1, 4]), np.array([8.0, 9.0]), axis=None),
    lambda a: np.fill_diagonal(a, 7.0),
    lambda a: np.fill_diagonal(a, [7.0, 8.0]),
    lambda a: np.fill_diagonal(a, 7.0, wrap=True),
]


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("shape", [(3, 3), (6, 3), (3, 5)])
def test_writing_by_index(write: Any, shape: tuple[int, int]) -> None:
    if shape == (6, 3) and write in WRITES[6:7]:
        return
    expected = np.arange(float(shape[0] * shape[1])).reshape(shape)
    x, array = Tensor(expected.copy()), expected.copy()
    write(expected)
    write(x)
    same(x, expected)
    value = Tensor(1.0, requires_grad=True)
    with pytest.raises(TypeError, match=r"^\[put\] expected out to be a tensor, got an array"):
        np.put(array, [0], value)
    np.put(array, [0], value.detach())
    assert array.flat[0] == 1.0


def test_emath_gives_complex_numbers_where_real_ones_do_not_do() -> None:
    x = Tensor([-1.0, 4.0])
    emath: Any = np.emath
    assert emath.sqrt(abs(x)).tolist() == [1.0, 2.0]
    assert np.isnan(emath.log(Tensor([np.nan])).item())
    assert emath.sqrt(abs(x)).dtype == np.float32
    for call in (emath.sqrt, emath.log, lambda x: emath.logn(2.0, x), lambda x: emath.power(x, 2)):
        assert call(x).dtype == np.complex64
        np.testing.assert_allclose(call(x).numpy(), call(x.numpy()), rtol=1e-6)
    assert emath.power(Tensor([4]), -1).tolist() == [0.25]
    assert tnp.emath.logn(Tensor([2.0]), Tensor([8.0])).tolist() == [3.0]


def test_inside_of_a_vmap_integers_become_the_same_floats() -> None:
    values = np.random.default_rng(0).uniform(0, 2, (2, 6))
    functions: list[Callable[[Any], Any]] = [
        lambda x: (x > 1).sum() / 3,
        lambda x: np.mean(x > 1),
        lambda x: np.digitize(x, [0.5, 1.0]) / 3,
        lambda x: np.linspace(0, x[0], 3),
        lambda x: np.histogram(x, bins=4, range=(0.0, 2.0))[0] / 3,
    ]
    for function in functions:
        x = tnp.array(values)
        found, one = tg.vmap(function)(x), function(x[0])
        assert type(found) is type(one) is tnp.ndarray
        assert found.dtype == one.dtype == np.float64
        np.testing.assert_array_equal(found[0].numpy(), one.numpy())
        assert type(tg.jvp(function, (x[0],), (x[0],))[0]) is tnp.ndarray


def test_piecewise_in_a_batch() -> None:
    def bent(x: Any) -> Any:
        return np.piecewise(x, [x < 1, x >= 1], [lambda v: v**2, lambda v: 3 * v])

    values = np.array([[0.5, 1.5, 0.7], [1.5, 0.6, 0.4]])
    found = tg.vmap(bent)(tg.Tensor(values))
    np.testing.assert_allclose(found.numpy(), [bent(row) for row in values])
    far = np.array([1.0, np.inf, np.nan])
    found = tnp.piecewise(tg.Tensor(far), [far < 2], [5.0])
    np.testing.assert_array_equal(found.numpy(), [5.0, 0.0, 0.0])
    x = tg.Tensor(values[0], requires_grad=True)
    assert tg.gradcheck(bent, [x])


IN_A_BATCH: list[Callable[[Any, Any], Any]] = [
    lambda s, x: np.place(s, s > 1, [5.0, 6.0]),
    lambda s, x: np.place(s, x < 1, x**2),
    lambda s, x: np.putmask(s, s > 1, x**2),
    lambda s, x: np.putmask(s, s > 1, [7.0, 8.0]),
    lambda s, x: np.put(s, np.argsort(x)[:2] - 3, x[:1]),
    lambda s, x: np.put(s, np.argsort(x)[:2] + 2, x[:2], mode="wrap"),
    lambda s, x: np.put(s, np.argsort(x)[:2] + 2, x[:2], mode="clip"),
    lambda s, x: np.put_along_axis(s, np.argsort(s)[:1], 9.0, axis=0),
    lambda s, x: np.put_along_axis(s, np.argsort(x)[:2], x[:2], axis=None),
    lambda s, x: np.copyto(s, x**2, where=x > 1),
    lambda s, x: np.add.at(s, np.argsort(x), x),
]


@pytest.mark.parametrize("write", IN_A_BATCH)
def test_writes_in_a_batch_are_those_of_a_loop(write: Callable[[Any, Any], Any]) -> None:
    def program(x: Any) -> Any:
        s = x.copy()
        write(s, x)
        return s * x

    values = np.array([[0.5, 1.5, 0.7], [1.5, 0.6, 0.4]])
    together = tg.vmap(program)(tg.Tensor(values))
    np.testing.assert_allclose(together.numpy(), [program(row) for row in values])
    gradients = tg.vmap(tg.grad(lambda x: program(x).sum()))(tg.Tensor(values))
    alone = [tg.grad(lambda x: program(x).sum())(tg.Tensor(row)).numpy() for row in values]
    np.testing.assert_allclose(gradients.numpy(), alone)
    assert tg.gradcheck(program, [tg.Tensor(values[0], requires_grad=True)])


def test_what_needs_the_values_says_so_in_a_batch() -> None:
    values = tg.Tensor([[0.5, 1.5, 0.7], [1.5, 0.6, 0.4]])
    for reads in (
        lambda x: np.maximum.at(tg.Tensor.zeros(3), np.argsort(x), x),
        lambda x: np.array_str(x),
        lambda x: np.save(io.BytesIO(), x),
        lambda x: x.tobytes(),
        lambda x: np.min_scalar_type(x),
    ):
        with pytest.raises(RuntimeError, match=r"^\[vmap\] .numpy\(\) of a tensor of shape"):
            tg.vmap(reads)(values)


def test_vectorize() -> None:
    @tnp.vectorize
    def ramp(x: Any, low: Any, high: Any = 2.0) -> Any:
        """A ramp."""
        return x * low if x > low else high**2

    values, low = np.array([[0.5, 1.5, 0.7], [1.5, 0.6, 0.4]]), np.array([0.6, 1.0, 0.5])
    function: Any = ramp.pyfunc
    expected = np.vectorize(function)(values, low)
    np.testing.assert_allclose(ramp(values, low).numpy(), expected)
    np.testing.assert_allclose(ramp(values, low, high=low).numpy(), ramp(values, low, low).numpy())
    assert ramp.__doc__ == "A ramp."
    inputs = [tnp.array(v, requires_grad=True) for v in (values, low)]
    assert tg.gradcheck(lambda x, low: ramp(x, low, high=low), inputs, batched=False)
    one, other = tnp.vectorize(lambda x: (x, 2 * x))(values)
    np.testing.assert_array_equal(other.numpy(), 2 * one.numpy())
    polynomial = tnp.vectorize(lambda p, x: np.polyval(p, x), excluded={0})
    np.testing.assert_allclose(polynomial([1.0, 2.0], values).numpy(), values + 2)
    counted = tnp.vectorize(otypes=[float])(lambda x: int(x > 1))
    assert counted(values).dtype == np.float64
    assert counted(tnp.zeros((0, 3))).shape == (0, 3)
    with pytest.raises(ValueError, match=r"^\[vectorize\] expected elements, or otypes="):
        tnp.vectorize(abs)(tnp.zeros(0))
    with pytest.raises(TypeError, match=r"^\[vectorize\] takes no signature="):
        tnp.vectorize(abs, signature="(n)->()")


def test_ndenumerate() -> None:
    x = tnp.array([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    total = sum(i * v + j * v**2 for (i, j), v in tnp.ndenumerate(x))
    assert tg.grad(total, x).tolist() == [[0.0, 4.0], [1.0, 9.0]]

"""`tg.signal` and `tg.fft` against SciPy, and their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.fft
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import to_device

SHAPES = [((50,), (9,)), ((300,), (100,)), ((9,), (50,)), ((6, 7), (3, 4)), ((5, 4, 6), (2, 3, 3))]


def _values(rng: np.random.Generator, shape: tuple[int, ...], complex_: bool) -> np.ndarray:
    values: np.ndarray = rng.standard_normal(shape)
    return values + 1j * rng.standard_normal(shape) if complex_ else values


def _tensor(values: Any, device: str, **options: Any) -> Tensor:
    return Tensor(to_device(values, device), **options)


@pytest.mark.one_in(4)
@pytest.mark.parametrize("name", ["convolve", "correlate", "fftconvolve"])
@pytest.mark.parametrize(("n", "m"), SHAPES)
@pytest.mark.parametrize("complex_", [False, True])
def test_convolutions_are_scipys(name: str, n: Any, m: Any, complex_: bool, device: str) -> None:
    rng = np.random.default_rng(0)
    a, b = _values(rng, n, complex_), _values(rng, m, complex_)
    for mode in ("full", "valid", "same"):
        expected = getattr(scipy.signal, name)(a, b, mode)
        found = getattr(tg.signal, name)(_tensor(a, device), _tensor(b, device), mode)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-9)


def test_integers_are_convolved_exactly(device: str) -> None:
    a, b = np.arange(100) * 10**12, np.arange(7)
    found = tg.signal.convolve(_tensor(a, device), _tensor(b, device))
    np.testing.assert_array_equal(found.numpy(), np.convolve(a, b))


def test_convolutions_along_some_axes(device: str) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((3, 8)), rng.standard_normal((1, 5))
    found = tg.signal.fftconvolve(_tensor(a, device), _tensor(b, device), "same", axes=1)
    expected = scipy.signal.fftconvolve(a, b, "same", axes=1)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


@settings(max_examples=5)
@given(n=st.integers(1, 6), m=st.integers(1, 6), mode=st.sampled_from(["full", "same"]))
def test_gradients_of_convolutions(n: int, m: int, mode: str, device: str) -> None:
    rng = np.random.default_rng(n)
    given_ = [_tensor(_values(rng, (k, 2), True), device, requires_grad=True) for k in (n, m)]
    assert tg.gradcheck(lambda a, b: tg.signal.convolve(a, b, mode), given_)
    assert tg.gradcheck(lambda a, b: tg.signal.correlate(a, b, mode), given_)


@pytest.mark.parametrize("n", [8, 9])
def test_analytic_signals(n: int, device: str) -> None:
    x = np.random.default_rng(0).standard_normal((2, n))
    for size, axis in ((None, -1), (12, -1), (5, 1), (None, 0)):
        found = tg.signal.hilbert(_tensor(x, device), size, axis)
        expected = scipy.signal.hilbert(x, size, axis)
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)
    given_ = _tensor(x, device, requires_grad=True)
    assert tg.gradcheck(lambda x: abs(tg.signal.hilbert(x)), [given_])


SEGMENTS: list[dict[str, Any]] = [
    {},
    {"nperseg": 100, "noverlap": 75},
    {"nperseg": 64, "nfft": 128, "scaling": "psd"},
    {"nperseg": 100, "boundary": None},
    {"nperseg": 100, "return_onesided": False},
    {"nperseg": 101, "fs": 10.0, "window": ("kaiser", 4.0)},
]


@pytest.mark.parametrize("options", SEGMENTS, ids=str)
def test_spectra_in_time_are_scipys_and_come_back(options: dict[str, Any], device: str) -> None:
    x = np.random.default_rng(0).standard_normal((2, 1000))
    expected = scipy.signal.stft(x, **options)
    found = tg.signal.stft(_tensor(x, device), **options)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs, atol=1e-12)
    if options.get("boundary", "zeros") is None:
        return
    back = {k: v for k, v in options.items() if k != "return_onesided"}
    back["input_onesided"] = options.get("return_onesided", True)
    _, y = tg.signal.istft(found[2], **back)
    np.testing.assert_allclose(y.numpy(), scipy.signal.istft(expected[2], **back)[1], atol=1e-12)
    np.testing.assert_allclose(y.numpy()[:, :1000], x, atol=1e-12)


def test_gradients_of_spectra_in_time(device: str) -> None:
    rng = np.random.default_rng(0)
    x = _tensor(rng.standard_normal(50), device, requires_grad=True)
    window = _tensor(rng.uniform(0.5, 1, 16), device, requires_grad=True)

    def there_and_back(x: Tensor, window: Tensor) -> Tensor:
        z = tg.signal.stft(x, window=window, nperseg=16)[2]
        return tg.signal.istft(z * z, window=window, nperseg=16)[1]  # type: ignore[no-any-return]

    assert tg.gradcheck(there_and_back, [x, window])


@pytest.mark.parametrize("name", ["hfft2", "ihfft2", "hfftn", "ihfftn"])
@pytest.mark.parametrize("norm", [None, "ortho", "forward"])
def test_hermitian_spectra_of_several_axes(name: str, norm: Any, device: str) -> None:
    z = _values(np.random.default_rng(0), (4, 5), not name.startswith("i"))
    found = getattr(tg.fft, name)(_tensor(z, device), norm=norm)
    expected = getattr(scipy.fft, name)(z, norm=norm)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


X = Tensor([1.0, 2.0])


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: tg.signal.convolve(X, X, "all"), "[convolve] expected mode to be one of"),
        (lambda: tg.signal.convolve(X, X, method="fast"), "[convolve] expected method to be one"),
        (lambda: tg.signal.convolve(X, X[None]), "[convolve] expected two tensors of as many axes"),
        (lambda: tg.signal.convolve(X, X[:0]), "[convolve] expected elements, got shapes (2,)"),
        (lambda: tg.signal.fftconvolve(X, X, axes=1), "[fftconvolve] expected axes of a tensor"),
        (lambda: tg.signal.hilbert(X * 1j), "[hilbert] expected real numbers, got dtype complex64"),
        (lambda: tg.signal.hilbert(X, 0), "[hilbert] expected N of at least 1, got 0"),
        (lambda: tg.signal.stft(X, nperseg=8, boundary=None), "[stft] expected at least nperseg"),
        (lambda: tg.signal.stft(X, nperseg=2, noverlap=2), "[stft] expected nperseg ≥ 1, 0 ≤ "),
        (lambda: tg.signal.stft(X, nperseg=2, scaling="?"), "[stft] expected scaling to be"),
        (lambda: tg.signal.istft(X), "[istft] expected axes of a tensor of 1 axes, got -2"),
        (lambda: tg.fft.fft(X, 0), "[fft] expected at least one data point"),
        (lambda: tg.fft.irfft(X, -1), "[irfft] expected at least one data point, got n = -1"),
        (lambda: tg.fft.fft(X, axis=1), "[fft] axis 1 is out of range for a tensor of 1 axes"),
        (lambda: tg.fft.fft(X, norm="half"), "[fft] expected norm to be one of"),
        (lambda: tg.fft.hfft(X, norm="half"), "[hfft] expected norm to be one of"),
        (lambda: tg.fft.rfft(X * 1j), "[rfft] expected real numbers, got dtype complex64; see fft"),
        (lambda: tg.fft.fftn(X, (2, 2)), "[fftn] expected at most 1 sizes for (2,), got (2, 2)"),
    ],
)
def test_bad_calls(call: Any, text: str) -> None:
    with pytest.raises((ValueError, TypeError)) as raised:
        call()
    assert str(raised.value).startswith(text), raised.value

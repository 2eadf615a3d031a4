"""Discrete Fourier transforms: those of `numpy.fft`, and SciPy's of Hermitian spectra of any axes.

>>> import tinygrad_cupy as tg
>>> x = tg.Tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
>>> (abs(tg.fft.rfft(x)) ** 2).sum().backward()
>>> x.grad
Tensor([12., 20., 20., 28.])
"""

from __future__ import annotations

from typing import Any

from .numpy.arrays import tensor
from .numpy.fft import (
    Axes,
    fft,
    fft2,
    fftfreq,
    fftn,
    fftshift,
    half_transform,
    hermitian_norm,
    hfft,
    ifft,
    ifft2,
    ifftn,
    ifftshift,
    ihfft,
    irfft,
    irfft2,
    irfftn,
    real_transform,
    rfft,
    rfft2,
    rfftfreq,
    rfftn,
)

__all__ = [
    "fft",
    "fft2",
    "fftfreq",
    "fftn",
    "fftshift",
    "hfft",
    "hfft2",
    "hfftn",
    "ifft",
    "ifft2",
    "ifftn",
    "ifftshift",
    "ihfft",
    "ihfft2",
    "ihfftn",
    "irfft",
    "irfft2",
    "irfftn",
    "rfft",
    "rfft2",
    "rfftfreq",
    "rfftn",
]


def hfftn(x: Any, s: Any = None, axes: Axes = None, norm: str | None = None) -> Any:
    """`hfft` along the last of the axes, `fft` along the others; ``s`` are the result's sizes."""
    norm = hermitian_norm(norm, "hfftn")
    return real_transform(tensor(x).conj(), s, axes, norm, "hfftn")


def ihfftn(x: Any, s: Any = None, axes: Axes = None, norm: str | None = None) -> Any:
    """The inverse of `hfftn`: the first half along the last of the axes."""
    return half_transform(x, s, axes, hermitian_norm(norm, "ihfftn"), "ihfftn").conj()


def hfft2(x: Any, s: Any = None, axes: Axes = (-2, -1), norm: str | None = None) -> Any:
    """`hfftn` along two axes."""
    return hfftn(x, s, axes, norm)


def ihfft2(x: Any, s: Any = None, axes: Axes = (-2, -1), norm: str | None = None) -> Any:
    """`ihfftn` along two axes."""
    return ihfftn(x, s, axes, norm)

"""`numpy.fft`: discrete Fourier transforms, real and Hermitian ones, of any size and any axes.

``norm`` says what is scaled by 1 / N: the inverse ("backward", the default), the forward transform
("forward"), or both by 1 / √N ("ortho"). float32 gives complex64; 16-bit floats and integers are
computed in float32 and the class's default float. Differentiable to any order.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..backend.dtypes import is_complex, with_imaginary
from ..ops.einsum import normal_axes
from ..ops.fft import Fft, FromHalfFft, HalfFft
from ..ops.promotion import as_float, single
from ..ops.protocols import implements
from .arrays import finished, tensor
from .creation import made_by_numpy
from .shaping import roll

__all__ = [
    *("fft", "fft2", "fftfreq", "fftn", "fftshift", "hfft", "ifft", "ifft2", "ifftn", "ifftshift"),
    *("ihfft", "irfft", "irfft2", "irfftn", "rfft", "rfft2", "rfftfreq", "rfftn"),
]

NORMS = ("backward", "ortho", "forward")
Axes = Sequence[int] | None


def _scaled(y: Any, count: int, norm: str | None, inverse: bool, name: str) -> Any:
    """An unscaled transform, scaled as ``norm`` says."""
    norm = norm or "backward"
    if norm not in NORMS:
        raise ValueError(f"[{name}] expected norm to be one of {NORMS}, got {norm!r}")
    if norm == "ortho":
        return y * (1 / math.sqrt(count))
    return y * (1 / count) if (norm == "backward") == inverse else y


def _placed(x: Any, s: Any, axes: Axes, name: str) -> tuple[tuple[int, ...], list[int]]:
    """The axes that are transformed, from the first one counted, and their sizes."""
    if axes is None:
        count = x.ndim if s is None else len(s)
        if count > x.ndim:
            raise ValueError(f"[{name}] expected at most {x.ndim} sizes for {x.shape}, got {s}")
        axes = range(x.ndim - count, x.ndim)
    places = normal_axes(tuple(axes), x.ndim, name)
    sizes = [x.shape[i] for i in places] if s is None else [*s]
    if len(sizes) != len(places):
        raise ValueError(f"[{name}] expected a size for each of the axes {places}, got {s}")
    sizes = [
        x.shape[i] if n in (None, -1) else operator.index(n)
        for i, n in zip(places, sizes, strict=True)
    ]
    return places, sizes


def _expect_points(sizes: Sequence[int], name: str) -> None:
    if any(n < 1 for n in sizes):
        raise ValueError(
            f"[{name}] expected at least one data point along each axis, got {tuple(sizes)}"
        )


def _sized(x: Any, places: Sequence[int], sizes: Sequence[int]) -> Any:
    """x cut or filled up with zeros to these sizes."""
    for axis, n in zip(places, sizes, strict=True):
        have = x.shape[axis]
        if have > n:
            x = x[(*(slice(None),) * axis, slice(n))]
        elif have < n:
            x = x.pad([(0, n - have if i == axis else 0) for i in range(x.ndim)])
    return x


def _full(
    a: Any, s: Any, axes: Axes, norm: str | None, inverse: bool, name: str, out: Any = None
) -> Any:
    x = single(as_float(tensor(a)))
    places, sizes = _placed(x, s, axes, name)
    _expect_points(sizes, name)
    if not places:
        return finished(x, None, out)
    y = Fft(places, inverse)(_sized(x, places, sizes))
    return finished(_scaled(y, math.prod(sizes), norm, inverse, name), None, out)


def half_transform(a: Any, s: Any, axes: Axes, norm: str | None, name: str, out: Any = None) -> Any:
    x = tensor(a)
    if is_complex(x.dtype):
        raise TypeError(f"[{name}] expected real numbers, got dtype {x.dtype}; see fft")
    x = single(as_float(x))
    places, sizes = _placed(x, s, axes, name)
    _expect_axis(places, x, name)
    _expect_points(sizes, name)
    y = HalfFft(places)(_sized(x, places, sizes))
    return finished(_scaled(y, math.prod(sizes), norm, False, name), None, out)


def real_transform(a: Any, s: Any, axes: Axes, norm: str | None, name: str, out: Any = None) -> Any:
    x = single(as_float(tensor(a)))
    places, sizes = _placed(x, s, axes, name)
    _expect_axis(places, x, name)
    if s is None or s[-1] in (None, -1):
        sizes[-1] = 2 * (sizes[-1] - 1)
    _expect_points(sizes, name)
    x = _sized(x, places, [*sizes[:-1], sizes[-1] // 2 + 1])
    x = x if is_complex(x.dtype) else x.astype(with_imaginary(x.dtype))
    y = FromHalfFft(places, sizes[-1])(x)
    return finished(_scaled(y, math.prod(sizes), norm, True, name), None, out)


def _expect_axis(places: Sequence[int], x: Any, name: str) -> None:
    if not places:
        raise ValueError(f"[{name}] expected at least one axis, got none of shape {x.shape}")


def _one(n: int | None, name: str) -> Any:
    if n is None:
        return None
    try:
        size = operator.index(n)
    except TypeError:
        raise TypeError(f"[{name}] expected an integer n, got {n!r}") from None
    if size < 1:  # in a tuple of sizes -1 stands for the axis's own
        raise ValueError(f"[{name}] expected at least one data point, got n = {n}")
    return (size,)


# --- full ---------------------------------------------------------------------------------------


@implements(np.fft.fft)
def fft(
    a: Any, n: int | None = None, axis: int = -1, norm: str | None = None, out: Any = None
) -> Any:
    """Σ a[m] exp(-2πi m k / n) along ``axis``, which is cut or filled up with zeros to n."""
    return _full(a, _one(n, "fft"), (axis,), norm, False, "fft", out)


@implements(np.fft.ifft)
def ifft(
    a: Any, n: int | None = None, axis: int = -1, norm: str | None = None, out: Any = None
) -> Any:
    """The inverse of `fft`."""
    return _full(a, _one(n, "ifft"), (axis,), norm, True, "ifft", out)


@implements(np.fft.fftn)
def fftn(a: Any, s: Any = None, axes: Axes = None, norm: str | None = None, out: Any = None) -> Any:
    """`fft` along several axes, all of them unless told; ``s`` are the sizes."""
    return _full(a, s, axes, norm, False, "fftn", out)


@implements(np.fft.ifftn)
def ifftn(
    a: Any, s: Any = None, axes: Axes = None, norm: str | None = None, out: Any = None
) -> Any:
    """The inverse of `fftn`."""
    return _full(a, s, axes, norm, True, "ifftn", out)


@implements(np.fft.fft2)
def fft2(
    a: Any, s: Any = None, axes: Axes = (-2, -1), norm: str | None = None, out: Any = None
) -> Any:
    """`fftn` along two axes."""
    return _full(a, s, axes, norm, False, "fft2", out)


@implements(np.fft.ifft2)
def ifft2(
    a: Any, s: Any = None, axes: Axes = (-2, -1), norm: str | None = None, out: Any = None
) -> Any:
    """The inverse of `fft2`."""
    return _full(a, s, axes, norm, True, "ifft2", out)


# --- of real numbers ----------------------------------------------------------------------------


@implements(np.fft.rfft)
def rfft(
    a: Any, n: int | None = None, axis: int = -1, norm: str | None = None, out: Any = None
) -> Any:
    """The first n // 2 + 1 elements of `fft` of real numbers; the others are their conjugates."""
    return half_transform(a, _one(n, "rfft"), (axis,), norm, "rfft", out)


@implements(np.fft.irfft)
def irfft(
    a: Any, n: int | None = None, axis: int = -1, norm: str | None = None, out: Any = None
) -> Any:
    """The inverse of `rfft`: n real numbers, an even number unless told."""
    return real_transform(a, _one(n, "irfft"), (axis,), norm, "irfft", out)


@implements(np.fft.rfftn)
def rfftn(
    a: Any, s: Any = None, axes: Axes = None, norm: str | None = None, out: Any = None
) -> Any:
    """`fftn` of real numbers: the first half along the last of the axes."""
    return half_transform(a, s, axes, norm, "rfftn", out)


@implements(np.fft.irfftn)
def irfftn(
    a: Any, s: Any = None, axes: Axes = None, norm: str | None = None, out: Any = None
) -> Any:
    """The inverse of `rfftn`."""
    return real_transform(a, s, axes, norm, "irfftn", out)


@implements(np.fft.rfft2)
def rfft2(
    a: Any, s: Any = None, axes: Axes = (-2, -1), norm: str | None = None, out: Any = None
) -> Any:
    """`rfftn` along two axes."""
    return half_transform(a, s, axes, norm, "rfft2", out)


@implements(np.fft.irfft2)
def irfft2(
    a: Any, s: Any = None, axes: Axes = (-2, -1), norm: str | None = None, out: Any = None
) -> Any:
    """The inverse of `rfft2`."""
    return real_transform(a, s, axes, norm, "irfft2", out)


# --- of Hermitian spectra -------------------------------------------------------------------------

# Of the real transform of a spectrum whose halves are each other's conjugates, and its inverse:
# `irfft` and `rfft` of conjugates, scaled the other way round.
_TURNED = {None: "forward", "backward": "forward", "ortho": "ortho", "forward": "backward"}


def hermitian_norm(norm: str | None, name: str) -> str:
    if norm not in _TURNED:
        raise ValueError(f"[{name}] expected norm to be one of {NORMS}, got {norm!r}")
    return _TURNED[norm]


@implements(np.fft.hfft)
def hfft(
    a: Any, n: int | None = None, axis: int = -1, norm: str | None = None, out: Any = None
) -> Any:
    """The real `fft` of n numbers of which a is the first half, the rest being conjugates."""
    return real_transform(
        tensor(a).conj(), _one(n, "hfft"), (axis,), hermitian_norm(norm, "hfft"), "hfft", out
    )


@implements(np.fft.ihfft)
def ihfft(
    a: Any, n: int | None = None, axis: int = -1, norm: str | None = None, out: Any = None
) -> Any:
    """The inverse of `hfft`: the first half of n // 2 + 1 elements."""
    found = half_transform(a, _one(n, "ihfft"), (axis,), hermitian_norm(norm, "ihfft"), "ihfft")
    return finished(found.conj(), None, out)


# --- order and frequencies ------------------------------------------------------------------------


def _shifted(x: Any, axes: Any, forward: bool) -> Any:
    x = tensor(x)
    if axes is None:
        axes = tuple(range(x.ndim))
    axes = (axes,) if isinstance(axes, int | np.integer) else tuple(axes)
    moves = [x.shape[i] // 2 if forward else -(x.shape[i] // 2) for i in axes]
    return roll(x, tuple(moves), axes) if axes else x


@implements(np.fft.fftshift)
def fftshift(x: Any, axes: Any = None) -> Any:
    """Frequency 0 moved to the middle of ``axes``, of all unless told."""
    return _shifted(x, axes, True)


@implements(np.fft.ifftshift)
def ifftshift(x: Any, axes: Any = None) -> Any:
    """The inverse of `fftshift`."""
    return _shifted(x, axes, False)


def _frequencies(function: Callable[..., np.ndarray]) -> Callable[..., Any]:
    def frequencies(n: int, d: float = 1.0, device: str | None = None) -> Any:
        return made_by_numpy(function(n, d), device)

    frequencies.__name__ = function.__name__
    return frequencies


fftfreq = _frequencies(np.fft.fftfreq)
fftfreq.__doc__ = "The frequencies of the elements of `fft`, in cycles per unit of the spacing d."
rfftfreq = _frequencies(np.fft.rfftfreq)
rfftfreq.__doc__ = "The frequencies of the elements of `rfft`, in cycles per unit of the spacing d."

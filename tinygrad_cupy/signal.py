"""Signals, under SciPy's names: convolution, windows, analytic signals, spectra in time.

All are differentiable to any order, on the CPU and on a GPU; they follow `scipy.signal`, which says
more of the parameters. Windows are constants.
"""

from __future__ import annotations

import importlib
import operator
from typing import Any

import numpy as np

from .autograd.tensor_base import expect_real
from .backend import constant, device_of
from .backend.dtypes import is_complex, is_float
from .numpy import fft as transforms
from .numpy.arrays import tensor, terms
from .ops.arrange import moveaxis
from .ops.convolve import Convolve
from .ops.promotion import as_float, in_one_dtype, single
from .ops.windows import Strided, StridedAdded

__all__ = ["convolve", "correlate", "fftconvolve", "get_window", "hilbert", "istft", "stft"]

MODES = ("full", "valid", "same")
METHODS = ("auto", "direct", "fft")
DIRECT = 64  # elements of the shorter sequence from which on `convolve` transforms


# --- convolution ----------------------------------------------------------------------------------


def convolve(in1: Any, in2: Any, mode: str = "full", method: str = "auto") -> Any:
    """Σ in1[k] in2[n - k] over all axes, of tensors of as many: all of it, or its middle.

    mode:
        "full", "valid" (where one lies within the other) or "same" (in1's shape, centred).
    method:
        "direct" adds up products, of sequences; "fft" multiplies spectra, whose rounding errors are
        as those of the largest element; "auto" takes the first for short sequences, integers too.
    """
    if method not in METHODS:
        raise ValueError(f"[convolve] expected method to be one of {METHODS}, got {method!r}")
    a, b = _pair(in1, in2, "convolve")
    inexact = any(is_float(x.dtype) or is_complex(x.dtype) for x in (a, b))
    short = a.ndim == 1 and (not inexact or min(a.size, b.size) <= DIRECT)
    if method == "direct" and a.ndim != 1:
        raise ValueError(f'[convolve] expected sequences for method "direct", got {a.ndim} axes')
    if method == "direct" or (method == "auto" and short):
        return _middle(Convolve()(a, b), a.shape, b.shape, mode, "convolve")
    return fftconvolve(a, b, mode)


def correlate(in1: Any, in2: Any, mode: str = "full", method: str = "auto") -> Any:
    """Σ in1[n + k] conj(in2[n]): `convolve` with in2 turned round and conjugated."""
    a, b = _pair(in1, in2, "correlate")
    if mode == "valid" and any(m < n for m, n in zip(a.shape, b.shape, strict=True)):
        swapped = convolve(b, _turned(a), mode, method)
        return _turned(swapped)
    return convolve(a, _turned(b), mode, method)


def _turned(x: Any) -> Any:
    """x turned round along all axes, and conjugated."""
    return x.conj().flip(tuple(range(x.ndim)))


def fftconvolve(in1: Any, in2: Any, mode: str = "full", axes: Any = None) -> Any:
    """`convolve` by transforms, along ``axes``, all unless told; the other axes broadcast."""
    a, b = (as_float(x) for x in _pair(in1, in2, "fftconvolve"))
    dtype = a.dtype
    a, b = single(a), single(b)
    places = _axes(axes, a.ndim, "fftconvolve")
    sizes = [a.shape[i] + b.shape[i] - 1 for i in places]
    fast = [_next_fast(n, a) for n in sizes]
    if is_complex(a.dtype):
        forward, back = transforms.fftn, transforms.ifftn
    else:
        forward, back = transforms.rfftn, transforms.irfftn
    full = back(forward(a, fast, places) * forward(b, fast, places), fast, places)
    cut = dict(zip(places, sizes, strict=True))
    full = full[tuple([slice(cut.get(i)) for i in range(full.ndim)])]
    shape_b = [n if i in cut else full.shape[i] for i, n in enumerate(b.shape)]
    shape_a = [n if i in cut else full.shape[i] for i, n in enumerate(a.shape)]
    return _middle(full, shape_a, shape_b, mode, "fftconvolve", places).astype(dtype)


def _next_fast(n: int, like: Any) -> int:
    """A size near n that transforms are fast at."""
    found: int = importlib.import_module("scipy.fft").next_fast_len(n, not is_complex(like.dtype))
    return found


def _pair(a: Any, b: Any, name: str) -> Any:
    a, b = terms(a, b)
    if a.ndim != b.ndim or not a.ndim:
        raise ValueError(
            f"[{name}] expected two tensors of as many axes, 1 or more, got {a.shape}, {b.shape}"
        )
    if not a.size or not b.size:
        raise ValueError(f"[{name}] expected elements, got shapes {a.shape} and {b.shape}")
    return in_one_dtype(a, b)


def _axes(axes: Any, ndim: int, name: str) -> list[int]:
    if axes is None:
        return list(range(ndim))
    given = [axes] if isinstance(axes, int | np.integer) else [*axes]
    if not given or any(not -ndim <= axis < ndim for axis in given):
        raise ValueError(f"[{name}] expected axes of a tensor of {ndim} axes, got {axes}")
    places = [operator.index(axis) % ndim for axis in given]
    if len(set(places)) < len(places):
        raise ValueError(f"[{name}] expected distinct axes, got {axes}")
    return places


def _middle(full: Any, of_a: Any, of_b: Any, mode: str, name: str, axes: Any = None) -> Any:
    """The part of a full convolution that ``mode`` asks for."""
    if mode not in MODES:
        raise ValueError(f"[{name}] expected mode to be one of {MODES}, got {mode!r}")
    if mode == "full":
        return full
    places = range(full.ndim) if axes is None else axes
    key = [slice(None)] * full.ndim
    inside = [of_a[i] >= of_b[i] for i in places]
    if mode == "valid" and any(inside) and not all(inside):
        raise ValueError(
            f'[{name}] expected one to lie within the other for mode "valid", got {tuple(of_a)} '
            f"and {tuple(of_b)}"
        )
    for i in places:
        n, m = of_a[i], of_b[i]
        if mode == "same":
            key[i] = slice((m - 1) // 2, (m - 1) // 2 + n)
        else:
            key[i] = slice(min(n, m) - 1, max(n, m))
    return full[tuple(key)]


# --- windows and analytic signals -----------------------------------------------------------------


def get_window(window: Any, Nx: int, fftbins: bool = True, *, like: Any = None) -> Any:
    """A window of Nx elements: SciPy's name of it, or a tuple of name and parameters; a constant.

    ``fftbins`` makes it periodic, as spectra want it; else it is symmetric. It is float64, or of
    the dtype and on the device of the tensor ``like``.
    """
    values = importlib.import_module("scipy.signal").get_window(window, Nx, fftbins)
    if like is None:
        return tensor(values)
    real = np.dtype(like.dtype.type(0).real.dtype) if is_complex(like.dtype) else like.dtype
    return like._wrap(constant(np.asarray(values, real), device_of(like.data)))


def hilbert(x: Any, N: int | None = None, axis: int = -1) -> Any:
    """The analytic signal of real x along ``axis``: x + i times its Hilbert transform.

    Its spectrum is that of x at positive frequencies, doubled, and 0 at negative ones.
    """
    x = single(as_float(tensor(x)))
    expect_real("hilbert", x)
    (place,) = _axes(axis, x.ndim, "hilbert")
    n = x.shape[place] if N is None else operator.index(N)
    if n < 1:
        raise ValueError(f"[hilbert] expected N of at least 1, got {n}")
    gains = np.zeros(n)
    gains[0] = 1
    gains[1 : (n + 1) // 2] = 2
    if n % 2 == 0:
        gains[n // 2] = 1
    gains = gains.astype(x.dtype).reshape(-1, *[1] * (x.ndim - 1 - place))
    spectrum = transforms.fft(x, n, place)
    return transforms.ifft(spectrum * x._wrap(constant(gains, device_of(x.data))), axis=place)


# --- spectra in time ------------------------------------------------------------------------------


def stft(
    x: Any,
    fs: float = 1.0,
    window: Any = "hann",
    nperseg: int = 256,
    noverlap: int | None = None,
    nfft: int | None = None,
    return_onesided: bool = True,
    boundary: str | None = "zeros",
    padded: bool = True,
    axis: int = -1,
    scaling: str = "spectrum",
) -> tuple[Any, Any, Any]:
    """Frequencies, times and Z (…, frequencies, times): spectra of segments along ``axis``.

    Segments have ``nperseg`` elements, of which ``noverlap`` (half of them) are those of the next,
    and are filled up with zeros to ``nfft``. ``boundary`` "zeros" puts half a segment of them on
    both ends, ``padded`` fills up the last segment. A tensor as ``window`` is differentiated, too.
    Of real x the frequencies are one-sided, unless told. ``scaling`` is "spectrum" or "psd".
    """
    x = single(as_float(tensor(x)))
    (place,) = _axes(axis, x.ndim, "stft")
    x = moveaxis(x, place, -1)
    size, step, count = _segments("stft", nperseg, noverlap, nfft)
    if boundary not in ("zeros", None):
        raise ValueError(f'[stft] expected boundary to be "zeros" or None, got {boundary!r}')
    length = x.shape[-1] + (2 * (size // 2) if boundary else 0)
    if length < size:
        raise ValueError(
            f"[stft] expected at least nperseg = {size} elements, got {x.shape[place]}"
        )
    front = size // 2 if boundary else 0
    behind = front + (-(length - size) % step if padded else 0)
    x = x.pad([*[(0, 0)] * (x.ndim - 1), (front, behind)]) if front or behind else x
    taken = (x.shape[-1] - size) // step + 1
    lead = x.ndim - 1
    frames = Strided((taken, size), (step, 1), lead)(x)
    win = _window(window, size, x, "stft")
    z = _spectra(frames * win, count, return_onesided and not is_complex(x.dtype))
    z = z * _scale(win, fs, scaling, "stft")
    onesided = return_onesided and not is_complex(x.dtype)
    f = (np.fft.rfftfreq if onesided else np.fft.fftfreq)(count, 1 / fs)
    t = (np.arange(taken) * step + (0 if boundary else size / 2)) / fs
    return tensor(f), tensor(t), z.swapaxes(-1, -2)


def istft(
    Zxx: Any,
    fs: float = 1.0,
    window: Any = "hann",
    nperseg: int | None = None,
    noverlap: int | None = None,
    nfft: int | None = None,
    input_onesided: bool = True,
    boundary: bool = True,
    time_axis: int = -1,
    freq_axis: int = -2,
    scaling: str = "spectrum",
) -> tuple[Any, Any]:
    """Times and the signal whose `stft`, with the same parameters, is nearest to Zxx.

    Segments are added up and divided by what the windows together give: the inverse where these
    overlap without a gap (SciPy's ``check_NOLA``).
    """
    z = tensor(Zxx)
    time, freq = (_axes(axis, z.ndim, "istft")[0] for axis in (time_axis, freq_axis))
    if time == freq or not is_complex(z.dtype):
        raise ValueError(
            f"[istft] expected complex numbers and two axes, got dtype {z.dtype}, axes {time_axis} "
            f"and {freq_axis}"
        )
    others = [i for i in range(z.ndim) if i not in (time, freq)]
    z = z.permute(*others, time, freq)  # (…, times, frequencies)
    whole = 2 * (z.shape[-1] - 1) if input_onesided else z.shape[-1]
    nperseg = whole if nperseg is None else nperseg
    if nfft is None:
        nfft = nperseg if input_onesided and nperseg == whole + 1 else whole
    size, step, count = _segments("istft", nperseg, noverlap, nfft)
    if input_onesided:
        frames = transforms.irfft(z, count)
    else:
        frames = transforms.ifft(z, count)
    frames = frames[..., :size]
    win = _window(window, size, frames.real, "istft")
    taken, lead = frames.shape[-2], frames.ndim - 2
    length = (taken - 1) * step + size
    shape = (*frames.shape[:-2], length)
    summed = StridedAdded(shape, (step, 1), lead)(frames * win)
    weight = (win * win).reshape(1, size).broadcast_to(taken, size)
    norm = StridedAdded((length,), (step, 1))(weight)
    cut = slice(size // 2, length - size // 2) if boundary else slice(None)
    summed, norm = summed[..., cut], norm[cut]
    there = norm.detach() > 1e-10
    found = summed / norm.where(there, 1.0) / _scale(win, fs, scaling, "istft")
    return tensor(np.arange(found.shape[-1]) / fs), found


def _segments(name: str, nperseg: Any, noverlap: Any, nfft: Any) -> tuple[int, int, int]:
    """Elements of a segment, from one to the next, and of a spectrum."""
    size = operator.index(nperseg)
    overlap = size // 2 if noverlap is None else operator.index(noverlap)
    count = size if nfft is None else operator.index(nfft)
    if size < 1 or not 0 <= overlap < size or count < size:
        raise ValueError(
            f"[{name}] expected nperseg ≥ 1, 0 ≤ noverlap < nperseg and nfft ≥ nperseg, got "
            f"{size}, {overlap} and {count}"
        )
    return size, size - overlap, count


def _window(window: Any, size: int, like: Any, name: str) -> Any:
    if isinstance(window, str | tuple | float):
        return get_window(window, size, like=like)
    found = tensor(window, like)
    if found.shape != (size,):
        raise ValueError(f"[{name}] expected a window of {size} elements, got {found.shape}")
    return found.astype(like.real.dtype)


def _spectra(frames: Any, count: int, onesided: bool) -> Any:
    return transforms.rfft(frames, count) if onesided else transforms.fft(frames, count)


def _scale(win: Any, fs: float, scaling: str, name: str) -> Any:
    """What spectra are multiplied by."""
    if scaling == "spectrum":
        return 1 / win.sum()
    if scaling == "psd":
        return (1 / (fs * (win * win).sum())).sqrt()
    raise ValueError(f'[{name}] expected scaling to be "spectrum" or "psd", got {scaling!r}')

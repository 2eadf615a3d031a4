"""Discrete Fourier transforms: SciPy's on the CPU, by our number of threads, cuFFT's on a GPU.

None is scaled. Whole numbers of elements, of any size; float32 gives complex64.
"""

from __future__ import annotations

import importlib
from typing import Any

from ..backend import Array, array_module, import_cupy, kernel
from ..backend.cpu_threads import thread_count

LARGE = 1 << 15  # elements from which on several threads are worth it

# How NumPy's `norm` says that a forward and an inverse transform are not scaled.
_UNSCALED = {False: "backward", True: "forward"}


def _cpu(name: str, x: Array, inverse: bool, *arguments: Any) -> Array:
    transform = getattr(importlib.import_module("scipy.fft"), name)
    workers = thread_count() if x.size >= LARGE else 1
    found: Array = transform(x, *arguments, norm=_UNSCALED[inverse], workers=workers)
    return found


def _cuda(name: str, x: Array, inverse: bool, *arguments: Any) -> Array:
    found: Array = getattr(import_cupy().fft, name)(x, *arguments, norm=_UNSCALED[inverse])
    return found


def _full_cpu(x: Array, axes: tuple[int, ...], inverse: bool) -> Array:
    return _cpu("ifftn" if inverse else "fftn", x, inverse, None, axes)


def _full_cuda(x: Array, axes: tuple[int, ...], inverse: bool) -> Array:
    return _cuda("ifftn" if inverse else "fftn", x, inverse, None, axes)


@kernel(cpu=_full_cpu, cuda=_full_cuda)
def full(x: Array, axes: tuple[int, ...], inverse: bool) -> Array:
    """Σ x[n] exp(∓2πi k n / N) over ``axes``, + where ``inverse``; complex, of x's shape."""


def _half_cpu(x: Array, axes: tuple[int, ...]) -> Array:
    return _cpu("rfftn", x, False, None, axes)


def _half_cuda(x: Array, axes: tuple[int, ...]) -> Array:
    return _cuda("rfftn", x, False, None, axes)


@kernel(cpu=_half_cpu, cuda=_half_cuda)
def half(x: Array, axes: tuple[int, ...]) -> Array:
    """`full` of real x, N // 2 + 1 elements along the last of ``axes``: the others follow."""


def _from_half_cpu(x: Array, axes: tuple[int, ...], size: int) -> Array:
    return _cpu("irfftn", x, True, [*(x.shape[i] for i in axes[:-1]), size], axes)


def _from_half_cuda(x: Array, axes: tuple[int, ...], size: int) -> Array:
    return _cuda("irfftn", x, True, [*(x.shape[i] for i in axes[:-1]), size], axes)


@kernel(cpu=_from_half_cpu, cuda=_from_half_cuda)
def from_half(x: Array, axes: tuple[int, ...], size: int) -> Array:
    """The real inverse of `half`, unscaled, with ``size`` elements along the last of ``axes``.

    Imaginary parts where there is none (along that axis at 0, and at size / 2) do not count.
    """


def weights(like: Array, size: int) -> Array:
    """Of each element of a half spectrum, how often the whole of ``size`` has it: 1 or 2."""
    xp = array_module(like)
    found = xp.full(size // 2 + 1, 2, like.real.dtype)
    found[0] = 1
    if size % 2 == 0:
        found[-1] = 1
    return found

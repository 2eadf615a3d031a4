"""Discrete Fourier transforms: SciPy's on the CPU, by our number of threads, cuFFT's on a GPU.

None is scaled. Whole numbers of elements, of any size; float32 gives complex64.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np

from ..backend import Array, CudaSource, array_module, cufft, float64s, import_cupy, int64s, kernel
from ..backend.cpu_threads import thread_count
from ..backend.cuda_source import dtype_macros

LARGE = 1 << 15  # elements from which on several threads are worth it

_kernels = CudaSource(__file__, "fft.cu")

# How NumPy's `norm` says that a forward and an inverse transform are not scaled.
_UNSCALED = {False: "backward", True: "forward"}


def _cpu(name: str, x: Array, inverse: bool, sizes: Any, axes: tuple[int, ...]) -> Array:
    scipy = importlib.import_module("scipy.fft")
    how: dict[str, Any] = {
        "norm": _UNSCALED[inverse],
        "workers": thread_count() if x.size >= LARGE else 1,
    }
    found: Array
    if len(axes) == 1:  # in two thirds of the time, where it is short
        found = getattr(scipy, name[:-1])(x, None if sizes is None else sizes[0], axes[0], **how)
    else:
        found = getattr(scipy, name)(x, sizes, axes, **how)
    return found


def _cuda(name: str, x: Array, inverse: bool, *arguments: Any) -> Array:
    """By CuPy, which puts transforms over any axes together."""
    found: Array = getattr(import_cupy().fft, name)(x, *arguments, norm=_UNSCALED[inverse])
    return found


def _planned(kind: str, x: Array, axes: tuple[int, ...], size: int, inverse: bool) -> Array | None:
    """By one plan of cuFFT, where there is one for such axes; see `cufft.transform`."""
    ndim = x.ndim
    places = tuple([i % ndim for i in axes])
    if kind == "C2C":  # which comes first does not matter
        places = tuple(sorted(places))
    return cufft.transform(kind, x, places, size, cufft.INVERSE if inverse else cufft.FORWARD)


def _is_flat(axes: tuple[int, ...], size: int) -> bool:
    """Whether the last axis, the one of which half is enough, has one element alone.

    cuFFT leaves such an axis out, and takes half of the axis before it for enough.
    """
    return size == 1 and len(axes) > 1


def _full_cpu(x: Array, axes: tuple[int, ...], inverse: bool) -> Array:
    return _cpu("ifftn" if inverse else "fftn", x, inverse, None, axes)


def _full_cuda(x: Array, axes: tuple[int, ...], inverse: bool) -> Array:
    x = import_cupy().ascontiguousarray(x, np.dtype(x.dtype.char.upper()))
    found = _planned("C2C", x, axes, 0, inverse)
    if found is None:
        found = _cuda("ifftn" if inverse else "fftn", x, inverse, None, axes)
    return found


@kernel(cpu=_full_cpu, cuda=_full_cuda)
def full(x: Array, axes: tuple[int, ...], inverse: bool) -> Array:
    """Σ x[n] exp(∓2πi k n / N) over ``axes``, + where ``inverse``; complex, of x's shape."""


def _half_cpu(x: Array, axes: tuple[int, ...]) -> Array:
    return _cpu("rfftn", x, False, None, axes)


def _half_cuda(x: Array, axes: tuple[int, ...]) -> Array:
    if _is_flat(axes, x.shape[axes[-1]]):
        return _full_cuda(x, axes[:-1], False)
    x = import_cupy().ascontiguousarray(x)
    found = _planned("R2C", x, axes, x.shape[axes[-1]], False)
    return _cuda("rfftn", x, False, None, axes) if found is None else found


@kernel(cpu=_half_cpu, cuda=_half_cuda)
def half(x: Array, axes: tuple[int, ...]) -> Array:
    """`full` of real x, N // 2 + 1 elements along the last of ``axes``: the others follow."""


def _from_half_cpu(x: Array, axes: tuple[int, ...], size: int) -> Array:
    return _cpu("irfftn", x, True, [*(x.shape[i] for i in axes[:-1]), size], axes)


def _from_half_cuda(x: Array, axes: tuple[int, ...], size: int) -> Array:
    return _overwritten(x.copy("C"), axes, size)


def _overwritten(x: Array, axes: tuple[int, ...], size: int) -> Array:
    """`from_half` of x in C order, which may be written into."""
    if _is_flat(axes, size):
        return import_cupy().ascontiguousarray(_full_cuda(x, axes[:-1], True).real)
    found = _planned("C2R", x, axes, size, True)
    if found is None:
        found = _cuda("irfftn", x, True, [*(x.shape[i] for i in axes[:-1]), size], axes)
    return found


@kernel(cpu=_from_half_cpu, cuda=_from_half_cuda)
def from_half(x: Array, axes: tuple[int, ...], size: int) -> Array:
    """The real inverse of `half`, unscaled, with ``size`` elements along the last of ``axes``.

    Imaginary parts where there is none (along that axis at 0, and at size / 2) do not count.
    """


# --- gradients ----------------------------------------------------------------------------------


def _weighted_conj_cpu(x: Array, axis: int, size: int, divided: bool) -> Array:
    found = np.conjugate(x)
    twice = slice(1, (size + 1) // 2)  # what the whole spectrum has two of
    inside = found[(*(slice(None),) * (axis % x.ndim), twice)]
    inside *= inside.real.dtype.type(0.5 if divided else 2)
    return found


def _weighted_conj_cuda(x: Array, axis: int, size: int, divided: bool) -> Array:
    cupy = import_cupy()
    x = cupy.ascontiguousarray(x)
    y = cupy.empty(x.shape, x.dtype)
    inner = math.prod(x.shape[axis % x.ndim + 1 :])
    given = x, y, *int64s(inner, size), *float64s(0.5 if divided else 2.0), *int64s(x.size)
    _kernels.launch(
        *("fft_weighted_conj", _kernels.blocks(x.size), given),
        defines=dtype_macros(np.dtype(x.dtype.char.lower())),
    )
    return y


@kernel(cpu=_weighted_conj_cpu, cuda=_weighted_conj_cuda)
def weighted_conj(x: Array, axis: int, size: int, divided: bool) -> Array:
    """x̄ of a half spectrum, by how often the whole of ``size`` has each; or divided by that."""


def half_backward(grad: Array, axes: tuple[int, ...], size: int) -> Array:
    """The gradient by the input of `half`, of ``size`` elements along the last of ``axes``."""
    once = weighted_conj(grad, axes[-1], size, True)
    return (
        from_half(once, axes, size) if type(once) is np.ndarray else _overwritten(once, axes, size)
    )


def from_half_backward(grad: Array, axes: tuple[int, ...], size: int) -> Array:
    """The gradient by the input of `from_half`."""
    return weighted_conj(half(grad, axes), axes[-1], size, False)


def weights(like: Array, size: int) -> Array:
    """Of each element of a half spectrum, how often the whole of ``size`` has it: 1 or 2."""
    xp = array_module(like)
    found = xp.full(size // 2 + 1, 2, like.real.dtype)
    found[0] = 1
    if size % 2 == 0:
        found[-1] = 1
    return found

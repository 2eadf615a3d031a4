"""The gradient of the absolute value of complex numbers, in one pass."""

from __future__ import annotations

import ctypes

import numpy as np

from ..backend import Array, CudaSource, import_cupy, int64s, kernel
from ..backend.c_source import CSource, plain
from ..backend.cuda_source import dtype_macros

LEAST = 1 << 15  # elements for a thread: fewer do not pay

_files = {
    np.dtype(dtype): CSource(__file__, "complex_numbers.c", defines=(f"TYPE={name}",))
    for dtype, name in ((np.float32, "float"), (np.float64, "double"))
}
_kernels = CudaSource(__file__, "complex_numbers.cu")


class _None(ctypes.Structure):
    """As in complex_numbers.c."""

    _fields_ = [("unused", ctypes.c_int64)]


_NONE = _None()


def _abs_backward_cpu(grad: Array, x: Array, y: Array) -> Array:
    found: Array = np.empty(x.shape, x.dtype)
    source = _files[y.dtype]
    if source.library is None:
        size = np.where(y == 0, y.dtype.type(1), y)
        found.real, found.imag = x.real / size * grad, x.imag / size * -grad
        return found
    grad, x, y = plain(grad), plain(x), plain(y)
    parts = [one.reshape(-1).view(y.dtype) for one in (x, found)]
    source.run("abs_backward", _NONE, x.size, (grad, parts[0], y, parts[1]), 0, LEAST)
    return found


def _abs_backward_cuda(grad: Array, x: Array, y: Array) -> Array:
    cupy = import_cupy()
    found = cupy.empty(x.shape, x.dtype)
    grad, x, y = (cupy.ascontiguousarray(one) for one in (grad, x, y))
    if x.size:
        given = grad, x, y, found, *int64s(x.size)
        macros = dtype_macros(y.dtype)
        _kernels.launch("complex_abs_backward", _kernels.blocks(x.size), given, defines=macros)
    return found


@kernel(cpu=_abs_backward_cpu, cuda=_abs_backward_cuda)
def abs_backward(grad: Array, x: Array, y: Array) -> Array:
    """grad x̄ / y, the gradient by complex x of y = |x|, all of one shape; 0 where y is 0."""

"""Matrix products on either device.

The one door to BLAS: everything that multiplies matrices comes through here, so that how a product
is computed (its precision, its stream, its workspace) is decided in one place.
"""

from __future__ import annotations

import numpy as np

from .backend import Array, array_module, is_cuda
from .parallel import by_parts, is_working

NARROW = ("float16", "bfloat16")
LARGE = 1 << 18  # multiplications; BLAS computes smaller products in one thread by itself


def matmul(a: Array, b: Array, out: Array | None = None) -> Array:
    """a @ b over the last two axes, leading axes broadcast; into ``out`` when it is given.

    Raises ``TypeError`` for float16 and bfloat16 on the CPU, where NumPy has no product for them.
    """
    if not is_cuda(a):
        for dtype in (a.dtype, b.dtype):
            if dtype.itemsize == 2 and dtype.name in NARROW:
                raise TypeError(
                    f"[matmul] {dtype.name} products need a GPU: on the CPU {dtype.name} only "
                    'stores and converts; use .astype("float32") first'
                )
        return _matmul_cpu(a, b, out)
    return array_module(a).matmul(a, b, out=out)


def _matmul_cpu(a: Array, b: Array, out: Array | None) -> Array:
    """A large product is split by rows over our own threads.

    BLAS would use its own, and those go on spinning for a while when they are done, which takes
    the cores from whatever runs next.
    """
    if is_working() or a.ndim != 2 or b.ndim != 2 or a.size * b.shape[1] < LARGE:
        return np.matmul(a, b, out=out)
    y = np.empty((len(a), b.shape[1]), np.result_type(a, b)) if out is None else out
    by_parts(np, lambda part: np.matmul(a[part], b, out=y[part]), len(a), least=64)
    return y

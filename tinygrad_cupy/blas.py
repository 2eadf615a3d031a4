"""Matrix products on either device.

The one door to BLAS: everything that multiplies matrices comes through here, so that how a product
is computed (its precision, its stream, its workspace) is decided in one place.
"""

from __future__ import annotations

import numpy as np

from .backend import Array, array_module, is_cuda

NARROW = ("float16", "bfloat16")


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
        return np.matmul(a, b, out=out)
    return array_module(a).matmul(a, b, out=out)

"""The sums that the blocks of a weight gradient leave, added up in a fixed order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...backend import Array, CudaSource, import_cupy, int32s
from ...backend.cuda_source import dtype_macros
from ..common.layout import empties
from ..common.windows import Shape

TILE = 32  # elements of a weight that a block of wgrad_reduce.cu adds up

_sum = CudaSource(__file__, "wgrad_reduce.cu", defines=(f"TILE={TILE}",))


class Partials:
    """Those of the blocks along a grid's first axis: ``arrays`` (blocks, O, taps, C), (blocks, O).

    They are of float64 where ``dtype``, that of the gradients, is, else of float32.
    """

    def __init__(self, w_shape: Shape, grid: Any, dtype: np.dtype[Any]) -> None:
        self.w_shape, self.blocks, self.dtype = w_shape, grid[0], dtype
        count, acc = math.prod(w_shape), np.dtype(np.float64 if dtype.itemsize == 8 else np.float32)
        both = import_cupy().empty(self.blocks * (count + w_shape[0]), acc)
        self.arrays = (both, both.data + acc.itemsize * self.blocks * count)

    @staticmethod
    def prepare(dtype: np.dtype[Any]) -> None:
        """Have the kernel of `total` compiled."""
        _sum.prepare(dtype_macros(dtype))

    def total(self) -> tuple[Array, Array]:
        """dw (O, C, KH, KW) and db (O,)."""
        outputs, channels, *kernel = self.w_shape
        dw, db = empties((self.w_shape, self.dtype), ((outputs,), self.dtype))
        numbers = int32s(self.blocks, outputs, math.prod(kernel), channels)
        blocks = -(-(dw.size + outputs) // TILE)
        arguments = (*self.arrays, dw, db, *numbers)
        _sum.launch("conv_wgrad_reduce", blocks, arguments, defines=dtype_macros(self.dtype))
        return dw, db

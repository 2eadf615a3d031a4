"""im2col and col2im on arrays. Letters are explained in `common.windows`."""

from __future__ import annotations

import math

from ..backend import Array, array_module
from ..backend.cpu_threads import by_parts
from ..backend.dtypes import through_single
from .common.layout import seen_last
from .common.windows import Shape, Windows


def unfold(x: Array, windows: Windows) -> Array:
    """The windows of x (N, C, H, W) as columns, (N, C · KH · KW, OH · OW)."""
    xp, (n, c, *size) = array_module(x), x.shape
    out = windows.output_size("unfold", tuple(size))
    padded = xp.pad(x, windows.around) if windows.is_padded else x
    columns = xp.empty((n, c, *windows.kernel, *out), x.dtype)
    view = windows.view(seen_last(padded), out)  # (N, OH, OW, KH, KW, C)
    ndim = len(size)
    columns[...] = view.transpose(
        0, 2 * ndim + 1, *range(ndim + 1, 2 * ndim + 1), *range(1, ndim + 1)
    )
    return columns.reshape(n, c * windows.taps, math.prod(out))


@through_single
def fold(columns: Array, windows: Windows, size: Shape) -> Array:
    """Columns (N, C · KH · KW, L) added up where their windows lie, (N, C, *size)."""
    xp, n, c = array_module(columns), columns.shape[0], columns.shape[1] // windows.taps
    out = windows.output_size("fold", size)
    by_tap = columns.reshape(n, c, windows.taps, *out)
    padded = xp.empty((n, c, *windows.padded_size(size)), columns.dtype)

    def task(part: slice) -> None:
        padded[part] = 0
        for k, tap in windows.each_tap(out):
            padded[part, :, *tap] += by_tap[part, :, k]

    by_parts(xp, task, n)
    return padded[:, :, *windows.inside(size)]

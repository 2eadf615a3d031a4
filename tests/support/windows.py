"""Random windows over images, for the records of convolution and pooling."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tinygrad_cupy import Tensor

from .sampling import Draw, Options

Pair = tuple[int, int]


def pairs(low: int, high: int) -> Any:
    """(vertical, horizontal), each in low … high."""
    return st.tuples(st.integers(low, high), st.integers(low, high))


def draw_windows(draw: Draw, most_padding: int = 2) -> tuple[Options, Pair]:
    """Kernel, stride, padding, dilation, and an input size that they fit."""
    kernel, stride, dilation = draw(pairs(1, 3)), draw(pairs(1, 3)), draw(pairs(1, 2))
    padding = draw(pairs(0, most_padding))
    extra = draw(pairs(0, 4))
    size = tuple(
        max(1, d * (k - 1) + 1 - 2 * p) + e
        for k, p, d, e in zip(kernel, padding, dilation, extra, strict=True)
    )
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    return {"kernel_size": kernel, **options}, (size[0], size[1])


def plain(draw: Draw, options: Options) -> Options:
    """An option whose two values agree is sometimes given as one number."""
    return {
        k: v[0] if isinstance(v, tuple) and v[0] == v[1] and draw(st.booleans()) else v
        for k, v in options.items()
    }


def image(*shape: int) -> Tensor:
    """Ones, for bad calls of which the shape matters alone."""
    return Tensor.ones(*shape)

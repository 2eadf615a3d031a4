"""Random windows over sequences, images and volumes, for convolution and pooling."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tinygrad_cupy import Tensor

from .sampling import Draw, Options

Sizes = tuple[int, ...]


def sides(low: int, high: int, ndim: int = 2) -> Any:
    """A number in low … high for each axis: (vertical, horizontal), say."""
    return st.tuples(*[st.integers(low, high)] * ndim)


def draw_windows(draw: Draw, most_padding: int = 2, ndim: int = 2) -> tuple[Options, Sizes]:
    """Kernel, stride, padding, dilation, and an input size that they fit."""
    most = 3 if ndim < 3 else 2  # volumes grow fast
    kernel, stride = draw(sides(1, most, ndim)), draw(sides(1, most, ndim))
    dilation, padding = draw(sides(1, 2, ndim)), draw(sides(0, min(most_padding, most - 1), ndim))
    extra = draw(sides(0, 4 if ndim < 3 else 2, ndim))
    size = tuple(
        max(1, d * (k - 1) + 1 - 2 * p) + e
        for k, p, d, e in zip(kernel, padding, dilation, extra, strict=True)
    )
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    return {"kernel_size": kernel, **options}, size


def plain(draw: Draw, options: Options) -> Options:
    """An option whose values agree is sometimes given as one number."""
    return {
        k: v[0] if isinstance(v, tuple) and len(set(v)) == 1 and draw(st.booleans()) else v
        for k, v in options.items()
    }


def draw_lead(draw: Draw, channels: int, most: int = 3) -> Sizes:
    """N and C of an input, or C alone."""
    lead: Sizes = draw(st.sampled_from([(channels,), *[(n, channels) for n in range(most + 1)]]))
    return lead


def image(*shape: int) -> Tensor:
    """Ones, for bad calls of which the shape matters alone."""
    return Tensor.ones(*shape)

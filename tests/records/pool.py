"""Records of ops/pool.py."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from support.sampling import Case, Draw, Error, Sample, distinct, method, normal
from support.windows import draw_windows, image, pairs, plain
from tinygrad_cupy.ops import pool

HALF: Any = 2.5


def _pool_case(draw: Draw, values: Any, dilated: bool) -> Case:
    windows, size = draw_windows(draw, most_padding=0)
    half = [draw(st.integers(0, k // 2)) for k in windows["kernel_size"]]
    windows["padding"] = (half[0], half[1])
    if not dilated:
        del windows["dilation"]
    if draw(st.booleans()):
        del windows["stride"]  # the kernel size then
    if draw(st.booleans()) and dilated:
        windows["dilation"] = (1, 1)
    shape = (draw(st.integers(0, 3)), draw(st.integers(1, 3)), *size)
    return Case((values(draw, shape),), plain(draw, windows))


def _adaptive_case(draw: Draw) -> Case:
    size, out = draw(pairs(1, 7)), draw(pairs(1, 5))
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 2)), *size)
    return Case((normal(draw, shape),), plain(draw, {"output_size": out}))


def _functional(name: str) -> Any:
    def reference(torch: Any, x: Any, **options: Any) -> Any:
        return getattr(torch.nn.functional, name)(x, **options)

    return reference


SAMPLES = [
    Sample(
        "max_pool2d",
        method("max_pool2d"),
        lambda draw: _pool_case(draw, distinct, dilated=True),
        _functional("max_pool2d"),
        (pool.MaxPool, pool.MaxScatter, pool.MaxGather),
        ("max_pool2d",),
        kinks=True,
        errors=(
            Error(
                lambda: image(1, 5, 5).max_pool2d(2),
                ValueError,
                "[max_pool2d] expected an input of shape (N, C, H, W), got (1, 5, 5)",
            ),
            Error(
                lambda: image(1, 1, 5, 5).max_pool2d(3, padding=2),
                ValueError,
                "[max_pool2d] expected padding of at most half the kernel (3, 3), got (2, 2)",
            ),
            Error(
                lambda: image(1, 1, 2, 2).max_pool2d(3),
                ValueError,
                "[max_pool2d] a kernel of (3, 3) with dilation (1, 1) does not fit in an input of "
                "(2, 2) padded by (0, 0)",
            ),
            Error(
                lambda: image(1, 1, 2, 2).max_pool2d(0),
                ValueError,
                "[max_pool2d] kernel_size: expected an integer from 1 to 2147483647 "
                "or two of them, got 0",
            ),
            Error(
                lambda: image(1, 1, 2, 2).max_pool2d(2**31 - 1, padding=2**30 - 1),
                ValueError,
                "[max_pool2d] expected at most 2147483647 rows and columns with their padding, got "
                "an input of (2, 2) padded by (1073741823, 1073741823)",
            ),
            Error(
                lambda: image(1, 1, 2, 2).max_pool2d(2, stride=HALF),
                ValueError,
                "[max_pool2d] stride: expected an integer from 1 to 2147483647 "
                "or two of them, got 2.5",
            ),
        ),
    ),
    Sample(
        "avg_pool2d",
        method("avg_pool2d"),
        lambda draw: _pool_case(draw, normal, dilated=False),
        _functional("avg_pool2d"),
        (pool.SumPool, pool.Spread),
        ("avg_pool2d",),
        errors=(
            Error(
                lambda: image(1, 1, 2, 2).avg_pool2d((3, 1)),
                ValueError,
                "[avg_pool2d] a kernel of (3, 1) with dilation (1, 1) does not fit in an input of "
                "(2, 2) padded by (0, 0)",
            ),
        ),
    ),
    Sample(
        "adaptive_avg_pool2d",
        method("adaptive_avg_pool2d"),
        _adaptive_case,
        _functional("adaptive_avg_pool2d"),
        (pool.Spans,),
        ("adaptive_avg_pool2d",),
        errors=(
            Error(
                lambda: image(1, 1, 0, 2).adaptive_avg_pool2d(2),
                ValueError,
                "[adaptive_avg_pool2d] expected images of at least one pixel, got shape "
                "(1, 1, 0, 2)",
            ),
            Error(
                lambda: image(1, 1, 2, 2).adaptive_avg_pool2d(0),
                ValueError,
                "[adaptive_avg_pool2d] output_size: expected an integer from 1 to 2147483647 "
                "or two of them, got 0",
            ),
        ),
    ),
]

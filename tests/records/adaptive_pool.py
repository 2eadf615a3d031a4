"""Records of ops/adaptive_pool.py."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from support.sampling import Case, Draw, Error, Sample, distinct, method, normal
from support.windows import draw_lead, image, sides
from tinygrad_cupy.ops import adaptive_pool, pool


def _case(draw: Draw, ndim: int, values: Any) -> Case:
    most = 7 if ndim < 3 else 4
    size, out = draw(sides(1, most, ndim)), draw(sides(1, most - 2, ndim))
    if ndim > 1 and draw(st.booleans()):
        out = (None, *out[1:])
    lead = draw_lead(draw, draw(st.integers(1, 2)), 2)
    return Case((values(draw, (*lead, *size)),), {"output_size": out if ndim > 1 else out[0]})


def _functional(name: str, part: int | None = None) -> Any:
    def reference(torch: Any, x: Any, output_size: Any) -> Any:
        found = getattr(torch.nn.functional, name)(x, output_size, *[True] * (part is not None))
        return found if part is None else found[part]

    return reference


def _indices(ndim: int) -> Any:
    def call(x: Any, output_size: Any) -> Any:
        return getattr(x, f"adaptive_max_pool{ndim}d")(output_size, True)[1]

    return call


AVG_ERRORS: tuple[Error, ...] = (
    Error(
        lambda: image(1, 1, 0, 2).adaptive_avg_pool2d(2),
        ValueError,
        "[adaptive_avg_pool2d] expected images of at least one pixel, got shape (1, 1, 0, 2)",
    ),
    Error(
        lambda: image(1, 1, 2, 2).adaptive_avg_pool2d(0),
        ValueError,
        "[adaptive_avg_pool2d] output_size: expected an integer from 1 to 2147483647 "
        "or two of them, got 0",
    ),
)

SAMPLES = [
    *[
        Sample(
            f"adaptive_avg_pool{n}d",
            method(f"adaptive_avg_pool{n}d"),
            lambda draw, n=n: _case(draw, n, normal),  # type: ignore[misc]
            _functional(f"adaptive_avg_pool{n}d"),
            (adaptive_pool.Spans,),
            (f"adaptive_avg_pool{n}d",),
            errors=AVG_ERRORS if n == 2 else (),
        )
        for n in (1, 2, 3)
    ],
    *[
        Sample(
            f"adaptive_max_pool{n}d",
            method(f"adaptive_max_pool{n}d"),
            lambda draw, n=n: _case(draw, n, distinct),  # type: ignore[misc]
            _functional(f"adaptive_max_pool{n}d"),
            (pool.MaxPool, pool.MaxScatter, pool.MaxGather),
            (f"adaptive_max_pool{n}d",),
            kinks=True,
        )
        for n in (1, 2, 3)
    ],
    *[
        Sample(
            f"indices of adaptive_max_pool{n}d",
            _indices(n),
            lambda draw, n=n: _case(draw, n, distinct),  # type: ignore[misc]
            _functional(f"adaptive_max_pool{n}d", 1),
            (pool.MaxIndices,),
            (f"adaptive_max_pool{n}d",),
            order=0,
            kinks=True,
        )
        for n in (1, 2, 3)
    ],
]

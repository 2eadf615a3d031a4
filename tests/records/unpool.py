"""Records of ops/unpool.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from support.sampling import Case, Draw, Error, Sample, normal, rng_of
from support.windows import image, sides
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import take, unpool

ONE: Any = np.zeros((1, 1, 1, 1), np.int64)


def _case(draw: Draw, ndim: int) -> Case:
    """Values at places that windows without overlaps have."""
    kernel, out = draw(sides(1, 3, ndim)), draw(sides(1, 3, ndim))
    size = tuple(k * n + draw(st.integers(0, k - 1)) for k, n in zip(kernel, out, strict=True))
    lead = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    rng = rng_of(draw)
    places = np.zeros((*lead, *out), np.int64)
    for axis, (n, k) in enumerate(zip(out, kernel, strict=True)):
        starts = (np.arange(n) * k).reshape(-1, *[1] * (ndim - 1 - axis))
        places = places * size[axis] + starts + rng.integers(0, k, places.shape)
    options = {"indices": places, "kernel_size": kernel, "output_size": size}
    return Case((normal(draw, places.shape),), options)


def _ours(ndim: int) -> Any:
    def call(x: Tensor, indices: Any, **options: Any) -> Any:
        return getattr(x, f"max_unpool{ndim}d")(indices, **options)

    return call


def _theirs(ndim: int) -> Any:
    def call(torch: Any, x: Any, indices: Any, **options: Any) -> Any:
        places = torch.as_tensor(np.asarray(indices))
        return getattr(torch.nn.functional, f"max_unpool{ndim}d")(x, places, **options)

    return call


ERRORS = (
    Error(
        lambda: image(1, 1, 2, 2).max_unpool2d(ONE, 2),
        ValueError,
        "[max_unpool2d] expected indices of shape (1, 1, 2, 2), got (1, 1, 1, 1)",
    ),
    Error(
        lambda: image(1, 1, 1, 1).max_unpool2d(ONE, 2, output_size=(4, 2)),
        ValueError,
        "[max_unpool2d] expected an output_size less than a stride (2, 2) from (2, 2), got (4, 2) "
        "for windows (1, 1)",
    ),
    Error(
        lambda: image(1, 1, 1, 1).max_unpool2d(ONE + 4, 2),
        IndexError,
        "[max_unpool2d] index 4 is out of bounds for axis 2 with size 4 "
        "(tensor of shape (1, 1, 1, 1))",
        on_gpu=False,
    ),
)

SAMPLES = [
    Sample(
        f"max_unpool{n}d",
        _ours(n),
        lambda draw, n=n: _case(draw, n),  # type: ignore[misc]
        _theirs(n),
        (unpool.Unpool, take.TakeAlong),
        (f"max_unpool{n}d",),
        errors=ERRORS if n == 2 else (),
    )
    for n in (1, 2, 3)
]

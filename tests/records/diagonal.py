"""Records of ops/diagonal.py."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

import tinygrad_cupy.numpy as tnp
from support.moving import moving, shaped
from support.sampling import MOVED, NUMBERS, Draw, Error, Sample
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops.comparison import Where
from tinygrad_cupy.ops.diagonal import Diagonal, FromDiagonal
from tinygrad_cupy.ops.reduce import Sum

from .arrange import axes_of


def _diagonal(draw: Draw, shape: tuple[int, ...]) -> dict[str, Any]:
    axis1, axis2 = axes_of(draw, shape, 2)
    return {"offset": draw(st.integers(-5, 5)), "axis1": axis1, "axis2": axis2}


def _k(draw: Draw, shape: tuple[int, ...]) -> dict[str, Any]:
    return {"k": draw(st.integers(-4, 4))}


def _traced(torch: Any, x: Any, offset: int, axis1: int, axis2: int) -> Any:
    return torch.diagonal(x, offset, axis1, axis2).sum(-1)


def _flat(torch: Any, x: Any, k: int) -> Any:
    return torch.diagflat(x, k)


def _triangle(name: str) -> Sample:
    return Sample(
        f"np.{name}",
        lambda x, k: getattr(tnp, name)(x, k),
        shaped(_k, min_dims=1),
        lambda torch, x, k: getattr(torch, name)(x.expand(len(x), len(x)) if x.ndim == 1 else x, k),
        (Where,),
        (f"np.{name}",),
        dtypes=MOVED,
        errors=(
            Error(
                lambda: getattr(tnp, name)(Tensor(1.0)),
                ValueError,
                f"[{name}] expected at least one axis, got shape ()",
            ),
        ),
    )


SAMPLES = [
    moving(
        "diagonal",
        shaped(_diagonal, min_dims=2),
        (Diagonal, FromDiagonal),
        "diagonal",
        errors=(
            Error(
                lambda: Tensor.ones(2).diagonal(),
                ValueError,
                "[diagonal] expected at least two axes, got shape (2,)",
            ),
            Error(
                lambda: Tensor.ones(2, 2).diagonal(0, 1, -1),
                ValueError,
                "[diagonal] expected two different axes, got 1 and -1",
            ),
        ),
    ),
    Sample(
        "np.trace",
        lambda x, **options: tnp.trace(x, **options),
        shaped(_diagonal, min_dims=2),
        _traced,
        (Diagonal, Sum),
        ("np.trace", "trace"),
        dtypes=NUMBERS,
    ),
    Sample(
        "np.diag",
        lambda x, k: tnp.diag(x, k),
        shaped(_k, min_dims=1, max_dims=2),
        lambda torch, x, k: torch.as_tensor(x).diag(k) if _fits(x, k) else x.reshape(-1)[:0],
        (Diagonal, FromDiagonal),
        ("np.diag",),
        dtypes=MOVED,
        errors=(
            Error(
                lambda: tnp.diag(Tensor.ones(1, 1, 1)),
                ValueError,
                "[diag] expected one or two axes, got shape (1, 1, 1)",
            ),
        ),
    ),
    Sample(
        "np.diagflat",
        lambda x, k: tnp.diagflat(x, k),
        shaped(_k),
        _flat,
        (FromDiagonal,),
        ("np.diagflat",),
        dtypes=MOVED,
    ),
    _triangle("tril"),
    _triangle("triu"),
]


def _fits(x: Any, k: int) -> bool:
    """Whether PyTorch has this diagonal; NumPy has all, those outside empty."""
    return bool(x.ndim == 1 or -x.shape[0] <= k <= x.shape[1])

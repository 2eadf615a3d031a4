"""Records of ops/matrices.py."""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_cupy as tg
from support.matrices import lead, small
from support.sampling import Case, Draw, Error, Sample, normal
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import matrices

LINALG: Any = np.linalg  # NumPy's stubs know no tensors


def _stack(draw: Draw) -> Case:
    return Case((normal(draw, (*lead(draw), 2, 3)),))


def _blocks(draw: Draw) -> Case:
    return Case((small(draw, (2, 1, 3)), small(draw, (3, 2)), small(draw, (2,))))


def _their_blocks(torch: Any, a: Any, b: Any, c: Any) -> Any:
    return torch.stack([torch.block_diag(one, b, c) for one in a])


def _stated(x: Tensor) -> Tensor:
    return matrices.Stated("[stated] never")(x, x.detach() > 100)


def _part(x: Tensor) -> Tensor:
    return matrices.Part(2, (2, 1))(x)


SAMPLES = [
    Sample(
        "part",
        _part,
        lambda draw: Case((normal(draw, (*lead(draw), 5)),)),
        lambda _, x: x[..., 2:4, None],
        (matrices.Part, matrices.Packed),
        (),
    ),
    Sample("stated", _stated, _stack, lambda _, x: x * 1, (matrices.Stated,), ()),
    Sample(
        "block_diag",
        lambda *blocks: tg.linalg.block_diag(*blocks),
        _blocks,
        _their_blocks,
        (),
        (),
    ),
    Sample(
        "np.linalg.diagonal",
        lambda x: LINALG.diagonal(x, offset=1),
        _stack,
        lambda torch, x: torch.diagonal(x, 1, -2, -1),
        (),
        ("np.linalg.diagonal",),
        errors=(
            Error(
                lambda: LINALG.diagonal(Tensor.ones(2)),
                ValueError,
                "[diagonal] expected matrices (…, M, N), got shape (2,)",
            ),
        ),
    ),
    Sample(
        "np.linalg.trace",
        lambda x: LINALG.trace(x, offset=-1),
        _stack,
        lambda torch, x: torch.diagonal(x, -1, -2, -1).sum(-1),
        (),
        ("np.linalg.trace",),
    ),
    Sample(
        "np.linalg.matrix_transpose",
        lambda x: LINALG.matrix_transpose(x),
        _stack,
        lambda torch, x: x.mT,
        (),
        ("np.linalg.matrix_transpose",),
    ),
]

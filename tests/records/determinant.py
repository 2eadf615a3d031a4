"""Records of ops/determinant.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from support.matrices import regular, square
from support.sampling import Error, Sample
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import determinant
from tinygrad_cupy.ops.promotion import in_single
from tinygrad_cupy.ops.solve import LUFactors

LINALG: Any = np.linalg  # NumPy's stubs know no tensors
SPECTRA = "eigenvalues and singular values, whose iterations cuSOLVER steers from the host"


def _cofactors(torch: Any, a: Any) -> Any:
    a = regular(a)
    return torch.linalg.det(a)[..., None, None] * torch.linalg.inv(a).mT


SAMPLES = [
    Sample(
        "np.linalg.det",
        lambda a: LINALG.det(regular(a)),
        square,
        lambda torch, a: torch.linalg.det(regular(a)),
        (LUFactors, determinant.Det),
        ("np.linalg.det",),
        captured=False,
        obstacle=SPECTRA,
        errors=(
            Error(
                lambda: LINALG.det(Tensor.ones(2, 3)),
                ValueError,
                "[det] expected square matrices (…, N, N), got shape (2, 3)",
            ),
        ),
    ),
    Sample(
        "cofactors",
        lambda a: in_single(regular(a), determinant.Cofactors()),
        square,
        _cofactors,
        (determinant.Cofactors, determinant.Handedness),
        (),
        captured=False,
        obstacle=SPECTRA,
    ),
]

"""Records of ops/spectrum.py: of vectors, what does not depend on their signs."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_cupy as tg
from support.matrices import square, symmetric, with_options
from support.sampling import Error, Sample
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import spectrum

LINALG: Any = np.linalg  # NumPy's stubs know no tensors
SIDE = st.sampled_from(["L", "U"])


def _put_together(found: Any) -> list[Any]:
    """The values, the vectors' squares and a function of the matrix."""
    values, vectors = found
    return [values, vectors * vectors, (vectors * values[..., None, :].sin()) @ vectors.mT]


def _alone(a: Tensor, UPLO: str) -> Any:
    return tg.linalg.eigvalsh(symmetric(a), UPLO)


SAMPLES = [
    Sample(
        "np.linalg.eigh",
        lambda a, UPLO: _put_together(LINALG.eigh(symmetric(a), UPLO)),
        with_options(square, UPLO=SIDE),
        lambda torch, a, UPLO: _put_together(torch.linalg.eigh(symmetric(a), UPLO)),
        (spectrum.Eigh,),
        ("np.linalg.eigh",),
        captured=False,
        obstacle="eigenvalues and singular values, whose iterations cuSOLVER steers from the host",
        errors=(
            Error(
                lambda: LINALG.eigh(Tensor.ones(2, 3)),
                ValueError,
                "[eigh] expected square matrices (…, N, N), got shape (2, 3)",
            ),
            Error(
                lambda: LINALG.eigh(Tensor.ones(2, 2), "X"),
                ValueError,
                '[eigh] expected UPLO "L" or "U", got \'X\'',
            ),
        ),
    ),
    Sample(
        "np.linalg.eigvalsh",
        lambda a, UPLO: LINALG.eigvalsh(symmetric(a), UPLO),
        with_options(square, UPLO=SIDE),
        lambda torch, a, UPLO: torch.linalg.eigvalsh(symmetric(a), UPLO),
        (spectrum.Eigh,),
        ("np.linalg.eigvalsh",),
        captured=False,
        obstacle="eigenvalues and singular values, whose iterations cuSOLVER steers from the host",
    ),
    Sample(
        "eigenvalues alone",
        lambda a, UPLO: _alone(a.detach(), UPLO),
        with_options(square, UPLO=SIDE),
        lambda torch, a, UPLO: torch.linalg.eigvalsh(symmetric(a.detach()), UPLO),
        (spectrum.EigenvaluesAlone,),
        (),
        order=0,
        captured=False,
        obstacle="eigenvalues and singular values, whose iterations cuSOLVER steers from the host",
    ),
]

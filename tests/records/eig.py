"""Records of ops/eig.py: what does not depend on phases and order."""

from __future__ import annotations

from typing import Any

import numpy as np

from support.matrices import regular, square
from support.sampling import Error, Sample
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import eig

LINALG: Any = np.linalg  # NumPy's stubs know no tensors
SPECTRA = "eigenvalues and singular values, whose iterations cuSOLVER steers from the host"


def _ours(a: Tensor) -> Any:
    values, vectors = LINALG.eig(regular(a))
    return ((vectors * values[..., None, :].sin()) @ LINALG.inv(vectors)).real.astype(a.dtype)


def _theirs(torch: Any, a: Any) -> Any:
    values, vectors = torch.linalg.eig(regular(a))
    return ((vectors * values[..., None, :].sin()) @ torch.linalg.inv(vectors)).real


SAMPLES = [
    Sample(
        "np.linalg.eig",
        _ours,
        square,
        _theirs,
        (eig.Eig,),
        ("np.linalg.eig",),
        captured=False,
        obstacle=SPECTRA,
        errors=(
            Error(
                lambda: LINALG.eig(Tensor.ones(2, 3)),
                ValueError,
                "[eig] expected square matrices (…, N, N), got shape (2, 3)",
            ),
        ),
    ),
    Sample(
        "np.linalg.eigvals",
        lambda a: (LINALG.eigvals(regular(a)) ** 3).sum(-1).real.astype(a.dtype),
        square,
        lambda torch, a: (torch.linalg.eigvals(regular(a)) ** 3).sum(-1).real,
        (eig.Eig,),
        ("np.linalg.eigvals",),
        captured=False,
        obstacle=SPECTRA,
    ),
]

"""Records of ops/matrix_exp.py."""

from __future__ import annotations

import tinygrad_cupy as tg
from support.matrices import square
from support.sampling import Error, Sample
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import matrix_exp

SAMPLES = [
    Sample(
        "expm",
        lambda a: tg.linalg.expm(a * 3),
        square,
        lambda torch, a: torch.linalg.matrix_exp(a * 3),
        (matrix_exp.Expm,),
        (),
        captured=False,
        obstacle="`tg.linalg.expm`, which squares as often as the norm of its matrix says",
        errors=(
            Error(
                lambda: tg.linalg.expm(Tensor.ones(2, 3)),
                ValueError,
                "[expm] expected square matrices (…, N, N), got shape (2, 3)",
            ),
        ),
    ),
]

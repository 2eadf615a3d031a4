"""Records of ops/singular_values.py: of vectors, what does not depend on their signs."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_cupy as tg
from support.matrices import oblong, regular, several, small, square, symmetric, with_options
from support.sampling import Case, Draw, Error, Sample
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import singular_values, spectrum

LINALG: Any = np.linalg  # NumPy's stubs know no tensors
SPECTRA = "eigenvalues and singular values, whose iterations cuSOLVER steers from the host"


def _put_together(found: Any) -> list[Any]:
    """The values, the vectors' squares and a product of both sides."""
    u, s, vh = found
    k = s.shape[-1]
    u, vh = u[..., :k], vh[..., :k, :]
    return [s, u * u, vh * vh, (u * s[..., None, :].sin()) @ vh]


def _beyond(found: Any) -> Any:
    """The spaces of all vectors, those of no singular value among them."""
    u, _, vh = found
    return [u.detach() @ u.detach().mT, vh.detach().mT @ vh.detach()]


def _least_case(draw: Draw) -> Case:
    rows, columns = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    right = draw(st.sampled_from([(), (2,)]))
    return Case((small(draw, (rows, columns)), small(draw, (rows, *right))))


def _least(torch: Any, a: Any, b: Any) -> list[Any]:
    a = regular(a)
    x = torch.linalg.pinv(a) @ b
    rows, columns = a.shape
    errors = ((b - a @ x) ** 2).sum(0).reshape(-1)
    return [x, errors if rows > columns else errors[:0], torch.linalg.svdvals(a)]


def _ours_least(a: Tensor, b: Tensor) -> list[Any]:
    x, errors, _, s = LINALG.lstsq(regular(a), b)
    return [x, errors, s]


SAMPLES = [
    Sample(
        "np.linalg.svd",
        lambda a, full_matrices: _put_together(LINALG.svd(regular(a), full_matrices)),
        with_options(oblong, full_matrices=st.booleans()),
        lambda torch, a, full_matrices: _put_together(torch.linalg.svd(regular(a), False)),
        (singular_values.Svd, singular_values.Beyond),
        ("np.linalg.svd",),
        captured=False,
        obstacle=SPECTRA,
        errors=(
            Error(
                lambda: LINALG.svd(Tensor.ones(2)),
                ValueError,
                "[svd] expected matrices (…, M, N), got shape (2,)",
            ),
        ),
    ),
    Sample(
        "svd, all vectors",
        lambda a: _beyond(LINALG.svd(regular(a.detach()))),
        oblong,
        lambda torch, a: _beyond(torch.linalg.svd(regular(a.detach()))),
        (singular_values.Beyond,),
        (),
        order=0,
        captured=False,
        obstacle=SPECTRA,
    ),
    Sample(
        "svd of Hermitian matrices",
        lambda a: _put_together(LINALG.svd(symmetric(a), hermitian=True))[::3],
        square,
        lambda torch, a: _put_together(torch.linalg.svd(symmetric(a)))[::3],
        (spectrum.Eigh,),
        ("np.linalg.svd",),
        captured=False,
        obstacle=SPECTRA,
    ),
    Sample(
        "np.linalg.svdvals",
        lambda a: LINALG.svdvals(regular(a)),
        oblong,
        lambda torch, a: torch.linalg.svdvals(regular(a)),
        (singular_values.Svd,),
        ("np.linalg.svdvals",),
        captured=False,
        obstacle=SPECTRA,
    ),
    Sample(
        "singular values alone",
        lambda a: tg.linalg.svdvals(regular(a.detach())),
        oblong,
        lambda torch, a: torch.linalg.svdvals(regular(a.detach())),
        (singular_values.SingularValuesAlone,),
        (),
        order=0,
        captured=False,
        obstacle=SPECTRA,
    ),
    Sample(
        "np.linalg.pinv",
        lambda a: LINALG.pinv(regular(a)),
        oblong,
        lambda torch, a: torch.linalg.pinv(regular(a)),
        (singular_values.Svd, singular_values.Pinv),
        ("np.linalg.pinv",),
        captured=False,
        obstacle=SPECTRA,
        errors=(
            Error(
                lambda: LINALG.pinv(Tensor.ones(2)),
                ValueError,
                "[pinv] expected matrices (…, M, N), got shape (2,)",
            ),
            Error(
                lambda: LINALG.pinv(Tensor.ones(2, 2), 0.1, rtol=0.1),
                ValueError,
                "[pinv] expected rcond or rtol, got both",
            ),
        ),
    ),
    Sample(
        "np.linalg.lstsq",
        _ours_least,
        _least_case,
        _least,
        (singular_values.Svd, singular_values.Pinv),
        ("np.linalg.lstsq",),
        captured=False,
        obstacle=SPECTRA,
        errors=(
            Error(
                lambda: LINALG.lstsq(Tensor.ones(2, 2, 2), Tensor.ones(2)),
                ValueError,
                "[lstsq] expected a (M, N) and b (M,) or (M, K), got shapes (2, 2, 2) and (2,)",
            ),
        ),
    ),
    Sample(
        "norms of singular values",
        lambda a, ord: tg.linalg.matrix_norm(regular(a), ord=ord),
        with_options(oblong, ord=st.sampled_from([2, -2, "nuc"])),
        lambda torch, a, ord: torch.linalg.matrix_norm(regular(a), ord),
        (singular_values.Svd,),
        (),
        captured=False,
        obstacle=SPECTRA,
    ),
    Sample(
        "np.linalg.cond",
        lambda a, p: LINALG.cond(regular(a), p),
        with_options(several, p=st.sampled_from([None, 2, -2])),
        lambda torch, a, p: torch.linalg.cond(regular(a), p),
        (singular_values.Svd,),
        ("np.linalg.cond",),
        captured=False,
        obstacle=SPECTRA,
        errors=(
            Error(
                lambda: LINALG.cond(Tensor.ones(2)),
                ValueError,
                "[cond] expected matrices (…, M, N), got shape (2,)",
            ),
        ),
    ),
]

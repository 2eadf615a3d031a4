"""Records of `tinygrad_cupy.numpy`'s covariances and correlations."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

import tinygrad_cupy.numpy as tnp
from support.sampling import Case, Draw, Error, Sample, normal, positive, rng_of
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import matmul, reduce


def _observations(draw: Draw) -> Case:
    rows, columns = draw(st.integers(1, 3)), draw(st.integers(4, 6))
    shape = (columns,) if draw(st.booleans()) else (rows, columns)
    options = {"rowvar": draw(st.booleans()), "bias": draw(st.booleans())}
    if len(shape) == 2 and not options["rowvar"]:
        shape = shape[::-1]
    both = normal(draw, (2, *shape))  # of one generator: equal ones would correlate by 1
    return Case((both[0], both[1]), options)


def _cov(torch: Any, m: Any, y: Any, rowvar: bool, bias: bool) -> Any:
    rows = [v.T if v.ndim == 2 and not rowvar else torch.atleast_2d(v) for v in (m, y)]
    return torch.cov(torch.cat(rows), correction=int(not bias)).squeeze()


def _weighted(draw: Draw) -> Case:
    n = draw(st.integers(4, 6))
    return Case(
        (normal(draw, (2, n)), positive(draw, (n,))),
        {"fweights": rng_of(draw).integers(1, 4, n), "ddof": draw(st.integers(0, 2))},
    )


def _weighted_cov(torch: Any, m: Any, aweights: Any, fweights: Any, ddof: int) -> Any:
    return torch.cov(m, correction=ddof, fweights=fweights, aweights=aweights)


def _corrcoef(torch: Any, m: Any, y: Any, rowvar: bool, bias: bool) -> Any:
    rows = [v.T if v.ndim == 2 and not rowvar else torch.atleast_2d(v) for v in (m, y)]
    return torch.corrcoef(torch.cat(rows))


SAMPLES = [
    Sample(
        "np.cov",
        lambda m, y, rowvar, bias: tnp.cov(m, y, rowvar, bias),
        _observations,
        _cov,
        (matmul.MatMul, reduce.Centre),
        ("np.cov",),
        errors=(
            Error(
                lambda: tnp.cov(Tensor.ones(2, 3), ddof=0.5),  # type: ignore[arg-type]
                ValueError,
                "[cov] expected an integer ddof, got 0.5",
            ),
            Error(
                lambda: tnp.cov(Tensor.ones(2, 3, 4)),
                ValueError,
                "[cov] expected at most 2 axes, got shape (2, 3, 4)",
            ),
            Error(
                lambda: tnp.cov(Tensor.ones(2, 3), aweights=Tensor.ones(2)),
                ValueError,
                "[cov] expected aweights of shape (3,), got (2,)",
            ),
            Error(
                lambda: tnp.cov(Tensor.ones(2, 3), fweights=Tensor.ones(3)),
                TypeError,
                "[cov] expected fweights of integers, got float32",
            ),
        ),
    ),
    Sample(
        "np.cov weighted",
        lambda m, aweights, fweights, ddof: tnp.cov(
            m, ddof=ddof, fweights=fweights, aweights=aweights
        ),
        _weighted,
        _weighted_cov,
        (matmul.MatMul,),
        ("np.cov",),
    ),
    Sample(
        "np.corrcoef",
        lambda m, y, rowvar, bias: tnp.corrcoef(m, y, rowvar),
        _observations,
        _corrcoef,
        (matmul.MatMul,),
        ("np.corrcoef",),
        kinks=True,
    ),
]

"""Records of ops/norm.py."""

from __future__ import annotations

from hypothesis import strategies as st

from support.sampling import Case, Draw, Error, Sample, normal, shapes
from tinygrad_cupy import Tensor


def _responses_case(draw: Draw) -> Case:
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 4)), *draw(shapes(2, 1)))
    options = {
        "size": draw(st.integers(1, 5)),
        "alpha": draw(st.sampled_from([0.1, 1.0])),
        "beta": draw(st.sampled_from([0.5, 0.75])),
    }
    return Case((normal(draw, shape),), options)


SAMPLES = [
    Sample(
        "local_response_norm",
        lambda x, **options: x.local_response_norm(**options),
        _responses_case,
        lambda torch, x, **options: torch.nn.functional.local_response_norm(x, **options),
        (),
        ("local_response_norm",),
        errors=(
            Error(
                lambda: Tensor.ones(2, 3).local_response_norm(2),
                ValueError,
                "[local_response_norm] expected (N, C, L, …) and a size of at least 1, got shape "
                "(2, 3) and 2",
            ),
        ),
    ),
]

"""Complex numbers in every operation: right gradients, or an error that says so.

Each record's inputs get imaginary parts. What the operation makes of them must be what PyTorch
makes of them where PyTorch takes them, and its gradients those of finite differences that move the
real and the imaginary parts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import tinygrad_cupy as tg
from records import FAMILIES, SAMPLES
from support.peers import import_torch
from support.sampling import Case, Sample, options_on
from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import to_device

torch = import_torch()

# What takes real numbers alone, in NumPy too, or makes them of what it is given.
REAL = {
    *("np.bincount", "np.histogram", "np.histogram2d", "np.histogramdd"),
    *(s.name for s in FAMILIES["complex_numbers"]),
}
COMPLEX = [s for s in SAMPLES if s.order and s.differences and s.name not in REAL]
# Those that every run of the suite tries.
FEW = ("mul", "truediv", "pow", "np.einsum", "matmul", "sum", "var", "prod", "abs", "conj", "log")


def _complex(values: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    made: np.ndarray = np.asarray(values) + 1j * rng.uniform(-0.5, 0.5, np.shape(values))
    return made


def _listed(results: Any) -> list[Any]:
    return list(results) if isinstance(results, list | tuple) else [results]


def _theirs(sample: Sample, case: Case, values: list[np.ndarray]) -> list[np.ndarray] | None:
    """PyTorch's results; None where it takes no complex numbers."""
    options = {
        k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in case.options.items()
    }
    try:
        found = sample.torch(torch, *[torch.tensor(v) for v in values], **options)
    except (RuntimeError, TypeError, ValueError, UserWarning):  # a cast drops what is imaginary
        return None
    return [y.resolve_conj().resolve_neg().numpy() for y in _listed(found)]


def check(sample: Sample, device: str, data: st.DataObject) -> None:
    case = sample.cases(data.draw)
    values = [_complex(v, i) for i, v in enumerate(case.values)]
    inputs = [Tensor(to_device(v, device), requires_grad=True) for v in values]
    options = options_on(case.options, device)

    def call(*xs: Any) -> list[Any]:
        with np.errstate(all="ignore"):
            return _listed(sample.call(*xs, **options))

    try:
        found = call(*inputs)
    except TypeError as error:
        assert "expected" in str(error) or "not supported" in str(error), error  # noqa: PT017
        return
    assume(any(y.requires_grad for y in found))
    theirs = _theirs(sample, case, values) if device == "cpu" else None
    for mine, other in zip(found, theirs or (), strict=False):
        np.testing.assert_allclose(mine.numpy(), other, rtol=1e-8, atol=1e-8)

    def inexact(*xs: Any) -> list[Any]:
        return [y for y in call(*xs) if y.dtype.kind in "fc"]

    forward = {"forward_mode": sample.forward_mode, "batched": sample.batched}
    assert tg.gradcheck(inexact, inputs, order=sample.order, **forward)


@pytest.mark.parametrize(
    "sample", [s for s in COMPLEX if s.name in FEW], ids=lambda sample: sample.name
)
@settings(max_examples=2, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_gradients_of_complex_numbers(sample: Sample, device: str, data: st.DataObject) -> None:
    check(sample, device, data)


@pytest.mark.slow
@pytest.mark.parametrize("sample", COMPLEX, ids=lambda sample: sample.name)
@settings(max_examples=5, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_gradients_of_complex_numbers_long(
    sample: Sample, device: str, data: st.DataObject
) -> None:
    check(sample, device, data)

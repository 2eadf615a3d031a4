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
# Their records make symmetric matrices where complex ones would have to be Hermitian, or vectors
# of free phase: test_linalg_complex.py. PyTorch scales what channels of dropout leave in float32.
ELSEWHERE = {
    *("np.linalg.svd", "svd of Hermitian matrices", "np.linalg.lstsq", "np.linalg.eigh"),
    *(
        "np.linalg.eigvalsh",
        "np.linalg.cholesky",
        "cho_factor",
        "cho_solve",
        "lu_solve",
        "solve_triangular",
    ),
    *("dropout1d", "dropout2d", "dropout3d"),
}
COMPLEX = [s for s in SAMPLES if s.order and s.differences and s.name not in REAL | ELSEWHERE]
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
@settings(max_examples=3, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_gradients_of_complex_numbers_long(
    sample: Sample, device: str, data: st.DataObject
) -> None:
    check(sample, device, data)


# --- what other numbers than theirs would not show ----------------------------------------------


def _drawn(*shape: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    values: np.ndarray = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    return values


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (np.linalg.qr, torch.linalg.qr),
        (np.linalg.slogdet, torch.linalg.slogdet),
        (lambda z: (-2) ** z, lambda z: torch.tensor(-2 + 0j, dtype=z.dtype) ** z),
        (lambda z: z.detach().imag ** z, lambda z: z.detach().imag.to(z.dtype) ** z),
        (lambda z: z.normalize(), torch.nn.functional.normalize),
        (
            lambda z: z.pairwise_distance(z[0]),
            lambda z: torch.nn.functional.pairwise_distance(z, z[0]),
        ),
        (
            lambda z: tg.spatial.distance.cdist(z, z[:1]),
            lambda z: torch.linalg.vector_norm(z[..., None, :] - z[0], dim=-1),
        ),
        (
            lambda z: tg.spatial.distance.pdist(z[0], "sqeuclidean"),
            lambda z: ((z[0][[0, 0, 1]] - z[0][[1, 2, 2]]).abs() ** 2).sum(-1),
        ),
    ],
    ids=["qr", "slogdet", "number", "reals", "normalize", "pairwise", "cdist", "pdist"],
)
def test_gradients_of_all_results_are_pytorchs(ours: Any, theirs: Any) -> None:
    values = _drawn(2, 3, 3)
    z, other = Tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
    found, expected = ours(z), theirs(other)
    if isinstance(found, Tensor):
        found, expected = [found], [expected]
    total: Any = 0.0
    their_total: Any = 0.0
    for i, (mine, one) in enumerate(zip(found, expected, strict=True)):
        assert str(mine.dtype) == str(one.dtype).removeprefix("torch.")
        np.testing.assert_allclose(mine.numpy(), one.detach().resolve_conj(), atol=1e-12)
        weights = np.arange(1, mine.size + 1).reshape(mine.shape) * (1 + 0.5j - i)
        total = total + (mine * weights).real.sum()
        their_total = their_total + (one * torch.tensor(weights)).real.sum()
    their_total.backward()
    (slope,) = tg.grad([total], [z])
    np.testing.assert_allclose(slope.numpy(), other.grad.resolve_conj(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["cosine_similarity", "cosine"])
def test_angles_between_complex_vectors_are_refused(name: str) -> None:
    z = Tensor(_drawn(2, 3))
    with pytest.raises(
        TypeError, match=rf"^\[{name}\] expected real numbers, got dtype complex128"
    ):
        z.cosine_similarity(z) if "_" in name else tg.spatial.distance.cdist(z, z, name)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        *((name, ()) for name in ("celu", "elu", "gumbel_softmax", "hardshrink", "hardsigmoid")),
        *((name, ()) for name in ("hardswish", "hardtanh", "leaky_relu", "relu6", "rrelu")),
        *((name, ()) for name in ("selu", "softshrink")),
        *(("prelu", (Tensor([0.5]),)), ("threshold", (0, 1))),
    ],
)
def test_activations_that_need_an_order_are_refused(name: str, arguments: Any) -> None:
    """NumPy would order complex numbers by their real parts, then by their imaginary ones."""
    with pytest.raises(TypeError, match=rf"^\[{name}\] expected real numbers, got dtype complex"):
        getattr(Tensor(_drawn(2, 3)), name)(*arguments)


@pytest.mark.parametrize(
    ("name", "arguments"), [("layer_norm", (9,)), ("group_norm", (2,)), ("instance_norm", ())]
)
def test_complex_numbers_are_normalized_by_their_variance(name: str, arguments: Any) -> None:
    z = Tensor(_drawn(2, 2, 9), requires_grad=True)
    y = getattr(z, name)(*arguments)
    np.testing.assert_allclose((abs(y) ** 2).mean(-1).numpy(), 1, rtol=1e-3)
    assert tg.gradcheck(lambda z: getattr(z, name)(*arguments), [z])


@pytest.mark.parametrize(
    ("name", "at"),
    [("arccosh", -2.0), ("arccosh", 0.5), ("sqrt", -2.0), ("log", -2.0)],
)
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_slopes_on_a_cut_are_those_of_its_side(name: str, at: float, zero: float) -> None:
    """As the values are: of an imaginary part of -0 the limit from below."""
    function: Any = getattr(np, name)
    z = Tensor(np.array(complex(at, zero)), requires_grad=True)
    (slope,) = tg.grad([function(z).real], [z])
    right, left = (function(complex(at + step, zero)) for step in (1e-6, -1e-6))
    np.testing.assert_allclose(slope.numpy().conj(), (right - left) / 2e-6, atol=1e-8)


@pytest.mark.parametrize(("at", "zero"), [(2.0, 0.0), (2.0, -0.0), (-2.0, 0.0), (-2.0, -0.0)])
def test_slopes_of_arcsinh_on_its_cut(at: float, zero: float) -> None:
    z = Tensor(np.array(complex(zero, at)), requires_grad=True)
    (slope,) = tg.grad([np.arcsinh(z).real], [z])
    up, down = (np.arcsinh(complex(zero, at + step)) for step in (1e-6, -1e-6))
    np.testing.assert_allclose(slope.numpy().conj(), (up - down) / 2e-6j, atol=1e-8)


def test_the_gradient_of_a_real_result_is_real() -> None:
    x = Tensor(np.ones(2), requires_grad=True)
    with pytest.raises(
        TypeError, match=r"^\[backward\] expected a real gradient, as the tensor is"
    ):
        (x * 2).backward(np.array([1j, 1]))

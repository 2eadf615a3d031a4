"""Cross-entropy in C against plain NumPy in double."""

from __future__ import annotations

import numpy as np
import pytest

from support import cpu_threads
from tinygrad_cupy.backend.compiling import compiler
from tinygrad_cupy.kernels.loss import native

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs a C compiler")

NO_CLASS = -100  # what is ignored


def expected(
    logits: np.ndarray, labels: np.ndarray, smoothing: float, grad: np.ndarray, divisor: float
) -> tuple[np.ndarray, np.ndarray]:
    """The loss of each row, and the gradient by the logits."""
    classes = logits.shape[1]
    x = logits.astype(np.float64)
    shifted = x - x.max(1, keepdims=True)
    log = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    q = np.full(x.shape, smoothing / classes)
    q[np.arange(len(x)), np.clip(labels, 0, classes - 1)] += 1 - smoothing
    counted = labels != NO_CLASS
    illegal = counted & ((labels < 0) | (labels >= classes))
    weight = np.where(illegal, np.nan, counted)
    losses = np.where(counted, -(q * log).sum(1) * weight, 0)
    dx = (np.exp(log) - q) * (grad / divisor * weight)[..., None]
    return losses, dx


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (37, 10), (5, 131), (4100, 3), (300, 1000)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_any_size(
    shape: tuple[int, int], smoothing: float, reduction: str, rng: np.random.Generator
) -> None:
    logits = 20 * rng.standard_normal(shape, np.float32)
    labels = rng.integers(0, shape[1], shape[0])
    labels[rng.random(shape[0]) < 0.2] = NO_CLASS
    found, target = native.forward(logits, labels, smoothing, NO_CLASS, reduction)
    assert native.suits(logits)
    grad = rng.standard_normal(shape[0] if reduction == "none" else (), np.float32)
    divisor = max((labels != NO_CLASS).sum(), 1) if reduction == "mean" else 1
    losses, dx = expected(logits, labels, smoothing, np.asarray(grad), divisor)
    nothing = reduction == "mean" and (labels == NO_CLASS).all()
    whole = np.nan if nothing else losses.sum() / divisor
    np.testing.assert_allclose(found, losses if reduction == "none" else whole, 2e-6, 1e-5)
    gradient = native.backward(logits, grad, target, smoothing)
    np.testing.assert_allclose(gradient, dx, rtol=1e-5, atol=1e-6)


def test_no_class_and_what_is_not_finite(rng: np.random.Generator) -> None:
    logits = rng.standard_normal((6, 4), np.float32)
    logits[3, 1], logits[4, 0], logits[5] = np.nan, -np.inf, np.inf
    labels = np.array([4, -1, NO_CLASS, 0, 1, 2])
    found, target = native.forward(logits, labels, 0.0, NO_CLASS, "none")
    assert np.isnan(found).tolist() == [True, True, False, True, False, True]
    assert found[2] == 0
    dx = native.backward(logits, np.ones(6, np.float32), target, 0.0)
    assert np.isnan(dx).all(1).tolist() == [True, True, False, True, False, True]
    assert (dx[2] == 0).all()
    assert dx[4, 0] == 0


def test_the_same_bits_with_any_number_of_threads(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits, labels = rng.standard_normal((5000, 7), np.float32), rng.integers(0, 7, 5000)
    found = []
    for threads in (1, 2, 3):
        cpu_threads.take(monkeypatch, threads)
        losses, target = native.forward(logits, labels, 0.1, NO_CLASS, "mean")
        dx = native.backward(logits, np.float32(1), target, 0.1)
        found.append(losses.tobytes() + dx.tobytes())
    assert found[0] == found[1] == found[2]

"""Values that overflow, cancel or vanish when a formula is written down without care."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tinygrad_cupy import Tensor, backend


def make(values: np.ndarray, device: str, dtype: str) -> Tensor:
    return Tensor(backend.to_device(values.astype(dtype), device), requires_grad=True)


@pytest.mark.parametrize("offset", [1e4, 1e6, 3e7])
def test_losses_of_large_logits_keep_their_digits(device: str, offset: float) -> None:
    logits = make(np.array([[offset, offset + 4.0]]), device, "float32")
    expected = math.log1p(math.exp(4.0))
    target = Tensor([0], device=device)
    assert logits.cross_entropy(target).item() == pytest.approx(expected, rel=1e-6)
    assert -logits.log_softmax(1)[0, 0].item() == pytest.approx(expected, rel=1e-6)


def test_half_precision_does_not_overflow_in_sums(device: str, rng: np.random.Generator) -> None:
    forty = make(np.full((2, 2000), 40.0), device, "float16")
    assert forty.mean().item() == 40.0
    assert forty.mean().dtype == np.float16
    wide = rng.standard_normal((3, 4096)) * 10
    found = make(wide, device, "float16").var(axis=1)
    np.testing.assert_allclose(found.numpy(), wide.var(axis=1), rtol=5e-3)
    x = make(wide + 40, device, "float16")
    normal = x.layer_norm(4096)
    expected = (wide - wide.mean(1, keepdims=True)) / wide.std(1, keepdims=True)
    np.testing.assert_allclose(normal.numpy(), expected, atol=0.02)
    normal.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == np.float16
    assert np.isfinite(x.grad.numpy()).all()


def test_half_precision_loss(device: str) -> None:
    logits = make(np.array([[30.0, 25.0]]), device, "float16")
    loss = logits.cross_entropy(Tensor([0], device=device))
    assert loss.item() == pytest.approx(math.log1p(math.exp(-5.0)), rel=1e-3)


def test_small_steps_survive(device: str) -> None:
    x = make(np.array([-1e-8, 1e-8]), device, "float32")
    np.testing.assert_allclose(x.expm1().numpy(), [-1e-8, 1e-8], rtol=1e-6)
    np.testing.assert_allclose(x.elu().numpy(), [-1e-8, 1e-8], rtol=1e-6)


def test_nothing_depends_on_logits_that_are_all_ignored(device: str) -> None:
    logits = make(np.array([[1.0, 2.0]]), device, "float32")
    loss = logits.cross_entropy(Tensor([-100], device=device))
    assert math.isnan(loss.item())
    loss.backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[0.0, 0.0]]


def test_ties_and_infinite_gradients_of_maximum(device: str) -> None:
    x = make(np.array([-1.0, 4.0, 0.0]), device, "float32")
    x.maximum(0.0).backward([math.inf, 1.0, 1.0])
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 1.0, 0.5]


def test_a_negative_base_has_no_logarithm(device: str) -> None:
    x = make(np.array([2.0]), device, "float32")
    y = (-2.0) ** x
    assert y.item() == 4.0
    y.backward()
    assert x.grad is not None
    assert math.isnan(x.grad.item())

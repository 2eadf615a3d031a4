"""Losses as layers."""

import math
import re

import numpy as np
import pytest

from tinygrad_cupy import Tensor, nn


def test_cross_entropy_of_equal_scores_is_log_of_the_classes(device: str) -> None:
    logits = Tensor.zeros(3, 5, device=device)
    target = Tensor([0, 4, 2], device=device)
    assert nn.CrossEntropyLoss()(logits, target).item() == pytest.approx(math.log(5))
    total = nn.CrossEntropyLoss(reduction="sum")(logits, target)
    assert total.item() == pytest.approx(3 * math.log(5), rel=1e-6)


def test_cross_entropy_passes_its_options_on(device: str) -> None:
    logits = Tensor([[2.0, 0.0], [0.0, 1.0], [5.0, 5.0]], device=device)
    target = Tensor([0, 0, 9], device=device)
    loss = nn.CrossEntropyLoss(label_smoothing=0.2, ignore_index=9, reduction="none")
    right, wrong = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
    second_right, second_wrong = math.log(1 + math.exp(1)), math.log(1 + math.exp(-1))
    expected = [0.9 * right + 0.1 * wrong, 0.9 * second_right + 0.1 * second_wrong, 0.0]
    np.testing.assert_allclose(loss(logits, target).numpy(), expected, rtol=1e-5)


def test_mean_squared_error_and_its_gradient(device: str) -> None:
    output = Tensor([[1.0, 2.0], [3.0, 4.0]], device=device, requires_grad=True)
    target = Tensor([[1.0, 0.0], [0.0, 4.0]], device=device)
    loss = nn.MSELoss()(output, target)
    assert loss.item() == pytest.approx(13 / 4)
    loss.backward()
    assert output.grad is not None
    np.testing.assert_allclose(output.grad.numpy(), [[0.0, 1.0], [1.5, 0.0]])
    assert nn.MSELoss("sum")(output, target).item() == 13
    np.testing.assert_allclose(nn.MSELoss("none")(output, target).numpy(), [[0, 4], [9, 0]])


def test_mean_squared_error_does_not_broadcast() -> None:
    text = "[MSELoss] expected a target of shape (8, 1), got (8,)"
    with pytest.raises(ValueError, match=re.escape(text)):
        nn.MSELoss()(Tensor.zeros(8, 1), Tensor.zeros(8))


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"\[MSELoss\] reduction must be one of mean, sum, none"):
        nn.MSELoss("average")
    with pytest.raises(ValueError, match=r"\[CrossEntropyLoss\] label_smoothing must be a number"):
        nn.CrossEntropyLoss(label_smoothing=2)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64"])
def test_mean_squared_error_of_integers_does_not_wrap_around(dtype: str, device: str) -> None:
    low, high = (0, 250) if dtype == "uint8" else (-100, 100)
    output, target = (Tensor([v, 1], dtype=dtype, device=device) for v in (low, high))
    for reduction, expected in (("none", [(high - low) ** 2, 0]), ("sum", (high - low) ** 2)):
        found = nn.MSELoss(reduction)(output, target)
        assert found.dtype == np.float32
        assert found.tolist() == expected

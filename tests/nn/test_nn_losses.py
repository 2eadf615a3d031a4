"""Losses as layers."""

import math
import re
from collections.abc import Callable
from typing import Any

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


PAIRS = (
    *("L1Loss", "MSELoss", "HuberLoss", "SmoothL1Loss", "BCELoss", "BCEWithLogitsLoss"),
    *("KLDivLoss", "PoissonNLLLoss", "SoftMarginLoss", "HingeEmbeddingLoss"),
    "MultiLabelSoftMarginLoss",
)


@pytest.mark.parametrize("name", PAIRS)
def test_losses_of_pairs_do_not_broadcast(name: str) -> None:
    text = f"[{name}] expected a target of shape (8, 1), got (8,)"
    with pytest.raises(ValueError, match=re.escape(text)):
        getattr(nn, name)()(Tensor.full((8, 1), 0.5), Tensor.full((8,), 0.5))
    with pytest.raises(TypeError, match=re.escape(f"[{name}] expected a Tensor, got ndarray")):
        getattr(nn, name)()(Tensor.full((8, 1), 0.5), np.ones((8, 1)))


def test_classes_that_count_more_move_the_mean(device: str) -> None:
    logits = Tensor([[2.0, 0.0], [0.0, 1.0]], device=device)
    target = Tensor([0, 1], device=device)
    each = nn.CrossEntropyLoss(reduction="none")(logits, target).numpy()
    loss = nn.CrossEntropyLoss(weight=[1.0, 3.0]).to(device)
    assert loss(logits, target).item() == pytest.approx((each[0] + 3 * each[1]) / 4)
    assert list(loss.state_dict()) == ["weight"]
    assert list(nn.CrossEntropyLoss().state_dict()) == []


def test_shares_of_one_class_are_that_class(device: str, rng: np.random.Generator) -> None:
    logits = Tensor(rng.standard_normal((6, 4, 3)), device=device)
    target = rng.integers(0, 4, (6, 3))
    shares = np.moveaxis(np.eye(4)[target], -1, 1)
    for options in ({}, {"label_smoothing": 0.2}, {"reduction": "none"}):
        loss: Any = nn.CrossEntropyLoss(**options)
        found = loss(logits, Tensor(shares, device=device)).numpy()
        expected = loss(logits, Tensor(target, device=device)).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_shares_have_a_gradient(device: str) -> None:
    logits = Tensor([[1.0, 2.0]], device=device)
    shares = Tensor([[0.5, 0.5]], device=device, requires_grad=True)
    logits.cross_entropy(shares).backward()
    assert shares.grad is not None
    np.testing.assert_allclose(shares.grad.numpy(), -logits.log_softmax(1).numpy())


def test_nothing_that_counts_has_no_mean(device: str) -> None:
    target = Tensor([-100, -100], device=device)
    assert math.isnan(nn.NLLLoss()(Tensor.zeros(2, 3, device=device), target).item())
    loss = nn.NLLLoss(reduction="sum")
    assert loss(Tensor.zeros(2, 3, device=device), target).item() == 0


def test_an_ignored_row_of_infinite_scores_is_no_nan(device: str) -> None:
    x = Tensor([[-math.inf, 0.0], [-1.0, -2.0]], device=device, requires_grad=True)
    loss = nn.NLLLoss()(x, Tensor([-100, 1], device=device))
    assert loss.item() == 2
    loss.backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), [[0, 0], [0, -1]])


def test_certain_probabilities_have_finite_losses(device: str) -> None:
    x = Tensor([0.0, 1.0, 0.0], device=device, requires_grad=True)
    loss = nn.BCELoss(reduction="none")(x, Tensor([0.0, 1.0, 1.0], device=device))
    assert loss.tolist() == [0, 0, 100]
    loss.sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), [0, 0, -1e12], rtol=1e-6)


def test_logits_far_from_zero_overflow_nowhere(device: str) -> None:
    x = Tensor([1000.0, -1000.0], device=device, requires_grad=True)
    loss = nn.BCEWithLogitsLoss(reduction="none")(x, Tensor([0.0, 1.0], device=device))
    assert loss.tolist() == [1000, 1000]
    loss.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1, -1]


def test_a_variance_below_the_least_has_its_slope(device: str) -> None:
    var = Tensor([0.0, 1.0], device=device, requires_grad=True)
    x, t = (Tensor([v, v], device=device) for v in (0.0, 1.0))
    nn.GaussianNLLLoss(eps=0.5, reduction="sum")(x, t, var).backward()
    assert var.grad is not None
    np.testing.assert_allclose(var.grad.numpy(), [0.5 * (2 - 4), 0.5 * (1 - 1)], atol=1e-7)


def test_a_distance_of_ones_own(device: str) -> None:
    a, p, n = (Tensor([[v]], device=device) for v in (0.0, 3.0, 1.0))
    loss = nn.TripletMarginWithDistanceLoss(distance_function=lambda x, y: (x - y).abs().sum(-1))
    assert loss(a, p, n).item() == 3
    swapped = nn.TripletMarginWithDistanceLoss(swap=True, margin=0.5)
    assert swapped(a, p, n).item() == pytest.approx(2.5, rel=1e-5)


def test_a_loss_that_just_reached_0_has_a_slope_still(device: str) -> None:
    """PyTorch's: of equal scores, as an untrained ranking may give them, one is to rise."""

    def slopes(loss: Callable[..., Any], *arrays: Any, target: Any = None) -> list[Any]:
        given = [Tensor(np.float32(a), device=device, requires_grad=True) for a in arrays]
        targets = [] if target is None else [Tensor(np.float32(target), device=device)]
        value = loss(*given, *targets)
        assert value.item() == 0
        value.backward()
        return [x.grad.tolist() for x in given if x.grad is not None]

    ranking = nn.MarginRankingLoss(reduction="sum")
    assert slopes(ranking, [1, 2], [1, 2], target=[1, -1]) == [[-1, 1], [1, -1]]
    assert slopes(nn.HingeEmbeddingLoss(2.0), [2], target=[-1]) == [[-1]]
    cosine = nn.CosineEmbeddingLoss()
    assert slopes(cosine, [[1, 0]], [[0, 1]], target=[-1]) == [[[0, 1]], [[1, 0]]]
    for triplet in (
        lambda a, p, n: a.triplet_margin_loss(p, n, eps=0.0),
        nn.TripletMarginWithDistanceLoss(
            distance_function=lambda a, b: np.linalg.norm(a - b, axis=-1)
        ),
    ):
        assert slopes(triplet, [[0, 0]], [[1, 0]], [[0, 2]]) == [[[-1, 1]], [[1, 0]], [[0, -1]]]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_losses_of_16_bits_are_computed_in_float32(dtype: str, device: str) -> None:
    x, t = (
        Tensor.full((1000,), 300.0, dtype, device),
        Tensor.zeros(1000, dtype=dtype, device=device),
    )
    loss = nn.L1Loss("sum")(x * 0.1, t)
    assert loss.dtype.name == dtype
    assert loss.item() == pytest.approx(30000, rel=1e-2)
    assert nn.MSELoss()(x * 0.5, t).item() == pytest.approx(22500, rel=1e-2)


WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: nn.HuberLoss(delta=0), "[HuberLoss] delta must be a number above 0, got 0"),
    (
        lambda: nn.SmoothL1Loss(beta=-1),
        "[SmoothL1Loss] beta must be a number of at least 0",
    ),
    (lambda: nn.MultiMarginLoss(3), "[MultiMarginLoss] p must be 1 or 2, got 3"),
    (lambda: nn.TripletMarginLoss(0), "[TripletMarginLoss] margin must be a number above 0, got 0"),
    (lambda: nn.MarginRankingLoss("a"), "[MarginRankingLoss] margin must be a number, got 'a'"),  # type: ignore[arg-type]
    (
        lambda: nn.KLDivLoss("all"),
        "[KLDivLoss] reduction must be one of mean, sum, none, batchmean, got 'all'",
    ),
    (lambda: nn.NLLLoss(reduction="batchmean"), "reduction must be one of mean, sum, none, got"),
    (
        lambda: nn.CrossEntropyLoss(weight=[1.0, 2.0])(Tensor.ones(2, 3), Tensor([0, 1])),
        "[cross_entropy] expected a weight for each of 3 classes, got shape (2,)",
    ),
    (
        lambda: nn.CrossEntropyLoss(weight=[1.0, 2.0])(Tensor.ones(2, 2), Tensor([0, 2])),
        "[cross_entropy] expected classes from 0 to 1, got 2 at position 1",
    ),
    (
        lambda: nn.CrossEntropyLoss(ignore_index=1)(Tensor.ones(2, 3), Tensor.ones(2, 3)),
        "[cross_entropy] expected classes where ignore_index is one, got the shares of each class",
    ),
    (
        lambda: nn.TripletMarginLoss()(*map(Tensor.ones, (3, 3, 2))),
        "[TripletMarginLoss] expected a target of shape (3,), got (2,)",
    ),
]


@pytest.mark.parametrize(("build", "text"), WRONG, ids=[text for _, text in WRONG])
def test_what_a_loss_refuses_is_named(build: Callable[[], Any], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        build()


def test_a_row_by_itself_has_one_class_and_numbers_do_not_widen(device: str) -> None:
    x = Tensor([1.0, 3.0, 2.0], device=device)
    assert x.multi_margin_loss(1).item() == 0
    assert x.nll_loss(1).item() == -3
    assert x.multilabel_margin_loss([1, -1, 0]).item() == 0
    loss = x.gaussian_nll_loss(x, 2.0)
    assert loss.dtype == np.float32
    assert loss.item() == pytest.approx(math.log(2) / 2)

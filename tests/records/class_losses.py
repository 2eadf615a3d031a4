"""Records of ops/class_losses.py: scores beside classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from support.sampling import Case, Draw, Error, Options, Sample, method, normal, rng_of, shapes
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import activation, losses, softmax, take

REDUCTIONS = st.sampled_from(losses.REDUCTIONS)


def _classes(draw: Draw, max_dims: int = 3) -> tuple[np.ndarray, np.ndarray, int, Options]:
    """Scores (N, C, …), a class of each row, C, and what else is told."""
    classes = draw(st.integers(1, 4))
    batch, *rest = draw(shapes(min_dims=1, max_dims=max_dims))
    x = normal(draw, (batch, classes, *rest)) * 3
    rng = rng_of(draw)
    target = rng.integers(0, classes, (batch, *rest))
    weight = rng.uniform(0.5, 2, classes) if draw(st.booleans()) else None
    return x, target, classes, {"reduction": draw(REDUCTIONS), "weight": weight}


def _ignored(draw: Draw, x: np.ndarray, target: np.ndarray, classes: int) -> int:
    """A class that counts nothing, of some rows but not of the first."""
    rng = rng_of(draw)
    target[rng.random(target.shape) < 0.3] = -100
    target.flat[0] = classes - 1  # a mean over nothing is NaN
    return -100


def _nll(draw: Draw) -> Case:
    x, target, classes, told = _classes(draw)
    told["ignore_index"] = _ignored(draw, x, target, classes)
    return Case((x,), told | {"target": target})


def _weighted(draw: Draw) -> Case:
    x, target, classes, told = _classes(draw)
    told["ignore_index"] = _ignored(draw, x, target, classes)
    told["weight"] = np.linspace(0.5, 2, classes)
    told["label_smoothing"] = draw(st.sampled_from([0.0, 0.1, 1.0]))
    return Case((x,), told | {"target": target})


def _shared(draw: Draw) -> Case:
    """Shares of classes, which have gradients, too."""
    x, _, _, told = _classes(draw)
    told["label_smoothing"] = draw(st.sampled_from([0.0, 0.1, 1.0]))
    shares = np.asarray(rng_of(draw).uniform(0, 1, x.shape))
    return Case((x, shares), told)


def _margins(draw: Draw) -> Case:
    while True:
        x, target, classes, told = _classes(draw, 1)
        told |= {"p": draw(st.sampled_from([1, 2])), "margin": draw(st.sampled_from([0.5, 1.0]))}
        gaps = told["margin"] - np.take_along_axis(x, target[:, None], 1) + x
        others = np.arange(classes) != target[:, None]
        if (np.abs(gaps[others]) > 0.03).all():
            return Case((x,), told | {"target": target})


def _several(draw: Draw) -> Case:
    classes, batch = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    rng = rng_of(draw)
    target = np.stack([rng.permutation(classes) for _ in range(batch)])
    target[rng.random(target.shape) < 0.3] = -1
    while True:
        x = rng.standard_normal((batch, classes)) * 2
        if (np.abs(1 - x[:, :, None] + x[:, None]) > 0.03).all():
            return Case((x,), {"target": target, "reduction": draw(REDUCTIONS)})


def _each(draw: Draw) -> Case:
    shape = draw(shapes(min_dims=1, max_dims=2))
    rng = rng_of(draw)
    told: Options = {"reduction": draw(REDUCTIONS)}
    told["weight"] = rng.uniform(0.5, 2, shape[-1]) if draw(st.booleans()) else None
    return Case((normal(draw, shape), np.asarray(rng.uniform(0, 1, shape))), told)


def _theirs(name: str) -> Callable[..., Any]:
    def call(torch: Any, x: Any, *others: Any, **options: Any) -> Any:
        if options.get("weight") is not None:
            options["weight"] = options["weight"].to(x.dtype)
        return getattr(torch.nn.functional, name)(x, *others, **options)

    return call


def _reduced(losses: Any, reduction: str) -> Any:
    return losses if reduction == "none" else getattr(losses, reduction)()


def _their_margins(
    torch: Any, x: Any, target: Any, weight: Any, p: int, margin: float, reduction: str
) -> Any:
    """PyTorch's own has no second derivative; tests/nn compares with it."""
    short = (margin - x.gather(1, target[:, None]) + x).clamp_min(0) ** p
    others = torch.arange(x.shape[1]) != target[:, None]
    found = (short * others).sum(1) / x.shape[1]
    return _reduced(found if weight is None else found * weight.to(x.dtype)[target], reduction)


def _their_several(torch: Any, x: Any, target: Any, reduction: str) -> Any:
    rows = []
    for scores, labels in zip(x, target, strict=True):
        said = labels[: int((labels == -1).int().cumsum(0).eq(0).sum())]
        others = [c for c in range(len(scores)) if c not in said]
        short = [(1 - scores[t] + scores[c]).clamp_min(0) for t in said for c in others]
        rows.append(sum(short, scores.sum() * 0) / len(scores))
    return _reduced(torch.stack(rows), reduction)


def _scores() -> Tensor:
    return Tensor.ones(2, 3)


SAMPLES = [
    Sample(
        "nll_loss",
        method("nll_loss"),
        _nll,
        _theirs("nll_loss"),
        (take.TakeAlong, take.Take),
        ("nll_loss",),
        errors=(
            Error(
                lambda: _scores().nll_loss(Tensor([0, 3])),
                ValueError,
                "[nll_loss] expected classes from 0 to 2, got 3 at position 1",
                on_gpu=False,
            ),
            Error(
                lambda: _scores().nll_loss(Tensor([0.0, 1.0])),
                TypeError,
                "[nll_loss] expected integer classes, got dtype float32",
            ),
            Error(
                lambda: _scores().nll_loss(Tensor([0, 1]), Tensor.ones(2)),
                ValueError,
                "[nll_loss] expected a weight for each of 3 classes, got shape (2,)",
            ),
            Error(
                lambda: _scores().nll_loss(Tensor([0])),
                ValueError,
                "[nll_loss] expected (N, C, …) and classes (N, …), got (2, 3) and (1,)",
            ),
        ),
    ),
    Sample(
        "cross_entropy of weighted classes",
        method("cross_entropy"),
        _weighted,
        _theirs("cross_entropy"),
        (softmax.LogSoftmax, take.TakeAlong, take.Take),
        ("cross_entropy",),
        errors=(
            Error(
                lambda: _scores().cross_entropy([0, 1], weight=[1.0, 2.0]),
                ValueError,
                "[cross_entropy] expected a weight for each of 3 classes, got shape (2,)",
            ),
        ),
    ),
    Sample(
        "cross_entropy of shares",
        method("cross_entropy"),
        _shared,
        _theirs("cross_entropy"),
        (softmax.LogSoftmax,),
        ("cross_entropy",),
    ),
    Sample(
        "multi_margin_loss",
        method("multi_margin_loss"),
        _margins,
        _their_margins,
        (take.TakeAlong, activation.Relu),
        ("multi_margin_loss",),
        kinks=True,
        errors=(
            Error(
                lambda: _scores().multi_margin_loss([0, 1], p=3),
                ValueError,
                "[multi_margin_loss] expected p to be 1 or 2, got 3",
            ),
            Error(
                lambda: Tensor.ones(2, 3, 4).multi_margin_loss([0, 1]),
                ValueError,
                "[multi_margin_loss] expected scores (N, C), got shape (2, 3, 4)",
            ),
        ),
    ),
    Sample(
        "multilabel_margin_loss",
        method("multilabel_margin_loss"),
        _several,
        _their_several,
        (take.TakeAlong, activation.Relu),
        ("multilabel_margin_loss",),
        kinks=True,
        errors=(
            Error(
                lambda: _scores().multilabel_margin_loss(Tensor([[0, 1, 3], [0, -1, -1]])),
                ValueError,
                "[multilabel_margin_loss] expected classes from 0 to 2, got 3 at position (0, 2)",
                on_gpu=False,
            ),
        ),
    ),
    Sample(
        "multilabel_soft_margin_loss",
        method("multilabel_soft_margin_loss"),
        _each,
        _theirs("multilabel_soft_margin_loss"),
        (activation.Softplus,),
        ("multilabel_soft_margin_loss",),
        errors=(
            Error(
                lambda: _scores().multilabel_soft_margin_loss(Tensor.ones(3)),
                ValueError,
                "[multilabel_soft_margin_loss] expected one shape, got (2, 3) and (3,)",
            ),
        ),
    ),
]

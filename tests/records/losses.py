"""Records of ops/losses.py: an output beside a target."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from support.sampling import Case, Draw, Error, Sample, method, rng_of, shapes
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import activation, comparison, entropy, exponential, losses, unary

REDUCTIONS = st.sampled_from(losses.REDUCTIONS)
Values = Callable[[np.random.Generator, tuple[int, ...]], tuple[np.ndarray, ...]]


def _numbers(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    return rng.standard_normal(shape), rng.standard_normal(shape)


def _apart(*kinks: float) -> Values:
    """An output and a target whose difference is 0.05 away, at least, from where slopes jump."""

    def values(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
        target, difference = rng.standard_normal(shape), rng.uniform(0.1, 3, shape)
        for kink in kinks:
            difference = np.where(np.abs(difference - kink) < 0.05, kink + 0.1, difference)
        return target + difference * rng.choice([-1.0, 1.0], shape), target

    return values


def _shares(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    return rng.uniform(0.05, 0.45, shape), rng.uniform(0.05, 0.95, shape)


def _scores(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    return rng.standard_normal(shape) * 3, rng.uniform(0.05, 0.95, shape)


def _rates(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Counts stay away from 1, where Stirling's term begins."""
    counts = rng.choice([0.3, 2.0, 3.0, 7.0], shape) * rng.uniform(0.9, 1.1, shape)
    return rng.uniform(0.2, 2, shape), counts


def _moments(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    kept = (shape, (*shape[:-1], 1), shape[:-1])[rng.integers(3)] if shape else shape
    return *_numbers(rng, shape), rng.uniform(0.5, 2, kept)


def _loss(name: str, values: Values, op: Any, *errors: Error, **more: Any) -> Sample:
    """A method that `torch.nn.functional` calls the same; ``options``: what arguments may be."""
    options = more.pop("options", {})

    def cases(draw: Draw) -> Case:
        found = values(rng_of(draw), draw(shapes()))
        return Case(found, {k: draw(v) for k, v in ({"reduction": REDUCTIONS} | options).items()})

    def theirs(torch: Any, *inputs: Any, **options: Any) -> Any:
        return getattr(torch.nn.functional, name)(*inputs, **options)

    ops = op if isinstance(op, tuple) else (op,)
    told: dict[str, Any] = {"torch": theirs, "errors": errors}
    return Sample(name=name, call=method(name), cases=cases, ops=ops, covers=(name,), **told | more)


def _cross_entropy_of_shares(torch: Any, x: Any, target: Any, reduction: str) -> Any:
    """Written out: the second derivative of PyTorch's own adds 1e-12 to the probabilities."""
    terms = -(target * x.log() + (1 - target) * (1 - x).log())
    return terms if reduction == "none" else getattr(terms, reduction)()


def _signed(name: str, count: int, kinks: Any, op: Any, *errors: Error, **more: Any) -> Sample:
    """A loss of ``count`` tensors and targets of 1 and -1; ``kinks(x, t, options)`` is never 0."""
    options = more.pop("options", {})
    vectors = more.pop("vectors", False)

    def cases(draw: Draw) -> Case:
        shape = draw(shapes(max_dims=2, min_dims=1 if vectors else 0))
        shape = (*shape[:-1], max(shape[-1], 2)) if vectors else shape
        rng = rng_of(draw)
        told = {k: draw(v) for k, v in ({"reduction": REDUCTIONS} | options).items()}
        target = rng.choice([-1, 1], shape[:-1] if vectors else shape)
        while True:
            x = tuple(rng.standard_normal((count, *shape)))
            if (np.abs(kinks(x, target, told)) > 0.03).all():
                return Case(x, {"target": np.asarray(target)} | told)

    def theirs(torch: Any, *inputs: Any, target: Any, **options: Any) -> Any:
        return getattr(torch.nn.functional, name)(*inputs, target.to(inputs[0].dtype), **options)

    ops = op if isinstance(op, tuple) else (op,)
    told: dict[str, Any] = {"torch": theirs, "errors": errors, "kinks": True}
    return Sample(name=name, call=method(name), cases=cases, ops=ops, covers=(name,), **told | more)


def _cosine(x: tuple[np.ndarray, ...]) -> np.ndarray:
    norms = np.linalg.norm(x[0], axis=-1) * np.linalg.norm(x[1], axis=-1)
    return np.asarray((x[0] * x[1]).sum(-1) / norms)


def _triplet(draw: Draw) -> Case:
    shape, rng = draw(shapes(min_dims=1)), rng_of(draw)
    options = {
        "margin": draw(st.sampled_from([0.3, 1.0])),
        "p": draw(st.sampled_from([1.0, 2.0, 3.0])),
        "swap": draw(st.booleans()),
        "reduction": draw(REDUCTIONS),
    }
    power = options["p"]
    while True:
        a, b, c = rng.standard_normal((3, *shape)) * 1.5
        far, near, other = (
            (np.abs(u - v) ** power).sum(-1) ** (1 / power) for u, v in ((a, b), (a, c), (b, c))
        )
        least = np.minimum(near, other) if options["swap"] else near
        gaps = [far - least + options["margin"], near - other, a - b, a - c, b - c]
        if all((np.abs(gap) > 0.03).all() for gap in gaps):
            return Case((a, b, c), options)


def _two() -> tuple[Tensor, Tensor]:
    return Tensor.ones(2, 3), Tensor.ones(3)


def _shape_error(name: str, *more: Any) -> Error:
    return Error(
        lambda: getattr(_two()[0], name)(_two()[1], *more),
        ValueError,
        f"[{name}] expected one shape, got (2, 3) and (3,)",
    )


WHERE = (comparison.Where, comparison.Not)

SAMPLES = [
    _loss(
        "l1_loss",
        _apart(),
        unary.Abs,
        _shape_error("l1_loss"),
        Error(
            lambda: Tensor.ones(2).l1_loss(Tensor.ones(2), "average"),
            ValueError,
            "[l1_loss] expected reduction in ('mean', 'sum', 'none'), got average",
        ),
        kinks=True,
    ),
    _loss("mse_loss", _numbers, (), _shape_error("mse_loss")),
    _loss(
        "huber_loss",
        _apart(0.5, 1.0),
        (unary.Abs, *WHERE),
        Error(
            lambda: Tensor.ones(2).huber_loss(Tensor.ones(2), delta=0),
            ValueError,
            "[huber_loss] expected a delta above 0, got 0",
        ),
        options={"delta": st.sampled_from([0.5, 1.0])},
        kinks=True,
    ),
    _loss(
        "smooth_l1_loss",
        _apart(0.5, 1.0),
        (unary.Abs, *WHERE),
        Error(
            lambda: Tensor.ones(2).smooth_l1_loss(Tensor.ones(2), beta=-1),
            ValueError,
            "[smooth_l1_loss] expected a beta of at least 0, got -1",
        ),
        options={"beta": st.sampled_from([0.0, 0.5, 1.0])},
        kinks=True,
    ),
    _loss(
        "binary_cross_entropy",
        _shares,
        losses.BinaryCrossEntropy,
        _shape_error("binary_cross_entropy"),
        Error(
            lambda: Tensor([0.5, 1.5]).binary_cross_entropy(Tensor([0.0, 1.0])),
            ValueError,
            "[binary_cross_entropy] expected probabilities from 0 to 1, got 0.5 to 1.5",
            on_gpu=False,
        ),
        Error(
            lambda: Tensor.ones(2, 3).binary_cross_entropy(Tensor.ones(2, 3), Tensor.ones(2)),
            ValueError,
            "[binary_cross_entropy] expected a weight that broadcasts to (2, 3), got (2,)",
        ),
        torch=_cross_entropy_of_shares,
    ),
    _loss(
        "binary_cross_entropy_with_logits",
        _scores,
        activation.Softplus,
        _shape_error("binary_cross_entropy_with_logits"),
        options={"pos_weight": st.sampled_from([None, np.array(2.5)])},
    ),
    _loss(
        "kl_div",
        _shares,
        (entropy.Xlogy, exponential.Exp),
        _shape_error("kl_div"),
        Error(
            lambda: Tensor.ones(2).kl_div(Tensor.ones(2), "avg"),
            ValueError,
            "[kl_div] expected reduction in ('mean', 'sum', 'none', 'batchmean'), got avg",
        ),
        options={"log_target": st.booleans(), "reduction": st.sampled_from(["batchmean", "none"])},
    ),
    _loss(
        "poisson_nll_loss",
        _rates,
        (exponential.Exp, exponential.Log, comparison.Where),
        _shape_error("poisson_nll_loss"),
        options={"log_input": st.booleans(), "full": st.booleans()},
        kinks=True,
    ),
    _loss(
        "gaussian_nll_loss",
        _moments,
        (exponential.Log, *WHERE),
        _shape_error("gaussian_nll_loss", 1.0),
        Error(
            lambda: Tensor.ones(2, 3).gaussian_nll_loss(Tensor.ones(2, 3), Tensor.ones(3)),
            ValueError,
            "[gaussian_nll_loss] expected a variance of shape (2, 3), (2, 1) or (2,), got (3,)",
        ),
        Error(
            lambda: Tensor.ones(2).gaussian_nll_loss(Tensor.ones(2), -1.0),
            ValueError,
            "[gaussian_nll_loss] expected variances ≥ 0, got -1.0",
            on_gpu=False,
        ),
        options={"full": st.booleans()},
    ),
    _signed(
        "soft_margin_loss",
        1,
        lambda x, t, options: np.ones(()),
        activation.Softplus,
        _shape_error("soft_margin_loss"),
    ),
    _signed(
        "hinge_embedding_loss",
        1,
        lambda x, t, options: options["margin"] - x[0],
        (comparison.Clip, comparison.Where),
        _shape_error("hinge_embedding_loss"),
        options={"margin": st.sampled_from([0.5, 1.0])},
    ),
    _signed(
        "margin_ranking_loss",
        2,
        lambda x, t, options: options["margin"] - t * (x[0] - x[1]),
        comparison.Clip,
        Error(
            lambda: Tensor.ones(2, 3).margin_ranking_loss(Tensor.ones(3), Tensor.ones(3)),
            ValueError,
            "[margin_ranking_loss] expected one shape, got (2, 3) and (3,) and (3,)",
        ),
        options={"margin": st.sampled_from([0.0, 0.5])},
    ),
    _signed(
        "cosine_embedding_loss",
        2,
        lambda x, t, options: _cosine(x) - options["margin"],
        (comparison.Clip, exponential.Sqrt, comparison.Where),
        Error(
            lambda: Tensor.ones(2, 3).cosine_embedding_loss(Tensor.ones(2, 3), Tensor.ones(3)),
            ValueError,
            "[cosine_embedding_loss] expected vectors (N, D) twice and targets (N,), or without N, "
            "got (2, 3), (2, 3) and (3,)",
        ),
        options={"margin": st.sampled_from([-0.2, 0.3])},
        vectors=True,
    ),
    Sample(
        "triplet_margin_loss",
        method("triplet_margin_loss"),
        _triplet,
        lambda torch, *inputs, **options: torch.nn.functional.triplet_margin_loss(
            *inputs, **options
        ),
        (comparison.Clip, exponential.Sqrt),
        ("triplet_margin_loss",),
        kinks=True,
        errors=(
            Error(
                lambda: Tensor.ones(2).triplet_margin_loss(Tensor.ones(2), Tensor.ones(2), 0),
                ValueError,
                "[triplet_margin_loss] expected a margin above 0, got 0",
            ),
            Error(
                lambda: Tensor(1.0).triplet_margin_loss(Tensor(1.0), Tensor(1.0)),
                ValueError,
                "[triplet_margin_loss] expected vectors, got shape ()",
            ),
        ),
    ),
]
